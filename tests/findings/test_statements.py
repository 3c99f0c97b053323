"""A statement holds, fails, or is undecided, by Welch's bounds over trained nets; and what it speaks of."""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from toy_claims import FILES, ROW, printed, printed_as_ours, seeds, slugs

from touchstone.cell import ThreatSpec
from touchstone.findings import statements
from touchstone.findings.cells import COLUMNS
from touchstone.findings.evidence import Caps, Trial
from touchstone.findings.statements.comparisons import (
    Comparison,
    Drawn,
    Enough,
    Mean,
    Outcome,
    conclude,
    most,
    sampling,
)
from touchstone.findings.statements.scope import mean, minus
from touchstone.study import statements as written
from touchstone.study.statements import Statement

HIGH, LOW, WIDE = (0.70, 0.71, 0.72), (0.50, 0.51, 0.52), (0.30, 0.60, 0.90)
ZERO = (0.0, 0.0, 0.0)
PGD, FGSM, CW, CLEAN = "pgd40-linf", "fgsm-linf", "cw-l2", "clean"

Numbers = Mapping[tuple[str, str], Sequence[float]]  # (defense, attack or metric of weights) -> a number per seed


def said(outcome: Outcome) -> str:
    """The word of an outcome, with its points where it is undecided."""
    return f"{outcome.word} {outcome.right} of {outcome.compared}" if outcome.word == "undecided" else outcome.word


def reply(row: pd.Series) -> str:
    """The same of a row of the table, under the published attacks."""
    return f"{row['verdict']} {row['right']} of {row['compared']}" if row["verdict"] == "undecided" else row["verdict"]


# ---- comparisons


def numbers(values: Sequence[float]) -> dict[int, float]:
    return dict(enumerate(values))


@pytest.mark.parametrize("margin", [0.0, 0.15, -0.02])
def test_a_comparison_is_welchs_one_sided_test(margin: float) -> None:
    left, right = (0.7, 0.9, 0.65, 0.8), (0.5, 0.55, 0.61)
    above, below = Comparison("", numbers(left), numbers(right), margin).tails()
    shifted = np.array(right) + margin
    for found, side in ((above, "greater"), (below, "less")):
        assert found == pytest.approx(stats.ttest_ind(left, shifted, equal_var=False, alternative=side).pvalue)


def test_a_comparison_with_a_constant_is_students_test() -> None:
    values = (0.7, 0.9, 0.65, 0.8)
    above, _ = Comparison("", numbers(values), 0.6).tails()
    assert above == pytest.approx(stats.ttest_1samp(values, 0.6, alternative="greater").pvalue)
    below, _ = Comparison("", 0.6, numbers(values)).tails()
    assert below == pytest.approx(stats.ttest_1samp(values, 0.6, alternative="less").pvalue)


@pytest.mark.parametrize(
    ("left", "right", "more", "verdict"),
    [
        (HIGH, LOW, {}, "holds"),
        (LOW, HIGH, {}, "fails"),
        (WIDE, LOW, {}, "undecided 0 of 1"),
        (LOW, WIDE, {}, "undecided 0 of 1"),
        (HIGH[:2], LOW, {}, "undecided 0 of 1"),
        (LOW, HIGH[:1], {}, "undecided 0 of 1"),
        ((), LOW, {}, "not run"),
        (ZERO, ZERO, {}, "undecided 0 of 1"),
        (ZERO, ZERO, {"or_equal": True}, "holds"),
        (ZERO, ZERO, {"margin": -0.005, "or_equal": True}, "holds"),
        (ZERO, [0.005] * 3, {"margin": -0.005, "or_equal": True}, "holds"),
        (ZERO, [0.006] * 3, {"margin": -0.005, "or_equal": True}, "fails"),
        (HIGH, LOW, {"margin": 0.2}, "undecided 0 of 1"),
        (HIGH, LOW, {"margin": 0.25}, "fails"),
    ],
)
def test_one_comparison_decides_or_does_not(
    left: Sequence[float], right: Sequence[float], more: dict[str, Any], verdict: str
) -> None:
    assert said(conclude([Comparison("a", numbers(left), numbers(right), **more)])) == verdict


