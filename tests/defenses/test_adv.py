"""Adversarial training by turns: both steps against cross-entropy at the points that PGD returns."""

import pytest
import torch
from small import Small, assert_same, images, steps
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.attacks.pgd import pgd
from touchstone.defenses.adv import Alternating

Y = torch.tensor([0, 3, 1, 2, 0, 2])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_values_and_gradients(norm: str) -> None:
    model, x = Small(9, 7, 4), images(6)
    found = {"norm": norm, "eps": 0.3, "step_size": 0.07}
    clean, adversarial = steps(Alternating(**found, attack_steps=3), model, (x, Y), seed=5)
    assert_same(clean.loss, F.cross_entropy(model(x), Y), model)
    z = pgd(model, x, Y, **found, steps=3, rng=5)
    assert_same(adversarial.loss, F.cross_entropy(model(z), Y), model)
    assert adversarial.loss > clean.loss


def test_in_normalised_space_the_radius_is_in_its_units(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    _, step = steps(Alternating("linf", 0.3, 3, 0.1, space="normalized"), model, batch, seed=5)
    std = model.normalize.std.item()
    z = pgd(model, *batch, norm="linf", eps=0.3 * std, step_size=0.1 * std, steps=3, rng=5)
    torch.testing.assert_close(step.loss, F.cross_entropy(model(z), batch[1]), rtol=1e-4, atol=1e-5)
