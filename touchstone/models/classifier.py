"""A classifier on pixels in [0, 1]: normalisation is its first layer, so epsilon is always in input units."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from touchstone.models import model_spec
from touchstone.models.given import fit_into
from touchstone.models.net import Net, split
from touchstone.models.own import own_net
from touchstone.models.whitening import Whiten
from touchstone.registry import DatasetSpec, is_own, load, values_of


class Given(NamedTuple):
    """Weights that a model begins with, name -> tensor, and whose they are, for messages."""

    state: Mapping[str, Tensor]
    whose: str

    @property
    def of_classifier(self) -> bool:
        """Whether they were saved by this project: those of a whole Classifier."""
        return "normalize.mean" in self.state and any(name.startswith("net.") for name in self.state)


class Normalize(nn.Module):
    """Subtract the mean and divide by the standard deviation of each channel.

    Args:
        mean: one value per channel or one for all, in [0, 1] pixels.
        std: one value per channel or one for all, > 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C, H, W) in pixels to normalised units."""
        return (x - self.mean) / self.std

    def inverse(self, z: Tensor, x: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return the pixels (B, C, H, W) of points z, whatever images x they come from."""
        return z * self.std + self.mean


class Classifier(nn.Module):
    """`net` behind `normalize`: x (B, C, H, W) float in [0, 1] -> logits (B, classes).

    Attributes:
        logits: what all logits pass through, whichever space the input is in: a place for hooks.
        shape: (C, H, W) of the images, where it is known.
    """

    def __init__(self, normalize: nn.Module, net: nn.Module, shape: tuple[int, int, int] | None = None) -> None:
        super().__init__()
        self.normalize = normalize
        self.net = net
        self.logits = nn.Identity()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, classes)."""
        return self.logits(self.net(self.normalize(x)))

    def features(self, x: Tensor) -> Tensor:
        """Return the input of the last linear layer (B, D).

        Raises:
            ValueError: if the net does not end in one.
        """
        if not isinstance(self.net, Net):  # which may call something else its features
            raise ValueError(f"{type(self.net).__name__} does not end in a linear layer, so it has no features")
        return self.net.features(self.normalize(x))

    @property
    def classifier(self) -> nn.Module | None:
        """The last linear layer; None where the net does not end in one."""
        return self.net.classifier if isinstance(self.net, Net) else None


def build(
    name: str,
    dataset: DatasetSpec,
    /,
    *,
    seed: int,
    normalize: str | Mapping[str, Sequence[float]] = "dataset",
    given: Given | None = None,
    **options: object,
) -> Classifier:
    """Build an architecture for a dataset, initialised from `seed`; the global RNG is left alone.

    Args:
        name: in MODELS, or "module:function" of a net of the user's own; one that is no Net goes through `split`.
        dataset: decides shape and classes.
        seed: of the initial weights.
        normalize: the first layer: "dataset" subtracts the dataset's mean and divides by its standard deviation,
            "none" leaves the pixels as they are, "whitened" is to be fitted on the training images (`Whiten`), {mean,
            std} gives other constants.
        given: weights to begin with: those of the net as its author names them, or of a whole Classifier, with its
            first layer.
        options: of the architecture.

    Raises:
        ValueError: if the number of constants is not that of the channels, or the weights do not fit.
    """
    spec = model_spec(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape, classes = dataset.shape, dataset.classes
        if is_own(name):
            net = own_net(name, shape, classes, options)
        else:
            net = load(spec.fn)(shape, classes, **spec.preset, **options)
        if given is not None and not given.of_classifier:
            fit_into(net, given.state, given.whose)  # before `split` gives its layers other names
        if not isinstance(net, Net):
            net = split(net, shape, classes)
    model = Classifier(_first_layer(dataset, normalize), net, dataset.shape)
    if given is not None and given.of_classifier:
        fit_into(model, given.state, given.whose)
    return model


def _first_layer(dataset: DatasetSpec, normalize: str | Mapping[str, Sequence[float]]) -> Normalize | Whiten:
    if normalize == "whitened":
        return Whiten(dataset.shape)
    if isinstance(normalize, Mapping):
        mean, std = normalize["mean"], normalize["std"]
    else:
        mean, std = {"dataset": (dataset.mean, dataset.std), "none": ((0.0,), (1.0,))}[normalize]
    channels = dataset.shape[0]
    if not {len(mean), len(std)} <= {1, channels}:
        raise ValueError(f"normalize needs {values_of(channels)} of mean and of std, got {len(mean)} and {len(std)}")
    return Normalize(mean, std)
