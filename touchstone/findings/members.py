"""members.csv: what each attack of a suite did in a worst case, a row per model, radius and attack."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pandas as pd

from touchstone.records import Attacked, Batch


class Member(NamedTuple):
    """What one attack of a cascade did at one radius; "clean" is what was wrong by itself or broken at a smaller one.

    Attributes:
        study: of the model, as the four names after it.
        dataset: that the study names.
        stand_in: that was used in its place, "" if none.
        attack: slug of the worst case.
        norm: of its threat.
        epsilon: radius in pixels.
        suite: name of the list of attacks.
        member: slug of the attack.
        tried: samples that all before it had left.
        broke: how many of them it broke.
        left: how many were right after it.
        n: samples in all.
        forwards: passes through the model on all samples that it tried.
        backwards: likewise, for gradients.
    """

    study: str
    dataset: str
    model: str
    defense: str
    seed: int
    stand_in: str
    attack: str
    norm: str
    epsilon: float
    suite: str
    member: str
    tried: int
    broke: int
    left: int
    n: int
    forwards: int
    backwards: int


COLUMNS = list(Member._fields)
CLEAN = "clean"


def table(members: Iterable[Member]) -> pd.DataFrame:
    """Return them as a table with the columns of `Member`."""
    return pd.DataFrame(members, columns=COLUMNS)


def of_attacks(batch: Batch) -> list[Member]:
    """Return what the members of every worst case on one model did; nothing of one that failed."""
    return [row for one in batch.attacks if one.header.protocol == "worst" for row in _members(one)]


def _members(one: Attacked) -> Iterator[Member]:
    header, frame = one
    about = (*header.model, header.stand_in, header.attack, header.norm)
    for epsilon, rows in frame.groupby("epsilon", sort=True):
        before = rows["carried"] | (rows["member"] == CLEAN)
        left = n = rows["sample"].nunique()
        parts = [(CLEAN, rows[before]), *rows[~before].groupby("member", sort=False)]
        for member, tried in parts:
            broke = int(tried["success"].sum())
            left -= broke
            passes = (0, 0) if member == CLEAN else (int(tried[kind].sum()) for kind in ("forwards", "backwards"))
            yield Member(*about, float(str(epsilon)), header.suite, str(member), len(tried), broke, left, n, *passes)
