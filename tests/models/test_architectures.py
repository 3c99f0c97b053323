"""Every net of the table against the papers and their authors' code: parameters, shapes, initialisation, layers."""

import itertools
import math
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.data import DATASETS
from touchstone.models import MODELS
from touchstone.models.classifier import Classifier, build
from touchstone.models.convnets import fab_cnn8
from touchstone.models.lenet import lenet
from touchstone.models.mlp import Noise, critic, mlp
from touchstone.models.net import Net
from touchstone.models.resnet import BasicBlock, WideBlock, resnet, wide_resnet
from touchstone.models.smallcnn import small_cnn

MNIST, CIFAR = DATASETS["mnist"], DATASETS["cifar10"]
TINY_IMAGENET = replace(CIFAR, shape=(3, 64, 64), classes=200)
SMALL = replace(CIFAR, shape=(3, 8, 8))  # nets that average over the image count the same parameters, and are faster


class Facts(NamedTuple):
    """What is published about a net; `count` is worked out by hand from the widths."""

    count: int
    features: int
    bias: bool = True  # of the classifier
    dataset: object = CIFAR
    options: dict[str, object] = {}  # noqa: RUF012


PUBLISHED = {
    "lenet": [Facts(62_006, 84), Facts(61_706, 84, dataset=MNIST)],
    "lenet5": [Facts(61_706, 84, dataset=MNIST)],
    "lenet-512": [Facts(582_026, 512, dataset=MNIST)],
    "mlp": [Facts(7_850 + 110, 10, dataset=MNIST, options={"hidden": [10], "init": "msra"})],
    "mlp-1000": [Facts(2_797_010, 1000, dataset=MNIST)],
    "mlp-1200": [Facts(3_836_410, 1200, dataset=MNIST)],
    "critic": [Facts(2_395_210, 1200, dataset=MNIST)],
    "smallcnn": [
        Facts(313_376, 200, bias=False, dataset=MNIST),
        Facts(313_386, 200, dataset=MNIST, options={"activation": "relu", "bias": True}),
        Facts(313_377, 200, bias=False, dataset=MNIST, options={"activation": "prelu"}),
        Facts(1_149_760, 256, bias=False),
    ],
    "nin": [Facts(966_986, 192), Facts(966_986 + 2 * 1408, 192, options={"batch_norm": True})],
    "vgg13": [Facts(9_678_666, 512), Facts(10_562_568, 512, dataset=TINY_IMAGENET)],
    "cnn3": [Facts(123_222, 100, dataset=MNIST)],
    "madry-mnist": [Facts(3_274_634, 1024, dataset=MNIST)],
    "fab-cnn8": [Facts(9_260_986, 1200), Facts(9_259_450, 1200, options={"conv_bias": False})],
    "resnet18": [Facts(11_173_962, 512, dataset=SMALL)],
    "resnet32": [Facts(464_154, 64)],
    "resnet56": [Facts(853_018, 64)],
    "wrn": [Facts(77_850, 64, options={"depth": 10, "width": 1})],
    "wrn-34-10": [Facts(46_160_474, 640, dataset=SMALL)],
    "wrn-34-10-bounded": [Facts(46_172_800, 640, bias=False, dataset=SMALL)],
}
NAMED_BY_OPTION = {"torchvision", "timm"}  # test_libraries.py
WHOLE = {"mlp-1000-bn"}  # ends in batch normalisation: below


def test_every_net_has_its_facts() -> None:
    assert PUBLISHED.keys() == MODELS.keys() - NAMED_BY_OPTION - WHOLE


CASES = [(name, facts) for name, all_facts in PUBLISHED.items() for facts in all_facts]


@pytest.mark.parametrize(("name", "facts"), CASES, ids=[name for name, _ in CASES])
def test_parameters_shapes_and_contract(name: str, facts: Facts) -> None:
    model = build(name, facts.dataset, seed=0, **facts.options)
    assert sum(p.numel() for p in model.parameters()) == facts.count
    assert model.training
    assert isinstance(model.classifier, nn.Linear)
    assert (model.classifier.bias is not None) == facts.bias
    if name != "critic":  # "first convolution" to the metrics, where there is one
        assert "net.conv1.weight" in model.state_dict() or name.startswith("mlp")
    x = torch.rand(3, *facts.dataset.shape)
    model.eval()
    with torch.no_grad():
        torch.manual_seed(0)
        features = model.features(x)
        torch.manual_seed(0)
        logits = model(x)
        assert features.shape == (3, facts.features)
        assert logits.shape == (3, facts.dataset.classes)
        torch.testing.assert_close(model.classifier(features), logits, atol=1e-5, rtol=1e-5)
        if name != "critic":  # its noise goes on in evaluation
            torch.testing.assert_close(model(x[:1]), logits[:1], atol=1e-4, rtol=1e-4)


