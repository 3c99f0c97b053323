"""Nets trained within seconds on the embedded digits: one as it should be, two whose cross-entropy is rounded away."""

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from touchstone.data import DATASETS
from touchstone.data.prepare import to_float
from touchstone.data.readers import digits
from touchstone.losses import margin
from touchstone.models.lenet import lenet
from touchstone.models.net import Net

SATURATED = 40.0  # median gap of the logits, far enough on every CPU; float32 has no 1 - p_y left from 17 on


@cache
def images() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x, y to train on and x, y to attack: (N, 1, 28, 28) in [0, 1] and (N,)."""
    parts = digits(Path(), DATASETS["digits"].validation)
    return to_float(parts.train_x), parts.train_y, to_float(parts.test_x), parts.test_y


def held_out(count: int) -> tuple[Tensor, Tensor]:
    """Return the first images that no net was trained on."""
    _, _, x, y = images()
    return x[:count], y[:count]


@cache
def trained() -> Net:
    """Return a net with gaps of about 5, which classifies 95 % of the digits."""
    return _train(lr=1e-3, epochs=8, enough=torch.inf)


@cache
def saturated() -> Net:
    """Return a net trained by cross-entropy alone, at a large rate, until its gaps exceed 17 by far."""
    return _train(lr=2e-2, epochs=60, enough=SATURATED)


@cache
def large_margin() -> nn.Module:
    """Return a fully connected net trained by a hinge of margin 20, where float32 rounds 1 - p_y but not the rest."""
    x, y, _, _ = images()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        wide = [nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)]
        model = nn.Sequential(nn.Flatten(), *wide)
        adam = torch.optim.Adam(model.parameters(), lr=2e-3)
        for _ in range(6):
            for rows in torch.randperm(len(x)).split(64):
                adam.zero_grad()
                F.multi_margin_loss(model(x[rows]), y[rows], margin=20.0).backward()
                adam.step()
    return model.requires_grad_(False).eval()


def _train(lr: float, epochs: int, enough: float) -> Net:
    x, y, _, _ = images()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = lenet((1, 28, 28), 10)
        adam = torch.optim.Adam(model.parameters(), lr=lr)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(64):
                adam.zero_grad()
                F.cross_entropy(model(x[rows]), y[rows]).backward()
                adam.step()
            with torch.no_grad():
                gap = -margin(model(x), y).median()
            if gap > enough:
                break
    return model.requires_grad_(False).eval()
