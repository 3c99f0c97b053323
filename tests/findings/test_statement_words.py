"""Every test of the language: what holds, fails, is undecided, or not run, on made-up numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_statements import CLEAN, CW, FGSM, HIGH, LOW, OF_DEFENSES, PGD, WIDE, ZERO, Case, reply, seeds
from toy_records import header

from touchstone.cell import ModelId
from touchstone.findings.evidence import Caps
from touchstone.findings.statements import TESTS, sampled
from touchstone.findings.statements.comparisons import Comparison, Sampled, Trials, conclude
from touchstone.findings.statements.measured import Samples, Training, Trainings, What, of_samples
from touchstone.records import Attacked, Batch
from touchstone.study.statements import Question, Statement

NAMES = {"pgd": PGD, "fgsm": FGSM, "cw": CW}
Rows = Mapping[str, Sequence[float]]  # "[dataset] defense attack [radius or metric]" -> a number per seed


def case(test: str, rows: Rows) -> str:
    """Ask of made-up numbers: accuracies at 0.3 on mnist unless they say otherwise."""
    made = Case()
    for key, values in rows.items():
        words = key.split() if key.startswith("cifar10 ") else [M, *key.split()]
        dataset, defense, attack, rest = (*words, "")[:4]
        clean, number = attack == CLEAN, rest.replace(".", "").isdigit()
        about = {"attack": NAMES.get(attack, attack), "norm": "none" if clean else "linf", "dataset": dataset}
        about |= {"metric": "accuracy" if number or not rest else rest}
        about |= {"epsilon": float(rest) if number else math.nan if clean or rest else 0.3}
        made.add({(defense, attack): values}, **about)
    return reply(made.asked(test))


M = "mnist"
NEAR = (0.625, 0.635, 0.645)  # farther below HIGH than 5 points, just surely
ON_ONE = {"a pgd": HIGH, "b pgd": LOW, "cifar10 a pgd": LOW, "cifar10 b pgd": LOW}
UNDER_ONE = {"a pgd": HIGH, "b pgd": LOW, "a weak": LOW, "b weak": LOW}
GAPS = {key.replace("pgd", "clean prob_gap"): values for key, values in ON_ONE.items()}
RISING = {"a clean prob_gap": LOW, "b clean prob_gap": HIGH}
FALLING = {"a clean prob_gap": HIGH, "b clean prob_gap": LOW}
TWO_ATTACKS = {"a cw avg_confidence": LOW, "a fgsm avg_confidence": HIGH}
ERRORS = {"a clean": HIGH, "b clean": LOW, "c clean": HIGH}
ELSEWHERE = {"cifar10 a clean": LOW, "cifar10 b clean": HIGH}
COSTS = {"std clean": [0.9] * 3, "a clean": [0.89] * 3, "cifar10 std clean": [0.9] * 3, "cifar10 a clean": [0.8] * 3}
RATIOS = {f"{name} clean near_zero_param_ratio_vs_std": [ratio] * 3 for name, ratio in (("a", 0.5), ("b", 2.0))}
RHOS = {"a cw rho_adv": HIGH, "b cw rho_adv": LOW, "c cw rho_adv": ZERO}


OF_NUMBERS: list[tuple[str, Rows, str]] = [
    ("gain-above a b mnist cifar10", ON_ONE, "holds"),
    ("gain-above a b cifar10 mnist", ON_ONE, "fails"),
    ("gain-above a b mnist cifar10", ON_ONE | {"a pgd": WIDE}, "undecided 0 of 1"),
    ("gain-above a b mnist cifar10", {"a pgd": HIGH, "b pgd": LOW}, "not run"),
    ("gain-grows a b weak pgd40-linf", UNDER_ONE, "holds"),
    ("gain-grows a b pgd40-linf weak", UNDER_ONE, "fails"),
    ("gain-grows a b weak pgd40-linf", UNDER_ONE | {"a pgd": WIDE}, "undecided 0 of 1"),
    ("gain-grows a b weak pgd40-linf", {"a pgd": HIGH, "b pgd": LOW}, "not run"),
    ("at-least 0.72 a", {"a pgd": HIGH}, "undecided 0 of 1"),
    ("at-least 0.7 a", {"a pgd": HIGH, "a fgsm": HIGH, "b pgd": ZERO}, "holds"),
    ("at-least 0.7 a", {"a pgd": LOW}, "fails"),
    ("at-least 0.7 a", {"a pgd": ()}, "not run"),
    ("at-most 0.5 a", {"a pgd": LOW}, "undecided 0 of 1"),
    ("at-most 0.55 a", {"a pgd": LOW}, "holds"),
    ("at-most 0.5 a", {"a pgd": HIGH}, "fails"),
    ("at-most 0.5 a", {"a pgd": ()}, "not run"),
    ("varies a b c", {"a pgd": HIGH, "b pgd": LOW, "c pgd": LOW}, "holds"),
    ("varies a b", {"a pgd": HIGH, "b pgd": HIGH}, "fails"),
    ("varies a b", {"a pgd": HIGH, "b pgd": NEAR}, "holds"),
    ("varies a b c d", {"a pgd": HIGH, "b pgd": NEAR, "c pgd": NEAR, "d pgd": NEAR}, "undecided 0 of 1"),  # of 12 pairs
    ("varies a b", {"a pgd": WIDE, "b pgd": LOW}, "undecided 0 of 1"),
    ("varies a b", {"a pgd": HIGH, "b pgd": ()}, "not run"),
    ("more-robust-in-turn rho_adv a b c", RHOS, "holds"),
    ("more-robust-in-turn rho_adv a c b", RHOS, "fails"),
    ("in-turn avg_confidence a b", {"a cw avg_confidence": HIGH, "b cw avg_confidence": LOW}, "holds"),
    ("in-turn avg_confidence b a", {"a cw avg_confidence": HIGH, "b cw avg_confidence": LOW}, "fails"),
    ("in-turn avg_confidence a b", {"a cw avg_confidence": WIDE, "b cw avg_confidence": LOW}, "undecided 0 of 1"),
    ("in-turn avg_confidence a b", {"a cw avg_confidence": HIGH}, "not run"),
    ("number-at-least avg_confidence 0.6 a", {"a cw avg_confidence": HIGH}, "holds"),
    ("number-at-least avg_confidence 0.6 a", {"a cw avg_confidence": LOW}, "fails"),
    ("number-at-least avg_confidence 0.71 a", {"a cw avg_confidence": HIGH}, "undecided 0 of 1"),
    ("number-at-least avg_confidence 0.6 a", {"a cw avg_confidence": ()}, "not run"),
    ("number-at-least rho_near 0.6 a under cw-l2", {"a cw": LOW}, "not run"),
    ("number-at-most avg_confidence 0.6 a", {"a cw avg_confidence": LOW}, "holds"),
    ("number-at-most avg_confidence 0.6 a", {"a cw avg_confidence": HIGH}, "fails"),
    ("stronger pgd40-linf fgsm-linf", {"a pgd": LOW, "a fgsm": HIGH}, "holds"),
    ("stronger pgd40-linf fgsm-linf", {"a pgd": HIGH, "a fgsm": LOW}, "fails"),
    ("stronger pgd40-linf fgsm-linf", {"a pgd": ZERO, "a fgsm": ZERO}, "undecided 0 of 1"),
    ("stronger pgd40-linf fgsm-linf", {"a pgd": LOW, "a fgsm": ()}, "not run"),
    ("stronger pgd40-linf fgsm-linf on b", {"a pgd": HIGH, "a fgsm": LOW, "b pgd": LOW, "b fgsm": HIGH}, "holds"),
    ("stronger pgd40-linf cw-l2", {"a pgd": LOW, "a cw 2": HIGH}, "holds"),
    ("no-weaker pgd40-linf fgsm-linf", {"a pgd": ZERO, "a fgsm": ZERO}, "holds"),
    ("no-weaker pgd40-linf fgsm-linf", {"a pgd": HIGH, "a fgsm": LOW}, "fails"),
    ("no-weaker pgd40-linf fgsm-linf", {"a pgd": WIDE, "a fgsm": LOW}, "undecided 0 of 1"),
    ("takes-at-most 0.25 pgd40-linf long", {"a pgd": HIGH, "a long": LOW}, "holds"),
    ("takes-at-most 0.015 pgd40-linf long", {"a pgd": HIGH, "a long": LOW}, "fails"),
    ("takes-at-most 0.015 pgd40-linf long", {"a pgd": [0.52] * 3, "a long": [0.50] * 3}, "holds"),
    ("takes-at-most 0.015 pgd40-linf long", {"a pgd": [0.521] * 3, "a long": [0.50] * 3}, "fails"),
    ("takes-at-most 0.015 pgd40-linf long", {"a pgd": WIDE, "a long": LOW}, "undecided 0 of 1"),
    ("takes-at-most 0.015 pgd40-linf long", {"a pgd": HIGH, "a long": ()}, "not run"),
    ("ascending avg_confidence cw-l2 fgsm-linf", TWO_ATTACKS, "holds"),
    ("ascending avg_confidence fgsm-linf cw-l2", TWO_ATTACKS, "fails"),
    ("ascending avg_confidence cw-l2 fgsm-linf", {"a cw avg_confidence": LOW}, "not run"),
    ("falls-to 0.05", {"a pgd 0.1": HIGH, "a pgd 0.2": LOW, "a pgd 0.3": ZERO}, "holds"),
    ("falls-to 0.05", {"a pgd 0.1": LOW, "a pgd 0.2": HIGH, "a pgd 0.3": ZERO}, "fails"),
    ("falls-to 0.05", {"a pgd 0.1": HIGH, "a pgd 0.2": LOW}, "fails"),
    ("falls-to 0.05", {"a pgd 0.1": HIGH, "a pgd 0.2": ()}, "not run"),
    ("falls-to 0.5", {"a pgd 0.1": HIGH, "a pgd 0.2": WIDE}, "undecided 0 of 2"),
    ("keeps-clean a b", {"a clean": [0.7] * 3, "b clean": [0.71] * 3}, "holds"),
    ("keeps-clean a b", {"a clean": LOW, "b clean": HIGH}, "fails"),
    ("keeps-clean a b", {"a clean": WIDE, "b clean": LOW}, "undecided 0 of 1"),
    ("keeps-clean a b", {"a clean": HIGH, "b clean": ()}, "not run"),
    ("alike-clean a b c", {"a clean": [0.7] * 3, "b clean": [0.74] * 3, "c clean": [0.72] * 3}, "holds"),
    ("alike-clean a b", {"a clean": LOW, "b clean": HIGH}, "fails"),
    ("alike-clean a b", {"a clean": LOW, "b clean": ()}, "not run"),
    ("clearly-below error a b", {"a clean": [0.99] * 3, "b clean": [0.97] * 3}, "holds"),
    ("clearly-below error a b", {"a clean": [0.975] * 3, "b clean": [0.97] * 3}, "fails"),
    ("clearly-below error a b", {"a clean": WIDE, "b clean": LOW}, "undecided 0 of 1"),
    ("clearly-below error a b", {"a clean": (), "b clean": LOW}, "not run"),
    ("clearly-below max_abs_conv a b", {"a clean max_abs_conv": LOW, "b clean max_abs_conv": HIGH}, "holds"),
    ("no-less max_abs_conv a b", {"a clean max_abs_conv": [0.40] * 3, "b clean max_abs_conv": [0.5] * 3}, "holds"),
    ("no-less max_abs_conv a b", {"a clean max_abs_conv": [0.37] * 3, "b clean max_abs_conv": [0.5] * 3}, "fails"),
    ("no-less max_abs_conv a b", {"a clean max_abs_conv": WIDE, "b clean max_abs_conv": LOW}, "undecided 0 of 1"),
    ("no-less max_abs_conv@w a b", {"a clean max_abs_conv@w": HIGH, "b clean max_abs_conv@w": LOW}, "holds"),
    ("no-less max_abs_conv a b", {"a clean max_abs_conv": HIGH, "b clean max_abs_conv": ()}, "not run"),
    ("decreasing error b a; decreasing error b c", ERRORS, "holds"),
    ("decreasing error b a; decreasing error a c", ERRORS, "undecided 1 of 2"),
    ("decreasing-somewhere error a b", ERRORS | ELSEWHERE, "holds"),
    ("decreasing-somewhere error a b", {"a clean": HIGH, "b clean": LOW}, "fails"),
    ("decreasing-somewhere error b a", {"a clean": WIDE, "b clean": LOW}, "undecided 0 of 1"),
    ("decreasing-somewhere error b a", {"a clean": (), "b clean": LOW}, "not run"),
    ("difference-above prob_gap a b mnist cifar10", GAPS, "holds"),
    ("difference-above prob_gap a b cifar10 mnist", GAPS, "fails"),
    ("difference-above prob_gap a b mnist cifar10", {"a clean prob_gap": HIGH, "b clean prob_gap": LOW}, "not run"),
    ("clean-at-least prob_gap 0.6 a", {"a clean prob_gap": HIGH}, "holds"),
    ("clean-at-least prob_gap 0.6 a", {"a clean prob_gap": LOW}, "fails"),
    ("clean-at-least prob_gap 0.6 a", {"a clean prob_gap": WIDE}, "undecided 0 of 1"),
    ("clean-at-least prob_gap 0.6 a", {"a clean prob_gap": ()}, "not run"),
    ("rises-with prob_gap a b under pgd40-linf", RISING | {"a pgd": LOW, "b pgd": HIGH}, "holds"),
    ("rises-with prob_gap a b under pgd40-linf", FALLING | {"a pgd": LOW, "b pgd": HIGH}, "fails"),
    ("rises-with prob_gap a b under pgd40-linf", RISING | {"a pgd": LOW, "b pgd": WIDE}, "undecided 0 of 1"),
    ("rises-with prob_gap a b under pgd40-linf", RISING | {"a pgd": LOW, "b pgd": ()}, "not run"),
    ("more-robust-in-turn rho_adv a b c", RHOS | {"a cw rho_adv": WIDE}, "undecided 1 of 2"),
    ("more-robust-in-turn rho_adv a b c", RHOS | {"c cw rho_adv": ()}, "not run"),
    ("more-robust rho_adv a b c", RHOS, "holds"),
    ("more-robust rho_adv c b a", RHOS, "fails"),
    ("more-robust rho_adv a b", RHOS | {"a cw rho_adv": WIDE}, "undecided 0 of 1"),
    ("more-robust rho_adv a b c", RHOS | {"c cw rho_adv": ()}, "not run"),
    ("number-at-most avg_confidence 0.7 a", {"a cw avg_confidence": HIGH}, "undecided 0 of 1"),
    ("number-at-most avg_confidence 0.6 a", {"a cw avg_confidence": ()}, "not run"),
    ("no-weaker pgd40-linf fgsm-linf", {"a pgd": LOW, "a fgsm": ()}, "not run"),
    ("ascending avg_confidence cw-l2 fgsm-linf", TWO_ATTACKS | {"a fgsm avg_confidence": WIDE}, "undecided 0 of 1"),
    ("misses cw-l2 a", {"a cw attack_gap": [0.03] * 3}, "holds"),
    ("misses cw-l2 a", {"a cw attack_gap": [0.01] * 3}, "fails"),
    ("misses cw-l2 a", {"a cw attack_gap": (0.0, 0.04, 0.05)}, "undecided 0 of 1"),
    ("misses cw-l2 a", {"a cw": HIGH}, "not run"),
    ("finds-all cw-l2 a", {"a cw attack_gap": [0.02] * 3}, "holds"),
    ("finds-all cw-l2 a", {"a cw attack_gap": [0.03] * 3}, "fails"),
    ("finds-all cw-l2 a", {"a cw attack_gap": (0.0, 0.04, 0.05)}, "undecided 0 of 1"),
    ("finds-all cw-l2 a", {"a cw": HIGH}, "not run"),
    ("costs-clean a mnist cifar10", COSTS, "holds"),
    ("costs-clean a mnist cifar10", COSTS | {"a clean": [0.87] * 3}, "fails"),
    ("costs-clean a mnist cifar10", COSTS | {"cifar10 a clean": WIDE}, "undecided 2 of 3"),
    ("costs-clean a mnist cifar10", COSTS | {"cifar10 a clean": ()}, "not run"),
    ("near-zero a b", RATIOS, "holds"),
    ("near-zero a b", RATIOS | {"a clean near_zero_param_ratio_vs_std": [0.7] * 3}, "fails"),
    ("near-zero a b", RATIOS | {"b clean near_zero_param_ratio_vs_std": (0.5, 1.5, 2.5)}, "undecided 2 of 3"),
    ("near-zero a b", RATIOS | {"b clean near_zero_param_ratio_vs_std": ()}, "not run"),
    ("alike-clean a b", {"a clean": WIDE, "b clean": LOW}, "undecided 0 of 2"),
    ("difference-above prob_gap a b mnist cifar10", GAPS | {"a clean prob_gap": WIDE}, "undecided 0 of 1"),
]


@pytest.mark.parametrize(("test", "rows", "verdict"), OF_NUMBERS)
def test_what_becomes_of_numbers(test: str, rows: Rows, verdict: str) -> None:
    assert case(test, rows) == verdict


def test_what_an_attack_misses_is_the_gap_to_the_worst_case() -> None:
    def gaps(*values: float, test: str = "misses") -> str:
        made = Case().add({("a", CW): HIGH}, epsilon=1.0)
        for radius, value in zip((1.0, 2.0), values, strict=True):
            cell = {"attack": CW, "protocol": "worst", "metric": "attack_gap", "epsilon": radius}
            made.cells += seeds(*[value] * 3, defense="a", **cell)
        return reply(made.asked(f"{test} cw-l2 a"))

    assert [gaps(0.1, 0.0), gaps(0.01, 0.02)] == ["holds", "fails"]
    assert case("misses cw-l2 a", {"a cw": HIGH}) == "not run"
    assert [gaps(0.01, 0.02, test="finds-all"), gaps(0.0, 0.03, test="finds-all")] == ["holds", "fails"]
    assert case("finds-all cw-l2 a", {"a cw": HIGH}) == "not run"


def test_a_clause_may_be_about_some_attacks_alone() -> None:
    rows = {"a pgd": HIGH, "b pgd": LOW, "a fgsm": LOW, "b fgsm": HIGH}
    assert case("above a b", rows) == "fails"
    assert case("above a b under pgd40-linf", rows) == "holds"


# ---- trainings


def trained(values: Mapping[str, Sequence[Sequence[float] | None]], column: str) -> Trainings:
    """Trainings by defense, each seed with a column of its history; None: one that failed."""
    found = []
    for defense, runs in values.items():
        for seed, column_values in enumerate(runs):
            rows = column_values or [math.nan]
            history = pd.DataFrame({"epoch": range(1, len(rows) + 1), column: rows})
            found.append(Training(ModelId("toy", M, "lenet", defense, seed), column_values is None, history))
    return Trainings(tuple(found))


def asked_of_trainings(test: str, given: Trainings, **accuracies: Sequence[float]) -> str:
    made = Case().add({("a", PGD): HIGH, **{(name, CLEAN): values for name, values in accuracies.items()}})
    return reply(made.asked(test, trained=given))


FAST, SLOW, MIXED = [[10.0]] * 3, [[20.0]] * 3, [[5.0], [15.0], [40.0]]


OF_COSTS: list[tuple[str, Any, Any, str]] = [
    ("training-above seconds_per_epoch a b", SLOW, FAST, "holds"),
    ("training-above seconds_per_epoch a b", FAST, SLOW, "fails"),
    ("training-above seconds_per_epoch a b", MIXED, FAST, "undecided 0 of 1"),
    ("training-above seconds_per_epoch a b", SLOW, [], "not run"),
    ("costs-at-least 1.5 a b", SLOW, FAST, "holds"),
    ("costs-at-least 2.5 a b", SLOW, FAST, "fails"),
    ("costs-at-least 1.1 a b", MIXED, FAST, "undecided 0 of 1"),
    ("costs-at-least 1.5 a b", [None] * 3, FAST, "not run"),
    ("costs-at-most 1.1 a b", FAST, FAST, "holds"),
    ("costs-at-most 1.1 a b", SLOW, FAST, "fails"),
    ("costs-at-most 1.1 a b", MIXED, FAST, "undecided 0 of 1"),
    ("costs-at-most 1.1 a b", [], [], "not run"),
]


@pytest.mark.parametrize(("test", "a", "b", "verdict"), OF_COSTS)
def test_what_an_epoch_costs(test: str, a: Any, b: Any, verdict: str) -> None:
    assert asked_of_trainings(test, trained({"a": a, "b": b}, "seconds")) == verdict


def test_a_loss_settles_and_scatters_at_its_end() -> None:
    early, late = [[2.0, 0.1, *[0.0] * 6]] * 3, [[2.0, 1.5, 1.0, 0.5, 0.19, 0.1, 0.05, 0.0]] * 3
    given = trained({"early": early, "late": late}, "loss")
    assert asked_of_trainings("training-above settling_epoch late early", given) == "holds"
    assert given.seeds((M, "lenet", "early"), "settling_epoch") == dict.fromkeys(range(3), 2.0)
    assert given.seeds((M, "lenet", "late"), "settling_epoch") == dict.fromkeys(range(3), 5.0)
    assert given.seeds((M, "lenet", "late"), "late_spread")[0] == pytest.approx(np.std([0.05, 0.0], ddof=1) / 2.0)
    assert asked_of_trainings("training-above late_spread late early", given) == "holds"
    assert asked_of_trainings("training-above validation_accuracy late early", given) == "not run"


@pytest.mark.parametrize(
    ("net", "cut", "verdict"),
    [
        (("lenet", "a"), Caps(model=("epochs 5 of 10",)), "not comparable"),
        (("lenet", "b"), Caps(model=("epochs 5 of 10",)), "not comparable"),
        (("lenet", "c"), Caps(model=("epochs 5 of 10",)), "holds"),
        (("mlp", "a"), Caps(model=("epochs 5 of 10",)), "holds"),
        (("lenet", "a"), Caps(attack=("steps 10 of 40",)), "holds"),
    ],
)
def test_what_was_cut_short_of_other_nets_or_of_attacks_says_nothing_of_how_a_net_was_trained(
    net: tuple[str, str], cut: Caps, verdict: str
) -> None:
    made = Case().add({(name, PGD): HIGH for name in "abc"})
    given = trained({"a": SLOW, "b": FAST}, "seconds")
    caps = {(M, *net, PGD): cut}
    asked = made.asked("training-above seconds_per_epoch lenet/a lenet/b", trained=given, caps=caps)
    assert reply(asked) == verdict


USUAL: tuple[list[Any], list[float]] = ([[1.0]] * 5, [0.7] * 5)  # five losses, and five accuracies
WRONG: tuple[list[Any], list[float]] = ([None] * 3 + [[1.0]] * 2, [0.1] * 2)  # three fail, two learn nothing
OF_FAILURES: list[tuple[str, Any, Any, str]] = [
    ("unstable b a", WRONG, USUAL, "holds"),
    ("unstable b a", ([], []), USUAL, "not run"),
    ("unstable b a", USUAL, (USUAL[0], []), "not run"),  # what is usual is not known
    ("unstable b a", ([None] * 3, []), USUAL, "holds"),
    ("unstable b a", ([None] * 2, []), USUAL, "undecided 0 of 1"),
    ("unstable b a", ([[1.0]] * 3, [0.7] * 3), USUAL, "undecided 0 of 1"),  # every second time by chance
    ("unstable b a", ([[1.0]] * 14, [0.7] * 14), USUAL, "fails"),
    ("unstable b a", ([None] * 2 + [[1.0]] * 3, [0.7] * 3), USUAL, "undecided 0 of 1"),
    ("stabler b b a", WRONG, USUAL, "holds"),
    ("stabler b a b", WRONG, USUAL, "fails"),
    ("stabler b b a", ([None] * 3, []), ([[1.0]] * 3, [0.7] * 3), "undecided 0 of 1"),  # one in twenty by chance
    ("stabler b b a", USUAL, USUAL, "undecided 0 of 1"),
    ("stabler b b a", ([], []), USUAL, "not run"),
]


@pytest.mark.parametrize(("test", "a", "b", "verdict"), OF_FAILURES)
def test_trainings_that_go_wrong(test: str, a: Any, b: Any, verdict: str) -> None:
    assert asked_of_trainings(test, trained({"a": a[0], "b": b[0]}, "loss"), a=a[1], b=b[1]) == verdict


@pytest.mark.parametrize(("wrong", "n", "others", "m"), [(0, 3, 0, 3), (3, 3, 0, 3), (4, 5, 1, 6), (1, 7, 6, 8)])
def test_trainings_are_counted_by_exact_tests(wrong: int, n: int, others: int, m: int) -> None:
    def trials(k: int, count: int) -> dict[int, float]:
        return {i: float(i < k) for i in range(count)}

    alone, two = Trials("", trials(wrong, n), 0.2), Trials("", trials(wrong, n), trials(others, m))
    assert alone.tails()[0] == pytest.approx(stats.binom.sf(wrong - 1, n, 0.2))
    assert alone.tails()[1] == pytest.approx(stats.binom.cdf(wrong, n, 0.2))
    of_all = (n + m, wrong + others, n)
    assert two.tails()[0] == pytest.approx(stats.hypergeom.sf(wrong - 1, *of_all))
    assert two.tails()[1] == pytest.approx(stats.hypergeom.cdf(wrong, *of_all))
    for one in (alone, two):
        low, high = one.bounds()
        assert low <= one.difference <= high
        assert low < high, "a few that all end alike are not all there are"
    low, high = (bound + 0.2 for bound in alone.bounds())
    assert (stats.binom.sf(wrong - 1, n, low), stats.binom.cdf(wrong, n, high)) == pytest.approx(
        (0.05 if wrong else 1.0, 0.05 if wrong < n else 1.0)
    )
    assert math.isnan(Trials("", trials(1, 2), 0.2).tails()[0])
    assert "2 of 3 seeds" in str(Trials("", trials(1, 2), trials(others, m)))


FALLEN, STAYED = [[0.2, 0.5, math.nan, 0.3]] * 3, [[0.2, 0.5, math.nan, 0.49]] * 3
OF_WATCHED: list[tuple[str, Any, str]] = [
    ("decays a", FALLEN, "holds"),
    ("decays a", STAYED, "fails"),
    ("decays a", FALLEN[:1], "undecided 0 of 1"),
    ("decays a", [None] * 3, "not run"),
    ("stays a", STAYED, "holds"),
    ("stays a", FALLEN, "fails"),
    ("stays a", STAYED[:1], "undecided 0 of 1"),
    ("stays a", [None] * 3, "not run"),
]


@pytest.mark.parametrize(("test", "a", "verdict"), OF_WATCHED)
def test_a_net_that_is_watched_decays_or_stays(test: str, a: Any, verdict: str) -> None:
    assert asked_of_trainings(test, trained({"a": a}, "test_robust")) == verdict
    assert asked_of_trainings(test, trained({"a": [[1.0]] * 3}, "loss")) == "not run", "nobody watched"


# ---- attacks, sample by sample

N = 1000
GEN = np.random.default_rng(0)
NOISE = pd.Series(GEN.normal(0.0, 0.05, N))
UP, DOWN = 2.0 + NOISE, 1.0 + NOISE[::-1].reset_index(drop=True)
HALF = pd.Series(np.arange(N) % 2, dtype=float)
ALL, NONE = HALF * 0 + 1, HALF * 0
NEARLY, LESS = (ALL.where(ALL.index >= few, 0.0) for few in (8, 50))  # EDGE_POINTS off, or LITTLE, for all we know
EVEN = pd.Series(np.arange(N) % 9 + 2, dtype=float)  # every class alike
SECOND = EVEN.where(HALF > 0, 2.0)
NETS = {"a": ModelId("toy", M, "lenet", "a", 0), "b": ModelId("toy", M, "lenet", "b", 0)}


def asked_of_samples(test: str, **nets: Mapping[tuple[str, str], pd.Series]) -> str:
    """Ask of what was measured on one net of each defense; "@" in a name stands for the radius 0.3."""
    made = Case().add({(name, PGD): LOW[:1] for name in (nets or {"a": {}})})
    made.add({(name, FGSM): LOW[:1] for name in (nets or {"a": {}})})
    of = {
        NETS[net]: {
            What(attack, name.rstrip("@"), 0.3 if "@" in name else math.nan): v for (attack, name), v in m.items()
        }
        for net, m in nets.items()
    }
    return reply(made.asked(test, measured=Samples(of)))


def both(name: str, first: Any, second: Any) -> dict[tuple[str, str], pd.Series]:
    return {(PGD, name): first, (FGSM, name): second}


OF_SAMPLES: list[tuple[str, Any, str]] = [
    ("nearer pgd40-linf fgsm-linf", both("distance", DOWN, UP), "holds"),
    ("nearer pgd40-linf fgsm-linf", both("distance", UP, DOWN), "fails"),
    ("nearer pgd40-linf fgsm-linf", both("distance", UP, UP + GEN.normal(0, 1, N) * 0.1), "undecided 0 of 1"),
    ("nearer pgd40-linf fgsm-linf", {(PGD, "distance"): UP}, "not run"),
    ("nearer-by 0.4 pgd40-linf fgsm-linf", both("distance", DOWN, UP), "holds"),
    ("nearer-by 0.6 pgd40-linf fgsm-linf", both("distance", DOWN, UP), "fails"),
    ("nearer-by 0.5 pgd40-linf fgsm-linf", both("distance", 0.5 * UP + NOISE - NOISE.mean(), UP), "undecided 0 of 1"),
    ("nearer-by 0.4 pgd40-linf fgsm-linf", {(PGD, "distance"): UP}, "not run"),
    ("little-nearer pgd40-linf fgsm-linf", both("distance", 0.95 * UP, UP), "holds"),
    ("little-nearer pgd40-linf fgsm-linf", both("distance", UP, UP), "holds"),  # that it is nearer is `nearer`
    ("little-nearer pgd40-linf fgsm-linf", both("distance", 0.85 * UP, UP), "fails"),
    ("little-nearer pgd40-linf fgsm-linf", both("distance", 0.9 * UP + NOISE - NOISE.mean(), UP), "undecided 0 of 1"),
    ("little-nearer pgd40-linf fgsm-linf", {(PGD, "distance"): UP}, "not run"),
    ("leaves-least pgd40-linf fgsm-linf", both("left@", HALF, HALF), "holds"),
    ("leaves-least pgd40-linf fgsm-linf", both("left@", ALL, HALF), "fails"),
    ("leaves-least pgd40-linf fgsm-linf", {}, "not run"),
    ("leaves-more 0.05 pgd40-linf fgsm-linf", both("left@", ALL, HALF), "holds"),
    ("leaves-more 0.05 pgd40-linf fgsm-linf", both("left@", HALF, HALF), "fails"),
    ("leaves-more 0.5 pgd40-linf fgsm-linf", both("left@", ALL, HALF), "undecided 0 of 1"),
    ("leaves-more 0.05 pgd40-linf fgsm-linf", {(PGD, "left@"): ALL}, "not run"),
    ("as-strong pgd40-linf fgsm-linf", both("left@", HALF, HALF), "holds"),
    ("as-strong pgd40-linf fgsm-linf", both("left@", HALF, ALL), "fails"),
    ("as-strong pgd40-linf fgsm-linf", {}, "not run"),
    ("breaks-at-most 0.9 pgd40-linf", {(PGD, "reached"): HALF}, "holds"),
    ("breaks-at-most 0.3 pgd40-linf", {(PGD, "reached"): HALF}, "fails"),
    ("breaks-at-most 0.99 pgd40-linf", {(PGD, "reached"): ALL}, "holds"),
    ("breaks-at-most 0.5 pgd40-linf", {(PGD, "reached"): HALF}, "undecided 0 of 1"),
    ("breaks-at-most 0.3 pgd40-linf", {}, "not run"),
    ("fewer-pixels pgd40-linf", {(PGD, "distance"): DOWN, (PGD, "distance_values"): 2 * DOWN}, "holds"),
    ("fewer-pixels pgd40-linf", {(PGD, "distance"): DOWN, (PGD, "distance_values"): DOWN}, "fails"),
    ("fewer-pixels pgd40-linf", {(PGD, "distance"): DOWN}, "not run"),
    ("as-costly pgd40-linf fgsm-linf", both("gradients", UP, 0.9 * UP), "holds"),
    ("as-costly pgd40-linf fgsm-linf", both("gradients", UP, DOWN), "fails"),
    ("as-costly pgd40-linf fgsm-linf", {}, "not run"),
    ("second-class pgd40-linf", {(PGD, "new_rank@"): SECOND}, "holds"),
    ("second-class pgd40-linf", {(PGD, "new_rank@"): 5 * ALL}, "fails"),
    ("second-class pgd40-linf", {(PGD, "new_rank@"): EVEN}, "undecided 0 of 8"),
    ("second-class pgd40-linf", {}, "not run"),
    ("second-class-throughout pgd40-linf", {(PGD, "new_rank@"): SECOND}, "holds"),
    ("second-class-throughout pgd40-linf", {(PGD, "new_rank@"): 5 * ALL}, "fails"),
    ("second-class-throughout pgd40-linf", {}, "not run"),
    ("leaves-least pgd40-linf fgsm-linf", both("left@", ALL, NEARLY), "undecided 0 of 1"),
    ("as-strong pgd40-linf fgsm-linf", both("left@", ALL, LESS), "undecided 1 of 2"),
    ("fewer-pixels pgd40-linf", {(PGD, "distance"): DOWN, (PGD, "distance_values"): 1.1 * DOWN}, "undecided 0 of 1"),
    ("as-costly pgd40-linf fgsm-linf", both("gradients", UP, 0.8 * UP), "undecided 1 of 2"),
    ("second-class-throughout pgd40-linf", {(PGD, "new_rank@"): EVEN}, "undecided 0 of 8"),
]


@pytest.mark.parametrize(("test", "a", "verdict"), OF_SAMPLES)
def test_attacks_are_compared_sample_by_sample(test: str, a: Any, verdict: str) -> None:
    assert asked_of_samples(test, a=a) == verdict


RANKS = {"a": {(PGD, "new_rank@"): SECOND}, "b": {(PGD, "new_rank@"): EVEN}}
APART = {"a": both("distance", DOWN, UP), "b": both("distance", DOWN, DOWN + 0.1)}
FAR = {"a": both("distance", DOWN, UP), "b": both("distance", UP, UP)}
RESTARTS = {"a": both("left@", HALF, ALL), "b": both("left@", ALL, ALL)}
OF_NETS: list[tuple[str, Any, str]] = [
    ("gains-most pgd40-linf fgsm-linf a", APART, "holds"),
    ("gains-most pgd40-linf fgsm-linf b", APART, "fails"),
    ("gains-most pgd40-linf fgsm-linf a", APART | {"b": APART["a"]}, "undecided 0 of 1"),
    ("gains-most pgd40-linf fgsm-linf a", APART | {"b": {}}, "not run"),
    ("helps-most pgd40-linf fgsm-linf a", RESTARTS, "holds"),
    ("helps-most pgd40-linf fgsm-linf b", RESTARTS, "fails"),
    ("helps-most pgd40-linf fgsm-linf a", RESTARTS | {"b": RESTARTS["a"]}, "undecided 0 of 1"),
    ("helps-most pgd40-linf fgsm-linf a", RESTARTS | {"b": {}}, "not run"),
    ("weaker-net a b pgd40-linf", FAR, "holds"),
    ("weaker-net b a pgd40-linf", FAR, "fails"),
    ("weaker-net a b pgd40-linf", FAR | {"b": FAR["a"]}, "undecided 0 of 1"),
    ("weaker-net a b pgd40-linf", FAR | {"b": {}}, "not run"),
    ("more-in-second-class pgd40-linf a b", RANKS, "holds"),
    ("more-in-second-class pgd40-linf b a", RANKS, "fails"),
    ("more-in-second-class pgd40-linf a b", RANKS | {"b": RANKS["a"]}, "undecided 0 of 1"),
    ("more-in-second-class pgd40-linf a b", RANKS | {"b": {}}, "not run"),
]


@pytest.mark.parametrize(("test", "nets", "verdict"), OF_NETS)
def test_nets_are_compared_by_what_attacks_find_on_them(test: str, nets: Any, verdict: str) -> None:
    assert asked_of_samples(test, **nets) == verdict


def many_radii(test: str, of: Mapping[tuple[str, str, float], pd.Series]) -> str:
    made = Case()
    for attack, radius in {(attack, radius) for attack, _, radius in of}:
        made.add({("a", attack): LOW[:1]}, epsilon=radius, attack=attack, metric="accuracy", norm="linf")
    return reply(made.asked(test, measured=Samples({NETS["a"]: {What(*key): v for key, v in of.items()}})))


def ranks(*at_radii: pd.Series) -> dict[tuple[str, str, float], pd.Series]:
    return {(PGD, "new_rank", radius): of for radius, of in zip((0.1, 0.3, 0.5), at_radii, strict=False)}


LARGER = {(PGD, "left", 0.3): ALL, (PGD, "left", 0.5): ALL, (FGSM, "left", 0.3): NONE}
OF_RADII: list[tuple[str, Any, str]] = [
    ("leaves-more 0.05 pgd40-linf fgsm-linf", LARGER, "not run"),  # at the largest, and not at what both have
    ("leaves-more 0.05 pgd40-linf fgsm-linf", LARGER | {(FGSM, "left", 0.5): NONE}, "holds"),
    ("later-classes-grow pgd40-linf", ranks(SECOND, EVEN), "holds"),
    ("later-classes-grow pgd40-linf", ranks(EVEN, SECOND), "fails"),
    ("later-classes-grow pgd40-linf", ranks(SECOND, EVEN, 9 * ALL[:2]), "holds"),  # a radius with few has little say
    ("later-classes-grow pgd40-linf", ranks(EVEN, SECOND, 4 * ALL[:2]), "fails"),
    ("later-classes-grow pgd40-linf", ranks(EVEN, EVEN), "undecided 0 of 1"),
    ("later-classes-grow pgd40-linf", ranks(EVEN, EVEN[:0]), "undecided 0 of 1"),
    ("later-classes-grow pgd40-linf", ranks(EVEN[:0], EVEN[:0]), "not run"),
]


@pytest.mark.parametrize(("test", "of", "verdict"), OF_RADII)
def test_what_changes_with_the_radius(test: str, of: Any, verdict: str) -> None:
    assert many_radii(test, of) == verdict


def test_three_nets_speak_for_others_and_one_for_itself() -> None:
    sure = Sampled({0: UP, 1: UP, 2: UP})
    assert "on our net" not in str(Comparison("x", sure, 1.0))
    assert str(Comparison("x", Sampled({0: UP}), 1.0)).endswith(", on our net)")
    assert str(Comparison("x", 1.0, Sampled({0: UP}))).endswith(", on our net)")
    assert str(Comparison("x", Sampled({0: UP, 1: DOWN}), 1.0)).endswith(", on our nets)")
    won = pd.Series([1.0] * 9 + [-1.0] * 3 + [0.0] * 88)
    one, two = (Comparison("x", Sampled(dict.fromkeys(range(nets), won)), 0.0) for nets in (1, 2))
    assert two.tails() == pytest.approx(one.tails()), "the same images, and no more of them"
    assert conclude([Comparison("x", Sampled({0: UP + 9, 1: DOWN, 2: UP}), 1.0)]).word == "undecided", "they scatter"
    above, _ = Comparison("x", Sampled({0: UP}), 2.0).tails()
    assert above == pytest.approx(Comparison("x", dict(UP), 2.0).tails()[0]), "as Student's test over the samples"


def test_samples_of_a_share_that_all_agree_do_not_make_it_exact() -> None:
    alike = Comparison("x", Sampled({0: NONE[:32]}), 0.0, margin=-0.02, or_equal=True)
    assert conclude([alike]).word == "undecided", "up to three of 32 may differ"
    assert conclude([Comparison("x", Sampled({0: NONE}), 0.0, margin=-0.02, or_equal=True)]).word == "holds"
    assert conclude([Comparison("x", Sampled({0: 7 * ALL}), 7.0, or_equal=True)]).word == "holds", "a count is exact"


def test_samples_count_beside_three_nets_as_far_as_they_are_not_all_there_are() -> None:
    def asked(population: int | None) -> str:
        made = Case().add({("a", PGD): LOW, ("a", FGSM): LOW})
        known = {What(PGD, "left", 0.3): ALL, What(PGD, "new_rank", 0.3): pd.Series([2.0, 2.0, 2.0, 3.0, 4.0, 5.0])}
        of = {NETS["a"]._replace(seed=seed): known for seed in range(3)}
        cut = {(M, "lenet", "a", PGD): Caps(population=population)}
        return reply(made.asked("second-class-throughout pgd40-linf", measured=Samples(of), caps=cut))

    assert [asked(None), asked(1000)] == ["holds", "holds"]
    assert asked(10_000).startswith("undecided")


def test_a_sample_counts_once_in_what_is_measured_of_it() -> None:
    def rows(radius: float, **columns: Any) -> pd.DataFrame:
        base = {"sample": [0, 1, 2, 3], "label": [0, 0, 0, 0], "clean_pred": [0, 0, 0, 1], "backwards": [7, 7, 7, 7]}
        return pd.DataFrame({**base, "epsilon": radius, **columns})

    small = rows(0.1, success=[True, False, False, True], adv_rank=[2, 1, 1, 1])
    large = rows(0.3, success=[True, True, False, True], adv_rank=[4, 3, 1, 1])
    one = Attacked(header(PGD), pd.concat([small, large], ignore_index=True))
    ((model, found),) = of_samples(Batch([one], []), {PGD}).items()
    assert model == one.header.model
    gradients = next(values for what, values in found.items() if what.name == "gradients")
    assert gradients.tolist() == [14.0] * 4
    ranks = {what.epsilon: dict(values) for what, values in found.items() if what.name == "new_rank"}
    assert ranks == {0.1: {0: 2.0}, 0.3: {1: 3.0}}, "once, and never what was wrong before"
    left = {what.epsilon: values.tolist() for what, values in found.items() if what.name == "left"}
    assert left == {0.1: [0, 1, 1, 0], 0.3: [0, 0, 1, 0]}
    assert of_samples(Batch([one], []), {"other"}) == {}


def test_only_attacks_that_are_compared_by_samples_are_kept_so() -> None:
    def statement(test: str) -> Statement:
        return Statement("s", "", Question.of(test), (), (), "")

    assert sampled([statement("above a b"), statement("nearer x y z on a; leaves-least u v")]) == set("xyzuv")


OUTCOMES = ("holds", "fails", "undecided", "not run")  # the others are not by the word: of other data, or not testable
TABLES = (OF_DEFENSES, OF_NUMBERS, OF_COSTS, OF_FAILURES, OF_WATCHED, OF_SAMPLES, OF_NETS, OF_RADII)


@pytest.mark.parametrize("word", TESTS)
def test_every_word_has_every_outcome(word: str) -> None:
    """One that cannot fail, or says "fails" where it does not know, would tell nothing."""
    replies = [row[-1] for table in TABLES for row in table if row[0].split()[0] == word]
    assert {outcome for outcome in OUTCOMES if any(one.startswith(outcome) for one in replies)} == {*OUTCOMES}
