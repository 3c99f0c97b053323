"""Signs that a robustness number should not be believed, read from records and measurements.

Flags are data, {"flag": name, "detail": what was seen, what it implies, what to do}; they are printed beside
the number and change nothing. Two attacks are compared sample by sample, and one counts as stronger when it
breaks more than the other by over two standard errors of the paired difference.

Sources: Carlini et al. (2019), "On Evaluating Adversarial Robustness", section 5; Croce and Hein (2020), the
checks of AutoAttack; Pintor et al. (2022), "Indicators of Attack Failure".
"""

import math
from collections.abc import Mapping
from itertools import permutations
from typing import NamedTuple

import pandas as pd

from touchstone.cell import distinct_radii, same_radius
from touchstone.records import CLEAN, TOLERANCE, Flag

FULL_RANGE = 0.5  # linf radius in pixels that can turn every image grey


class Limit(NamedTuple):
    """The largest value of a preflight measurement that passes, what a larger one means, and what to do."""

    limit: float
    seen: str
    advice: str


class Excess(NamedTuple):
    """Where one attack breaks more than another: the radius, both shares, the number of common samples."""

    epsilon: float
    stronger: float
    weaker: float
    samples: int


_MASKED = "attacks along this gradient look weaker than they are; believe the worst-case number only"
PREFLIGHT = {
    "zero_gradient_ce": Limit(0.01, "of the samples have a cross-entropy gradient of exactly zero", _MASKED),
    "zero_gradient_margin": Limit(0.01, "of the samples have a margin gradient of exactly zero", _MASKED),
    "tiny_gradient_ce": Limit(0.05, "of the samples have a cross-entropy gradient below 1e-12", _MASKED),
    "tiny_gradient_margin": Limit(0.05, "of the samples have a margin gradient below 1e-12", _MASKED),
    "saturated": Limit(0.05, "of the samples have 1 - p_y == 0 in float32", _MASKED),
    "sign_disagreement_ce": Limit(0.01, "of the cross-entropy gradient has the wrong sign in float32", _MASKED),
    "sign_disagreement_margin": Limit(0.01, "of the margin gradient has the wrong sign in float32", _MASKED),
    "not_finite": Limit(0.0, "of the samples get NaN or infinite logits", "train the model again"),
    "out_of_range": Limit(0.0, "of the samples have pixels outside [0, 1]", "scale the data: epsilon means less"),
    "randomised": Limit(0.0, "two forward passes differ by more than 1e-4", "average gradients over passes (EoT)"),
    "no_float64": Limit(0.0, "the model cannot be asked in float64", "whether float32 masks its gradient is not known"),
    "probabilities": Limit(
        0.0, "the model returns probabilities", "remove its softmax or sigmoid: losses expect logits"
    ),
    "no_better_than_chance": Limit(
        0.0,
        "the images as they are get the right class no more often than by chance",
        "did its training fail? of weights that are given check the net's first layer (--mean, --std), the order of "
        "the classes, and which weights were read (--key)",
    ),
    "too_few_classes": Limit(0.0, "there are fewer than 3 classes", "the DLR loss is undefined; the margin is climbed"),
}


QUERY = {  # what an attack leaves in Query.flags
    "out_of_memory_halved": "the device ran out of memory, the batch was halved: last bits may differ; set it lower",
    "contiguous_memory": "the model flattens with `view`, so it was asked in contiguous memory: slower, other bits",
    "randomised": "the model answers the same point in two ways: Brendel & Bethge cannot walk its boundary, use others",
    "margin_instead_of_dlr": "the DLR loss needs 3 classes, the targeted one 4: the margin was climbed instead",
    "left_the_ball": "a foreign attack left its ball, and its points were brought back: does it measure another norm?",
    "solver_failed": "the solver of Brendel & Bethge had no answer for some steps, which were left out; try another lr",
}


