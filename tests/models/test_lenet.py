"""LeNet as in facts about the authors' sibling code: shapes, counts, initialisation, normalisation inside."""

import pytest
import torch

from touchstone.data import DATASETS
from touchstone.models.classifier import build
from touchstone.models.lenet import LeNet


@pytest.mark.parametrize(("dataset", "count"), [("mnist", 61_706), ("cifar10", 62_006)])
def test_parameter_count(dataset: str, count: int) -> None:
    model = build("lenet", DATASETS[dataset], seed=0)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "digits", "digits-rgb"])
def test_shapes(dataset: str) -> None:
    spec = DATASETS[dataset]
    model = build("lenet", spec, seed=0)
    x = torch.rand(3, *spec.shape)
    assert model(x).shape == (3, 10)
    assert model.features(x).shape == (3, 84)
    torch.testing.assert_close(model.classifier(model.features(x)), model(x))


def test_initial_weights_are_pytorch_defaults() -> None:
    net = build("lenet", DATASETS["mnist"], seed=0).net
    for layer, fan_in in ((net.conv1, 25), (net.conv2, 150)):
        bound = fan_in**-0.5
        assert layer.weight.abs().max() <= bound
        assert layer.weight.abs().max() > 0.95 * bound


def test_seed_decides_the_weights_and_the_global_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    a, b, c = (build("lenet", DATASETS["mnist"], seed=s).net.conv1.weight for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(state, torch.random.get_rng_state())


def test_normalisation_is_the_first_layer() -> None:
    model = build("lenet", DATASETS["cifar10"], seed=0)
    x = torch.rand(2, 3, 32, 32)
    mean = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
    std = torch.tensor([0.2023, 0.1994, 0.2010]).view(1, 3, 1, 1)
    torch.testing.assert_close(model(x), model.net((x - mean) / std))


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="28x28 or 32x32 images, got 64x64"):
        LeNet((3, 64, 64), 10)