def test_what_samples_leave_open_widens_the_bounds_and_more_seeds_do_not_help() -> None:
    values = (0.7, 0.9, 0.65, 0.8)
    scatter = np.var(values, ddof=1) / 4
    known = Mean.of(Drawn(numbers(values), 0.05))
    assert known.variance == pytest.approx(scatter + 0.05**2)
    assert known.variance**2 / known.freedom == pytest.approx(scatter**2 / 3), "it has no degrees of freedom of its own"
    alike = Comparison("", Drawn(numbers([0.7] * 9), 0.05), 0.6)
    assert alike.tails() == pytest.approx((stats.norm.sf(2.0), stats.norm.cdf(2.0)))
    assert alike.bounds() == pytest.approx((0.1 - 1.6449 * 0.05, 0.1 + 1.6449 * 0.05), abs=1e-5)
    left, right = Drawn(numbers(HIGH), 0.03), Drawn(numbers(LOW), 0.04)
    assert (sampling(minus(left, right)), sampling(mean([left, right]))) == pytest.approx((0.05, 0.035))
    assert said(conclude([Comparison("", Drawn(numbers(HIGH), math.nan), 0.5)])) == "undecided 0 of 1"


def test_a_statement_holds_if_all_hold_and_fails_by_the_corrected_bound_of_one() -> None:
    right, none = Comparison("right", numbers(HIGH), numbers(LOW)), Comparison("none", {}, numbers(LOW))
    away = Comparison("away", numbers(LOW), numbers(HIGH))
    open_ = Comparison("open", numbers(WIDE), numbers(LOW))
    assert said(conclude([right] * 3)) == "holds"
    assert said(conclude([right, right, open_])) == "undecided 2 of 3"
    assert said(conclude([right, away, open_])) == "fails"
    assert said(conclude([right, none])) == "not run"
    assert said(conclude([none, away])) == "fails", "what is missing cannot save it"
    assert said(conclude([])) == "not run"
    nearly = Comparison("nearly", numbers((0.50, 0.52, 0.54)), numbers((0.555, 0.575, 0.555)))
    assert 0.01 < nearly.tails()[1] < 0.05
    assert said(conclude([nearly])) == "fails"
    many = [Comparison(str(i), numbers(HIGH), numbers(LOW)) for i in range(9)]
    assert said(conclude([nearly, *many])) == "undecided 9 of 10", "one in ten would be reversed by chance"


def test_holms_correction_steps_down() -> None:
    """Among four the second p is compared with a third of the level, not with a fourth."""
    away = Comparison("away", numbers(LOW), numbers(HIGH))
    nearly = Comparison("nearly", numbers((0.50, 0.52, 0.54)), numbers((0.56, 0.583, 0.56)))
    assert 0.05 / 4 < nearly.tails()[1] < 0.05 / 3
    rest = [Comparison(str(i), numbers(HIGH), numbers(LOW)) for i in range(2)]
    assert "reversed: away" in conclude([away, nearly, *rest]).why[0]
    assert ", nearly" in conclude([away, nearly, *rest]).why[0]


def test_most_needs_more_than_half() -> None:
    def over(*pairs: tuple[Sequence[float], Sequence[float]]) -> Enough:
        return most("all", tuple((Comparison("", numbers(a), numbers(b)),) for a, b in pairs))

    won, lost, unsure = (HIGH, LOW), (LOW, HIGH), (WIDE, LOW)
    assert said(conclude([over(won, won, lost)])) == "holds"
    assert said(conclude([over(won, lost, unsure)])) == "undecided 0 of 1"
    assert said(conclude([over(won, lost)])) == "fails"
    assert said(conclude([over(won, won, unsure)])) == "holds"
    assert said(conclude([over(won, ((), LOW), unsure)])) == "not run"


@pytest.mark.parametrize(
    ("needed", "sure", "verdict"),
    [(1, 1, "holds"), (1, 0, "undecided 0 of 1"), (2, 2, "holds"), (2, 1, "undecided 0 of 1"), (3, 0, "holds")],
)
def test_where_some_of_many_are_enough_each_has_to_be_surer(needed: int, sure: int, verdict: str) -> None:
    """The best of three is right by chance more often than one; where all are needed none is chosen."""
    nearly = Comparison("", numbers((0.553, 0.573, 0.553)), numbers((0.50, 0.52, 0.54)))
    surely = Comparison("", numbers(HIGH), numbers(LOW))
    assert 0.05 / 2 < nearly.tails()[0] < 0.05
    assert surely.tails()[0] < 0.05 / 3
    groups = tuple((one,) for one in [surely] * sure + [nearly] * (3 - sure))
    assert said(conclude([Enough("", groups, needed)])) == verdict
    assert Enough("", groups, needed).level == pytest.approx(0.05 / (4 - needed))


