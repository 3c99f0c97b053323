"""Nets of the user's own: classes and functions as people write them."""

import sys
from pathlib import Path

import pytest
from torch import nn

from touchstone.data import DATASETS
from touchstone.models.classifier import build
from touchstone.models.own import own_net
from touchstone.registry import options

FILE = """
from torch import nn

class Net(nn.Module):
    scale: float  # an annotation of a body is no option of a class that has an __init__

    def __init__(self, hidden=8, *, bias: bool = True):
        super().__init__()
        self.flat, self.fc = nn.Flatten(), nn.Linear(784, 10, bias=bias)

    def forward(self, x):
        return self.fc(self.flat(x))

def fitting(shape, classes, *, width: int = 4):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], width), nn.Linear(width, classes))

def made():
    return Net(bias=False)

def one(classes):
    return made()

def nothing():
    return 3
"""
IMAGES = ((1, 28, 28), 10)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "nets_of_a_user"
    (tmp_path / f"{name}.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    options.cache_clear()
    return name


def test_a_class_or_function_is_called_as_it_can_be(module: str) -> None:
    assert isinstance(own_net(f"{module}:Net", *IMAGES, {}), nn.Module)
    assert own_net(f"{module}:Net", *IMAGES, {"bias": False}).fc.bias is None
    assert own_net(f"{module}:made", *IMAGES, {}).fc.bias is None
    assert own_net(f"{module}:fitting", *IMAGES, {"width": 3})[1].out_features == 3
    assert build(f"{module}:Net", DATASETS["mnist"], seed=0, normalize="none").classifier.out_features == 10


def test_options_of_a_class_are_those_of_its_init(module: str) -> None:
    assert set(options(f"{module}:Net")) == {"bias"}


def test_anything_else_is_refused(module: str) -> None:
    with pytest.raises(ValueError, match="must take nothing, or shape and classes; it takes classes"):
        own_net(f"{module}:one", *IMAGES, {})
    with pytest.raises(ValueError, match=r"must return a torch.nn.Module, got int"):
        own_net(f"{module}:nothing", *IMAGES, {})
