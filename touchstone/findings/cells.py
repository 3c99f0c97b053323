"""cells.csv: every measured number, a row each, and how one is looked up."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Literal, NamedTuple, TypeAlias

import pandas as pd

from touchstone.cell import ModelId, radius_index
from touchstone.findings import metrics
from touchstone.findings import weights as weights_of
from touchstone.findings.inputs import Run
from touchstone.records import Attacked, Batch, Header

WORST = "worst_accuracy"  # the metric of protocol `worst`
ORDER = ["dataset", "model", "defense", "seed", "protocol", "attack", "metric", "epsilon"]
RESULT = ["value", "n", "status", "reason"]
_DTYPES = {"seed": "int64", "epsilon": "float64", "value": "float64", "n": "int64"}

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
        metric: accuracy (protocol published), worst_accuracy (protocol worst); for a minimal norm success_rate,
            median_dist, mean_dist; of weights fuzziness, near_zero_<threshold>, max_abs_conv, rho_extreme.
        value: nan where nothing was measured.
        n: samples (or weights) behind it.
        status: incomplete says of a worst case that `reason` is missing from it.
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

    @property
    def model_id(self) -> ModelId:
        """The model that it was measured on."""
        return ModelId(self.study, self.dataset, self.model, self.defense, self.seed)


COLUMNS = list(Cell._fields)


def table(cells: Iterable[Cell]) -> pd.DataFrame:
    """Return cells as a table with the columns of `Cell`, in an order that does not depend on theirs."""
    return pd.DataFrame(cells, columns=COLUMNS).astype(_DTYPES).sort_values(ORDER, kind="stable", ignore_index=True)


def rows(cells: pd.DataFrame) -> list[Cell]:
    """Return the rows of such a table."""
    return [Cell(*row) for row in cells[COLUMNS].itertuples(index=False, name=None)]


# ---- what was measured


def of_attacks(batch: Batch) -> list[Cell]:
    """Return what all attacks on one model give.

    A worst case is counted on the samples of its cascade (and of its members that also ran alone), over the union
    with what every other attack found whose points are images. A failed attack has cells without a value.

    Raises:
        ValueError: if the points of a worst case are not images.
    """
    usable = {a.header.attack: a.frame for a in batch.attacks if a.header.status == "ok" and _makes_images(a.header)}
    found: list[Cell] = []
    for one in batch.attacks:
        found += _worst(one, usable) if one.header.protocol == "worst" else _published(one)
    return found


def _makes_images(header: Header) -> bool:
    """Whether the points are images: made in pixels inside [0, 1], or not moved at all."""
    return header.threat is None or header.threat.makes_images


def _failed(header: Header, *names: str) -> Iterator[Cell]:
    radii = header.threat.epsilons if header.threat and header.kind == "fixed" else (math.nan,)
    return (_cell(header, name, math.nan, 0, eps) for name, eps in product(names, radii))


def _cell(header: Header, metric: str, value: float, n: int, epsilon: float = math.nan, missing: str = "") -> Cell:
    space, norm = (header.threat.space, header.threat.norm) if header.threat else ("", "none")
    status: Status = "failed" if header.status == "failed" else "incomplete" if missing else "ok"
    about = (header.stand_in, header.attack, header.protocol, space, norm)
    return Cell(*header.model, *about, epsilon, metric, value, n, status, header.reason or missing)


def _published(attacked: Attacked) -> Iterator[Cell]:
    header, frame = attacked
    minimal = header.kind == "minimal"
    if header.status == "failed":
        yield from _failed(header, "accuracy", *(metrics.NORM_METRICS if minimal else ()))
        return
    for epsilon, value, n in metrics.accuracy(frame, clean=header.kind == "none").itertuples(index=False, name=None):
        yield _cell(header, "accuracy", value, n, epsilon)
    if minimal and header.threat:
        own = frame[frame["epsilon"].isna()]  # not those cut back to a budget
        for name, value in metrics.norms(own, header.threat.norm).items():
            yield _cell(header, name, value, own["sample"].nunique())


def _worst(attacked: Attacked, frames: Mapping[str, pd.DataFrame]) -> Iterator[Cell]:
    header = attacked.header
    if header.threat is None or not header.threat.makes_images:
        where = f"space {header.threat.space!r}, bounds {header.threat.bounds!r}" if header.threat else "no threat"
        raise ValueError(f"{header.attack}: a worst-case attack works in pixels inside [0, 1]; got {where}")
    if header.status == "failed":
        yield from _failed(header, WORST)
        return
    members = list(header.members)
    over = [header.attack, *(slug for slug in members if slug in frames)]
    norm, radii = header.threat.norm, header.threat.epsilons
    found = metrics.worst_case(frames, norm=norm, epsilons=radii, required=members, over=over)
    for epsilon, value, n, incomplete in found.itertuples(index=False, name=None):
        yield _cell(header, WORST, value, n, epsilon, incomplete)


def of_weights(run: Run, thresholds: Sequence[float], key: str = weights_of.FIRST_CONV) -> list[Cell]:
    """Return what the weights of one layer give; nan for a training that failed.

    Args:
        run: of the training.
        thresholds: under which a weight counts as near zero, a metric each.
        key: tensor that is measured.
    """
    names = ["fuzziness", *(f"near_zero_{t:g}" for t in thresholds), "max_abs_conv", "rho_extreme"]
    values, n = [math.nan] * len(names), 0
    if run.status == "ok":
        weights = run.weights(key)
        shares = (weights_of.near_zero(weights, threshold) for threshold in thresholds)
        values = [weights_of.fuzziness(weights), *shares, weights_of.max_abs(weights), weights_of.rho_extreme(weights)]
        n = weights.size
    status: Status = "ok" if run.status == "ok" else "failed"
    found = zip(names, values, strict=True)
    about = (run.stand_in, "clean", "published", "", "none")
    return [Cell(*run.model, *about, math.nan, name, value, n, status, run.reason) for name, value in found]


# ---- what follows from it


def derive(cells: pd.DataFrame, *, near_zero: str, reference: str) -> pd.DataFrame:
    """Return cells with the metrics that follow from others: clean_accuracy_drop, near_zero_ratio, error.

    The comparing ones pair each seed of a defense with the same seed of the reference.
    """
    accuracy = cells[cells["metric"] == "accuracy"]
    clean, zeros = accuracy[accuracy["norm"] == "none"], cells[cells["metric"] == near_zero]
    parts = {
        "error": accuracy.assign(value=1.0 - accuracy["value"]),
        "clean_accuracy_drop": _compare(clean, reference, lambda value, base: base - value),
        "near_zero_ratio": _compare(zeros, reference, lambda value, base: value / base.where(base > 0)),
    }
    named = (part.assign(metric=name) for name, part in parts.items() if len(part))
    return pd.concat([cells, *named], ignore_index=True)


def _compare(cells: pd.DataFrame, reference: str, how: Callable[[_Values, _Values], _Values]) -> pd.DataFrame:
    keys = [name for name in COLUMNS if name not in ("defense", *RESULT)]
    base = cells.loc[cells["defense"] == reference, [*keys, "value", "reason"]]
    both = cells[cells["defense"] != reference].merge(base, on=keys, suffixes=("", "_base"))
    value = how(both["value"], both["value_base"])
    reason = both["reason"].mask(both["reason"] == "", both["reason_base"])
    reason = reason.mask((reason == "") & value.isna(), f"{reference} has 0, nothing to divide by")
    status = value.isna().map({True: "failed", False: "ok"})
    return both[COLUMNS].assign(value=value, status=status, reason=reason)


class Place(NamedTuple):
    """What the seeds of a number share, but for its radius."""

    dataset: str
    model: str
    defense: str
    attack: str
    metric: str


Index = Mapping[Place, list[tuple[float, list[Cell]]]]  # place -> radius (nan: none) and the seeds there


def index(cells: pd.DataFrame) -> Index:
    """Return every number that a claim may be about: those of the published protocol, and the worst cases.

    Raises:
        ValueError: if one seed of a number is there twice.
    """
    found: dict[Place, list[tuple[float, list[Cell]]]] = defaultdict(list)
    for cell in rows(cells):
        if cell.protocol != "published" and cell.metric != WORST:
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
