"""Tables for people: published and re-run numbers side by side, worst cases, counts of verdicts, failures.

Every cell is a string; those of `paper_table` and `worst_cases` are Markdown, those of `failures` plain text.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from touchstone.cell import ModelId, distinct_radii, radius_index, same_radius
from touchstone.files import write_bytes
from touchstone.findings.cells import WORST, Cell, rows
from touchstone.findings.inputs import read_table
from touchstone.findings.intervals import EXACT, Margins, interval, share_margins, spread
from touchstone.findings.markdown import escape
from touchstone.findings.vocabulary import ELSEWHERE, VERDICTS, known, mark
from touchstone.paths import Results
from touchstone.study.claims import HEADLINE
from touchstone.study.scale import METRICS, UNITS

CERTAINTY_MARKS = {"certain": "", "inferred": "‡", "uncertain": "†"}
NORMS = ["linf", "l2", "l1", "l0", "none"]


def legend() -> str:
    """Explain the marks in one line."""
    verdicts = [f"{meaning.mark} {word}" for word, meaning in VERDICTS.items()]
    doubts = [f"{sign} label {name}" for name, sign in CERTAINTY_MARKS.items() if sign]
    return ", ".join([*verdicts, *doubts])


def data_words(dataset: str, stand_in: str) -> str:
    """Name the data in use, and what they stand in for: "mnist", or "digits for mnist"."""
    return f"{stand_in} for {dataset}" if stand_in else dataset


def decimals(value: str) -> int:
    """Return how many decimals a published number has; a range is "17 to 19"."""
    return len(value.partition(" ")[0].partition(".")[2])


def spread_of(printed: str, half: str, metric: str, unit: str) -> str:
    """Return how far our number for a claim is known, as `intervals.spread` does.

    Args:
        printed: the number, as text.
        half: its half-width, as text.
        metric: of METRICS.
        unit: of UNITS.
    """
    measured = METRICS[metric]
    return spread(printed, half, measured.low * UNITS[unit], measured.high * UNITS[unit])


def radius(epsilon: str, unit: str) -> str:
    """Return a radius as a paper prints it: "0.3", "8/255"; unit: of EPSILON_UNITS."""
    return f"{epsilon}/255" if unit == "255" else epsilon


# ---- worst cases


class _Line(NamedTuple):
    """What the models of one line of the table share."""

    data: str
    model: str
    norm: int  # place in NORMS
    epsilon: float  # pixels; -1 for clean accuracy
    suite: str


def worst_cases(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the worst-case accuracy of every defense in percent, clean accuracy after it; empty without worst cases.

    Args:
        cells: cells.csv.

    Returns:
        dataset, model, norm, epsilon (pixels), suite, n (the fewest samples of the row), and a column per defense:
        mean over seeds and half-width of its 95 % interval (of one seed, over its samples); "*incomplete*" where an
        attack is missing, and "–" where there is no number.
    """
    lines: dict[_Line, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    measured = rows(cells)
    radii = distinct_radii(cell.epsilon for cell in measured if cell.metric == WORST)
    shown = [c for c in measured if c.metric == WORST]
    shown += [c for c in measured if _is_clean(c)] if shown else []
    for cell in shown:
        place = radius_index(radii, cell.epsilon)
        epsilon = -1.0 if place is None else radii[place]
        line = _Line(data_words(cell.dataset, cell.stand_in), cell.model, NORMS.index(cell.norm), epsilon, cell.suite)
        lines[line][cell.defense].append(cell)
    defenses = list(dict.fromkeys(cell.defense for cell in shown))
    table = []
    for line, found in sorted(lines.items()):
        clean = line.epsilon < 0
        where = [line.data, line.model, "clean" if clean else NORMS[line.norm], "" if clean else f"{line.epsilon:g}"]
        n = min((cell.n for seeds in found.values() for cell in _measured(seeds)), default="–")
        numbers = [_percent(_measured(found.get(defense, []))) for defense in defenses]
        table.append([*map(escape, (*where, line.suite)), str(n), *numbers])
    columns = ["dataset", "model", "norm", "epsilon", "suite", "n", *map(escape, defenses)]
    return pd.DataFrame(table, columns=columns)


def _is_clean(cell: Cell) -> bool:
    return cell.metric == "accuracy" and cell.attack == "clean"  # not a pass over a part that a study names


def _measured(seeds: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in seeds if not math.isnan(cell.value)]


def _percent(seeds: list[Cell]) -> str:
    if not seeds:
        return "–"
    values = [cell.value for cell in seeds]
    margins = share_margins(values[0], seeds[0].n) if len(values) == 1 else EXACT
    found = interval(values, margins=margins, share=True)
    mean = f"{100 * sum(values) / len(values):.1f}"
    known_to = "" if math.isnan(found.half) else f" {spread(mean, f'{100 * found.half:.1f}', 0.0, 100.0)}"
    incomplete = " *incomplete*" if any(cell.status == "incomplete" for cell in seeds) else ""
    return f"{mean}{known_to}{incomplete}"


# ---- attacks


class _Number(NamedTuple):
    """What the models of one line of the table of attacks share."""

    data: str
    model: str
    attack: str
    norm: str
    epsilon: float  # nan without one
    metric: str


def attacks(cells: pd.DataFrame) -> pd.DataFrame:
    """Return what every attack found as the study ran it, the clean pass included; worst cases are in `worst_cases`.

    Args:
        cells: cells.csv.

    Returns:
        dataset, model, attack, norm, epsilon (in the space of the attack's threat), metric, n (the fewest samples of
        the row), and a column per defense: mean over seeds and half-width of its 95 % interval, shares in percent and
        distances in pixels; "–" where there is no number.
    """
    shown = [c for c in rows(cells) if c.protocol == "published" and c.metric in _OF_ATTACKS]
    defenses = list(dict.fromkeys(cell.defense for cell in shown))
    lines: dict[_Number, dict[str, list[Cell]]] = {}
    for cell in shown:
        data = data_words(cell.dataset, cell.stand_in)
        line = _Number(data, cell.model, cell.attack, cell.norm, cell.epsilon, cell.metric)
        same = next((one for one in lines if one[:4] == line[:4] and _same_line(one, line)), line)
        lines.setdefault(same, {}).setdefault(cell.defense, []).append(cell)
    table = []
    for line, found in lines.items():
        epsilon = "" if math.isnan(line.epsilon) else f"{line.epsilon:g}"
        n = min((cell.n for seeds in found.values() for cell in _measured(seeds)), default="–")
        numbers = [of_metric(line.metric, found.get(defense, [])) for defense in defenses]
        where = [line.data, line.model, line.attack, line.norm, epsilon, line.metric.replace("_", " ")]
        table.append([*map(escape, where), str(n), *numbers])
    columns = ["dataset", "model", "attack", "norm", "epsilon", "metric", "n", *map(escape, defenses)]
    return pd.DataFrame(table, columns=columns)


def _same_line(one: _Number, other: _Number) -> bool:
    return one.metric == other.metric and same_radius(one.epsilon, other.epsilon)


def _distance(seeds: list[Cell]) -> str:
    if not seeds:
        return "–"
    values = [cell.value for cell in seeds]
    margins = Margins(seeds[0].half, seeds[0].half) if len(values) == 1 else EXACT
    found = interval(values, margins=margins)
    known_to = "" if math.isnan(found.half) else f" ±{found.half:.2g}"
    return f"{sum(values) / len(values):.3g}{known_to}"


# metric of a published attack -> how it is printed
_OF_ATTACKS = {"accuracy": _percent, "success_rate": _percent, "median_norm": _distance, "mean_norm": _distance}


def of_metric(metric: str, seeds: Iterable[Cell]) -> str:
    """Return a number of a published attack over seeds, "97.0 ±1.0"; "–" where there is none."""
    return _OF_ATTACKS[metric](_measured(seeds))


# ---- counts


class Count(NamedTuple):
    """How many claims got a verdict: by how sure we are of the printed number and its label.

    `only` is the mark of the reading that reproduces them, where another one than the headline does.
    """

    word: str
    only: str
    certain: int
    inferred: int
    uncertain: int

    @property
    def all(self) -> int:
        """All of them."""
        return self.certain + self.inferred + self.uncertain

    @property
    def name(self) -> str:
        """What to call the verdict: its word, or the mark of the reading."""
        return self.only or self.word


def counts(verdicts: pd.DataFrame) -> list[Count]:
    """Count the claims by verdict, each claim once, in the order of VERDICTS.

    A claim has the verdict of the headline reading, or that another reading reproduces it where that explains it.

    Raises:
        ValueError: for a verdict that is not in VERDICTS.
    """
    for word in verdicts["verdict"]:
        known(word, VERDICTS)
    others = verdicts[verdicts["only"] != ""].drop_duplicates("id")
    only = dict(zip(others["id"], others["only"], strict=True))
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(CERTAINTY_MARKS, 0))
    headline = verdicts.loc[verdicts["reading"] == HEADLINE, ["id", "verdict", "certainty"]]
    for name, word, certainty in headline.itertuples(index=False, name=None):
        explained = VERDICTS[word].open and name in only
        found[(ELSEWHERE, only[name]) if explained else (word, "")][certainty] += 1
    order = list(VERDICTS)
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[1]))
    return [Count(word, only, *found[word, only].values()) for word, only in keys]


