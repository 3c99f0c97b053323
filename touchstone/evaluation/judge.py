"""The judge: an attack proposes points, and only what is recomputed here counts.

Prediction and distances are computed anew from the points, in float32 without TF32 or autocast, in batches of
a fixed size. A tie is not broken by luck: a sample is misclassified only if another class is strictly ahead.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from touchstone.query import Query, evaluating, true_float32
from touchstone.records import NO_ANSWER, TOLERANCE
from touchstone.threat import Threat, View

BATCH = 512
SURE = 1e-3  # absolute, on the log-odds of a confidence, at most 2.5e-4 of the confidence: float32 rounding of logits


@contextmanager
def exact(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluate in true float32: eval mode, no gradients, no autocast, no TF32; all of it restored after."""
    with evaluating(model), true_float32(), torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


def logits(model: nn.Module, x: Tensor) -> Tensor:
    """Return the logits (B, classes) of x (B, *shape), float32 on the CPU, computed in batches of 512.

    In the memory format in which the attacks see the model: another one sums in another order, and is slower.

    Raises:
        ValueError: if the model returns anything else than logits.
    """
    query = Query(model, batch_size=BATCH)
    with exact(model, x.device):
        return torch.cat([query.logits(chunk.float()).cpu() for chunk in x.split(BATCH)])


def margin(z: Tensor, y: Tensor) -> Tensor:
    """Return max_{j != y} z_j - z_y (B,) of logits z (B, classes): > 0 where misclassified."""
    true = z.gather(1, y[:, None]).squeeze(1)
    return z.scatter(1, y[:, None], -math.inf).amax(1) - true


def predict(z: Tensor, y: Tensor) -> Tensor:
    """Return the predicted classes (B,) of logits z (B, classes).

    A class that ties with the true class y does not win. Where a logit is NaN the answer is NO_ANSWER.
    """
    wins = z.gather(1, y[:, None]).squeeze(1) >= z.amax(1)
    predicted = torch.where(wins, y, z.argmax(1))
    return predicted.masked_fill(z.isnan().any(1), NO_ANSWER)


def log_odds(z: Tensor, classes: Tensor) -> Tensor:
    """Return log p / (1 - p) (B,), float64, of one class per row of logits z (B, classes) float32.

    Unlike p itself it tells confidences apart that differ by less than 1e-16. Where there is no answer it says
    nothing of use.
    """
    own = classes.clamp(min=0)[:, None]
    z = z.double()
    return z.gather(1, own).squeeze(1) - z.scatter(1, own, -math.inf).logsumexp(1)


def distances(x: Tensor, x_adv: Tensor) -> dict[str, Tensor]:
    """Measure x_adv - x (B, *shape) in float64.

    Returns:
        (B,) each: linf, l2, l1, l0 (positions of the image changed in any channel; for inputs that are not
        images, values) and l0_values; the last two int64.
    """
    delta = x_adv.double() - x.double()
    changed = delta != 0
    pixels = changed.any(1) if delta.dim() == 4 else changed
    size = delta.flatten(1).abs()
    return {
        "linf": size.amax(1),
        "l2": size.square().sum(1).sqrt(),
        "l1": size.sum(1),
        "l0": pixels.flatten(1).sum(1),
        "l0_values": changed.flatten(1).sum(1),
    }


