"""members.csv: what each attack of a suite did in a worst case, a row per model, radius and attack."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import pandas as pd

from touchstone.records import CLEAN, Attacked, Batch


class Counted(NamedTuple):
    """What one attack of a cascade did at one radius; "clean" is what was wrong by itself or broken at a smaller one.

    Attributes:
        epsilon: radius in pixels.
        member: slug of the attack.
        tried: samples that all before it had left.
        broke: how many of them it broke.
        left: how many were right after it.
        n: samples in all.
        forwards: passes through the model on all samples that it tried.
        backwards: likewise, for gradients.
    """

    epsilon: float
    member: str
    tried: int
    broke: int
    left: int
    n: int
    forwards: int
    backwards: int


class Member(NamedTuple):
    """A row of the table: what `Counted` says, of which worst case, `attack`, on which model.

    `stand_in` is the dataset that was used in place of the model's own, "" if none; `suite` the list of attacks.
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


def table(members: Iterable[Member]) -> pd.DataFrame:
    """Return them as a table with the columns of `Member`."""
    return pd.DataFrame(members, columns=COLUMNS)


def of_attacks(batch: Batch) -> list[Member]:
    """Return what the members of every worst case on one model did; nothing of one that failed."""
    return [row for one in batch.attacks if one.header.protocol == "worst" for row in _members(one)]


def _members(one: Attacked) -> Iterator[Member]:
    header, frame = one
    for row in counted(frame):
        about = (*header.model, header.stand_in, header.attack, header.norm, row.epsilon, header.suite)
        yield Member(*about, *row[1:])


def counted(records: pd.DataFrame) -> Iterator[Counted]:
    """Yield what each attack of one cascade did, radii upwards; at each radius first what was broken before.

    Args:
        records: its rows, with the columns of `touchstone.records.COLUMNS`.
    """
    for epsilon, rows in records.groupby("epsilon", sort=True):
        before = rows["carried"] | (rows["member"] == CLEAN)
        left = n = rows["sample"].nunique()
        for member, tried in [(CLEAN, rows[before]), *rows[~before].groupby("member", sort=False)]:
            broke = int(tried["success"].sum())
            left -= broke
            passes = (0, 0) if member == CLEAN else (int(tried[kind].sum()) for kind in ("forwards", "backwards"))
            yield Counted(cast(float, epsilon), str(member), len(tried), broke, left, n, *passes)
