"""VAT: the direction against the eigenvector of the divergence's curvature, and the loss against its formula."""

import pytest
import torch
from small import Small, assert_same, images, steps
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.defenses.vat import VirtualAdversarial
from touchstone.rng import as_rng

Y = torch.tensor([0, 3, 1, 2, 0, 2])


def curvatures(model: Small, x: Tensor) -> list[Tensor]:
    """Hessian of KL(p(x) || p(x + r)) in r at 0: J' (diag p - p p') J."""
    out = []
    for sample in x:
        slope = 1 - model.features(sample[None])[0] ** 2
        jacobian = model.classifier.weight * slope @ model.first.weight
        p = model(sample[None])[0].softmax(dim=0)
        out.append((jacobian.T @ (p.diag() - torch.outer(p, p)) @ jacobian).detach())
    return out


def direction(defense: VirtualAdversarial, model: nn.Module, x: Tensor, seed: int = 2) -> Tensor:
    return defense.direction(model, x, model(x).softmax(dim=1).detach(), seed)


def test_many_power_iterations_find_the_direction_of_largest_curvature() -> None:
    model, x = Small(9, 7, 4), images(6)
    d = direction(VirtualAdversarial(eps=1.0, power_iterations=60, xi=1e-5), model, x).flatten(1)
    for row, hessian in zip(d, curvatures(model, x), strict=True):
        top = torch.linalg.eigh(hessian).eigenvectors[:, -1]
        assert (row @ top).abs().item() == pytest.approx(1.0, abs=1e-3)


def test_one_iteration_multiplies_the_first_direction_by_the_curvature() -> None:
    """The step from one iteration to the second is one product with the Hessian."""
    model, x = Small(9, 7, 4), images(6)
    one, two = (direction(VirtualAdversarial(1.0, n, 1e-5), model, x).flatten(1) for n in (1, 2))
    for a, b, hessian in zip(one, two, curvatures(model, x), strict=True):
        torch.testing.assert_close(F.normalize(hessian @ a, dim=0), b, atol=1e-3, rtol=0)


def test_value_and_gradient() -> None:
    model, x = Small(9, 7, 4), images(6)
    defense = VirtualAdversarial(eps=2.0, weight=0.5)
    (step,) = steps(defense, model, (x, Y), seed=5)
    moved = x + 2.0 * direction(defense, model, x, seed=5)
    assert (moved - x).flatten(1).norm(dim=1).tolist() == pytest.approx([2.0] * 6)
    p = model(x).softmax(dim=1).detach()
    kl = (p * (p.log() - model(moved).log_softmax(dim=1))).sum() / 6
    assert_same(step.loss, F.cross_entropy(model(x), Y) + 0.5 * kl, model)


@pytest.mark.parametrize("constants", [{"eps": 0.0}, {"eps": 2.0, "weight": 0.0}])
def test_without_weight_or_length_it_is_cross_entropy(constants: dict) -> None:
    model, x = Small(9, 7, 4), images(6)
    (step,) = steps(VirtualAdversarial(**constants), model, (x, Y))
    assert_same(step.loss, F.cross_entropy(model(x), Y), model)


@pytest.mark.parametrize("power_iterations", [1, 3])
def test_batch_norm_has_the_statistics_of_the_batch_and_learns_from_the_images_alone(power_iterations: int) -> None:
    """As in the authors' code: what a probe or a moved image does to the statistics of its batch is not kept."""
    model, x = Small(9, 7, 4), images(6)
    norm = nn.BatchNorm1d(7).double()
    model.first = nn.Sequential(model.first, norm)
    norm.running_mean.fill_(3.0)  # nothing of the batch
    norm.running_var.fill_(0.1)
    probes = VirtualAdversarial(eps=0.0, xi=1e-2)

    def net(z: Tensor) -> Tensor:
        h = model.first[0](z.flatten(1))
        h = (h - h.mean(dim=0)) / (h.var(dim=0, correction=0) + norm.eps).sqrt()
        return model.classifier(h.tanh())

    p = net(x).softmax(dim=1).detach()
    d = F.normalize(as_rng(5, 6, x.device).normal(x.shape[1:], dtype=x.dtype).flatten(1)).view_as(x)
    for _ in range(power_iterations):
        z = (x + probes.xi * d).requires_grad_()
        (slope,) = torch.autograd.grad((p * (p.log() - net(z).log_softmax(dim=1))).sum(), z)
        d = F.normalize(slope.flatten(1)).view_as(x)
    kl = (p * (p.log() - net(x + 2.0 * d).log_softmax(dim=1))).sum() / 6
    (step,) = steps(VirtualAdversarial(eps=2.0, power_iterations=power_iterations), model.train(), (x, Y), seed=5)
    assert_same(step.loss, F.cross_entropy(net(x), Y) + kl, model.classifier)
    h = model.first[0](x.flatten(1)).detach()
    torch.testing.assert_close(norm.running_mean, 0.9 * 3.0 + 0.1 * h.mean(dim=0))
    torch.testing.assert_close(norm.running_var, 0.9 * 0.1 + 0.1 * h.var(dim=0))
    assert norm.num_batches_tracked == 1
    assert norm.track_running_stats


def test_in_float32_the_default_probe_still_gives_the_direction(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    """1e-6, the probe of the authors' codes, does not."""
    exact = direction(VirtualAdversarial(eps=1.0, xi=1e-6), model.double(), batch[0].double())
    cosines = {}
    for xi in (VirtualAdversarial(eps=1.0).xi, 1e-6):
        d = direction(VirtualAdversarial(eps=1.0, xi=xi), model.float(), batch[0])
        cosines[xi] = (d * exact).flatten(1).sum(dim=1).mean().item()
    assert cosines[1e-2] > 0.95
    assert cosines[1e-6] < 0.5


def test_constants_are_checked() -> None:
    for wrong, message in [
        ({"eps": -1.0}, "eps must be finite float >= 0"),
        ({"power_iterations": 0}, "power_iterations must be int >= 1 and <= 1000000000"),
        ({"xi": 0.0}, "xi must be finite float > 0"),
        ({"weight": -1.0}, "weight must be finite float >= 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            VirtualAdversarial(**{"eps": 1.0, **wrong})