def summary(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return `counts` as a table for people: mark, verdict, counts, what it means."""
    table = [
        [mark(c.word), escape(c.name), *map(str, (c.certain, c.inferred, c.uncertain, c.all)), VERDICTS[c.word].meaning]
        for c in counts(verdicts)
    ]
    return pd.DataFrame(table, columns=["", "verdict", *CERTAINTY_MARKS, "all", "meaning"])


# ---- failures


def failures(cells: pd.DataFrame, results: Results, records: Mapping[tuple[ModelId, str], Path]) -> pd.DataFrame:
    """Return what has no number: what, why, and where a file says so; seeds together.

    Args:
        cells: cells.csv.
        results: of the run.
        records: (model, attack) -> the file with its records.
    """
    groups: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
    for cell in rows(cells):
        if cell.status == "failed":
            groups[data_words(cell.dataset, cell.stand_in), cell.model, cell.defense, cell.reason].append(cell)
    table = []
    for (data, model, defense, reason), failed in sorted(groups.items()):
        seeds = ", ".join(map(str, sorted({cell.seed for cell in failed})))
        attacks = list(dict.fromkeys(cell.attack for cell in failed))
        first = min(failed, key=lambda cell: cell.seed)
        if "clean" in attacks:  # a failed training takes every attack with it
            what, where = f"training of {defense}", results.model(first.model_id).run
        else:
            what, where = f"{', '.join(attacks)} on {defense}", records[first.model_id, first.attack]
        table.append([f"{what} ({data}, {model}; seed {seeds})", reason, str(where)])
    return pd.DataFrame(table, columns=["what", "why", "where"])


def gather(paths: Iterable[str | Path], out: str | Path) -> None:
    """Write the claims tables of several studies as one file; the text of every field is kept."""
    parts = [read_table(Path(path)) for path in paths]
    write_bytes(Path(out), pd.concat(parts, ignore_index=True).fillna("").to_csv(index=False).encode())