def test_lenet_refuses_other_sizes_of_image() -> None:
    with pytest.raises(ValueError, match="28x28 or 32x32 images, got 64x64"):
        lenet((3, 64, 64), 10)


def layer(model: Classifier, name: str) -> nn.Module:
    return model.net.get_submodule(name)


def glorot(inputs: int, outputs: int) -> float:
    return math.sqrt(6 / (inputs + outputs))


@pytest.mark.parametrize(
    ("name", "dataset", "options", "which", "bound"),
    [
        ("lenet", MNIST, {}, "conv1", 0.200),
        ("lenet", CIFAR, {}, "conv1", 0.1155),
        ("lenet", MNIST, {}, "conv2", 0.0816),
        ("lenet-512", MNIST, {}, "conv1", glorot(25, 25 * 32)),
        ("lenet-512", MNIST, {}, "fc1", glorot(1024, 512)),
        ("mlp-1000", MNIST, {}, "fc1", glorot(784, 1000)),
        ("mlp-1000", MNIST, {}, "fc4", glorot(1000, 10)),
        ("smallcnn", MNIST, {}, "fc1", 1024**-0.5),
        ("vgg13", CIFAR, {}, "conv2", 576**-0.5),
        ("cnn3", MNIST, {}, "conv3", 800**-0.5),
        ("fab-cnn8", CIFAR, {}, "conv8", 768**-0.5),
        ("resnet18", CIFAR, {}, "conv1", 27**-0.5),
    ],
)
def test_initial_weights_within_bounds(
    name: str, dataset: object, options: dict[str, object], which: str, bound: float
) -> None:
    weight = layer(build(name, dataset, seed=0, **options), which).weight
    assert weight.abs().max() <= bound * 1.001
    assert weight.abs().max() > 0.95 * bound


@pytest.mark.parametrize(
    ("name", "dataset", "options", "which", "std"),
    [
        ("lenet-512", MNIST, {"init": "msra"}, "conv2", math.sqrt(2 / 800)),
        ("lenet-512", MNIST, {"init": "msra"}, "fc1", math.sqrt(2 / 1024)),
        ("mlp-1200", MNIST, {}, "fc1", math.sqrt(2 / 784)),
        ("mlp-1200", MNIST, {}, "fc3", math.sqrt(2 / 1200)),
        ("critic", MNIST, {}, "fc1", math.sqrt(2 / 784)),
        ("nin", CIFAR, {}, "conv4", math.sqrt(2 / 2400)),
        ("madry-mnist", MNIST, {}, "fc1", 0.0880),  # 0.1 cut at two standard deviations
        ("resnet56", CIFAR, {}, "basicblock5.conv2", math.sqrt(2 / 144)),
        ("resnet56", CIFAR, {}, "fc1", math.sqrt(2 / 64)),
        ("wrn", CIFAR, {"depth": 10, "width": 4}, "wideblock3.conv1", math.sqrt(2 / (9 * 256))),
        ("wrn", CIFAR, {"depth": 10, "width": 4}, "wideblock3.shortcut", math.sqrt(2 / 256)),
    ],
)
def test_initial_weights_are_normal(
    name: str, dataset: object, options: dict[str, object], which: str, std: float
) -> None:
    weight = layer(build(name, dataset, seed=0, **options), which).weight
    error = std / math.sqrt(2 * weight.numel())
    assert weight.std().item() == pytest.approx(std, abs=5 * error)
    assert weight.mean().item() == pytest.approx(0, abs=5 * std / math.sqrt(weight.numel()))
    assert weight.abs().max() > 2.2 * std  # not uniform


@pytest.mark.parametrize(
    ("name", "options", "value"),
    [
        ("lenet-512", {}, 0.0),
        ("lenet-512", {"init": "msra"}, 0.0),
        ("mlp-1000", {}, 0.0),
        ("mlp-1200", {}, 0.0),
        ("critic", {}, 0.0),
        ("nin", {}, 0.0),
        ("madry-mnist", {}, 0.1),
    ],
)
def test_initial_biases(name: str, options: dict[str, object], value: float) -> None:
    model = build(name, MNIST, seed=0, **options)
    biases = [p for key, p in model.named_parameters() if key.endswith("bias")]
    assert biases
    assert all((b == value).all() for b in biases)


