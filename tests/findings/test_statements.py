import inspect

import pandas as pd
import pytest
from toy_claims import STUDY, printed, printed_as_ours, seeds, slugs

from touchstone.findings import statements
from touchstone.findings.statements import Check
from touchstone.study import statements as written


@pytest.fixture(scope="module")
def study() -> pd.DataFrame:
    return printed()


# ---- statements


ATTACKS = ["fgsm-linf", "pgd40-linf", "cw-l2"]


def means(values: dict[tuple[str, ...], float], datasets: tuple[str, ...] = ("mnist",)) -> statements.Means:
    """Keys (defense, attack or metric) for mnist, or (dataset, defense, attack or metric)."""
    table = {}
    for key, value in values.items():
        dataset, defense, name = key if len(key) == 3 else ("mnist", *key)
        place = (name, "accuracy") if name in [*ATTACKS, "clean"] else ("clean", name)
        table[dataset, defense, *place] = value
    attacks = {dataset: ATTACKS[1:] for dataset in datasets}
    pairs = {(dataset, attack): ["std", "mm"] for dataset in datasets for attack in ATTACKS}
    return statements.Means(table, attacks, pairs, {("mnist", "near_zero_ratio"): (17.0, 19.0)})


TWO = {("std", "pgd40-linf"): 0.5, ("std", "cw-l2"): 0.4}
BETTER = {("l2", "pgd40-linf"): 0.61, ("l2", "cw-l2"): 0.51}
FUZZY = {("std", "fuzziness"): 0.4, ("adv", "fuzziness"): 0.3}


@pytest.mark.parametrize(
    ("test", "values", "holds"),
    [
        ("above mm std mnist", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.5}, "yes"),
        ("above mm std mnist", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.4}, "partly"),
        ("above mm std mnist", {("mm", "pgd40-linf"): 0.5, ("mm", "cw-l2"): 0.4}, "no"),
        ("above mm std mnist", {("mm", "pgd40-linf"): 0.6}, "not run"),
        ("not-above mm std", {("mm", "pgd40-linf"): 0.4, ("mm", "cw-l2"): 0.3}, "yes"),
        ("not-above mm std", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.3}, "partly"),
        ("little-above mm std", {("mm", "pgd40-linf"): 0.54, ("mm", "cw-l2"): 0.44}, "yes"),
        ("little-above mm std", {("mm", "pgd40-linf"): 0.64, ("mm", "cw-l2"): 0.54}, "partly"),
        ("best-on-most mm std", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.5}, "yes"),
        ("best-on-most mm std", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.4}, "no"),
        ("best-on-most mm std l2", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.5} | BETTER, "no"),
        ("best-on-most mm std l1", {("mm", "pgd40-linf"): 0.6, ("mm", "cw-l2"): 0.4}, "not run"),
        ("broken cw-l2 mnist", {("std", "cw-l2"): 0.0, ("mm", "cw-l2"): 0.005}, "yes"),
        ("broken cw-l2 mnist", {("std", "cw-l2"): 0.0, ("mm", "cw-l2"): 0.006}, "partly"),
        ("broken fgsm-linf mnist", {("std", "fgsm-linf"): 0.1, ("mm", "fgsm-linf"): 0.2}, "no"),
        ("mean-gain mm std", {("mm", "pgd40-linf"): 0.7, ("mm", "cw-l2"): 0.3}, "yes"),
        ("mean-gain mm std", {("mm", "pgd40-linf"): 0.5, ("mm", "cw-l2"): 0.3}, "no"),
        ("decreasing fuzziness std adv mm", FUZZY | {("mm", "fuzziness"): 0.1}, "yes"),
        ("decreasing fuzziness std adv mm", FUZZY | {("mm", "fuzziness"): 0.35}, "partly"),
        ("near-zero mm adv", {("mm", "near_zero_ratio"): 23.5, ("adv", "near_zero_ratio"): 1.1}, "yes"),
        ("near-zero mm adv", {("mm", "near_zero_ratio"): 23.6, ("adv", "near_zero_ratio"): 1.1}, "partly"),
        ("near-zero mm adv", {("mm", "near_zero_ratio"): 12.0, ("adv", "near_zero_ratio"): 1.0}, "no"),
        ("near-zero mm adv", {("adv", "near_zero_ratio"): 1.0}, "not run"),
    ],
)  # fmt: skip
def test_a_statement_holds_where_its_comparisons_do(test: str, values: dict[tuple, float], holds: str) -> None:
    name, *words = test.split()
    assert statements.conclude(list(statements.TESTS[name](means(TWO | values), *words)))[0] == holds


@pytest.mark.parametrize(
    ("slight", "clear", "holds"),
    [(0.01, 0.08, "yes"), (0.03, 0.08, "partly"), (-0.01, 0.08, "partly"), (0.02, 0.02, "partly")],
)
def test_a_cost_in_clean_accuracy(slight: float, clear: float, holds: str) -> None:
    drop = {("mnist", "mm", "clean_accuracy_drop"): slight, ("cifar10", "mm", "clean_accuracy_drop"): clear}
    found = statements.TESTS["costs-clean"](means(drop), "mm", "mnist", "cifar10")
    assert statements.conclude(list(found))[0] == holds


def test_the_detail_says_what_fails_and_what_is_missing() -> None:
    checks = [Check("a", "1 > 0", True), Check("b", "0 > 1", False), Check("c", "nan > 1", None)]
    assert statements.conclude(checks) == ("not run", "1 of 3; not: b: 0 > 1; no number: c")
    assert statements.conclude(checks[:2]) == ("partly", "1 of 2; not: b: 0 > 1")
    assert statements.conclude([]) == ("not run", "0 of 0")


def test_the_statements_of_the_study_are_tested_on_the_claimed_cells(study: pd.DataFrame) -> None:
    said = written.load(STUDY, written.words(slugs()))
    assert len(said) == 13
    stray = seeds(0.123, defense="minmax-printed", attack="pgd40-linf", epsilon=0.9)  # a radius of no claim
    table = pd.concat([printed_as_ours(study), pd.DataFrame(stray)], ignore_index=True)
    found = statements.qualitative(said, study, table, near_zero="near_zero_0.01").set_index("id")
    expected = {"mm01": "yes", "mm02": "partly", "mm03": "yes", "mm04": "partly", "mm05": "partly", "mm06": "yes"}
    expected |= {"mm07": "yes", "mm08": "yes", "mm09": "yes", "mm10": "see figure 3", "mm11": "see figure 2"}
    assert found["holds"].to_dict() == expected | {"mm12": "not run", "mm13": "yes"}
    assert found.loc["mm02", "detail"] == "5 of 6; not: cw-l2: 0 > 0"
    agree = found["published_numbers_agree"].str.partition(":")[0]
    assert agree[["mm01", "mm02", "mm03", "mm06"]].tolist() == ["yes", "partly", "yes", "yes"], "as we find them"


def test_the_tests_take_the_words_that_are_checked_when_a_study_is_read() -> None:
    assert statements.TESTS.keys() == written.TESTS.keys()
    for name, test in statements.TESTS.items():
        _, *words = inspect.signature(test).parameters.values()
        further = [p.name for p in words if p.kind is p.VAR_POSITIONAL]
        each = tuple(p.name for p in words if p.kind is p.POSITIONAL_OR_KEYWORD)
        assert written.TESTS[name] == written.Words(each, "".join(further)), name
