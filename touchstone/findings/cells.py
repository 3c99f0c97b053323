"""cells.csv: every measured number, a row each, and how one is looked up."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import product
from typing import Literal, NamedTuple, TypeAlias, get_type_hints

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from touchstone.cell import ModelId, ThreatSpec, radius_index
from touchstone.findings import clusters, metrics, people
from touchstone.findings import weights as weights_of
from touchstone.findings.intervals import share_margins
from touchstone.models import FIRST_CONV
from touchstone.records import Attacked, Batch, Header
from touchstone.registry import nearest
from touchstone.runs import Run
from touchstone.study.claim import Place
from touchstone.study.scale import RHO_NEAR, SILHOUETTE

# metrics of protocol `worst`
WORST = "worst_accuracy"  # in pixels, of a suite
UNDER_THREAT = "worst_under_threat"  # in the space of a published attack, its own points included
ATTACK_GAP = "attack_gap"  # its accuracy minus that
JUDGING = (WORST, UNDER_THREAT, ATTACK_GAP)
ORDER = ["dataset", "model", "defense", "seed", "protocol", "attack", "metric", "epsilon"]
RESULT = ["value", "n", "status", "reason", "met", "half"]
_DTYPES = {"seed": "int64", "epsilon": "float64", "value": "float64", "n": "int64", "met": "int64", "half": "float64"}

# attack -> radius -> what tests it there: slug of the worst case, and radius of a pixel ball inside its threat
Judges = Mapping[str, Mapping[float, tuple[str, float]]]

Status = Literal["ok", "incomplete", "failed"]
_Values: TypeAlias = "pd.Series[float]"


class Cell(NamedTuple):
    """One measured number.

    Attributes:
        dataset: that the study names.
        stand_in: that was used in its place, "" if none.
        attack: slug; that of a worst case is worst-<norm>, that of a number about weights is clean.
        space: in which the attack worked; "" without one.
        norm: of the attack; none without one.
        epsilon: nan for an attack without a budget.
        metric: accuracy, avg_confidence (protocol published); without an attack prob_gap too; one of JUDGING
            (protocol worst); for a minimal norm success_rate, median_norm, mean_norm, common_mean_norm, in l2 those of
            `metrics.RHO` and rho_near, in l0 those of `metrics.VALUE_METRICS`; of its images human_change,
            human_no_change and human_kappa, where people have seen them; of weights fuzziness, near_zero_<threshold>,
            max_abs_conv, median_abs_conv, rho_extreme, min_angle; of features silhouette.
        value: nan where nothing was measured.
        n: samples (or weights) behind it.
        status: incomplete says that `reason` is missing from it.
        met: samples that were attacked; a norm is a mean over some of them.
        half: 95 % half-width over samples, as if drawn from very many; nan for a share, which tells it by itself.
        suite: the attacks behind a number of protocol worst, by the name of their list; "" otherwise.
    """

    study: str
    dataset: str
    model: str
    defense: str
    seed: int
    stand_in: str
    attack: str
    protocol: str
    space: str
    norm: str
    epsilon: float
    metric: str
    value: float
    n: int
    status: Status
    reason: str
    met: int
    half: float = math.nan
    suite: str = ""

    @property
    def model_id(self) -> ModelId:
        """The model that it was measured on."""
        return ModelId(self.study, self.dataset, self.model, self.defense, self.seed)


COLUMNS = list(Cell._fields)
TEXTS = [name for name, kind in get_type_hints(Cell).items() if kind not in (int, float)]


def table(cells: Iterable[Cell]) -> pd.DataFrame:
    """Return cells as a table with the columns of `Cell`, in an order that does not depend on theirs."""
    return pd.DataFrame(cells, columns=COLUMNS).astype(_DTYPES).sort_values(ORDER, kind="stable", ignore_index=True)


def from_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return such a table that was read as text, with its numbers as numbers."""
    return table.assign(**{name: pd.to_numeric(table[name]) for name in COLUMNS if name not in TEXTS})


def rows(cells: pd.DataFrame) -> list[Cell]:
    """Return the rows of such a table."""
    return [Cell(*row) for row in cells[COLUMNS].itertuples(index=False, name=None)]


# ---- what was measured