def test_the_classifier_of_trades_has_zero_bias_and_that_of_weight_penalisation_has_pytorchs() -> None:
    assert (wide_resnet((3, 8, 8), 10, depth=10, width=1).classifier.bias == 0).all()
    assert (wide_resnet((3, 8, 8), 10, depth=10, width=1, conv_bias=True).classifier.bias != 0).all()


def test_the_net_of_vat_s_authors_normalises_every_layer_the_last_one_too() -> None:
    model = build("mlp-1000-bn", MNIST, seed=0, normalize="none")
    linear = [part for part in model.net if isinstance(part, nn.Linear)]
    norms = [part for part in model.net if isinstance(part, nn.BatchNorm1d)]
    assert [type(part).__name__ for part in model.net] == [
        "Flatten",
        *["Linear", "BatchNorm1d", "ReLU"] * 3,
        *["Linear", "BatchNorm1d"],
    ]
    assert [part.out_features for part in linear] == [part.num_features for part in norms] == [1000, 1000, 1000, 10]
    assert {(part.eps, part.momentum) for part in norms} == {(1e-6, 0.1)}
    for part in linear:
        assert part.weight.std().item() == pytest.approx(part.in_features**-0.5, rel=0.03)
        assert not part.bias.any()
    logits = model(torch.rand(64, *MNIST.shape))
    torch.testing.assert_close(logits.mean(dim=0), torch.zeros(10), atol=1e-5, rtol=0)
    torch.testing.assert_close(logits.std(dim=0, correction=0), torch.ones(10), atol=1e-3, rtol=0)
    assert model.classifier is None


def kinds(net: Net) -> list[str]:
    return [type(part).__name__ for part in net]


HEAD = ["Linear", "BatchNorm1d", "Tanh", "Linear"]
UNIT = ["Conv2d", "BatchNorm2d", "ReLU"]
CONV, POOL, HIDDEN = ["Conv2d", "ReLU"], ["MaxPool2d"], ["Linear", "ReLU"]
PAIR = [*UNIT, *UNIT, *POOL]


def nin_layers(unit: list[str]) -> list[str]:
    pooled = [*unit * 3, *POOL, "Dropout", *unit * 3, "AvgPool2d", "Dropout"]
    return [*pooled, *unit * 2, "AdaptiveAvgPool2d", "Flatten", "Linear"]


@pytest.mark.parametrize(
    ("name", "dataset", "options", "layers"),
    [
        ("lenet", MNIST, {}, [*CONV, *POOL, *CONV, *POOL, "Flatten", *HIDDEN, *HIDDEN, "Linear"]),
        ("lenet-512", MNIST, {}, [*CONV, *POOL, *CONV, *POOL, "Flatten", "Dropout", *HIDDEN, "Dropout", "Linear"]),
        ("cnn3", MNIST, {}, [*CONV, *CONV, *POOL, *CONV, *POOL, "Flatten", *HIDDEN, "Linear"]),
        ("madry-mnist", MNIST, {}, [*CONV, *POOL, *CONV, *POOL, "Flatten", *HIDDEN, "Linear"]),
        ("vgg13", CIFAR, {}, [*PAIR * 5, "Flatten", "Dropout", *HIDDEN, "Linear"]),
        ("nin", CIFAR, {}, nin_layers(CONV)),
        ("nin", CIFAR, {"batch_norm": True}, nin_layers(UNIT)),
        ("smallcnn", MNIST, {}, [*PAIR * 2, "Flatten", "Linear", "ReLU", "BatchNorm1d", *HEAD]),
        ("smallcnn", CIFAR, {}, [*PAIR * 2, "Flatten", "Linear", "BatchNorm1d", "ReLU", *HEAD]),
    ],
)
def test_order_of_layers(name: str, dataset: object, options: dict[str, object], layers: list[str]) -> None:
    assert kinds(build(name, dataset, seed=0, **options).net) == layers


def test_every_convolution_of_fab_cnn8_has_its_relu() -> None:
    net = kinds(build("fab-cnn8", CIFAR, seed=0).net)
    assert [after for kind, after in itertools.pairwise(net) if kind == "Conv2d"] == ["ReLU"] * 8
    assert net.count("ReLU") == 9