def test_the_detail_says_what_decides() -> None:
    checks = [
        Comparison("a", numbers(LOW), numbers(HIGH)),
        Comparison("b", numbers(WIDE), numbers(LOW), margin=-0.02, or_equal=True),
        Comparison("c", {}, numbers(LOW)),
        Comparison("d", numbers(HIGH[:2]), numbers(LOW)),
    ]
    found = conclude(checks, ["cw-l2: it is unbounded"])
    assert (found.right, found.compared) == (0, 4)
    reversed_, open_, *rest = found.why
    assert reversed_.startswith("reversed: a: 0.51 > 0.71 (p ")
    assert open_.startswith("open: b: 0.6 ≥ 0.51 -0.02 (p ")
    assert open_.endswith("d: 0.705 > 0.51 (2 of 3 seeds)")
    assert rest == ["no number: c", "left out: cw-l2: it is unbounded"]


def test_an_unknown_word_is_no_outcome() -> None:
    with pytest.raises(ValueError, match=r"unknown verdict 'undecided 2 of 3'; .*did you mean 'undecided'"):
        Outcome("undecided 2 of 3")


# ---- what a statement speaks of


def claims(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    base = ROW | {"low": 0.5, "high": 0.5}
    base |= {"cell_dataset": "mnist", "cell_model": "lenet", "cell_defense": "std", "cell_attack": PGD}
    base |= {"cell_metric": "accuracy", "cell_epsilon": 0.3}
    return pd.DataFrame([{**base, **row} for row in rows])


def place(name: str) -> dict[str, Any]:
    """What claims and cells of an attack, or of a metric of weights, have beside the defaults."""
    attack = name if name in (PGD, FGSM, CW) else CLEAN
    metric = "accuracy" if name in (PGD, FGSM, CW, CLEAN) else name
    radius = 0.3 if attack in (PGD, FGSM) else math.nan
    return {"attack": attack, "metric": metric, "epsilon": radius, "norm": "none" if attack == CLEAN else "linf"}


class Case:
    """Claims, and our numbers for them."""

    def __init__(self) -> None:
        self.claims: list[dict[str, Any]] = []
        self.cells: list[dict[str, Any]] = []

    def add(self, found: Numbers, table: str = "Table 1", **where: Any) -> "Case":
        for (defense, name), values in found.items():
            about = {"dataset": "mnist", "model": "lenet", **place(name), **where}
            self.cells += seeds(*values, defense=defense, **about)
            slots = {f"cell_{key}": value for key, value in about.items() if key != "norm"}
            printed = "clean" if about["attack"] == CLEAN else "pgd"
            self.claims.append({"source_table": table, "cell_defense": defense, "attack": printed, **slots})
        return self

    def asked(
        self, test: str, evidence: str = "Table 1", datasets: str = "", worst: Any = None, caps: Any = None, **read: Any
    ) -> pd.Series:
        row = {"id": "s", "claim": "", "test": test, "evidence_table": evidence, "datasets": datasets}
        said = Statement.of({**row, "published_numbers_agree": "", "threshold": ""})
        cells = pd.DataFrame(self.cells, columns=COLUMNS)
        found = statements.qualitative(
            [said],
            claims(self.claims),
            cells,
            worst=worst or {},
            caps=caps or {},
            near_zero="near_zero_0.01",
            reference="std",
            **read,
        )
        return found.iloc[0]


BOTH = {("mm", PGD): HIGH, ("std", PGD): LOW}


OF_DEFENSES: list[tuple[str, Numbers, str]] = [
    ("above mm std", {("mm", PGD): HIGH, ("std", PGD): LOW, ("mm", CW): HIGH, ("std", CW): LOW}, "holds"),
    ("above mm std", {("mm", PGD): HIGH, ("std", PGD): LOW, ("mm", CW): LOW, ("std", CW): HIGH}, "fails"),
    ("above mm std", BOTH | {("mm", CW): ZERO, ("std", CW): ZERO}, "undecided 1 of 2"),
    ("above mm std", {("mm", PGD): HIGH, ("std", PGD): ()}, "not run"),
    ("above mm std l1", BOTH | {("l1", PGD): LOW}, "holds"),
    ("above mm std l1", BOTH | {("l1", PGD): (0.90, 0.91, 0.92)}, "fails"),
    ("not-above mm std", {("mm", PGD): LOW, ("std", PGD): HIGH, ("mm", CW): ZERO, ("std", CW): ZERO}, "holds"),
    ("not-above mm std", BOTH, "fails"),
    ("not-above mm std", {("mm", PGD): [0.51] * 3, ("std", PGD): [0.50] * 3}, "holds"),
    ("not-above mm std l1", {("mm", PGD): LOW, ("std", PGD): HIGH, ("l1", PGD): HIGH}, "holds"),
    ("same mm std", {("mm", PGD): [0.51] * 3, ("std", PGD): [0.50] * 3}, "holds"),
    ("same mm std", {("mm", PGD): HIGH, ("std", PGD): LOW}, "fails"),
    ("same mm std", {("mm", PGD): LOW, ("std", PGD): HIGH}, "fails"),
    ("little-above mm std", {("mm", PGD): (0.54, 0.55, 0.56), ("std", PGD): LOW}, "undecided 1 of 2"),
    ("little-above mm std", {("mm", PGD): [0.53] * 3, ("std", PGD): [0.50] * 3}, "holds"),
    ("little-above mm std", BOTH, "fails"),
    ("mean-gain mm std", {("mm", PGD): HIGH, ("std", PGD): LOW, ("mm", CW): LOW, ("std", CW): LOW}, "holds"),
    ("mean-gain mm std", {("mm", PGD): LOW, ("std", PGD): HIGH, ("mm", CW): LOW, ("std", CW): LOW}, "fails"),
    ("best-on-most mm std l1", BOTH | {("l1", PGD): LOW}, "holds"),
    ("best-on-most mm std l1", BOTH | {("l1", PGD): (0.90, 0.91, 0.92)}, "fails"),
    ("broken cw-l2", {("mm", CW): ZERO, ("std", CW): [0.005] * 3, ("std", PGD): HIGH}, "holds"),
    ("broken cw-l2", {("mm", CW): ZERO, ("std", CW): LOW}, "fails"),
    ("decreasing fuzziness std adv", {("std", "fuzziness"): HIGH, ("adv", "fuzziness"): LOW}, "holds"),
    ("decreasing fuzziness std adv", {("std", "fuzziness"): LOW, ("adv", "fuzziness"): HIGH}, "fails"),
    ("decreasing fuzziness std adv", {("std", "fuzziness"): WIDE, ("adv", "fuzziness"): LOW}, "undecided 0 of 1"),
    ("not-above mm std", {("mm", PGD): WIDE, ("std", PGD): LOW}, "undecided 0 of 1"),
    ("not-above mm std", {("mm", PGD): HIGH, ("std", PGD): ()}, "not run"),
    ("same mm std", {("mm", PGD): WIDE, ("std", PGD): LOW}, "undecided 0 of 2"),
    ("same mm std", {("mm", PGD): HIGH, ("std", PGD): ()}, "not run"),
    ("little-above mm std", {("mm", PGD): HIGH, ("std", PGD): ()}, "not run"),
    ("mean-gain mm std", {("mm", PGD): WIDE, ("std", PGD): LOW, ("mm", CW): LOW, ("std", CW): LOW}, "undecided 0 of 1"),
    ("mean-gain mm std", {("mm", PGD): HIGH, ("std", PGD): (), ("mm", CW): LOW, ("std", CW): LOW}, "not run"),
    ("best-on-most mm std", {("mm", PGD): WIDE, ("std", PGD): LOW}, "undecided 0 of 1"),
    ("best-on-most mm std l1", BOTH | {("l1", PGD): ()}, "not run"),
    ("broken cw-l2", {("mm", CW): ZERO, ("std", CW): (0.0, 0.0, 0.03)}, "undecided 1 of 2"),
    ("broken cw-l2", {("mm", CW): ZERO, ("std", CW): ()}, "not run"),
    ("decreasing fuzziness std adv", {("std", "fuzziness"): HIGH, ("adv", "fuzziness"): ()}, "not run"),
]


@pytest.mark.parametrize(("test", "found", "verdict"), OF_DEFENSES)
def test_what_becomes_of_defenses(test: str, found: Numbers, verdict: str) -> None:
    assert reply(Case().add(found).asked(test)) == verdict


def test_bare_means_decide_nothing() -> None:
    """71.8 against 59.3 % over three nets that scatter by twenty points is no support."""
    scattered = {("mm", PGD): (0.52, 0.72, 0.91), ("std", PGD): (0.40, 0.58, 0.80)}
    assert reply(Case().add(scattered).asked("above mm std")) == "undecided 0 of 1"


def test_every_radius_counts() -> None:
    case = Case().add(BOTH, epsilon=0.1).add({("mm", PGD): LOW, ("std", PGD): HIGH}, epsilon=0.2).add(BOTH)
    found = case.asked("above mm std")
    assert found["verdict"] == "fails"
    assert (found["right"], found["compared"]) == (2, 3)
    assert found["why"].startswith("reversed: mnist pgd40-linf 0.2 lenet, mm over std: 0.51 > 0.71 (p ")


def test_only_the_tables_of_the_evidence_count_and_only_where_one_is_printed() -> None:
    case = Case().add(BOTH).add({("mm", PGD): LOW, ("std", PGD): HIGH}, table="Table 2", epsilon=0.1)
    assert case.asked("above mm std")["compared"] == 1
    assert reply(case.asked("above mm std", "Table 1; Table 2")) == "fails"
    apart = Case().add({("mm", PGD): HIGH}).add({("std", PGD): LOW}, table="Table 2")
    assert reply(apart.asked("above mm std", "Table 1; Table 2")) == "holds"
    assert reply(apart.asked("above mm std", "Table 1")) == "holds", "one is printed there, and we have the other"
    lone = Case().add({("mm", PGD): HIGH})
    found = lone.asked("above mm std")
    assert (found["verdict"], found["why"]) == ("not run", "the run lacks a net or an attack of: above mm std")
    assert lone.asked("above lenet/mm mlp/std")["why"].startswith(
        "no number: mnist pgd40-linf 0.3 lenet, lenet/mm over"
    )


def test_only_the_datasets_that_a_statement_speaks_of_count() -> None:
    case = Case().add({("std", "rho_extreme"): HIGH, ("mm", "rho_extreme"): LOW})
    case.add({("std", "rho_extreme"): LOW, ("mm", "rho_extreme"): HIGH}, dataset="cifar10")
    assert reply(case.asked("decreasing rho_extreme mm std", "Figure 6", "cifar10")) == "holds"
    assert reply(case.asked("decreasing rho_extreme mm std", "Figure 6", "mnist")) == "fails"
    assert reply(case.asked("decreasing rho_extreme mm std", "Table 1")) == "fails", "both"
    both = Case().add(BOTH).add({("mm", PGD): LOW, ("std", PGD): HIGH}, dataset="cifar10")
    assert reply(both.asked("above mm std", datasets="mnist")) == "holds"


def test_defenses_are_compared_on_one_model_or_on_those_that_are_named() -> None:
    two = Case().add(BOTH).add(BOTH, model="mlp")
    assert two.asked("above mm std")["compared"] == 2
    assert two.asked("above mlp/mm std")["compared"] == 1
    apart = Case().add({("mm", PGD): HIGH}, model="mlp").add({("std", PGD): LOW})
    assert reply(apart.asked("above mm std")) == "not run"
    assert reply(apart.asked("above mlp/mm lenet/std")) == "holds"
    assert reply(apart.asked("above lenet/std mlp/mm")) == "fails"


RHO = {"metric": "rho_adv_all", "epsilon": math.nan}


def left_out(attack: str, values: Sequence[float], **where: Any) -> list[dict[str, Any]]:
    """Cells of a defense without a part: no claim speaks of it."""
    return seeds(*values, defense="part", **{"attack": attack, "norm": "l2", **RHO, **where})


def test_a_defense_is_more_robust_than_one_that_no_claim_speaks_of() -> None:
    test = "more-robust rho_adv_all mm part"
    case = (
        Case()
        .add({("mm", CW): HIGH, ("mm", FGSM): HIGH}, **RHO)
        .add({("mm", CW): LOW}, metric="rho_adv", epsilon=math.nan)
    )
    case.cells += left_out(CW, LOW)
    found = case.asked(test, "text 4.4", "mnist")
    assert (found["verdict"], found["why"]) == ("not run", "no number: mnist fgsm-linf lenet, mm over part")
    case.cells += left_out(FGSM, WIDE)
    assert reply(case.asked(test, "text 4.4", "mnist")) == "undecided 1 of 2"
    assert reply(case.asked(test, "text 4.4", "cifar10")) == "not run", "no claim is on it"
    case.cells = [one for one in case.cells if one["defense"] != "part"] + left_out(CW, LOW) + left_out(FGSM, LOW)
    assert reply(case.asked(test, "text 4.4", "mnist")) == "holds"
    assert reply(case.asked(test, "Table 1", "")) == "holds"
    assert reply(case.asked("more-robust rho_adv_all mlp/mm part", "Table 1")) == "not run"
    assert reply(case.asked("more-robust rho_adv_all part mm", "Table 1")) == "fails", "claims of the other say where"


def test_a_claim_in_the_evidence_alone_counts_where_it_is_a_table() -> None:
    case = Case().add({("mm", CW): HIGH, ("std", CW): LOW}, **RHO).add({("mm", FGSM): LOW}, table="Table 2", **RHO)
    case.cells += seeds(*HIGH, defense="std", attack=FGSM, norm="l2", **RHO)
    assert reply(case.asked("more-robust rho_adv_all mm std", "Table 1")) == "holds"
    assert reply(case.asked("more-robust rho_adv_all mm std", "Table 1; Table 2")) == "fails"


def test_a_cost_in_clean_accuracy() -> None:
    def cost(slight: float, clear: float) -> str:
        case = Case()
        for dataset, drop in (("mnist", slight), ("cifar10", clear)):
            case.add({("std", CLEAN): [0.9] * 3, ("mm", CLEAN): [0.9 - drop] * 3}, dataset=dataset)
        return reply(case.asked("costs-clean mm mnist cifar10"))

    assert [cost(0.01, 0.08), cost(0.02, 0.08)] == ["holds", "holds"]
    assert [cost(0.03, 0.08), cost(-0.01, 0.08), cost(0.01, 0.01)] == ["fails"] * 3
    assert cost(0.01, 0.02) == "undecided 2 of 3"


@pytest.mark.parametrize(
    ("ours", "other", "verdict"),
    [(0.235, 0.011, "holds"), (0.236, 0.011, "fails"), (0.12, 0.011, "fails"), (0.18, 0.01, "undecided 2 of 3")],
)
def test_a_ratio_of_weights_near_zero(ours: float, other: float, verdict: str) -> None:
    shares = {"std": 0.01, "mm": ours, "adv": other}
    case = Case().add({(name, "near_zero_0.01"): [share] * 3 for name, share in shares.items()})
    case.claims = [{"cell_defense": "mm", "cell_attack": CLEAN, "cell_epsilon": math.nan, "attack": "clean"}]
    case.claims[0] |= {"cell_metric": "near_zero_param_ratio_vs_std", "low": 17.0, "high": 19.0, "unit": "ratio"}
    assert reply(case.asked("near-zero mm adv")) == verdict


def test_a_claimed_error_under_attack_is_an_accuracy() -> None:
    case = Case().add(BOTH)
    for one in case.claims:
        one |= {"cell_metric": "error", "unit": "percent", "low": 40.0, "high": 40.0}
    assert reply(case.asked("above mm std")) == "holds"


def test_a_statement_does_not_hold_by_some_of_its_clauses() -> None:
    found = Case().add(BOTH).asked("above mm std; above l1 l2")
    assert (found["verdict"], found["right"], found["compared"]) == ("not run", 1, 1)
    assert found["why"] == "the run lacks a net or an attack of: above l1 l2"
    reversed_ = Case().add({("mm", PGD): LOW, ("std", PGD): HIGH}).asked("above mm std; above l1 l2")
    assert reversed_["verdict"] == "fails", "what is missing cannot save it"


def test_numbers_from_other_data_say_nothing_of_the_papers() -> None:
    case = Case().add(BOTH)
    for cell in case.cells:
        cell["stand_in"] = "digits"
    found = case.asked("above mm std")
    assert (found["verdict"], found["right"], found["compared"]) == ("not comparable", 1, 1)
    assert found["why"] == "digits stands in for mnist"
    assert "mm over std: 0.71 > 0.51" in found["numbers"]
    lone = Case().add({("mm", PGD): HIGH})
    for cell in lone.cells:
        cell["stand_in"] = "digits"
    assert lone.asked("above lenet/mm lenet/std")["verdict"] == "not run"


EPOCHS, STEPS, IMAGES = "epochs 5 instead of 50", "steps 10 instead of 40", "30 of 10000 samples"


@pytest.mark.parametrize(
    ("cut", "of", "verdict", "why"),
    [
        (Caps(model=(EPOCHS,)), PGD, "not comparable", EPOCHS),
        (Caps(attack=(STEPS,)), PGD, "not comparable", STEPS),
        (Caps(size=(IMAGES,)), PGD, "holds", ""),
        (Caps(attack=(STEPS,)), FGSM, "holds", ""),
    ],
)
def test_what_a_cap_cut_short_says_nothing_of_the_papers_numbers(cut: Caps, of: str, verdict: str, why: str) -> None:
    found = Case().add(BOTH).asked("above mm std", caps={("mnist", "lenet", "mm", of): cut})
    assert (found["verdict"], found["why"]) == (verdict, why)


@pytest.mark.parametrize(
    ("test", "found", "n", "verdict"),
    [
        ("broken cw-l2", {("mm", CW): ZERO}, 32, "undecided 0 of 1"),
        ("broken cw-l2", {("mm", CW): ZERO}, 1000, "holds"),
        ("broken cw-l2", {("mm", CW): ZERO}, 10_000, "holds"),
        ("above mm std", BOTH, 32, "undecided 0 of 1"),
        ("above mm std", BOTH, 1000, "holds"),
        ("mean-gain mm std", BOTH, 32, "undecided 0 of 1"),
        ("number-at-most rho_near 0.05 mm", {("mm", "rho_near"): ZERO}, 32, "undecided 0 of 1"),
        ("decreasing fuzziness std adv", {("std", "fuzziness"): HIGH, ("adv", "fuzziness"): LOW}, 32, "holds"),
    ],
)
def test_fewer_samples_than_there_are_widen_the_bounds(test: str, found: Numbers, n: int, verdict: str) -> None:
    """Three seeds that agree on 32 images have them in common, and not the others."""
    case = Case().add(found)
    for cell in case.cells:
        cell |= {"n": n, "met": n}
    whole = {("mnist", "lenet", name, of): Caps(population=10_000) for name in ("mm", "std") for of in (PGD, CW, CLEAN)}
    assert reply(case.asked(test, caps=whole)) == verdict


def test_a_half_width_over_samples_counts_as_far_as_they_are_not_all_there_are() -> None:
    case = Case().add({("mm", CW): HIGH, ("std", CW): LOW}, metric="rho_adv", epsilon=math.nan)
    for cell in case.cells:
        cell |= {"n": 32, "met": 32, "half": 0.3}
    for population, verdict in ((None, "holds"), (10_000, "undecided 0 of 1")):
        caps = {("mnist", "lenet", name, CW): Caps(population=population) for name in ("mm", "std")}
        assert reply(case.asked("more-robust rho_adv mm std", caps=caps)) == verdict


# ---- in the worst case

LINF = ThreatSpec("linf", "normalized")
WORST = {
    ("mnist", PGD): Trial(LINF, {0.1: ("worst-linf", 0.03), 0.3: ("worst-linf", 0.09)}),
    ("mnist", FGSM): Trial(LINF, {0.3: ("worst-linf", 0.09)}),
    ("mnist", CW): "it is unbounded",
}
HARDEST = {"protocol": "worst", "metric": "worst_under_threat", "epsilon": 0.3}


def test_every_statement_on_attacks_is_asked_again_in_the_worst_case_of_their_own_threat() -> None:
    """In its own norm, space and bounds: what a suite finds in pixels is another question, and says the opposite."""
    more = {("mm", FGSM): HIGH, ("std", FGSM): LOW, ("mm", CW): HIGH, ("std", CW): LOW}
    case = Case().add(BOTH | more)
    pixels = {"attack": "worst-linf", "protocol": "worst", "epsilon": 0.09, "metric": "worst_accuracy"}
    case.cells += seeds(*HIGH, defense="mm", **pixels) + seeds(*LOW, defense="std", **pixels)
    for attack in (PGD, FGSM):
        case.cells += seeds(*ZERO, defense="mm", attack=attack, **HARDEST)
        case.cells += seeds(*LOW, defense="std", attack=attack, **HARDEST)
    found = case.asked("above mm std", worst=WORST)
    assert (found["verdict"], found["worst_verdict"]) == ("holds", "fails")
    assert (found["worst_right"], found["worst_compared"]) == (0, 1), "FGSM and PGD have one threat"
    assert found["worst_why"].startswith("reversed: mnist worst-linf normalized 0.3 lenet, mm over std: 0 > 0.51 (p ")
    assert found["worst_why"].endswith("left out: cw-l2: it is unbounded")
    for cell in case.cells:
        cell["status"] = "incomplete" if cell["protocol"] == "worst" else "ok"
    lacking = case.asked("above mm std", worst=WORST)
    assert (lacking["verdict"], lacking["worst_verdict"]) == ("holds", "not run"), "it is this or lower"
    bare = Case().add(BOTH).asked("above mm std")
    assert bare["worst_verdict"] == "not run"
    assert bare["worst_why"].endswith("pgd40-linf: no worst case is defined for it")
    weights = Case().add({("std", "fuzziness"): HIGH, ("adv", "fuzziness"): LOW})
    assert weights.asked("decreasing fuzziness std adv", worst=WORST)["worst_verdict"] == ""


@pytest.mark.parametrize(
    ("threat", "compared"),
    [
        (LINF, 1),
        (replace(LINF, epsilons=(0.3,)), 1),
        (ThreatSpec("linf"), 2),
        (ThreatSpec("l2", "normalized"), 2),
        (ThreatSpec("linf", "normalized", "none"), 2),
    ],
)
def test_attacks_under_one_threat_are_one_place_and_no_others(threat: ThreatSpec, compared: int) -> None:
    worst = WORST | {("mnist", FGSM): Trial(threat, {0.3000001: ("worst-linf", 0.3)})}
    case = Case().add(BOTH).add({("mm", FGSM): HIGH, ("std", FGSM): LOW})
    for attack in (PGD, FGSM):
        for defense, values in (("mm", HIGH), ("std", LOW)):
            case.cells += seeds(*values, defense=defense, attack=attack, **HARDEST)
    found = case.asked("above mm std", worst=worst)
    assert (found["worst_verdict"], found["worst_compared"]) == ("holds", compared)


def test_the_attack_that_stands_for_a_threat_is_one_that_both_sides_have() -> None:
    case = Case().add({("mm", FGSM): HIGH, ("mm", PGD): HIGH, ("std", PGD): LOW})
    case.cells += seeds(*ZERO, defense="mm", attack=FGSM, **HARDEST)
    for defense, values in (("mm", HIGH), ("std", LOW)):
        case.cells += seeds(*values, defense=defense, attack=PGD, **HARDEST)
    assert case.asked("above mm std", worst=WORST)["worst_verdict"] == "holds"


def test_the_worst_case_has_its_own_caps() -> None:
    case = Case().add(BOTH)
    for defense, values in (("mm", HIGH), ("std", LOW)):
        case.cells += seeds(*values, defense=defense, attack=PGD, **HARDEST)
    hardest, published = (
        case.asked("above mm std", worst=WORST, caps={("mnist", "lenet", "mm", of): Caps(attack=(STEPS,))})
        for of in ("worst-linf", PGD)
    )
    assert (hardest["verdict"], hardest["worst_verdict"], hardest["worst_why"]) == ("holds", "not comparable", STEPS)
    assert (published["verdict"], published["worst_verdict"]) == ("not comparable", "holds")


# ---- the study's own


def test_the_statements_of_the_study_are_tested_on_the_claimed_cells() -> None:
    study = printed()
    said = written.load(written.read(FILES.statements), "minmax", slugs(), study)
    assert len(said) == 13
    stray = seeds(0.123, defense="minmax-printed", attack=PGD, epsilon=0.9)  # a radius of no claim
    table = pd.concat([printed_as_ours(study), pd.DataFrame(stray)], ignore_index=True)
    found = statements.qualitative(said, study, table, worst={}, caps={}, near_zero="near_zero_0.01", reference="std")
    found = found.set_index("id")
    expected = {"mm01": "holds", "mm02": "undecided 5 of 6", "mm03": "holds", "mm04": "fails", "mm05": "fails"}
    expected |= {"mm06": "holds", "mm07": "holds", "mm08": "holds", "mm09": "holds"}
    expected |= {"mm10": "not run", "mm11": "not run", "mm12": "not run", "mm13": "holds"}
    assert found.apply(reply, axis=1).to_dict() == expected
    assert (found.loc["mm12", "right"], found.loc["mm12", "compared"]) == (0, 1)
    assert found.loc["mm12", "why"] == "no number: cifar10 lenet, minmax-printed over std"
    assert list(found) == [name for name in statements.COLUMNS if name != "id"]
    agree = found["published_numbers_agree"].str.partition(":")[0]
    assert agree[["mm01", "mm02", "mm03", "mm06"]].tolist() == ["yes", "partly", "yes", "yes"], "as we find them"


def test_the_tests_take_the_words_that_are_checked_when_a_study_is_read() -> None:
    assert statements.TESTS.keys() == written.TESTS.keys()
    for name, test in statements.TESTS.items():
        _, *words = inspect.signature(test).parameters.values()
        further = [p.name for p in words if p.kind is p.VAR_POSITIONAL]
        each = [p.name for p in words if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert (list(written.TESTS[name].each), written.TESTS[name].further) == (each, "".join(further)), name


def test_what_no_measurement_answers_says_why() -> None:
    found = Case().add(BOTH).asked("not-testable people look at it; on paper", worst=WORST)
    assert (found["verdict"], found["why"]) == ("not testable", "people look at it; on paper")
    assert (found["worst_verdict"], found["test"]) == ("", "not-testable people look at it; on paper")


def test_in_the_worst_case_the_more_robust_one_is_more_accurate_at_every_radius() -> None:
    case = Case().add({("mm", PGD): HIGH, ("mm", FGSM): HIGH, ("mm", CW): HIGH}, **RHO)
    for attack in (PGD, FGSM, CW):
        case.cells += left_out(attack, LOW)
    for radius, ours in ((0.1, HIGH), (0.3, ZERO)):
        hardest = {**HARDEST, "epsilon": radius}
        case.cells += seeds(*ours, defense="mm", attack=PGD, **hardest) + left_out(PGD, LOW, **hardest)
    found = case.asked("more-robust rho_adv_all mm part", "text 4.4", "mnist", worst=WORST)
    assert (found["verdict"], found["compared"]) == ("holds", 3)
    assert (found["worst_verdict"], found["worst_right"], found["worst_compared"]) == ("fails", 1, 2)
    assert "mnist worst-linf normalized 0.3 lenet, mm over part: 0 > 0.51" in found["worst_why"]