def of_attacks(batch: Batch, judges: Judges) -> list[Cell]:
    """Return what all attacks on one model give.

    A worst case is counted on the samples of its cascade (and of its members that also ran alone), over the union
    with what every other attack found whose points are images. A failed attack has cells without a value.

    Args:
        batch: the attacks.
        judges: what tests the published ones among them, in their own space.

    Raises:
        ValueError: if the points of a worst case are not images.
    """
    together = Together(batch)
    found: list[Cell] = []
    for one in batch.attacks:
        if one.header.protocol == "worst":
            found += _worst(one, together)
        else:
            found += _published(one)
            found += _under_threat(one, together, judges.get(one.header.attack, {}))
    return found + list(_common_norms(batch.attacks))


def of_people(seen: Iterable[people.Numbers]) -> Iterator[Cell]:
    """Return what people saw in adversarial images; nothing of a net of which nobody has answered."""
    for net in seen:
        values = {"human_change": (net.human_change, net.images), "human_no_change": (net.human_no_change, net.images)}
        values |= {"human_kappa": (net.human_kappa, net.rated)}
        where = (*net.model, net.stand_in, net.attack, "published", net.space, net.norm, math.nan)
        for metric, (value, n) in values.items():
            if net.failed:
                yield Cell(*where, metric, math.nan, 0, "failed", net.failed, met=0)
            elif value is not None:
                yield Cell(*where, metric, value, n, "ok", "", met=net.images)


def of_features(nets: Iterable[clusters.Apart]) -> Iterator[Cell]:
    """Return how far apart classes are in features; of a net in several figures over the most images."""
    largest = {net.model: net for net in sorted(nets, key=lambda net: net.points)}
    for net in largest.values():
        where = (*net.model, net.stand_in, "clean", "published", "", "none", math.nan, SILHOUETTE)
        if net.failed:
            yield Cell(*where, math.nan, 0, "failed", net.failed, met=0)
        elif net.silhouette is not None:
            yield Cell(*where, net.silhouette, net.points, "ok", "", met=net.points)


class Together:
    """The attacks on one model, and what they found in pixels."""

    def __init__(self, batch: Batch) -> None:
        self.all = {attacked.header.attack: attacked for attacked in batch.attacks}
        self._nearest: dict[str, pd.Series] = {}
        self._reached: dict[tuple[str, str, str], pd.Series] = {}

    @cached_property
    def images(self) -> dict[str, pd.DataFrame]:
        """Records of the attacks whose points are images: made in pixels inside [0, 1], or not moved at all."""
        ok = (one for one in self.all.values() if one.header.status == "ok")
        return {h.attack: frame for h, frame in ok if h.threat is None or h.threat.makes_images}

    def over(self, suite: Header) -> list[str]:
        """Attacks that must have met a sample for it to count in a worst case."""
        return [suite.attack, *(slug for slug in suite.members if slug in self.images)]

    def nearest(self, suite: Header, norm: str) -> "pd.Series[float]":
        """Return per sample of a worst case the smallest distance in pixels at which anything breaks it."""
        if suite.attack not in self._nearest:
            self._nearest[suite.attack] = metrics.worst_distances(self.images, norm, over=self.over(suite))
        return self._nearest[suite.attack]

    def reached(self, threat: ThreatSpec) -> "pd.Series[float]":
        """Return per sample the smallest radius at which any attack under a threat, or inside its box, breaks it."""
        norm, space, bounds = key = (threat.norm, threat.space, threat.bounds)
        if key not in self._reached:
            ok = [one for one in self.all.values() if one.header.status == "ok"]
            kin = [
                metrics.reach(frame)
                for header, frame in ok
                if header.threat
                and (header.threat.norm, header.threat.space) == (norm, space)
                and bounds in (header.threat.bounds, "none")
            ]
            self._reached[key] = pd.concat(kin, axis=1).min(axis=1)
        return self._reached[key]


def _failed(header: Header, *names: str) -> Iterator[Cell]:
    radii = header.threat.epsilons if header.threat and header.kind == "fixed" else (math.nan,)
    return (_cell(header, name, metrics.Number(math.nan, 0), epsilon=eps) for name, eps in product(names, radii))