@pytest.mark.parametrize(
    ("activation", "of_minus_two"),
    [("tanh", -0.9640276), ("relu", 0.0), ("prelu", -0.5), ("leakyrelu", -0.02), ("identity", -2.0)],
)
def test_feature_activation_comes_last(activation: str, of_minus_two: float) -> None:
    net = small_cnn((1, 28, 28), 10, activation=activation).eval()
    net.bn6.weight.data.zero_()
    net.bn6.bias.data.fill_(-2.0)
    torch.testing.assert_close(net.features(torch.rand(2, 1, 28, 28)), torch.full((2, 200), of_minus_two))


def test_unknown_activation() -> None:
    with pytest.raises(ValueError, match=r"unknown activation 'tan'.*did you mean 'tanh'"):
        small_cnn((1, 28, 28), 10, activation="tan")


@pytest.mark.parametrize(
    ("name", "dataset", "options", "rates"),
    [
        ("lenet-512", MNIST, {"dropout": 0.5}, [0.5, 0.5]),
        ("mlp-1000", MNIST, {"dropout": 0.5}, [0.5, 0.5, 0.5]),
        ("mlp-1000", MNIST, {}, [0.0, 0.0, 0.0]),
        ("vgg13", CIFAR, {}, [0.5]),
        ("nin", CIFAR, {}, [0.5, 0.5]),
    ],
)
def test_dropout(name: str, dataset: object, options: dict[str, object], rates: list[float]) -> None:
    model = build(name, dataset, seed=0, **options)
    assert [part.p for part in model.net if isinstance(part, nn.Dropout)] == rates
    x = torch.rand(4, *dataset.shape)
    with torch.no_grad():
        assert torch.equal(model(x), model(x)) == (not any(rates))
        model.eval()
        assert torch.equal(model(x), model(x))


def test_batch_norm_learns_in_training_only() -> None:
    model = build("vgg13", CIFAR, seed=0)
    x = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        model.eval()(x)
        assert model.net.bn1.num_batches_tracked == 0
        model.train()(x)
    assert model.net.bn1.num_batches_tracked == 1


def test_noise_of_the_critic_has_its_strengths_and_never_stops() -> None:
    net = critic((1, 28, 28), 10).eval()
    x = torch.full((50, 1, 28, 28), 0.5)
    torch.manual_seed(0)
    with torch.no_grad():
        image = net.noise1(net.flatten1(x))
        hidden = net.fc1(image)
        noise = net.noise2(net.leakyrelu1(hidden)) - F.leaky_relu(hidden, 0.2)
        assert not torch.equal(net(x), net(x))
    assert (image - 0.5).std().item() == pytest.approx(0.1, rel=0.02)
    assert noise.std().item() == pytest.approx(0.5, rel=0.02)
    assert [part.std for part in net if isinstance(part, Noise)] == [0.1, 0.5, 0.5]
    assert [part.negative_slope for part in net if isinstance(part, nn.LeakyReLU)] == [0.2, 0.2]
    still = critic((1, 28, 28), 10, input_noise=0.0, hidden_noise=0.0)
    assert torch.equal(still(x), still(x))


def test_mlp_widths() -> None:
    net = mlp((1, 2, 2), 3, hidden=[5, 6], init="glorot")
    assert [tuple(p.shape) for p in net.parameters() if p.ndim == 2] == [(5, 4), (6, 5), (3, 6)]
    assert kinds(net) == ["Flatten", *(["Linear", "ReLU", "Dropout"] * 2), "Linear"]


def test_nin_averages_its_class_maps() -> None:
    """The last 1x1 convolution before the average over the image, as in the paper, gives the same logits."""
    net = build("nin", CIFAR, seed=0).net.eval()
    x = torch.rand(2, 3, 32, 32)
    maps = x
    for part in list(net)[:-3]:
        maps = part(maps)
    assert maps.shape == (2, 192, 8, 8)
    class_maps = F.conv2d(maps, net.classifier.weight[:, :, None, None], net.classifier.bias)
    torch.testing.assert_close(class_maps.mean(dim=(2, 3)), net(x), atol=1e-5, rtol=1e-5)