def preflight(measured: Mapping[str, float | bool]) -> list[Flag]:
    """Flag each preflight measurement above its limit.

    Args:
        measured: what `evaluation.preflight` returns; a key ends in _x or _ball where both were measured.
    """
    return [
        {"flag": name, "detail": f"{_amount(measured[key])}{limit.seen}{where}: {limit.advice}"}
        for name, limit in PREFLIGHT.items()
        for key, where in ((name, ""), (f"{name}_x", ""), (f"{name}_ball", " at random points of the ball"))
        if measured.get(key, 0.0) > limit.limit
    ]


def between(frames: Mapping[str, pd.DataFrame], *, space: str = "pixel") -> list[Flag]:
    """Compare the attacks that ran on one model in one threat.

    Which attack is one-step, iterative or black-box is read from its counted backward passes (1, more, none).

    Args:
        frames: attack slug -> its records, published protocol.
        space: of the threat. Records hold distances in pixels, so outside "pixel" a minimal-norm attack cannot
            be read at the threat's epsilons and is left out.

    Returns:
        A flag per pair in which a one-step or a black-box attack is stronger than an iterative one.
    """
    roles = {slug: _role(frame, space) for slug, frame in frames.items()}
    return [
        {"flag": flag, "detail": f"{a} breaks {_seen(worst)} by {b}: {advice}"}
        for a, b in permutations(frames, 2)
        if (roles[a], roles[b]) in _ORDER and (worst := _worst(frames[a], frames[b]))
        for flag, advice in (_ORDER[roles[a], roles[b]],)
    ]


def black_box(records: pd.DataFrame) -> list[Flag]:
    """Flag a cascade in which an attack without gradients breaks what others with gradients, before it, have left.

    Args:
        records: of a cascade. A member sees only what all before it left, so the share of all samples that a
            member without backward passes breaks is what it gained; it counts above two standard errors.
    """
    tried = records[~records["carried"] & (records["member"] != CLEAN)]
    blind = tried.groupby("member")["backwards"].max() == 0
    gains = tried[tried["member"].isin(blind.index[blind])].groupby(["epsilon", "member"])["success"].sum()
    samples = records.groupby("epsilon")["sample"].nunique()
    order = list(blind.reindex(tried["member"].unique()).items())  # members in the order of their turns
    first = next((place for place, (_, without) in enumerate(order) if not without), len(order))
    after = {member for member, _ in order[first:]}
    found = []
    for (epsilon, member), gained in gains[gains.index.isin(after, level="member")].items():
        count = samples[epsilon]
        share = gained / count
        if share > 2 * math.sqrt(share * (1 - share) / count):
            seen = f"{member} breaks {_percent(share)} of {count} samples at epsilon {epsilon:g} that gradients left"
            found.append({"flag": "black_box_stronger", "detail": f"{seen}: {_ORDER['black-box', 'iterative'][1]}"})
    return found


def doubled_steps(once: pd.DataFrame, doubled: pd.DataFrame) -> list[Flag]:
    """Flag an attack that still gains when its steps are doubled; records of both on the same samples."""
    advice = "it has not converged, and the number is too high; raise its steps"
    return _flag("doubled_steps_gain", "the attack with twice the steps breaks", _worst(doubled, once), advice)


def random_noise(attack: pd.DataFrame, noise: pd.DataFrame) -> list[Flag]:
    """Flag an attack that random noise of the same size beats; records of both on the same samples."""
    advice = "the attack is misled or faulty, and its number says nothing; use another one"
    return _flag("noise_stronger", "random noise breaks", _worst(noise, attack), advice)


def full_range(records: pd.DataFrame, *, classes: int, space: str = "pixel") -> list[Flag]:
    """Flag an accuracy above chance where linf 0.5 (in pixels) allows every image to be made grey.

    Args:
        records: of one attack; only rows with a radius of at least 0.5 are read.
        classes: number of classes; chance is 1 / classes.
        space: of the threat; 0.5 means nothing in particular outside "pixel".
    """
    reach = records[(records["norm"] == "linf") & (records["epsilon"] >= FULL_RANGE)]
    if reach.empty or space != "pixel":
        return []
    epsilon = float(reach["epsilon"].max())
    kept = 1.0 - broken(records, epsilon)
    if kept.mean() <= by_chance(classes, len(kept)):
        return []
    seen = f"accuracy is {_percent(kept.mean())} of {len(kept)} samples at linf {epsilon:g}"
    advice = f"every image can be made grey there, so a sound attack leaves at most chance ({_percent(1 / classes)})"
    return [{"flag": "above_chance", "detail": f"{seen}: {advice}; the gradient is masked or the attack faulty"}]