def _cell(
    header: Header,
    metric: str,
    number: metrics.Number,
    *,
    met: int = 0,
    epsilon: float = math.nan,
    protocol: str = "",
    missing: str = "",
    failed: str = "",
    suite: str = "",
) -> Cell:
    """Return a number of an attack; `failed` says why there is none although the attack itself did not fail."""
    space, norm = header.threat.space if header.threat else "", header.norm
    failed = header.reason if header.status == "failed" else failed
    status: Status = "failed" if failed else "incomplete" if missing else "ok"
    about = (header.stand_in, header.attack, protocol or header.protocol, space, norm)
    return Cell(
        *header.model,
        *about,
        epsilon=epsilon,
        metric=metric,
        value=number.value,
        n=number.n,
        status=status,
        reason=failed or missing,
        met=met,
        half=number.half,
        suite=suite or header.suite,
    )


def _published(attacked: Attacked) -> Iterator[Cell]:
    header, frame = attacked
    clean = header.kind == "none"
    if header.status == "failed":
        yield from _failed(header, *_names(header))
        for eps in _counted_at(header):
            yield _cell(header, "accuracy", metrics.Number(math.nan, 0), epsilon=eps)
        return
    everywhere = at_radii(attacked)
    yield from _accuracies(header, "accuracy", everywhere)
    for _, here in everywhere.groupby("epsilon", dropna=False):
        number, met = metrics.confidence(here, clean=clean), here["sample"].nunique()
        yield _cell(header, "avg_confidence", number, met=met, epsilon=here["epsilon"].iloc[0])
    if clean:
        yield _cell(header, "prob_gap", metrics.prob_gap(frame), met=frame["sample"].nunique())
    if header.kind == "minimal" and header.threat:
        yield from _minimal(header, without_budget(frame))


def _minimal(header: Header, frame: pd.DataFrame) -> Iterator[Cell]:
    """Return what the distances of a minimal-norm attack give; frame: its rows without a budget."""
    norm, met = header.norm, frame["sample"].nunique()
    numbers = metrics.norms(frame, norm)
    if norm == "l2":
        numbers |= {name: metrics.rho(frame, over) for name, over in metrics.RHO.items()}
        numbers[RHO_NEAR] = metrics.rho_near(frame)
    if norm == "l0":
        values = metrics.norms(frame, metrics.VALUES)
        numbers |= {f"{name}_values": values[name] for name in ("median_norm", "mean_norm")}
        read = metrics.within(frame, _read_at(header), metrics.VALUES)
        yield from _accuracies(header, "accuracy_values", read)
    for name, number in numbers.items():
        yield _cell(header, name, number, met=met)


def _accuracies(header: Header, metric: str, frame: pd.DataFrame) -> Iterator[Cell]:
    found = metrics.accuracy(frame, clean=header.kind == "none")
    for epsilon, value, n in found.itertuples(index=False, name=None):
        yield _cell(header, metric, metrics.Number(value, n), met=n, epsilon=epsilon)


def _names(header: Header) -> tuple[str, ...]:
    """Return the metrics of a published attack, but for its radii."""
    names: tuple[str, ...] = ("accuracy", "avg_confidence")
    if header.kind == "none":
        return (*names, "prob_gap")
    if header.kind == "fixed":
        return names
    of_norm = {"l2": (*metrics.RHO, RHO_NEAR), "l0": metrics.VALUE_METRICS}
    return (*names, *metrics.NORM_METRICS, metrics.COMMON_NORM, *of_norm.get(header.norm, ()))


def _read_at(header: Header) -> tuple[float, ...]:
    """Return the radii at which a minimal-norm attack's distances are read; none where its points count otherwise.

    Records hold distances in pixels alone, so in another space nothing is read.
    """
    threat = header.threat
    return threat.epsilons if threat and header.budget_rule == "distance" and threat.space == "pixel" else ()


def _counted_at(header: Header) -> tuple[float, ...]:
    """Return the radii at which the points of a minimal-norm attack count, read or cut back and judged again."""
    cut_back = header.threat is not None and header.budget_rule == "shrink_and_retest"
    return header.threat.epsilons if header.threat and cut_back else _read_at(header)


def at_radii(attacked: Attacked, *, values: bool = False) -> pd.DataFrame:
    """Return the rows of an attack at every radius that it has: its own, and those at which distances are read.

    Args:
        attacked: the attack.
        values: read an l0 distance in values instead of pixels.
    """
    header, frame = attacked
    radii, norm = _read_at(header), metrics.VALUES if values else header.norm
    return pd.concat([frame, metrics.within(frame, radii, norm)], ignore_index=True) if radii else frame


