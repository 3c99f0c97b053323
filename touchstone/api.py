"""From Python, without a pipeline: one attack, or the worst case of a suite, on any net and images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from touchstone import paths
from touchstone.attacks import ATTACKS
from touchstone.evaluation import cascade, flags
from touchstone.evaluation.preflight import preflight
from touchstone.evaluation.result import Member
from touchstone.findings.intervals import share_interval
from touchstone.findings.members import Counted, counted
from touchstone.query import Query
from touchstone.ranges import hint, mismatch
from touchstone.records import CLEAN, Flag
from touchstone.registry import AttackSpec, is_own, load, nearest
from touchstone.registry import options as known_options
from touchstone.rng import SampleRng
from touchstone.study.suites import PLAIN, load_suites
from touchstone.threat import Threat
from touchstone.types import MinNorm

ARGUMENTS = frozenset({"norm", "eps", "rng"})  # what every attack takes besides its options
WORDS: Mapping[type, str] = {
    nn.Module: "a torch.nn.Module",
    Query: "a touchstone.query.Query",
    Tensor: "a torch.Tensor",
    Real: "a number",
    Member: "a touchstone.evaluation.result.Member",
}


def attack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    name: str,
    *,
    norm: str,
    eps: float | Tensor | None = None,
    rng: int | SampleRng = 0,
    **options: Any,
) -> Tensor | MinNorm:
    """Run one attack.

    Args:
        model: images (B, C, H, W) in [0, 1] -> logits (B, classes).
        x: (B, C, H, W) float32, the images.
        y: (B,) int64, their classes.
        name: of the attack, as `touchstone ls attacks` lists it.
        norm: linf, l2, l1 or l0.
        eps: radius in pixels, one or (B,), of an attack with a fixed budget; None for one that looks for the nearest
            point.
        rng: what its draws come from.
        options: of the attack.

    Returns:
        The points (B, C, H, W) that an attack with a budget found; of one that looks for the nearest point, these with
        their distances (inf where none was found).

    Raises:
        ValueError: for an unknown attack, norm or option, a value that an option cannot have, or one that is missing;
            a model that is none, images of another type or shape, or a radius where none belongs.
    """
    spec = _known(name)
    _kind("model", model, nn.Module, Query)
    _images(x)
    _kind("y", y, Tensor)
    if (spec.kind == "fixed") != (eps is not None):
        how = "has a fixed budget: give eps" if spec.kind == "fixed" else "looks for the nearest point: leave eps out"
        raise ValueError(f"{name} {how}")
    budget = {} if eps is None else {"eps": eps}
    for value in budget.values():
        _kind("eps", value, Real, Tensor)
    _check_options(name, spec, options)
    found: Tensor | MinNorm = load(spec.fn)(model, x, y, norm=norm, rng=rng, **budget, **options)
    return found


def _known(name: str) -> AttackSpec:
    """Return what the table says of an attack, or raise ValueError for one that it has not."""
    names = sorted(one for one, spec in ATTACKS.items() if spec.kind != "none")
    if name not in ATTACKS:
        raise ValueError(f"unknown attack {name!r}; {nearest(name, names)}")
    if name not in names:
        raise ValueError(f"{name!r} attacks nothing; allowed: {', '.join(names)}")
    return ATTACKS[name]


def _kind(what: str, value: object, *kinds: type) -> None:
    """Raise ValueError for an argument that is none of some kinds; to Python, but to nobody else, True is a number."""
    if not isinstance(value, kinds) or isinstance(value, bool):
        wanted = " or ".join(WORDS[kind] for kind in kinds)
        found = repr(value) if isinstance(value, str | bool) else type(value).__name__
        raise ValueError(f"{what} must be {wanted}, got {found}")


def _images(x: Tensor) -> None:
    """Raise ValueError unless x is float32 (B, C, H, W)."""
    _kind("x", x, Tensor)
    if x.dtype != torch.float32 or x.ndim != 4:
        meant = {torch.float32: "", torch.uint8: ": divide by 255"}.get(x.dtype, ": convert it with .float()")
        raise ValueError(f"x must be float32 (B, C, H, W), got {x.dtype} {tuple(x.shape)}{meant}")


def _radii(epsilons: object) -> tuple[float, ...]:
    if isinstance(epsilons, str) or not isinstance(epsilons, Iterable):
        raise ValueError(f"epsilons must be a list of numbers, got {epsilons!r}")
    radii = tuple(epsilons)
    for radius in radii:
        _kind("a radius in epsilons", radius, Real)
    if not radii:
        raise ValueError("epsilons: expected at least one radius")
    if any(not one < other for one, other in pairwise(radii)):
        raise ValueError(f"epsilons must be rising, got {list(radii)}")
    return radii


def _check_options(name: str, spec: AttackSpec, given: Mapping[str, Any]) -> None:
    """Raise ValueError unless an attack has options of these names, which may have these values, and lacks none."""
    allowed = {one: option for one, option in known_options(spec.fn).items() if one not in ARGUMENTS}
    for one, value in given.items():
        if one not in allowed:
            raise ValueError(f"{name} has no option {one!r}; {nearest(one, allowed)}")
        if one != "substitute" and (problem := mismatch(value, hint(allowed[one].annotation))):
            raise ValueError(f"option {one!r} of {name}: expected {problem}")
    if missing := [one for one, option in allowed.items() if option.required and one not in given]:
        raise ValueError(f"{name} needs the option {missing[0]!r}")


@dataclass(frozen=True)
class WorstCase:
    """What a suite of attacks did to a net.

    Attributes:
        accuracy: a row per radius, 0 for the images as they are: epsilon, accuracy, low, high (Wilson's 95 % interval
            over images), n.
        broken_by: a row per radius and attack: epsilon, attack, tried, broke; in their order.
        flags: what looks wrong in the net or the attacks, in words.
        records: a row per judged point, with the columns of `touchstone.records.COLUMNS`.
    """

    accuracy: pd.DataFrame
    broken_by: pd.DataFrame
    flags: list[Flag]
    records: pd.DataFrame


def worst_case(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    epsilons: Sequence[float],
    suite: str | Sequence[Member] = "quick",
    plain: nn.Module | None = None,
    seed: int = 0,
    batch_size: int = 256,
) -> WorstCase:
    """Run a suite of attacks one after another, each on what all before it left, radii upwards.

    Args:
        model: images (B, C, H, W) in [0, 1] -> logits (B, classes).
        x: (B, C, H, W) float32, the images.
        y: (B,) int64, their classes.
        norm: linf, l2, l1 or l0.
        epsilons: radii in pixels, rising; at least one.
        suite: quick, full (it has standard AutoAttack in it), or attacks of your own.
        plain: an unprotected net of the same data, which the transfer of `full` starts from.
        seed: of all draws.
        batch_size: rows per call of the model.

    Raises:
        ValueError: for an unknown suite, a model or radii that are none, images of another type or shape, a suite that
            needs `plain`, or attacks of your own with options that they have not.
    """
    _kind("model", model, nn.Module)
    _images(x)
    _kind("y", y, Tensor)
    radii = _radii(epsilons)
    if not len(x):
        raise ValueError("x must have an image at least, got none")
    members = _members(suite, norm, plain) if isinstance(suite, str) else _own(suite)
    threat = Threat(norm, radii)
    about: Mapping[str, Any] = {"threat": threat, "seed": seed, "batch_size": batch_size}
    before = flags.preflight(preflight(model, x, y, **about))
    found = cascade.run(model, x, y, members, **about)
    counts = list(counted(found.records))
    return WorstCase(_accuracy(counts), _broken_by(counts), [*before, *found.flags], found.records)


def _members(suite: str, norm: str, plain: nn.Module | None) -> list[Member]:
    suites = load_suites(paths.packaged_suites())
    if suite not in suites.by_name:
        raise ValueError(f"unknown suite {suite!r}; {nearest(suite, suites.by_name)}")
    named = suites.members(suite, norm)
    if not named:
        raise ValueError(f"suite {suite!r} has no attacks in norm {norm!r}; {nearest(norm, suites.by_name[suite])}")
    if plain is None and (starts := [slug for slug, one in named.items() if one.substitute == PLAIN]):
        raise ValueError(f"suite {suite!r} has {', '.join(starts)}, which starts from an unprotected net: give `plain`")
    given = {slug: {"substitute": plain} if one.substitute == PLAIN else {} for slug, one in named.items()}
    return [Member(slug, one.fn, {**one.options, **given[slug]}) for slug, one in named.items()]


def _own(suite: Sequence[Member]) -> list[Member]:
    for member in suite:
        _kind("an attack of `suite`", member, Member)
        if not is_own(member.fn):
            _check_options(member.fn, _known(member.fn), member.options)
    return list(suite)


def _accuracy(counts: Sequence[Counted]) -> pd.DataFrame:
    """Return the accuracies: what is left after the clean pass, and after the last attack at each radius."""
    right = {0.0: counts[0].left} | {row.epsilon: row.left for row in counts}
    n = counts[0].n
    ends = {epsilon: share_interval(left / n, n) for epsilon, left in right.items()}
    rows = [(epsilon, left / n, ends[epsilon].low, ends[epsilon].high, n) for epsilon, left in right.items()]
    return pd.DataFrame(rows, columns=["epsilon", "accuracy", "low", "high", "n"])


def _broken_by(counts: Sequence[Counted]) -> pd.DataFrame:
    rows = [(row.epsilon, row.member, row.tried, row.broke) for row in counts if row.member != CLEAN]
    return pd.DataFrame(rows, columns=["epsilon", "attack", "tried", "broke"])