def by_chance(classes: int, count: int) -> float:
    """Return the accuracy on `count` samples that guessing hardly exceeds: 1 / classes and two standard errors."""
    return 1 / classes + 2 * math.sqrt((1 / classes) * (1 - 1 / classes) / count)


def rejected(records: pd.DataFrame) -> list[Flag]:
    """Flag an attack whose points the judge turned away."""
    share = float(records["rejected"].mean()) if len(records) else 0.0
    advice = "they count as failures of the attack, so the number is too high; repair the attack"
    seen = f"{_percent(share)} of {len(records)} points are outside the ball or the box, or not finite"
    return [{"flag": "rejected_points", "detail": f"{seen}: {advice}"}] if share > 0 else []


def broken(records: pd.DataFrame, epsilon: float) -> pd.Series:
    """Return which samples are broken at a radius, indexed by sample.

    Rows of that radius decide; without any, the distances of minimal-norm rows (epsilon null) do.
    """
    here = [radius for radius in records["epsilon"].unique() if same_radius(radius, epsilon)]
    rows = records[records["epsilon"].isin(here)]
    hit = rows["success"]
    if rows.empty:
        rows = records[records["epsilon"].isna()]
        dist = rows[f"dist_{rows['norm'].iloc[0]}"] if len(rows) else rows["epsilon"]
        hit = rows["success"] & (dist <= epsilon + TOLERANCE)
    return hit.astype(bool).groupby(rows["sample"]).any()


_ORDER = {
    ("one-step", "iterative"): (
        "one_step_stronger",
        "more steps should not hurt, so the gradient misleads or the step size is wrong; tune or replace it",
    ),
    ("black-box", "iterative"): (
        "black_box_stronger",
        "knowing the gradient should not hurt, so it is masked; believe the worst-case number only",
    ),
}


def _role(records: pd.DataFrame, space: str) -> str:
    if records.empty or records["member"].nunique() > 1:
        return "none"
    if space != "pixel" and records["epsilon"].isna().any():
        return "none"
    backwards = records["backwards"].max()
    return "black-box" if backwards == 0 else "one-step" if backwards == 1 else "iterative"


def _worst(a: pd.DataFrame, b: pd.DataFrame) -> Excess | None:
    """Where a is stronger than b by over two standard errors, most clearly; None if nowhere."""
    radii = distinct_radii([*a["epsilon"].dropna(), *b["epsilon"].dropna()]) if _comparable(a, b) else ()
    found = [excess for epsilon in radii if (excess := _excess(a, b, epsilon))]
    return max(found, key=lambda e: e.stronger - e.weaker, default=None)


def _comparable(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    return set(a["norm"]) == set(b["norm"])


def _excess(a: pd.DataFrame, b: pd.DataFrame, epsilon: float) -> Excess | None:
    both = pd.concat({"a": broken(a, epsilon), "b": broken(b, epsilon)}, axis=1, join="inner").astype(float)
    difference = both["a"] - both["b"]
    error = difference.std(ddof=0) / math.sqrt(max(len(both), 1))
    if not difference.mean() > 2 * error:
        return None
    return Excess(float(epsilon), float(both["a"].mean()), float(both["b"].mean()), len(both))


def _flag(name: str, start: str, worst: Excess | None, advice: str) -> list[Flag]:
    return [{"flag": name, "detail": f"{start} {_seen(worst)}: {advice}"}] if worst else []


def _seen(worst: Excess) -> str:
    share = f"{_percent(worst.stronger)} of {worst.samples} samples at epsilon {worst.epsilon:g}"
    return f"{share}, against {_percent(worst.weaker)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _amount(value: float | bool) -> str:
    return "" if isinstance(value, bool) else f"{_percent(value)} "
