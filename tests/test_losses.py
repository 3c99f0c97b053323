import numpy as np
import pytest
import torch
from torch import Tensor

from touchstone import registry
from touchstone.losses import LOSSES, dlr, dlr_targeted, margin, margin_targeted, misclassified, pick

NEGATIVE = torch.tensor([[-3.0, -1.0, -2.0, -9.0], [-5.0, -4.5, -7.0, -6.0]], dtype=torch.float64)
LABELS = torch.tensor([1, 0])
MEANT = [name for name in LOSSES if name != "raw"]  # which takes logits for probabilities


def by_hand(name: str, z: np.ndarray, y: int) -> float:
    others = np.delete(z, y)
    first, second, third = np.sort(z)[::-1][:3]
    return {
        "ce": np.log(np.exp(z).sum()) - z[y],
        "ce64": np.log(np.exp(z).sum()) - z[y],
        "margin": others.max() - z[y],
        "dlr": (others.max() - z[y]) / (first - third),
        "logistic": -np.log2(1 + np.exp(z[y] - others.max())),
        "mifpe": np.log(np.exp(z / (first - second)).sum()) - z[y] / (first - second),
        "raw": -np.log(abs(z[y])),
    }[name]


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_the_formula_also_for_negative_logits(name: str) -> None:
    expected = [by_hand(name, z.numpy(), int(y)) for z, y in zip(NEGATIVE, LABELS, strict=True)]
    np.testing.assert_allclose(pick(name)(NEGATIVE, LABELS), expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["ce", "ce64", "margin", "logistic"])
def test_two_classes(name: str) -> None:
    z = torch.tensor([[-2.0, -5.0]])
    gap = {"margin": -3.0, "logistic": -np.log2(1 + np.exp(3.0))}.get(name, float(np.log1p(np.exp(-3.0))))
    assert pick(name)(z, torch.tensor([0])).item() == pytest.approx(gap)


def test_dlr_needs_three_classes() -> None:
    with pytest.raises(ValueError, match="needs at least 3 classes, got 2: use 'margin'"):
        dlr(torch.zeros(1, 2), torch.tensor([0]))


@pytest.mark.parametrize("name", MEANT)
def test_gradient_points_from_the_true_class_to_the_runner_up(name: str) -> None:
    z = NEGATIVE.clone().requires_grad_()
    (grad,) = torch.autograd.grad(pick(name)(z, LABELS).sum(), z)
    assert (grad[torch.arange(2), LABELS] < 0).all()
    assert (grad[torch.arange(2), torch.tensor([2, 1])] > 0).all()


def gradient(name: str, z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(pick(name)(z, torch.zeros(len(z), dtype=torch.int64)).sum(), z)[0]


@pytest.mark.parametrize("gap", [30.0, 80.0])
def test_ce64_keeps_a_gradient_where_float32_has_lost_it(gap: float) -> None:
    logits = torch.tensor([[gap, 0.0, -1.0]])
    assert gradient("ce", logits)[0, 0] == 0
    assert pick("ce64")(logits, torch.tensor([0])).dtype == torch.float64
    kept = gradient("ce64", logits)
    assert kept[0, 0] == pytest.approx(-(1 + np.exp(-1)) * np.exp(-gap), rel=1e-5)
    assert kept.dtype == torch.float32


@pytest.mark.parametrize("name", MEANT)
def test_loss_ignores_a_shift_of_the_logits_and_follows_a_permutation_of_the_classes(name: str) -> None:
    order = torch.tensor([2, 0, 3, 1])
    moved = (NEGATIVE + torch.tensor([[3.0], [-8.0]]))[:, order]
    torch.testing.assert_close(pick(name)(moved, order.argsort()[LABELS]), pick(name)(NEGATIVE, LABELS))


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_mifpe_has_the_same_gradient_however_large_the_logits_are(scale: float) -> None:
    logits = torch.tensor([[3.0, 1.0, -1.0]])
    small, large = gradient("mifpe", logits), gradient("mifpe", logits * scale)
    torch.testing.assert_close(large * scale, small)
    # softmax of (3, 1, -1) / 2, through a gap that is held constant
    odds = np.exp([1.5, 0.5, -0.5])
    expected = (odds / odds.sum() - [1, 0, 0]) / 2
    np.testing.assert_allclose(small[0], expected, rtol=1e-6)


def test_raw_reads_the_logit_of_the_class_alone_and_climbs_the_wrong_way_where_it_is_negative() -> None:
    slopes = gradient("raw", torch.tensor([[4.0, 9.0, -1.0], [-4.0, 9.0, -1.0]]))
    assert slopes.tolist() == [[-0.25, 0, 0], [0.25, 0, 0]]


def test_logistic_is_steep_while_the_class_is_right_and_flat_beyond_the_boundary() -> None:
    logits = torch.tensor([[30.0, 0.0, -1.0], [0.0, 0.0, -1.0], [0.0, 30.0, -1.0]])
    assert pick("logistic")(logits, torch.zeros(3, dtype=torch.int64))[1] == -1
    slope = -gradient("logistic", logits)[:, 0]
    assert slope.tolist() == pytest.approx([1 / np.log(2), 0.5 / np.log(2), 0], abs=1e-6)


def test_the_names_that_a_study_may_write_are_the_losses_there_are() -> None:
    assert set(registry.LOSSES) == {*LOSSES, registry.OWN}


def test_misclassified_breaks_no_tie_and_believes_no_nan() -> None:
    z = torch.tensor([[1.0, 2.0], [2.0, 2.0], [2.0, 1.0], [torch.nan, 2.0], [1.0, torch.nan], [1.0, torch.inf]])
    y = torch.zeros(6, dtype=torch.int64)
    assert misclassified(z, y).tolist() == [True, False, False, False, False, True]
    assert (margin(z, y) > 0).tolist() == misclassified(z, y).tolist()


def test_a_tie_among_the_others_shares_the_gradient() -> None:
    assert gradient("margin", torch.tensor([[0.0, 1.0, 1.0]])).tolist() == [[-1.0, 0.5, 0.5]]


def test_unknown_loss_lists_the_known_ones() -> None:
    known = "ce, ce64, dlr, logistic, margin, mifpe, raw"
    with pytest.raises(ValueError, match=rf"unknown loss 'marign'; allowed: {known}; did you mean 'margin'\?"):
        pick("marign")


def test_targeted_losses_are_their_formulas() -> None:
    target = torch.tensor([3, 1])
    assert margin_targeted(NEGATIVE, LABELS, target).tolist() == [-8.0, 0.5]
    # eq. 7: the gap over z_1 - (z_3 + z_4) / 2 of the sorted logits
    assert dlr_targeted(NEGATIVE, LABELS, target).tolist() == pytest.approx([-8 / (-1 + 6), 0.5 / (-4.5 + 6.5)])


def test_targeted_dlr_needs_four_classes() -> None:
    with pytest.raises(ValueError, match="needs at least 4 classes, got 3: use 'margin_targeted'"):
        dlr_targeted(torch.zeros(1, 3), torch.tensor([0]), torch.tensor([1]))
