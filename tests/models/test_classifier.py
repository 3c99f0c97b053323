"""Normalisation is the first layer; the seed decides the weights; nets of the user's own fit in."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from touchstone.data import DATASETS
from touchstone.models.classifier import build

OWN = """
from torch import nn

def small(shape, classes, *, width: int = 7):
    size = shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, classes))
"""


@pytest.mark.parametrize("name", ["lenet", "mlp-1200", "smallcnn"])
def test_seed_decides_the_weights_and_the_global_generator_is_left_alone(name: str) -> None:
    state = torch.random.get_rng_state()
    a, b, c = (list(build(name, DATASETS["mnist"], seed=s).parameters()) for s in (1, 1, 2))
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    assert not torch.equal(a[0], c[0])
    assert torch.equal(state, torch.random.get_rng_state())


def test_normalisation_is_the_first_layer() -> None:
    model = build("lenet", DATASETS["cifar10"], seed=0)
    x = torch.rand(2, 3, 32, 32)
    mean = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
    std = torch.tensor([0.2023, 0.1994, 0.2010]).view(1, 3, 1, 1)
    torch.testing.assert_close(model(x), model.net((x - mean) / std))
    torch.testing.assert_close(model.features(x), model.net.features((x - mean) / std))


@pytest.mark.parametrize(
    ("normalize", "mean", "std"),
    [("none", 0.0, 1.0), ({"mean": [0.5], "std": [1.0]}, 0.5, 1.0), ({"mean": [0.1] * 3, "std": [0.2] * 3}, 0.1, 0.2)],
)
def test_normalisation_may_be_absent_or_another(normalize: object, mean: float, std: float) -> None:
    model = build("lenet", DATASETS["cifar10"], seed=0, normalize=normalize)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(model(x), model.net((x - mean) / std))  # "none": the very pixels
    assert (normalize == "none") == torch.equal(model.normalize(x), x)


def test_constants_of_another_number_of_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or 3 values of mean and of std, got 2 and 1"):
        build("lenet", DATASETS["cifar10"], seed=0, normalize={"mean": [0.5, 0.5], "std": [1.0]})


def test_a_net_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    model = build("my_own_nets:small", replace(DATASETS["mnist"], classes=4), seed=0, width=9)
    monkeypatch.delitem(sys.modules, "my_own_nets")
    x = torch.rand(3, 1, 28, 28)
    assert model.features(x).shape == (3, 9)
    assert model.classifier.out_features == 4
    torch.testing.assert_close(model.classifier(model.features(x)), model(x))
