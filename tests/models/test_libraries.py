"""Classifiers of torchvision and timm by name: split in two, the same function, and clear refusals."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torchvision

from touchstone.data import DATASETS
from touchstone.models import MODELS
from touchstone.models.classifier import Given, build
from touchstone.registry import registered

CIFAR = DATASETS["cifar10"]


@pytest.mark.parametrize(
    ("name", "features", "options"),
    [
        ("resnet18", 512, {}),  # one linear layer: fc
        ("mobilenet_v3_small", 1024, {}),  # several, the last in a Sequential
        ("shufflenet_v2_x0_5", 1024, {}),
        ("densenet121", 1024, {"drop_rate": 0.1}),  # its own `features` are not the classifier's input
    ],
)
def test_torchvision(name: str, features: int, options: dict[str, float]) -> None:
    model = build("torchvision", CIFAR, seed=3, name=name, normalize="none", options=options).eval()
    torch.manual_seed(3)
    theirs = torchvision.models.get_model(name, weights=None, num_classes=10, **options).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(x), theirs(x))
        assert model.features(x).shape == (2, features)
        torch.testing.assert_close(model.classifier(model.features(x)), model(x))
    assert model.train().net.training


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_a_checkpoint_of_torchvision_fits(name: str) -> None:
    """It names layers as torchvision does."""
    theirs = torchvision.models.get_model(name, weights=None, num_classes=10).eval()
    given = Given(theirs.state_dict(), "theirs.pt")
    model = build("torchvision", CIFAR, seed=3, name=name, normalize="none", given=given).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(x), theirs(x))


def test_torchvision_names_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"unknown torchvision classifier 'resnet19'.*did you mean 'resnet1"):
        build("torchvision", CIFAR, seed=0, name="resnet19")
    with pytest.raises(ValueError, match=r"unknown torchvision classifier 'fcn_resnet50'"):  # segments
        build("torchvision", CIFAR, seed=0, name="fcn_resnet50")


def test_a_plan_knows_the_same_names() -> None:
    assert registered(MODELS["torchvision"].library) == {*torchvision.models.list_models(torchvision.models)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nope": 1}, r"unknown option 'nope' of torchvision's 'resnet18'; allowed: .*width_per_group"),
        ({"widths_per_group": 8}, "did you mean 'width_per_group'"),
        (
            {"block": 1},
            r"'resnet18' cannot be made with the options \{'block': 1\}: .*multiple values",
        ),
        ({"layers": 1, "groups": 2}, "multiple values"),
    ],
)
def test_torchvision_options_that_a_net_does_not_take(options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build("torchvision", CIFAR, seed=0, name="resnet18", options=options)


def test_torchvision_nets_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"ResNet does not take images of shape \(1, 28, 28\)"):
        build("torchvision", DATASETS["mnist"], seed=0, name="resnet18")


def test_a_torchvision_net_with_a_convolution_for_a_head_stays_whole() -> None:
    model = build("torchvision", CIFAR, seed=0, name="squeezenet1_1")
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert model.classifier is None
    with pytest.raises(ValueError, match="SqueezeNet does not end in a linear layer"):  # its `features` are maps
        model.features(torch.rand(2, 3, 32, 32))


def test_timm_is_asked_for_only_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r"'resnet50' needs timm.*pip install timm"):
        build("timm", CIFAR, seed=0, name="resnet50")


def test_timm_is_called_with_classes_and_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for timm, which the lock does not have."""
    asked = SimpleNamespace()

    def create_model(name: str, **options: object) -> torch.nn.Module:
        vars(asked).update(options, name=name)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, options["num_classes"]))

    timm = ModuleType("timm")
    timm.create_model, timm.is_model, timm.list_models = create_model, lambda name: name == "tiny", lambda: ["tiny"]
    monkeypatch.setitem(sys.modules, "timm", timm)
    model = build("timm", DATASETS["mnist"], seed=0, name="tiny", options={"img_size": 28})
    assert vars(asked) == {"name": "tiny", "pretrained": False, "num_classes": 10, "in_chans": 1, "img_size": 28}
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)

    theirs = create_model("tiny", num_classes=10)
    given = Given(theirs.state_dict(), "theirs.pt")
    model = build("timm", DATASETS["mnist"], seed=0, name="tiny", normalize="none", given=given)
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(model(x), theirs(x))

    timm.create_model = lambda _, *, pretrained, num_classes, in_chans: (pretrained, num_classes, in_chans)
    with pytest.raises(ValueError, match=r"'tiny' cannot be made with the options .*unexpected keyword .*'nope'"):
        build("timm", CIFAR, seed=0, name="tiny", options={"nope": 1})
    with pytest.raises(ValueError, match=r"unknown timm classifier 'tinny'.*did you mean 'tiny'"):
        build("timm", CIFAR, seed=0, name="tinny")


def test_timm_itself() -> None:
    pytest.importorskip("timm", reason="timm is not in the lock")
    model = build("timm", CIFAR, seed=0, name="vit_tiny_patch16_224", options={"img_size": 32}).eval()
    x = torch.rand(2, 3, 32, 32)
    assert model.features(x).shape == (2, 192)
    torch.testing.assert_close(model.classifier(model.features(x)), model(x))