def judge(
    view: View,
    x: Tensor,
    y: Tensor,
    x_adv: Tensor,
    threat: Threat,
    eps: float,
    *,
    images: Tensor | None = None,
    clean: Tensor | None = None,
    goal: Tensor | None = None,
) -> dict[str, Tensor]:
    """Decide which points are adversarial, and describe them.

    Args:
        view: the model in the space of the threat.
        x: (B, *shape) samples in that space.
        y: (B,) true classes.
        x_adv: (B, *shape) what the attack proposes, in that space.
        threat: its norm counts.
        eps: radius of the ball in units of the threat's space; inf where the attack has no budget.
        images: (B, *shape) the same samples in pixels, from which points of whitened space have mean and contrast.
        clean: logits (B, classes) of x if they are known, as `logits` returns them.
        goal: (B,) log-odds that a point must give the class it is taken for, see `log_odds`; if not given it is
            enough that this class is not y.

    Returns:
        Columns (B,) on the CPU. Confidences and the gap are probabilities; clean_gap is p_y - max_{j != y} p_j.
        adv_margin is in logits, > 0 where misclassified. adv_rank is the place (1 = first) of the class
        adv_pred among the classes of x, by logits. x_l2 and dist_* are in pixels; `dist` is the distance in the
        threat's norm and space, x_l2_space the l2 norm of x there. `rejected`: the point is not finite, leaves the
        box, or is further than eps. `success`: not rejected, another class is strictly ahead of y, and its log-odds
        are at least the goal less SURE; NaN logits are a failure of the attack, unless x itself gets NaN: there is
        nothing left to attack there.

    Raises:
        ValueError: if the shapes of x and x_adv differ.
    """
    if x_adv.shape != x.shape:
        raise ValueError(f"the attack must return points of shape {tuple(x.shape)}, got {tuple(x_adv.shape)}")
    clean = logits(view.model, x) if clean is None else clean
    attacked, label = logits(view.model, x_adv), y.cpu()
    clean_pred, adv_pred = predict(clean, label), predict(attacked, label)
    clean_prob, adv_prob = clean.double().softmax(1), attacked.double().softmax(1)
    geometry = _geometry(view, x, x_adv, images, threat.norm)
    rejected = ~(geometry.pop("valid") & (geometry["dist"] <= eps + TOLERANCE))
    achieved = (adv_pred != label) & (adv_pred != NO_ANSWER)
    if goal is not None:
        achieved &= log_odds(attacked, adv_pred) >= goal - SURE
    return {
        "clean_pred": clean_pred,
        "clean_conf": _pick(clean_prob, clean_pred),
        "clean_gap": -margin(clean_prob, label),
        "adv_pred": adv_pred,
        "adv_conf": _pick(adv_prob, adv_pred),
        "adv_margin": margin(attacked, label).double(),
        "adv_rank": _rank(clean, adv_pred),
        "success": (achieved & ~rejected) | (clean_pred == NO_ANSWER),
        "rejected": rejected,
        **geometry,
    }


def _geometry(view: View, x: Tensor, x_adv: Tensor, images: Tensor | None, norm: str) -> dict[str, Tensor]:
    """Everything that needs no model, in batches: float64 copies of a whole test set are large."""
    shown = images.split(BATCH) if images is not None else [None] * len(x.split(BATCH))
    batches = zip(x.split(BATCH), x_adv.split(BATCH), shown, strict=True)
    parts = [_measure(view, *batch, norm) for batch in batches]
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}


def _measure(view: View, x: Tensor, x_adv: Tensor, images: Tensor | None, norm: str) -> dict[str, Tensor]:
    lower, upper = (torch.as_tensor(edge, device=x.device) for edge in view.bounds)
    inside = (x_adv >= lower - TOLERANCE) & (x_adv <= upper + TOLERANCE) & x_adv.isfinite()
    pixels, pixels_adv = (view.to_pixels(z.double(), images) for z in (x, x_adv))  # what is equal stays equal
    return {
        "valid": inside.flatten(1).all(1),
        "dist": distances(x, x_adv)[norm],
        "x_l2": pixels.flatten(1).norm(dim=1),
        "x_l2_space": x.double().flatten(1).norm(dim=1),
        **{f"dist_{name}": value for name, value in distances(pixels, pixels_adv).items()},
    }


def _pick(probabilities: Tensor, classes: Tensor) -> Tensor:
    """Probability of one class per row; NaN where there is no answer."""
    picked = probabilities.gather(1, classes.clamp(min=0)[:, None]).squeeze(1)
    return picked.masked_fill(classes == NO_ANSWER, math.nan)


def _rank(z: Tensor, classes: Tensor) -> Tensor:
    """Place of one class per row by logits z, 1 = first; 0 where there is no answer."""
    own = z.gather(1, classes.clamp(min=0)[:, None])
    return ((z > own).sum(1) + 1).masked_fill(classes == NO_ANSWER, 0)
