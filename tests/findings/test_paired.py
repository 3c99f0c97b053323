"""Verdicts on pairs: one attack against another on one net, per image."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from toy_claims import ROW, cell, load
from toy_records import MODEL, header, points

from touchstone.cell import ThreatSpec
from touchstone.findings import cells, paired
from touchstone.findings.evidence import Caps
from touchstone.findings.paired import Difference, Nets, Pair
from touchstone.findings.vocabulary import PAIRED
from touchstone.records import Attacked, Batch
from touchstone.study.claim import Claim, Place
from touchstone.study.config import ConfigError
from touchstone.study.scale import METRICS, UNITS
from touchstone.study.schema import Reading

PLACE = Place("mnist", "lenet", "std", "cw-l2", "accuracy")


def pair(metric: str = "accuracy", epsilon: float = 0.3, value: float = 0.50, **changes: Any) -> Pair:
    """A claim against pgd40-linf; its value is in our unit."""
    unit = changes.pop("unit", "fraction")
    row = ROW | {f"cell_{slot}": word for slot, word in PLACE._replace(metric=metric)._asdict().items()}
    row |= {"cell_epsilon": epsilon, "unit": unit, "low": value * UNITS[unit], "high": value * UNITS[unit]}
    claim = Claim.of(row | changes.pop("claim", {}), "headline")
    return Pair(**{"claim": claim, "against": "pgd40-linf", "published": 0.20, "norm": "l2"} | changes)


PAIR = pair(unit="percent", published=0.10)
LIKE = Nets(frozenset(range(5)))


def net(value: float, seed: int = 0, half: float = 0.01, **changes: Any) -> Difference:
    return Difference(MODEL._replace(seed=seed), value, half, 1000, 1000)._replace(**changes)


@pytest.mark.parametrize(
    ("found", "published", "nets", "word", "why"),
    [
        ([net(0.11)], 0.10, LIKE, "reproduced", "on our net"),
        ([net(0.11, half=0.03)], 0.10, LIKE, "inconclusive", "on our net"),
        ([net(0.15)], 0.10, LIKE, "higher", "on our net"),
        ([net(0.05)], 0.10, LIKE, "lower", "on our net"),
        ([net(0.05, 0), net(0.05, 1)], 0.10, LIKE, "lower", "on our nets"),
        ([net(0.10, 0), net(0.101, 1), net(0.099, 2)], 0.10, LIKE, "reproduced", ""),
        ([net(0.02, 0), net(0.10, 1), net(0.18, 2)], 0.10, LIKE, "inconclusive", ""),
        ([net(0.011)], 0.019, LIKE, "too small to test", "1.9 is below 2"),
        ([net(0.032, half=0.005)], 0.02, LIKE, "inconclusive", "on our net"),  # tau is half of the difference
        ([net(0.032, half=0.005)], 0.04, LIKE, "reproduced", "on our net"),
        ([net(0.10)], 0.10, None, "not comparable", "no published accuracy"),
        ([net(0.10)], 0.10, Nets(unlike=("seed 0: 90.0 %",)), "not comparable", "seed 0: 90.0 %"),
        ([], 0.10, LIKE, "not run", ""),
        ([net(math.nan, failed="loss is nan")], 0.10, LIKE, "failed", "loss is nan"),
    ],
)
def test_every_outcome(found: list[Difference], published: float, nets: Nets | None, word: str, why: str) -> None:
    said = paired.decide(replace(PAIR, published=published), found, nets, 1000)
    assert said.word == word
    assert why in "; ".join(said.why)
    assert bool(said.why) or not why


def test_a_net_that_is_not_like_the_published_one_is_left_out_and_said() -> None:
    nets = Nets(frozenset({1}), ("seed 0: 90.0 % under clean, 99.0 % is published",))
    said = paired.decide(PAIR, [net(0.5, 0), net(0.10, 1)], nets, None)
    assert (said.word, said.ours, said.nets) == ("reproduced", 0.10, 1)
    assert said.why == ("on our net", *nets.unlike)


def test_with_three_nets_samples_count_as_far_as_they_are_not_all() -> None:
    nets = [net(v, seed, half=0.05) for seed, v in enumerate((0.10, 0.101, 0.099))]
    assert paired.decide(PAIR, nets, LIKE, 1000).word == "reproduced", "all of the population was met"
    assert paired.decide(PAIR, nets, LIKE, 10000).word == "inconclusive", "a tenth of it"


def test_what_samples_leave_open_is_by_how_many_were_met_and_not_by_how_many_both_break() -> None:
    nets = [net(v, seed, half=0.05, n=700) for seed, v in enumerate((0.10, 0.101, 0.099))]
    assert paired.decide(PAIR, nets, LIKE, 1000).word == "reproduced", "all were met"
    assert paired.decide(PAIR, [one._replace(met=700) for one in nets], LIKE, 1000).word == "inconclusive"


def test_the_published_net_scatters_as_ours_do() -> None:
    """One number of theirs is as far from the mean of the recipe as one of ours may be."""
    nets = [net(0.20 + 0.02 * step, seed) for seed, step in enumerate((-1, 0, 1))]
    assert paired.decide(PAIR, nets, LIKE, 1000).word == "inconclusive"
    closer = [net(0.20 + 0.002 * step, seed) for seed, step in enumerate((-1, 0, 1))]
    assert paired.decide(PAIR, closer, LIKE, 1000).word == "higher"


def test_a_distance_has_a_tolerance_of_its_own() -> None:
    norm = pair("mean_norm", math.nan, 2.0, published=0.5)
    assert (norm.least, norm.tau) == (pytest.approx(0.2), pytest.approx(0.2))
    assert (PAIR.least, PAIR.tau) == (0.02, 0.02)


def test_the_bootstrap_is_that_of_a_mean_and_repeats_itself() -> None:
    values = np.random.default_rng(1).normal(size=1000)
    half = paired.bootstrap_half(values)
    assert half == pytest.approx(1.96 / math.sqrt(1000), rel=0.1)
    assert half == paired.bootstrap_half(values)


@pytest.mark.parametrize(
    ("values", "least"),
    [
        (np.zeros(200), 0.0188),  # Wilson's interval of 0 of 200
        (np.r_[np.ones(3), np.zeros(197)], 0.0279),
        (np.r_[np.ones(50), np.zeros(150)], 0.0643),  # its wider side
    ],
)
def test_samples_that_agree_do_not_make_a_share_exact(values: "np.ndarray[Any, Any]", least: float) -> None:
    assert paired.bootstrap_half(values) == pytest.approx(least, rel=0.02)


def test_one_sample_tells_nothing() -> None:
    assert math.isnan(paired.bootstrap_half([0.9]))
    said = paired.decide(pair("mean_norm", math.nan, 2.0, published=0.5), [net(0.9, half=math.nan, n=1)], LIKE, 1000)
    assert said.word == "inconclusive"


# ---- from claims and records

L2 = ThreatSpec("l2", epsilons=(1.0, 2.0))
PRINTED = ROW | {"attack": "cw", "norm": "l2", "epsilon": "1.0", "cell_epsilon": "1.0", "cell_attack": "cw-l2"}
PRINTED |= {"epsilon_unit": "pixel01", "value": "0.60", "against": "pgd40-linf"}
OTHER = PRINTED | {"id": "b", "attack": "pgd", "cell_attack": "pgd40-linf", "value": "0.40", "against": ""}


def minimal(slug: str, dist: list[float], wrong: int = 0) -> Attacked:
    n = len(dist)
    found = [math.isfinite(d) for d in dist]
    sizes = [d if math.isfinite(d) else 0.0 for d in dist]
    one = header(slug, kind="minimal", threat=L2, budget_rule="distance")
    labels = [1] * wrong + [0] * (n - wrong)
    return Attacked(one, points(epsilon=[math.nan] * n, success=found, dist_l2=sizes, clean_pred=labels, norm="l2"))


def test_a_pair_is_two_printed_numbers_of_one_table(tmp_path: Path) -> None:
    px = Reading(mark="only as coded", attack={"pgd40-linf": "pgd40-linf-px"})
    claims = load(tmp_path, PRINTED, OTHER)
    first, second = paired.pairs(claims, {"headline": Reading(), "coded": px})
    assert (first.place, first.against, first.claim.epsilon) == (PLACE, "pgd40-linf", 1.0)
    assert (first.claim.measured, first.published) == ((0.60, 0.60), pytest.approx(0.20))
    assert (second.place, second.against, second.published) == (PLACE, "pgd40-linf-px", first.published)
    swapped = {"headline": Reading(), "coded": Reading(mark="m", attack={"pgd40-linf": "x", "cw-l2": "y"})}
    assert [(p.place.attack, p.against) for p in paired.pairs(claims, swapped)][1] == ("y", "x")


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("", "steps=50;restarts=100", ("as published, one run against 100 restarts",)),
        ("restarts=1", "", ()),
        ("restarts=10", "restarts=10", ()),
        ("restarts=1or10", "", ("as published, 1 or 10 restarts against one run",)),
    ],
)
def test_a_pair_with_other_restarts_says_so(tmp_path: Path, first: str, second: str, said: tuple[str, ...]) -> None:
    """What has no restarts, such as DeepFool, is printed beside a hundred of another attack."""
    claims = load(tmp_path, PRINTED | {"attack_params": first}, OTHER | {"attack_params": second})
    (found,) = paired.pairs(claims, {"headline": Reading()})
    assert found.unequal == said
    assert paired.decide(found, [net(0.20)], LIKE, None).why == ("on our net", *said)


@pytest.mark.parametrize("radius", ["1", "1.00", "1.0000004"])
def test_a_pair_is_at_one_radius_however_that_is_written(tmp_path: Path, radius: str) -> None:
    other = OTHER | {"epsilon": radius, "cell_epsilon": radius}
    more = [{"id": "c", "source_table": "Table 2"}, {"id": "d", "epsilon": "2.0", "cell_epsilon": "2.0"}]
    claims = load(tmp_path, PRINTED, other, *(OTHER | row | {"value": "0.1"} for row in more))
    (found,) = paired.pairs(claims, {"headline": Reading()})
    assert found.published == pytest.approx(0.20)
    with pytest.raises(ConfigError, match=r"expected one number of 'pgd40-linf' .*, got 2"):
        load(tmp_path, PRINTED, OTHER, other | {"id": "c"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"against": "clean"}, "expected one number of 'clean' in the same table on the same cell, got 0"),
        ({"against": "cw-l2"}, "'cw-l2' is compared with itself"),
        ({"cell_epsilon": "2.0", "epsilon": "2.0"}, "expected one number of 'pgd40-linf'"),
        ({"source_table": "Table 2"}, "expected one number of 'pgd40-linf'"),
        ({"attack_params": "restarts=10"}, "'pgd40-linf' has other restarts: 1, 10"),
        ({"cell_metric": "fuzziness", "metric": "fuzziness"}, "is only for accuracy, .*, not for 'fuzziness'"),
    ],
)
def test_what_a_claim_is_compared_with_is_there(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"claims\.csv:2: against: {message}"):
        load(tmp_path, PRINTED | changes, OTHER | {"attack_params": "restarts=1"})


def test_every_metric_that_is_paired_says_what_is_compared_of_a_sample() -> None:
    assert {metric.paired for metric in METRICS.values()} == {"", *paired.OF_SAMPLE}


def differences(metric: str, epsilon: float, *attacks: Attacked) -> Difference:
    ((_, found),) = paired.measure(Batch(list(attacks), []), [pair(metric, epsilon)])
    return found


def test_our_difference_is_taken_sample_by_sample() -> None:
    ours = minimal("cw-l2", [0.0, 0.5, 1.5, 3.0, math.inf], wrong=1)
    theirs = minimal("pgd40-linf", [0.0, 0.4, 0.9, 2.5, 4.0], wrong=1)
    accuracy = differences("accuracy", 1.0, ours, theirs)
    assert (accuracy.value, accuracy.n) == (pytest.approx(1 / 5), 5)
    assert accuracy.half > 0
    norm = differences("mean_norm", math.nan, ours, theirs)
    assert (norm.value, norm.n) == (pytest.approx((0.1 + 0.6 + 0.5) / 3), 3), "broken by both, right at first"
    share = differences("success_rate", math.nan, ours, theirs)
    assert (share.value, share.n) == (pytest.approx(-1 / 4), 4)


def test_a_failed_attack_and_another_net_have_no_difference() -> None:
    ours = minimal("cw-l2", [1.0])
    broken = Attacked(header("pgd40-linf", status="failed", reason="loss is nan"), ours.frame.head(0))
    assert differences("accuracy", 1.0, ours, broken).failed == "loss is nan"
    other = pair(epsilon=1.0, claim={"cell_defense": "adv"})
    assert not list(paired.measure(Batch([ours, minimal("pgd40-linf", [1.0])], []), [other]))
    never = minimal("cw-l2", [math.inf])
    assert "no sample" in differences("mean_norm", math.nan, never, minimal("pgd40-linf", [1.0])).failed


def test_a_net_is_like_the_published_one_to_two_points(tmp_path: Path) -> None:
    printed = ROW | {"attack": "clean", "norm": "none", "epsilon": "", "cell_attack": "clean", "cell_epsilon": ""}
    claims = load(tmp_path, printed | {"value": "0.985"}, ROW | {"id": "b", "value": "0.50"})
    clean = {"attack": "clean", "norm": "none", "space": "", "epsilon": math.nan}
    numbers = [cell(0.98, **clean), cell(0.99, seed=1, **clean), cell(0.52, seed=0), cell(0.53, seed=1)]
    index = cells.index(pd.DataFrame(numbers))
    both = paired.like(paired.matching(claims, index, ["clean", "pgd40-linf"], {}), PAIR)
    unlike = "seed 1: 53.0 % under pgd40-linf at 0.3, 50.0 % is published"
    assert both == Nets(frozenset({0}), (unlike,))
    assert paired.like(paired.matching(claims, index, ["clean"], {}), PAIR) == Nets(frozenset({0, 1}))
    assert paired.matching(claims, index, ["cw-l2"], {}) == {}


@pytest.mark.parametrize(
    ("ours", "n", "nets"),
    [
        (0.53, 1000, Nets(unlike=("seed 0: 53.0 % under pgd40-linf at 0.3, 50.0 % is published",))),
        (0.53, 100, Nets(untold=("seed 0: 53.0 % of 100 images under pgd40-linf at 0.3, 50.0 % is published",))),
        (0.51, 100, Nets(untold=("seed 0: 51.0 % of 100 images under pgd40-linf at 0.3, 50.0 % is published",))),
        (0.51, 900, Nets(frozenset({0}))),
        (0.20, 100, Nets(unlike=("seed 0: 20.0 % under pgd40-linf at 0.3, 50.0 % is published",))),
    ],
)
def test_few_images_do_not_tell_what_a_net_is_like(ours: float, n: int, nets: Nets, tmp_path: Path) -> None:
    """A net that is the published one itself has 2 points more or less on most draws of 100 images."""
    claims = load(tmp_path, ROW | {"value": "0.50"})
    index = cells.index(pd.DataFrame([cell(ours, n=n)]))
    sizes = {(*PLACE[:3], "pgd40-linf"): Caps(population=1000)}
    assert paired.like(paired.matching(claims, index, ["pgd40-linf"], sizes), PAIR) == nets


def test_a_pair_at_a_radius_asks_for_the_accuracy_at_that_radius(tmp_path: Path) -> None:
    printed = ROW | {"attack": "clean", "norm": "none", "epsilon": "", "cell_attack": "clean", "cell_epsilon": ""}
    robust = [ROW | {"id": f"e{n}", "value": "0.50", "epsilon": f"0.{n}", "cell_epsilon": f"0.{n}"} for n in (2, 3)]
    claims = load(tmp_path, printed | {"value": "0.985"}, *robust)
    clean = {"attack": "clean", "norm": "none", "space": "", "epsilon": math.nan}
    ours = [cell(0.98, **clean), cell(0.51, epsilon=0.2), cell(0.10, epsilon=0.3)]
    accuracies = paired.matching(claims, cells.index(pd.DataFrame(ours)), ["clean", "pgd40-linf"], {})
    for same, norm, epsilon in [(True, "linf", 0.2), (False, "linf", 0.3), (False, "linf", 0.25), (False, "l2", 0.2)]:
        nets = paired.like(accuracies, pair(epsilon=epsilon, norm=norm))
        assert nets is not None
        assert bool(nets.like) is same, (norm, epsilon)
    assert paired.like(accuracies, pair(epsilon=0.2, norm="linf", claim={"cell_defense": "adv"})) is None
    off = paired.matching(
        claims, cells.index(pd.DataFrame([cell(0.9, **clean), *ours[1:]])), ["clean", "pgd40-linf"], {}
    )
    assert not off["mnist", "lenet", "std"].nets(pair(epsilon=0.2, norm="linf")).like, "clean too"


def test_nets_that_too_few_images_tell_of_are_not_other_nets() -> None:
    untold = ("seed 0: 53.0 % of 100 images",)
    said = paired.decide(PAIR, [net(0.10)], Nets(untold=untold), 1000)
    assert said.word == "not comparable"
    assert said.why == ("too few images to tell what the nets are like", *untold)
    assert paired.decide(PAIR, [net(0.1, 1), net(0.1)], Nets(frozenset({1}), untold=untold), None).why[1:] == untold


def test_a_number_whose_place_in_print_is_uncertain_tells_nothing_of_a_net(tmp_path: Path) -> None:
    claims = load(tmp_path, ROW | {"value": "0.50"}, ROW | {"id": "b", "value": "0.90", "certainty": "uncertain"})
    index = cells.index(pd.DataFrame([cell(0.50)]))
    assert paired.matching(claims, index, ["pgd40-linf"], {})["mnist", "lenet", "std"].nets(PAIR) == Nets(
        frozenset({0})
    )


def test_a_net_of_which_a_robust_accuracy_is_not_printed_says_so(tmp_path: Path) -> None:
    printed = ROW | {"attack": "clean", "norm": "none", "epsilon": "", "cell_attack": "clean", "cell_epsilon": ""}
    claims = load(tmp_path, printed | {"value": "0.985"})
    numbers = cells.index(pd.DataFrame([cell(0.98, attack="clean", norm="none", space="", epsilon=math.nan)]))
    nets = paired.matching(claims, numbers, ["clean", "pgd40-linf"], {})["mnist", "lenet", "std"].nets(PAIR)
    assert nets == Nets(frozenset({0}), unprinted=("pgd40-linf",))
    said = paired.decide(PAIR, [net(0.11)], nets, None)
    assert said.why == ("on our net", "no accuracy of the net under pgd40-linf is printed")


def test_a_net_that_was_not_asked_all_is_not_like_the_published_one(tmp_path: Path) -> None:
    printed = ROW | {"attack": "clean", "norm": "none", "epsilon": "", "cell_attack": "clean", "cell_epsilon": ""}
    claims = load(tmp_path, printed | {"value": "0.985"}, ROW | {"id": "b", "value": "0.50"})
    clean = {"attack": "clean", "norm": "none", "space": "", "epsilon": math.nan}
    index = cells.index(pd.DataFrame([cell(0.98, **clean), cell(0.98, seed=1, **clean), cell(0.51, seed=1)]))
    both = paired.matching(claims, index, ["clean", "pgd40-linf"], {})
    assert both["mnist", "lenet", "std"].nets(PAIR) == Nets(frozenset({1}), ("seed 0: pgd40-linf at 0.3 has not run",))


def test_a_net_whose_training_failed_is_neither(tmp_path: Path) -> None:
    printed = ROW | {"attack": "clean", "norm": "none", "epsilon": "", "cell_attack": "clean", "cell_epsilon": ""}
    claims = load(tmp_path, printed | {"value": "0.985"})
    broken = cell(
        math.nan, attack="clean", norm="none", space="", epsilon=math.nan, status="failed", reason="loss is nan"
    )
    nets = paired.matching(claims, cells.index(pd.DataFrame([broken])), ["clean"], {})["mnist", "lenet", "std"].nets(
        PAIR
    )
    assert nets == Nets()
    said = paired.decide(PAIR, [net(math.nan, failed="loss is nan")], nets, None)
    assert (said.word, said.why) == ("failed", ("loss is nan",))


def test_what_is_cut_short_for_either_attack_is_said_once() -> None:
    """Not of the training: how like the published net ours is has been measured."""
    caps = {
        (*PLACE[:3], "cw-l2"): Caps(model=("other weights",), attack=("steps 9 of 99",), size=("300 images",)),
        (*PLACE[:3], "pgd40-linf"): Caps(attack=("restarts 1 of 10",), size=("300 images",)),
    }
    assert paired.cut_short(PAIR, caps) == ("steps 9 of 99", "300 images", "restarts 1 of 10")
    assert paired.cut_short(PAIR, {}) == ()


def test_a_table_holds_numbers_in_the_unit_of_the_claim() -> None:
    said = paired.decide(PAIR, [net(0.11)], LIKE, None)
    (row,) = paired.table([(PAIR, said, ("restarts 1 of 100", "300 images"))]).to_dict("records")
    assert row["caps"] == "restarts 1 of 100; 300 images"
    assert (row["published"], row["ours"], row["tau"], row["nets"]) == (pytest.approx(10), pytest.approx(11), 2.0, 1)
    assert row["verdict"] in PAIRED
    with pytest.raises(ValueError, match="unknown verdict 'better'"):
        paired.Verdict("better")
