"""What a paper says in words, as tests of our numbers."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from touchstone.cell import radius_index
from touchstone.findings.cells import WORST, derive, index
from touchstone.findings.verdicts import distance
from touchstone.study.scale import METRICS, SLACK
from touchstone.study.statements import SEE, Question

Key = TypeVar("Key")


class Check(NamedTuple):
    """One comparison that a statement rests on: what of, what was found, and whether it holds (None: no number)."""

    label: str
    text: str
    holds: bool | None


@dataclass(frozen=True)
class Means:
    """Our numbers (means over seeds) in the cells that the claims name, and what the claims cover.

    values: (dataset, defense, attack, metric) -> number. attacks: dataset -> attacks with a claimed robust
    accuracy. defenses: (dataset, attack) -> defenses with a claim. claimed: (dataset, metric) -> (low, high).
    """

    values: Mapping[tuple[str, str, str, str], float]
    attacks: Mapping[str, list[str]]
    defenses: Mapping[tuple[str, str], list[str]]
    claimed: Mapping[tuple[str, str], tuple[float, float]]

    def get(self, dataset: str, defense: str, attack: str = "clean", metric: str = "accuracy") -> float:
        """Return a number, nan where there is none."""
        return self.values.get((dataset, defense, attack, metric), math.nan)


def _more(label: str, left: float, right: float) -> Check:
    unknown = math.isnan(left) or math.isnan(right)
    return Check(label, f"{left:.4g} > {right:.4g}", None if unknown else left > right)


def _gains(means: Means, dataset: str, defense: str, reference: str) -> list[float]:
    return [means.get(dataset, defense, a) - means.get(dataset, reference, a) for a in means.attacks[dataset]]


def _above(means: Means, better: str, worse: str, dataset: str) -> Iterator[Check]:
    """Accuracy of one defense is above another's, attack by attack."""
    for attack in means.attacks[dataset]:
        yield _more(attack, means.get(dataset, better, attack), means.get(dataset, worse, attack))


def _not_above(means: Means, defense: str, reference: str) -> Iterator[Check]:
    """A defense does not improve on another, attack by attack."""
    for dataset, attacks in means.attacks.items():
        for attack in attacks:
            label = f"{dataset} {attack}"
            yield _more(label, means.get(dataset, reference, attack), means.get(dataset, defense, attack))


def _little_above(means: Means, defense: str, reference: str) -> Iterator[Check]:
    """A defense improves on another under every attack, by at most 5 points on average."""
    for dataset in means.attacks:
        for check in _above(means, defense, reference, dataset):
            yield check._replace(label=f"{dataset} {check.label}")
        gain = sum(_gains(means, dataset, defense, reference)) / len(means.attacks[dataset])
        yield _more(f"{dataset} mean gain at most 5 points", 5.0, 100.0 * gain)


def _best_on_most(means: Means, best: str, *others: str) -> Iterator[Check]:
    """On each dataset a defense is strictly the best under more than half of the attacks."""
    for dataset, attacks in means.attacks.items():
        rivals = [[means.get(dataset, best, a) - means.get(dataset, o, a) for o in others] for a in attacks]
        known = not any(math.isnan(lead) for leads in rivals for lead in leads)
        wins = sum(min(leads) > 0 for leads in rivals)
        yield Check(dataset, f"best under {wins} of {len(attacks)}", wins > len(attacks) / 2 if known else None)


def _broken(means: Means, attack: str, dataset: str) -> Iterator[Check]:
    """Every defense of the claims has accuracy 0 (within the tolerance of a claimed 0) under an attack."""
    for defense in means.defenses[dataset, attack]:
        yield _more(f"{defense} broken", 0.005 + SLACK, means.get(dataset, defense, attack))


def _costs_clean(means: Means, defense: str, slight: str, clear: str) -> Iterator[Check]:
    """A defense lowers clean accuracy: by at most 2 points on one dataset, by more on another."""
    low, high = (means.get(dataset, defense, metric="clean_accuracy_drop") for dataset in (slight, clear))
    yield _more(f"{slight} drop", low, 0.0)
    yield _more(f"{slight} drop at most 2 points", 0.02 + SLACK, low)
    yield _more(f"{clear} drop above 2 points", high, 0.02)


def _decreasing(means: Means, metric: str, *defenses: str) -> Iterator[Check]:
    """A metric of weights falls along the defenses, on every dataset."""
    for dataset in means.attacks:
        for more, less in pairwise(defenses):
            left, right = (means.get(dataset, name, metric=metric) for name in (more, less))
            yield _more(f"{dataset} {more}, {less}", left, right)