def test_fab_cnn8_pads_like_tensorflow() -> None:
    net = fab_cnn8((3, 32, 32), 10)
    image = torch.ones(1, 1, 2, 2)
    assert torch.equal(net.zeropad2d1(image)[0, 0], torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 0]]))
    shapes: list[Tensor] = []
    for part in net:
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    net(torch.rand(1, 3, 32, 32))
    assert shapes == [
        *((96, 32, 32), (96, 32, 32), (192, 16, 16)),
        *((192, 16, 16), (192, 16, 16), (192, 8, 8)),
        *((192, 8, 8), (384, 4, 4)),
    ]


def silenced(block: nn.Module, conv: str) -> nn.Module:
    """The block without its convolutions: what is left is the shortcut."""
    block.get_submodule(conv).weight.data.zero_()
    return block.eval()


def test_option_a_subsamples_and_pads_with_zeros() -> None:
    x = torch.rand(2, 4, 6, 6)
    out = silenced(BasicBlock(4, 8, 2, projection=False), "conv2")(x)
    zeros = torch.zeros(2, 2, 3, 3)
    torch.testing.assert_close(out, torch.cat([zeros, x[:, :, ::2, ::2], zeros], dim=1))


def test_option_b_projects_with_batch_norm_and_equal_shapes_are_left_alone() -> None:
    x = torch.rand(2, 4, 6, 6)
    block = silenced(BasicBlock(4, 8, 2, projection=True), "conv2")
    projected = F.conv2d(x, block.shortcut[0].weight, stride=2) / math.sqrt(1 + 1e-5)
    torch.testing.assert_close(block(x), projected.relu())
    torch.testing.assert_close(silenced(BasicBlock(4, 4, 1, projection=True), "conv2")(x), x)


def test_wide_block_projects_what_its_first_relu_lets_through() -> None:
    x = torch.randn(2, 4, 6, 6)
    block = silenced(WideBlock(4, 8, 2, bias=False), "conv2")
    passed = x.relu() / math.sqrt(1 + 1e-5)
    torch.testing.assert_close(block(x), F.conv2d(passed, block.shortcut.weight, stride=2))
    torch.testing.assert_close(silenced(WideBlock(4, 4, 1, bias=False), "conv2")(x), x)


def batch_norm(x: Tensor) -> Tensor:
    """As in training: in eval mode a fresh layer changes hardly anything, and would not be missed."""
    return F.batch_norm(x, None, None, training=True)


def test_main_branch_of_a_basic_block() -> None:
    x, block = torch.randn(4, 4, 6, 6), BasicBlock(4, 4, 1, projection=False)
    hidden = batch_norm(F.conv2d(x, block.conv1.weight, padding=1)).relu()
    out = batch_norm(F.conv2d(hidden, block.conv2.weight, padding=1))
    torch.testing.assert_close(block(x), (out + x).relu())


def test_main_branch_of_a_wide_block() -> None:
    x, block = torch.randn(4, 4, 6, 6), WideBlock(4, 4, 1, bias=False)
    hidden = batch_norm(F.conv2d(batch_norm(x).relu(), block.conv1.weight, padding=1)).relu()
    torch.testing.assert_close(block(x), x + F.conv2d(hidden, block.conv2.weight, padding=1))


@pytest.mark.parametrize("bounded", [True, False])
def test_head_of_the_wide_net(bounded: bool) -> None:
    net = wide_resnet((3, 8, 8), 10, depth=10, width=2, conv_bias=bounded, bounded=bounded).eval()
    x = torch.rand(4, 3, 8, 8)
    h = x
    for part in list(net)[:-5]:
        h = part(h)
    scale = 1 / math.sqrt(1 + 1e-5)
    expected = (h.mean((2, 3)) * scale).tanh() if bounded else (h * scale).relu().mean((2, 3))
    torch.testing.assert_close(net.features(x), expected)
    assert (net.conv1.bias is not None) == bounded


@pytest.mark.parametrize("depth", [4, 12, 0])
def test_other_depths_are_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"6 n \\+ 4 with n >= 1, got {depth}"):
        wide_resnet((3, 8, 8), 10, depth=depth, width=1)


def test_groups_of_the_residual_net_halve_the_image() -> None:
    net = resnet((3, 16, 16), 10, widths=(4, 8, 16), blocks=2, shortcut="padding", init="default").eval()
    strides = [part.conv1.stride[0] for part in net if isinstance(part, BasicBlock)]
    assert strides == [1, 1, 2, 1, 2, 1]
    assert net.conv1.stride == (1, 1)
