"""A small model, a batch of random images, and the steps a defense takes on them."""

import pytest
import torch
from torch import Tensor, nn

from touchstone.data import DATASETS
from touchstone.models.classifier import build


@pytest.fixture
def model() -> nn.Module:
    return build("lenet", DATASETS["digits"], seed=3)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(8, 1, 28, 28, generator=generator), torch.randint(0, 10, (8,), generator=generator)


@pytest.fixture
def logits() -> Tensor:
    """Random logits of 5 samples and 4 classes, in float64; samples 0 and 3 are misclassified as class 2."""
    values = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    values[[0, 3], 2] += 6
    return values.requires_grad_()


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 1, 2, 3, 0])
