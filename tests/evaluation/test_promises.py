"""What holds for every attack on a trained net: more epsilon breaks more, the same bytes again, whatever the chunks."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from attacks.cases import BLIND, CASES, ROUGH
from digit_nets import held_out, trained
from torch import Tensor, nn

from touchstone import records
from touchstone.attacks import ATTACKS
from touchstone.cell import ModelId, ThreatSpec
from touchstone.evaluation import cascade, flags, published
from touchstone.evaluation.result import Member
from touchstone.records import Attacked, Header
from touchstone.threat import Threat

COUNT = 16
EPSILONS = {"linf": (0.02, 0.06, 0.15), "l2": (0.3, 0.9, 2.0), "l1": (2.0, 6.0, 15.0), "l0": (4.0, 12.0, 30.0)}
ROWS = {name: case for name, case in CASES.items() if name in ATTACKS and not isinstance(case.trained, str)}
CELLS = [(name, norm) for name in ROWS for norm in ATTACKS[name].norms]


def on(cells: list[tuple[str, str]], fast: list[tuple[str, str]]) -> pytest.MarkDecorator:
    """Run a test on these attacks, each in one process, where its table is made once."""
    marks = {
        cell: [pytest.mark.xdist_group("-".join(cell)), *([] if cell in fast else [pytest.mark.slow])] for cell in cells
    }
    return pytest.mark.parametrize(("name", "norm"), [pytest.param(*cell, marks=marks[cell]) for cell in cells])


FIRST_NORM = [(name, ATTACKS[name].norms[0]) for name in ROWS]
EACH = on(CELLS, FIRST_NORM)
ONE_NORM = on(FIRST_NORM, FIRST_NORM)
SOME = [("pgd", "linf"), ("fab", "l2"), ("square", "linf"), ("pdgd", "l2")]
# Outcomes, out of one per sample and epsilon, that may differ where only rounding does: an iterate next to the
# boundary may fall on either side of it, and a sign step turns the last bit of a gradient into a whole step.
TIES = 3


def run(name: str, norm: str, batch_size: int = 512) -> pd.DataFrame:
    more = {"substitute": trained()} if name == "transfer" else {}
    member = Member(name, name, {**ROWS[name].trained, **more})
    given = {"threat": Threat(norm, EPSILONS[norm]), "seed": 0, "batch_size": batch_size, "probes": False}
    return published.run(trained(), *held_out(COUNT), member, **given).records


@cache
def table(name: str, norm: str) -> pd.DataFrame:
    return run(name, norm)


def broken(frame: pd.DataFrame, norm: str) -> np.ndarray:
    """Return (epsilons, samples): whether the attack breaks them."""
    return np.stack([flags.broken(frame, epsilon).to_numpy() for epsilon in EPSILONS[norm]])


@EACH
def test_more_epsilon_breaks_more_although_nothing_is_carried(name: str, norm: str) -> None:
    """One step of gradient, or a random point, may overshoot: there the share of the broken may fall by a tenth."""
    share = broken(table(name, norm), norm).mean(axis=1)
    slack = 0.1 if ROUGH in CASES[name].traits else 0.0
    assert (np.diff(share) >= -slack).all()
    if BLIND not in CASES[name].traits:
        assert share[-1] > share[0]


@pytest.mark.slow
@ONE_NORM
def test_records_are_the_same_bytes_again(name: str, norm: str, tmp_path: Path) -> None:
    header = Header(
        **{"run": "r", "model": ModelId("s", "d", "m", "f", 0), "stand_in": "", "attack": name, "members": {}},
        **{"protocol": "published", "kind": ATTACKS[name].kind, "threat": ThreatSpec(norm), "samples": COUNT},
    )
    for place, frame in (("a", table(name, norm)), ("b", run(name, norm))):
        records.write(tmp_path / place, [Attacked(header, frame)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def check_chunks(name: str, norm: str, batch_size: int) -> None:
    one, other = table(name, norm), run(name, norm, batch_size)
    assert (broken(one, norm) != broken(other, norm)).sum() <= TIES
    for column in ("sample", "label", "epsilon", "member", "clean_pred"):
        pd.testing.assert_series_equal(one[column], other[column])


@on(SOME, SOME)
def test_the_chunk_size_of_the_query_changes_only_float_ties(name: str, norm: str) -> None:
    check_chunks(name, norm, 7)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 7, 64])
@EACH
def test_no_chunk_size_changes_more_than_float_ties(name: str, norm: str, batch_size: int) -> None:
    if not ATTACKS[name].coupled:  # else rows influence one another, and the batch is part of the attack
        check_chunks(name, norm, batch_size)


def test_fab_stays_clear_of_the_boundary() -> None:
    """Its search for the boundary once ended a rounding away from it, where the judge's batch says otherwise."""
    for norm in ATTACKS["fab"].norms:
        found = table("fab", norm)
        attacked = found[found["found"] & (found["dist_l2"] > 0)]
        assert len(attacked) > COUNT / 2
        assert attacked["success"].all()
        assert attacked["adv_margin"].min() > 1e-5


def test_the_suite_is_at_least_as_strong_as_each_member_on_each_sample() -> None:
    x, y = held_out(COUNT)
    names = [name for name, spec in ATTACKS.items() if name in ROWS and "linf" in spec.norms and not spec.coupled]
    names = [name for name in names if name != "transfer"]
    members = [Member(name, name, ROWS[name].trained) for name in names]
    common = {"threat": Threat("linf", EPSILONS["linf"]), "seed": 0, "batch_size": 512}
    together = cascade.run(trained(), x, y, members, **common).records
    for epsilon in EPSILONS["linf"]:
        worst = together[together["epsilon"] == epsilon].groupby("sample")["success"].any().to_numpy()
        for name in names:
            alone = flags.broken(table(name, "linf"), epsilon).to_numpy()
            assert (worst >= alone).all(), (name, epsilon)


@pytest.mark.parametrize("power", [-10, 10])
def test_the_suites_verdict_does_not_depend_on_scale_or_names_of_the_classes(power: int) -> None:
    class Renamed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return trained()(x)[:, order] * 2.0**power

    order = torch.tensor([3, 7, 0, 1, 9, 8, 2, 5, 4, 6])
    members = [
        Member("pgd", "pgd", {**ROWS["pgd"].trained, "loss": "margin"}),
        Member("apgd-dlr", "apgd", {"steps": 15, "loss": "dlr"}),
        Member("fab", "fab", {"steps": 5}),
        Member("square", "square", {"queries": 60}),
    ]
    x, y = held_out(COUNT)
    common = {"threat": Threat("linf", (0.02, 0.04, 0.06)), "seed": 0, "batch_size": 512}
    plain, other = (
        cascade.run(model, x, labels, members, **common).records.groupby(["epsilon", "sample"])["success"].any()
        for model, labels in ((trained(), y), (Renamed(), order.argsort()[y]))
    )
    assert (plain != other).sum() <= TIES
    assert 0.2 < plain.mean() < 0.9