def _near_zero(means: Means, defense: str, other: str) -> Iterator[Check]:
    """The ratio of near-zero weights is in the claimed interval (with its tolerance); another's is above 1."""
    for (dataset, metric), (low, high) in means.claimed.items():
        if metric == "near_zero_ratio":
            ours, tau = means.get(dataset, defense, metric=metric), METRICS[metric].tolerance((low + high) / 2)
            far = abs(distance(ours, low, high))
            text = f"ratio {ours:.3g} in {low:g} to {high:g} ± {tau:.2g}"
            yield Check(f"{dataset} {defense}", text, None if math.isnan(far) else far <= tau + SLACK)
            yield _more(f"{dataset} {other} ratio", means.get(dataset, other, metric=metric), 1.0)


def _mean_gain(means: Means, better: str, worse: str) -> Iterator[Check]:
    """Averaged over the attacks a defense is above another, on every dataset."""
    for dataset, attacks in means.attacks.items():
        gain = sum(_gains(means, dataset, better, worse)) / len(attacks)
        yield _more(f"{dataset} mean gain in points", 100.0 * gain, 0.0)


# what `touchstone.study.statements` names: functions of (means, *words)
TESTS: dict[str, Callable[..., Iterator[Check]]] = {
    "above": _above,
    "not-above": _not_above,
    "little-above": _little_above,
    "best-on-most": _best_on_most,
    "broken": _broken,
    "costs-clean": _costs_clean,
    "decreasing": _decreasing,
    "near-zero": _near_zero,
    "mean-gain": _mean_gain,
}


def qualitative(
    statements: pd.DataFrame,
    claims: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    near_zero: str,
    reference: str = "std",
) -> pd.DataFrame:
    """Return whether each statement holds for our numbers.

    Args:
        statements: as `touchstone.study.statements.load` returns them.
        claims: of the study; they say which attacks, epsilons and defenses a statement is about.
        cells: cells.csv.
        near_zero: as for `verdicts.verdicts`.
        reference: as for `verdicts.verdicts`.

    Returns:
        id, claim, test, holds (yes | no | partly | not run | see figure ...), detail, published_numbers_agree.
        Means are compared as they are, without intervals.
    """
    columns = ["id", "claim", "test", "holds", "detail", "published_numbers_agree"]
    if statements.empty:
        return pd.DataFrame(columns=columns)
    means = _means(claims, derive(cells, near_zero=near_zero, reference=reference))
    rows = []
    for row in statements.to_dict("records"):
        test = Question.of(row["test"])
        found = (row["test"], "") if test.name == SEE else conclude(list(TESTS[test.name](means, *test.words)))
        rows.append({**row, "holds": found[0], "detail": found[1]})
    return pd.DataFrame(rows)[columns]


def conclude(checks: Sequence[Check]) -> tuple[str, str]:
    """Return (yes | no | partly | not run, detail) of the comparisons a statement rests on."""
    unknown = [check for check in checks if check.holds is None]
    failing = [check for check in checks if check.holds is False]
    held = len(checks) - len(unknown) - len(failing)
    detail = f"{held} of {len(checks)}"
    detail += f"; not: {', '.join(f'{check.label}: {check.text}' for check in failing)}" if failing else ""
    detail += f"; no number: {', '.join(check.label for check in unknown)}" if unknown else ""
    if unknown or not checks:
        return "not run", detail
    return ("partly" if held and failing else "yes" if held else "no"), detail


def _means(claims: pd.DataFrame, table: pd.DataFrame) -> Means:
    claims = claims[claims["out_of_scope"] == ""]
    if len(models := claims["cell_model"].unique()) > 1:
        raise ValueError(f"statements need claims on one model, got {', '.join(models)}")
    columns = ["cell_dataset", "cell_defense", "cell_attack", "cell_metric", "cell_epsilon", "attack", "low", "high"]
    attacks: dict[str, list[str]] = defaultdict(list)
    defenses: dict[tuple[str, str], list[str]] = defaultdict(list)
    radii: dict[tuple[str, str], list[float]] = defaultdict(list)
    claimed: dict[tuple[str, str], tuple[float, float]] = {}
    for dataset, defense, attack, metric, epsilon, printed, low, high in claims[columns].itertuples(False, None):
        claimed[dataset, metric] = (low, high)
        if metric == "accuracy" and printed != "clean":
            attacks[dataset].append(attack)
            defenses[dataset, attack].append(defense)
            radii[dataset, attack].append(epsilon)
    values = {}
    for place, numbers in index(table).items():
        for epsilon, seeds in numbers:
            claimed_at = radii.get((place.dataset, place.attack), [])
            at_claim = math.isnan(epsilon) or radius_index(claimed_at, epsilon) is not None
            if place.model in models and at_claim and place.metric != WORST:
                finite = [cell.value for cell in seeds if not math.isnan(cell.value)]
                mean = float(np.mean(finite)) if finite else math.nan
                values[place.dataset, place.defense, place.attack, place.metric] = mean
    return Means(values, _each_once(attacks), _each_once(defenses), claimed)


def _each_once(lists: Mapping[Key, list[str]]) -> dict[Key, list[str]]:
    return {key: list(dict.fromkeys(names)) for key, names in lists.items()}
