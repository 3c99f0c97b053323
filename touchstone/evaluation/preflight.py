"""Can the gradient of this model be trusted? Measured before any attack, on a few samples.

An attack that climbs a gradient reports robustness when the gradient is zero, and also when it is only wrong:
with p_y near one, float32 keeps the small probabilities but rounds 1 - p_y to zero, and the direction is off.

Sources: Croce and Hein (2020), the checks of AutoAttack; Pintor et al. (2022), "Indicators of Attack
Failure".
"""

import copy
import logging

import torch
from torch import Tensor, nn

from touchstone.attacks.contract import below, class_numbers, floats
from touchstone.evaluation.flags import by_chance
from touchstone.evaluation.judge import logits
from touchstone.evaluation.noise import in_ball
from touchstone.losses import LOSSES, Loss
from touchstone.query import Query, plain, undisturbed
from touchstone.rng import SampleRng, own_generator
from touchstone.threat import Threat, View, in_space

log = logging.getLogger(__name__)

SAMPLES = 200
TINY = 1e-12
DRIFT = 1e-4
CLASSES = 3  # that the DLR loss needs
FEW = 50  # samples: of fewer a good net may get as many right as chance
# losses that are looked at -> their form for float64, in which a gap of 36 makes 1 - p_y vanish as one of 17 in float32
GRADIENTS = {"ce": "ce64", "margin": "margin"}


def preflight(
    model: nn.Module, x: Tensor, y: Tensor, *, threat: Threat, seed: int, batch_size: int
) -> dict[str, float | bool]:
    """Measure what would mislead an attack, on the first 200 samples.

    Args:
        model: pixels (B, *shape) -> logits.
        x: (B, *shape) pixels.
        y: (B,) true classes.
        threat: the gradients are taken in its space, at x and at one random point of its largest ball.
        seed: of the random points.
        batch_size: rows per call of the model.

    Returns:
        Shares of the samples in [0, 1]: out_of_range, not_finite (logits at x) and, with _x for the samples
        and _ball for the random points, saturated (float32 1 - p_y is zero), zero_gradient_<loss>,
        tiny_gradient_<loss> (largest entry below 1e-12) and sign_disagreement_<loss> (share of the float64
        gradient's L1 mass whose sign is another in float32, averaged over the samples where it is not zero).
        Answers: randomised, probabilities, no_better_than_chance (asked of 50 samples or more), too_few_classes,
        no_float64 (the model cannot be asked in float64, so the
        sign disagreement is left out). And the number of classes.

    Raises:
        ValueError: if x is not float32 or float64, or y not (B,) int64 with numbers of classes.
    """
    floats(x)
    class_numbers(y, len(x))
    with undisturbed(x.device), own_generator(x.device, seed):
        return _measure(in_space(model, threat), plain(x[:SAMPLES]), plain(y[:SAMPLES]), threat, seed, batch_size)


def _measure(view: View, x: Tensor, y: Tensor, threat: Threat, seed: int, batch_size: int) -> dict[str, float | bool]:
    z = view.from_pixels(x)
    first = logits(view.model, z)
    below(y, first.shape[1])
    points = {"x": z}
    if threat.epsilons:
        rng = SampleRng(seed, torch.arange(len(z), device=z.device))
        eps = threat.epsilons[-1]
        points["ball"] = in_ball(z, norm=threat.norm, eps=eps, bounds=view.bounds, rng=rng)
    measured: dict[str, float | bool] = {
        "out_of_range": _share(((x < 0) | (x > 1) | ~x.isfinite()).flatten(1).any(1)),
        "not_finite": _share(~first.isfinite().all(1)),
        "randomised": bool(((logits(view.model, z) - first).abs() > DRIFT).any()),
        "probabilities": are_probabilities(first),
        "no_better_than_chance": _by_chance(first, y.cpu()),
        "classes": first.shape[1],
        "too_few_classes": first.shape[1] < CLASSES,
    }
    twin = _twin(view.model, z)
    measured["no_float64"] = twin is None
    for place, point in points.items():
        measured[f"saturated_{place}"] = _share(_saturated(logits(view.model, point), y.cpu()))
        for loss, exact in GRADIENTS.items():
            found = _gradients(view.model, twin, point, y, LOSSES[loss], LOSSES[exact], batch_size)
            measured |= {f"{name}_{loss}_{place}": value for name, value in found.items()}
    return measured


def are_probabilities(z: Tensor) -> bool:
    """Say whether these (B, C) are no logits: rows that sum to one, or all between 0 and 1, as a sigmoid returns."""
    inside = bool((z >= 0).all() and (z <= 1).all())
    return inside and (bool(((z.sum(1) - 1).abs() < 1e-3).all()) or bool(z.max() > z.min()))


def _by_chance(z: Tensor, y: Tensor) -> bool:
    """Say whether logits (B, C) of enough samples find their classes (B,) as seldom as a guess does, or less."""
    count, classes = z.shape
    return count >= FEW and _share(z.argmax(1) == y) <= by_chance(classes, count)


def _twin(model: nn.Module, z: Tensor) -> nn.Module | None:
    """Return the same model in float64; None where it cannot be made, or does not answer z (B, *shape) in float64."""
    try:
        twin = copy.deepcopy(model).double()
        Query(twin).logits(z[:1].double())
    except Exception as error:  # whatever a foreign model says to being copied, or to another type
        log.warning("the model cannot be asked in float64, so its gradient's signs are not compared: %s", error)
        return None
    return twin


def _saturated(z: Tensor, y: Tensor) -> Tensor:
    return 1 - z.softmax(1).gather(1, y[:, None]).squeeze(1) == 0


def _gradients(
    model: nn.Module, twin: nn.Module | None, z: Tensor, y: Tensor, loss: Loss, exact: Loss, batch_size: int
) -> dict[str, float]:
    """Look at the gradient at z (B, *shape), beside that of `exact` in `twin`, the same model in float64, if any."""
    single = Query(model, batch_size=batch_size).grad(z, y, loss)[2].flatten(1)
    largest = single.abs().amax(1)
    measured = {"zero_gradient": _share(largest == 0), "tiny_gradient": _share(largest < TINY)}
    if twin is None:
        return measured
    double = Query(twin, batch_size=batch_size).grad(z.double(), y, exact)[2].flatten(1)
    mass = double.abs()
    wrong = (mass * (single.sign() != double.sign())).sum(1) / mass.sum(1)
    known = mass.sum(1) > 0
    return {**measured, "sign_disagreement": float(wrong[known].mean()) if known.any() else 0.0}


def _share(mask: Tensor) -> float:
    return float(mask.double().mean())
