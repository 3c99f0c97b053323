"""flags.csv: what looks wrong in trainings, models and attacks, a row each."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pandas as pd

from touchstone.attacks import attack_spec
from touchstone.cell import ModelId, ThreatSpec
from touchstone.evaluation import flags as of_evaluation
from touchstone.records import Attacked, Batch, Flag, Header
from touchstone.runs import Run
from touchstone.study.suites import TRAINING, worst_slug

# what trainings and queries say of how they ran; what a preflight says too is more than that
TECHNICAL = frozenset({*of_evaluation.QUERY, "given_weights", "redrawn"} - {*of_evaluation.PREFLIGHT})
# how `Flagged.attack` is written, but for TRAINING
_PREFLIGHT, _DETAIL, _BESIDE = "preflight ", ", ", " / "


class Flagged(NamedTuple):
    """A flag, and what it was raised for: a training, the preflight of a threat, an attack, or several of them."""

    study: str
    dataset: str
    model: str
    defense: str
    seed: int
    stand_in: str
    attack: str
    flag: str
    detail: str


def table(flags: Iterable[Flagged]) -> pd.DataFrame:
    """Return flags as a table with the columns of `Flagged`."""
    return pd.DataFrame(flags, columns=list(Flagged._fields))


def of_training(run: Run) -> list[Flagged]:
    """Return what a training said of itself."""
    return list(_flagged(run.model, run.stand_in, TRAINING, run.flags))


def of_attacks(batch: Batch) -> list[Flagged]:
    """Return what looks wrong in a model, in the attacks on it, and between those that share a threat."""
    found: list[Flagged] = []
    for preflight in batch.preflights:
        model, stand_in = batch.attacks[0].header.model, batch.attacks[0].header.stand_in
        found += _flagged(model, stand_in, _PREFLIGHT + _words(preflight.threat), preflight.flags)
    for header, _ in batch.attacks:
        found += _flagged(header.model, header.stand_in, header.attack, header.flags)
    return [*found, *_between(batch.attacks)]


def _flagged(model: ModelId, stand_in: str, attack: str, flags: Iterable[Flag]) -> Iterator[Flagged]:
    return (Flagged(*model, stand_in, attack, flag["flag"], flag["detail"]) for flag in flags)


def _words(threat: ThreatSpec) -> str:
    """Name a threat: its norm, and what is not usual about it."""
    space = [] if threat.space == "pixel" else [threat.space]
    return _DETAIL.join([threat.norm, *space, *([] if threat.bounds == "data" else ["unbounded"])])


def concerns(raised_for: str, attack: str, norm: str) -> bool:
    """Say whether a flag that was raised for this (`Flagged.attack`) is about an attack, its norm or the net.

    What a worst case is flagged for, that an attack without gradients breaks what those with gradients left, is.
    """
    if raised_for.startswith(_PREFLIGHT):
        return raised_for.removeprefix(_PREFLIGHT).split(_DETAIL)[0] == norm
    return raised_for in (TRAINING, worst_slug(norm)) or attack in raised_for.split(_BESIDE)


def _between(attacks: Iterable[Attacked]) -> Iterator[Flagged]:
    """Compare the published attacks on one model that share a threat."""
    threats: dict[ThreatSpec, list[Attacked]] = defaultdict(list)
    for attacked in attacks:
        if attacked.header.threat is not None and _comparable(attacked.header):
            threats[attacked.header.threat].append(attacked)
    for threat, group in threats.items():
        frames, header = {one.header.attack: one.frame for one in group}, group[0].header
        found = of_evaluation.between(frames, space=threat.space)
        yield from _flagged(header.model, header.stand_in, _BESIDE.join(frames), found)


def _comparable(header: Header) -> bool:
    """Say whether the attack ran as published and breaks what it misclassifies."""
    ran = header.protocol == "published" and header.status == "ok"
    return ran and all(attack_spec(member["fn"]).criterion == "misclassified" for member in header.members.values())
