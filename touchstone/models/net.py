"""What all nets are made of: named layers in a row, their initialisation, and the flat size between them."""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from touchstone.models.own import told


class Conv2d(nn.Conv2d):
    """PyTorch's layer with a faster gradient in grey images on a CPU; arguments and weights are the same.

    Every step of an attack needs that gradient. oneDNN computes it as if the image had a whole vector register of
    channels; a matrix product whose columns are added up takes a fifth of its time for 5x5 kernels and 32 outputs,
    and a gradient of lenet-512 two thirds (measured). It is used where it pays: not for the 6 outputs of lenet, nor
    in smallcnn, whose other layers outweigh it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps (B, out_channels, height, width) of x (B, in_channels, height, width)."""
        if self._pays(x):
            return _GreyConvolution.apply(x, self.weight, self.bias, (self.stride, self.padding, self.dilation))
        return super().forward(x)

    def _pays(self, x: Tensor) -> bool:
        """Say whether the gradient in x will be faster; it knows plain zeros around batches of float images alone."""
        grey = self.in_channels == 1 and x.ndim == 4 and x.requires_grad and x.device.type == "cpu"
        plain = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        return grey and plain and not torch.is_autocast_enabled("cpu")


class _GreyConvolution(torch.autograd.Function):
    """`F.conv2d` of one channel with that input gradient; it can be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple) -> Tensor:
        return F.conv2d(x, weight, bias, *geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:  # noqa: ARG004
        x, weight, _, ctx.geometry = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (stride, padding, dilation) = ctx.saved_tensors, ctx.geometry
        columns = weight.flatten(1).t() @ grad.flatten(2)  # (B, taps, places)
        in_x = F.fold(columns, x.shape[2:], weight.shape[2:], dilation, padding, stride)
        in_weight = in_bias = None
        if ctx.needs_input_grad[1]:
            in_weight = conv2d_weight(x, weight.shape, grad, stride, padding, dilation)
        if ctx.needs_input_grad[2]:
            in_bias = grad.sum(dim=(0, 2, 3))
        return in_x, in_weight, in_bias, None


# so that the first convolution of every net is `conv1`, where the metrics look for it
NAMES: dict[type[nn.Module], str] = {
    nn.Conv2d: "conv",
    Conv2d: "conv",
    nn.Linear: "fc",
    nn.BatchNorm1d: "bn",
    nn.BatchNorm2d: "bn",
}
# name -> (how weights are drawn, value of all biases)
INITS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "glorot": (nn.init.xavier_uniform_, 0.0),
    "msra": (lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"), 0.0),
}


class Net(nn.Sequential):
    """Layers in a row; the last one, linear, is the classifier: x (B, C, H, W) -> logits (B, classes)."""

    @property
    def classifier(self) -> nn.Module:
        """The last layer."""
        return self[len(self) - 1]

    def features(self, x: Tensor) -> Tensor:
        """Return the input of the classifier (B, D)."""
        for layer in list(self)[:-1]:
            x = layer(x)
        return x


def in_a_row(layers: Iterable[nn.Module]) -> Net:
    """Make a net of layers, each named by its kind and number: conv1, relu1, conv2, ..., fc1."""
    named, counts = OrderedDict[str, nn.Module](), Counter[str]()
    for layer in layers:
        kind = NAMES.get(type(layer), type(layer).__name__.lower())
        counts[kind] += 1
        named[f"{kind}{counts[kind]}"] = layer
    return Net(named)


def initialise(
    net: nn.Module,
    weight: Callable[[Tensor], Tensor],
    bias: float | None = None,
    kinds: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.Linear),
) -> None:
    """Draw the weights of layers anew, in place.

    Args:
        net: its layers of these `kinds`, at any depth, are changed.
        weight: fills a weight tensor in place.
        bias: value of all their biases; None leaves them as PyTorch has drawn them.
        kinds: which layers.
    """
    for layer in net.modules():
        if isinstance(layer, kinds):
            weight(layer.weight)
            if bias is not None and layer.bias is not None:
                nn.init.constant_(layer.bias, bias)


def flat_size(layers: Sequence[nn.Module], shape: tuple[int, int, int]) -> int:
    """Return how many values per image leave these layers; the layers stay as they are.

    Raises:
        ValueError: if an image of this shape does not pass through them.
    """
    net = nn.Sequential(*layers).eval()  # a pass in training mode would move the statistics of batch norm
    try:
        with torch.no_grad():
            return net(torch.zeros(1, *shape)).numel()
    except RuntimeError as error:
        raise ValueError(f"images of shape {tuple(shape)} do not pass through the convolutions: {error}") from error
    finally:
        net.train()


class LogitsError(ValueError):
    """A net returns something else than a logit per class; `logits` is how many it returns, None if it returns none."""

    def __init__(self, kind: str, classes: int, out: object) -> None:
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        super().__init__(f"{kind} must return logits (2, {classes}) of two images, got {got}")
        self.logits = out.shape[1] if isinstance(out, Tensor) and out.shape[:1] == (2,) and out.ndim == 2 else None


def split(net: nn.Module, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Split a net that ends in a linear layer into what comes before it and that layer; the weights stay.

    Any other net (one that ends in a LogSoftmax, or in a convolution) is left whole: it has no features and no
    classifier, which only some defenses and attacks ask for.

    Args:
        net: x (B, *shape) -> logits (B, classes); changed in place, and left in training mode.
        shape: (channels, height, width) of the input.
        classes: number of logits.

    Raises:
        ValueError: if images of this shape do not pass.
        LogitsError: if the output is anything else than logits.
    """
    kind = type(net).__name__
    linear = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Linear) and name]
    name, classifier = linear[-1] if linear else ("", None)
    answers: list[Tensor] = []
    hook = classifier and classifier.register_forward_hook(lambda _module, _inputs, output: answers.append(output))
    out = _try(net.eval(), shape)
    if not isinstance(out, Tensor) or out.shape != (2, classes):
        raise LogitsError(kind, classes, out)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    trained = _try(net.train(), shape)
    net.load_state_dict(before)  # batch norm learns from what passes in training mode
    if hook:
        hook.remove()
    if not isinstance(trained, Tensor):
        raise ValueError(f"{kind} has several outputs in training mode; switch the auxiliary ones off (options)")
    # fresh batch norm all but keeps what it is given in eval mode, and in training mode does not
    if len(answers) != 2 or not out.equal(answers[0]) or not trained.equal(answers[1]):
        return net
    net.set_submodule(name, nn.Identity())
    return Net(OrderedDict(body=net, fc1=classifier))


def _try(net: nn.Module, shape: tuple[int, int, int]) -> object:
    """Return the output for two images; black ones leave a zero after layers without biases, whatever follows."""
    images = torch.linspace(0, 1, 2 * math.prod(shape)).view(2, *shape)
    try:
        with torch.no_grad():
            return net(images)
    except Exception as error:  # whatever a net says of a wrong size
        raise ValueError(f"{type(net).__name__} does not take images of shape {tuple(shape)}: {told(error)}") from error