def without_budget(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out the points that were cut back to a budget: they are no minimal norms."""
    return frame[frame["epsilon"].isna()]


def _common_norms(attacks: Iterable[Attacked]) -> Iterator[Cell]:
    """Compare the minimal norms that attacks on one model find in one norm, on the samples that all of them break."""
    groups: dict[str, list[Attacked]] = defaultdict(list)
    for one in attacks:
        if one.header.kind == "minimal" and one.header.protocol == "published" and one.header.threat:
            groups[one.header.threat.norm].append(one)
    for norm, group in groups.items():
        headers = {one.header.attack: one.header for one in group if one.header.status == "ok"}
        frames = {one.header.attack: without_budget(one.frame) for one in group if one.header.status == "ok"}
        failed = ", ".join(one.header.attack for one in group if one.header.status == "failed")
        found = metrics.common_norms(frames, norm) if frames else {}
        for slug, number in found.items():
            met, missing = frames[slug]["sample"].nunique(), f"missing {failed}" if failed else ""
            yield _cell(headers[slug], metrics.COMMON_NORM, number, met=met, missing=missing)


def _worst(attacked: Attacked, together: Together) -> Iterator[Cell]:
    header = attacked.header
    if header.threat is None or not header.threat.makes_images:
        where = f"space {header.threat.space!r}, bounds {header.threat.bounds!r}" if header.threat else "no threat"
        raise ValueError(f"{header.attack}: a worst-case attack works in pixels inside [0, 1]; got {where}")
    if header.status == "failed":
        yield from _failed(header, WORST)
        return
    norm, radii, required = header.threat.norm, header.threat.epsilons, list(header.members)
    found = metrics.worst_case(
        together.images, norm=norm, epsilons=radii, required=required, over=together.over(header)
    )
    for epsilon, value, n, missing in found.itertuples(index=False, name=None):
        yield _cell(header, WORST, metrics.Number(value, n), met=n, epsilon=epsilon, missing=missing)


def _under_threat(attacked: Attacked, together: Together, judges: Mapping[float, tuple[str, float]]) -> Iterator[Cell]:
    """Say at each radius what the worst case leaves of a published accuracy; nothing where none was run."""
    header = attacked.header
    for epsilon, (slug, radius) in judges.items():
        suite = together.all.get(slug)
        if suite is None or suite.header.threat is None or header.threat is None:
            continue
        a_worst_case = partial(_cell, header, epsilon=epsilon, protocol="worst", suite=suite.header.suite)
        if failed := next((h.reason for h in (header, suite.header) if h.status == "failed"), ""):
            for name in (UNDER_THREAT, ATTACK_GAP):
                nothing = metrics.Number(math.nan, 0)
                yield a_worst_case(name, nothing, failed=failed)
            continue
        pixels, reached = together.nearest(suite.header, suite.header.threat.norm), together.reached(header.threat)
        found = metrics.under_threat(at_radii(attacked), reached, pixels, epsilon=epsilon, radius=radius)
        if found is None:
            continue
        missing = metrics.incomplete(found.accuracy, together.images, list(suite.header.members))
        for name, value in ((UNDER_THREAT, found.accuracy), (ATTACK_GAP, found.gap)):
            share = metrics.Number(value, found.n)
            yield a_worst_case(name, share, met=found.n, missing=missing)


def of_weights(run: Run, thresholds: Sequence[float], parameters: Sequence[str] = (FIRST_CONV,)) -> list[Cell]:
    """Return what the weights of some layers give; nan for a training that failed.

    Args:
        run: of the training.
        thresholds: under which a weight counts as near zero, a metric each.
        parameters: tensors that are measured where the net has them; the metrics of all but the first are named
            metric@tensor.
    """
    layers = weights_of.layers(run.checkpoint(), parameters) if run.status == "ok" else dict.fromkeys(parameters)
    return [
        cell._replace(metric=cell.metric if key == parameters[0] else f"{cell.metric}@{key}")
        for key in parameters
        if key in layers
        for cell in _of_layer(run, thresholds, layers[key])
    ]


def check_measured(runs: Iterable[Run], parameters: Iterable[str]) -> None:
    """Raise ValueError for a tensor that none of the trained nets has: it is misspelt."""
    held = [weights_of.names(run.checkpoint()) for run in runs if run.status == "ok"]
    known = set[str]().union(*held)
    for key in parameters if held else ():
        if key not in known:
            raise ValueError(f"near_zero.parameters: no net has a tensor {key!r}; {nearest(key, known)}")


def _of_layer(run: Run, thresholds: Sequence[float], weights: NDArray[np.float64] | None) -> list[Cell]:
    metrics_of = weights_of.of_layer(thresholds)
    values, n = dict.fromkeys(metrics_of, math.nan), 0
    if weights is not None:
        values, n = {name: metric(weights) for name, metric in metrics_of.items()}, weights.size
    status: Status = "ok" if run.status == "ok" else "failed"
    about, found = (run.stand_in, "clean", "published", "", "none"), values.items()
    return [Cell(*run.model, *about, math.nan, name, value, n, status, run.reason, met=0) for name, value in found]


# ---- what follows from it


def derive(cells: pd.DataFrame, *, near_zero: str, reference: str) -> pd.DataFrame:
    """Return cells with the metrics that follow from others.

    These are error and adv_error (the error under attack), clean_accuracy_drop_vs_std, near_zero_param_ratio_vs_std.
    The comparing ones pair each seed of a defense with the same seed of the reference.
    """
    accuracy = cells[cells["metric"] == "accuracy"]
    clean, zeros = accuracy[accuracy["norm"] == "none"], cells[cells["metric"] == near_zero]
    error = accuracy.assign(value=1.0 - accuracy["value"])
    parts = {
        "error": error,
        "adv_error": error[error["norm"] != "none"],
        "clean_accuracy_drop_vs_std": _compare(clean, reference, lambda value, base: base - value, _half_of_difference),
        "near_zero_param_ratio_vs_std": _compare(zeros, reference, lambda value, base: value / base.where(base > 0)),
    }
    named = (part.assign(metric=name) for name, part in parts.items() if len(part))
    return pd.concat([cells, *named], ignore_index=True)


def _half_of_difference(value: float, base: float, n: int) -> float:
    """Return the half-width over samples of the difference of two shares, as if they were of different samples.

    On the same samples the two rise and fall together, so the difference varies less than that.
    """
    if math.isnan(value) or math.isnan(base):
        return math.nan
    return math.hypot(*(max(share_margins(share, n)) for share in (value, base)))


def _compare(
    cells: pd.DataFrame,
    reference: str,
    how: Callable[[_Values, _Values], _Values],
    half: Callable[[float, float, int], float] = lambda *_: math.nan,
) -> pd.DataFrame:
    keys = [name for name in COLUMNS if name not in ("defense", *RESULT)]
    base = cells.loc[cells["defense"] == reference, [*keys, "value", "reason"]]
    both = cells[cells["defense"] != reference].merge(base, on=keys, suffixes=("", "_base"))
    value = how(both["value"], both["value_base"])
    reason = both["reason"].mask(both["reason"] == "", both["reason_base"])
    reason = reason.mask((reason == "") & value.isna(), f"{reference} has 0, nothing to divide by")
    status = value.isna().map({True: "failed", False: "ok"})
    halves = [half(*row) for row in both[["value", "value_base", "n"]].itertuples(index=False, name=None)]
    return both[COLUMNS].assign(value=value, status=status, reason=reason, half=halves)


Index = Mapping[Place, list[tuple[float, list[Cell]]]]  # place -> radius (nan: none) and the seeds there


def index(cells: pd.DataFrame) -> Index:
    """Return every number that a claim may be about: those of the published protocol, and the worst cases.

    Raises:
        ValueError: if one seed of a number is there twice.
    """
    found: dict[Place, list[tuple[float, list[Cell]]]] = defaultdict(list)
    for cell in rows(cells):
        if cell.protocol != "published" and cell.metric not in JUDGING:
            continue
        place = Place(cell.dataset, cell.model, cell.defense, cell.attack, cell.metric)
        seeds = at(found, place, cell.epsilon)
        if any(other.seed == cell.seed for other in seeds):
            raise ValueError(f"expected one number per cell and seed, got two for {place} at epsilon {cell.epsilon:g}")
        if not seeds:
            found[place].append((cell.epsilon, seeds))
        seeds.append(cell)
    return found


def at(numbers: Index, place: Place, epsilon: float) -> list[Cell]:
    """Return the seeds of a number at a radius (nan: none); empty if there are none."""
    radii = numbers.get(place, [])
    found = radius_index((radius for radius, _ in radii), epsilon)
    return [] if found is None else radii[found][1]
