"""Tables for people: published and re-run numbers side by side, worst cases, counts of verdicts, failures.

Every cell is a string; those of `paper_table` and `worst_cases` are Markdown, those of `failures` plain text.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import pandas as pd

from touchstone.cell import ModelId, distinct_radii, radius_index, same_radius
from touchstone.files import write_bytes
from touchstone.findings.cells import WORST, Cell, rows
from touchstone.findings.inputs import read_table
from touchstone.findings.intervals import EXACT, Margins, interval, share_margins
from touchstone.findings.markdown import escape
from touchstone.findings.vocabulary import ELSEWHERE, VERDICTS, known, mark
from touchstone.paths import Results
from touchstone.study.claims import HEADLINE, Readings
from touchstone.study.schema import Axis, LostDef, ShapeDef, TableDef

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


def radius(epsilon: str, unit: str) -> str:
    """Return a radius as a paper prints it: "0.3", "8/255"; unit: of EPSILON_UNITS."""
    return f"{epsilon}/255" if unit == "255" else epsilon


# ---- the paper's tables


def paper_table(
    verdicts: pd.DataFrame,
    source_table: str,
    *,
    dataset: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Return one of the paper's tables, with "published / **ours** ±h mark" in every cell, in the paper's unit.

    Args:
        verdicts: as `verdicts.verdicts` returns them.
        source_table: its name in the claims.
        dataset: the only one to show; all of them if not given.
        labels: names to print instead of the published words.

    Returns:
        A row per attack, radius, number of steps and whatever else tells printed numbers apart, and a column per
        defense; a row per defense and a column per dataset where the table is about one attack. Both are in the order
        of the claims. The first column, without a name, holds the row labels.
    """
    claims = _claims_of(verdicts, source_table, dataset)
    head, across = ("attack", "defense") if claims["attack"].nunique() > 1 else ("defense", "dataset")
    named = dict(labels or {})
    texts: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    places = zip(_row_labels(claims, head, across, named), claims[across], strict=True)
    for (row, column), claim in zip(places, claims[_NUMBERS].itertuples(index=False), strict=True):
        texts[escape(row)][escape(named.get(column, column))].append(_pair(*claim))
    lines = {row: {column: "; ".join(pairs) for column, pairs in line.items()} for row, line in texts.items()}
    return pd.DataFrame.from_dict(lines, orient="index").fillna("").rename_axis("").reset_index()


def _claims_of(verdicts: pd.DataFrame, source_table: str, dataset: str | None) -> pd.DataFrame:
    """Return the claims of one of the paper's tables, on one dataset or all of them, under the headline."""
    claims = verdicts[(verdicts["source_table"] == source_table) & (verdicts["reading"] == HEADLINE)]
    on = claims["cell_dataset"].where(claims["cell_dataset"] != "", claims["dataset"])
    return claims[on == dataset] if dataset else claims


def _row_labels(claims: pd.DataFrame, head: str, across: str, named: Mapping[str, str]) -> list[str]:
    """Name the row of each claim: its attack or defense, and what else differs in the table or among the rows of it."""

    def said(name: str) -> pd.Series:
        return claims[name].map(lambda word: named.get(word, word))

    def prefixed(sign: str, values: pd.Series) -> pd.Series:
        return (f"{sign} " + values).where(values != "", "")

    params = pd.DataFrame([_params(text) for text in claims["attack_params"]], index=claims.index).fillna("")
    radii = pd.Series(map(radius, claims["epsilon"], claims["epsilon_unit"]), index=claims.index, dtype=str)
    details = [said("norm"), said("threat"), said("metric"), prefixed("ε", radii)]
    details += [prefixed(str(name), params[name]) for name in params]
    before = [said(name) for name in ("dataset", "model") if name != across and claims[name].nunique() > 1]
    differing = [text.where(text.groupby(claims[head]).transform("nunique") > 1, "") for text in details]
    return [", ".join(filter(None, words)) for words in zip(*before, said(head), *differing, strict=True)]


def _params(text: str) -> dict[str, str]:
    """Read "steps=40;step_size=0.01"."""
    pairs = (part.partition("=") for part in text.split(";") if part)
    return {name: value for name, _, value in pairs}


class _Entry(NamedTuple):
    """A number of one of the paper's tables: the word of each Axis, and what is printed there."""

    words: Mapping[Axis, str]
    text: str


def shaped(entries: Sequence[_Entry], shape: ShapeDef, labels: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Lay numbers out in the shape of a table.

    Args:
        entries: the numbers.
        shape: what its rows, columns and blocks are of.
        labels: names to print instead of slugs; words stand in their order, radii rise.

    Returns:
        name of a block, "" without blocks -> a row per word of `rows`, its label in the first column, which has no
        name, and a column per word of `columns`, as far as the block has any.
    """
    blocks: dict[str, dict[tuple[str, str], list[str]]] = defaultdict(lambda: defaultdict(list))
    for words, text in entries:
        block = words[shape.blocks] if shape.blocks else ""
        blocks[block][words[shape.rows], words[shape.columns]].append(text)

    def named(word: str) -> str:
        return escape(labels.get(word, word))

    found = {}
    for block in _ordered(blocks, labels):
        here = blocks[block]
        rows, columns = (_ordered((place[axis] for place in here), labels) for axis in (0, 1))
        lines = [[named(row), *("; ".join(here.get((row, column), [])) for column in columns)] for row in rows]
        found[named(block)] = pd.DataFrame(lines, columns=["", *map(named, columns)])
    return found


def _ordered(words: Iterable[str], labels: Mapping[str, str]) -> list[str]:
    """Return each word once: radii rising, others in the order of the labels, those without one last as they come."""
    places = {word: place for place, word in enumerate(labels)}

    def rank(word: str) -> tuple[float, int]:
        number = word.partition("/")[0]
        is_radius = number.replace(".", "", 1).isdecimal()
        return (float(number) if is_radius else 0.0, places.get(word, len(places)))

    return sorted(dict.fromkeys(words), key=rank)


def _published(claims: pd.DataFrame) -> list[_Entry]:
    """Return claims, each under the slugs of the cell that it is compared with, as far as it has one."""
    found = []
    for claim in claims.to_dict("records"):
        words: dict[Axis, str] = {axis: claim[f"cell_{axis}"] or claim[axis] for axis in _SLOTS}
        words |= {"norm": claim["norm"], "epsilon": radius(claim["epsilon"], claim["epsilon_unit"])}
        found.append(_Entry(words, _pair(*(claim[name] for name in _NUMBERS))))
    return found


def _measured_alone(
    cells: pd.DataFrame, lost: LostDef, dataset: str | None, aside: Collection[str], *, by_radius: bool
) -> list[_Entry]:
    """Return our numbers for a table of which none is published, over seeds.

    Args:
        cells: cells.csv.
        lost: what the table is about.
        dataset: its one dataset, if it has one.
        aside: slugs that it leaves out.
        by_radius: whether it tells radii apart, so that a number without one has no place in it.
    """
    groups: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
    for cell in rows(cells):
        wanted = (cell.protocol, cell.metric) == ("published", lost.metric)
        wanted &= dataset in (None, cell.dataset) and lost.defense in (None, cell.defense)
        wanted &= not {cell.attack, cell.defense} & set(aside) and not (by_radius and math.isnan(cell.epsilon))
        if wanted:
            epsilon = "" if math.isnan(cell.epsilon) else f"{cell.epsilon:g}"
            groups[cell.dataset, cell.model, cell.defense, cell.attack, cell.norm, epsilon, cell.metric].append(cell)
    axes = get_args(Axis)
    return [
        _Entry(dict(zip(axes, words, strict=True)), _OF_ATTACKS[words[-1]](_measured(seeds)))
        for words, seeds in groups.items()
    ]


_SLOTS: tuple[Axis, ...] = ("dataset", "model", "defense", "attack", "metric")  # columns cell_<slot> of the claims
_NUMBERS = ["value", "certainty", "ours", "h", "verdict"]


def paper(
    verdicts: pd.DataFrame,
    cells: pd.DataFrame,
    tables: Mapping[str, TableDef],
    *,
    labels: Mapping[str, str],
    readings: Readings,
) -> pd.DataFrame:
    """Return all tables of the paper that a study shows, an entry per row: table, block, row, column, entry.

    Args:
        verdicts: as `verdicts.verdicts` returns them.
        cells: cells.csv.
        tables: of the study.
        labels: names to print instead of slugs and published words.
        readings: whose slugs a table of our numbers alone leaves out, but for the headline's.
    """
    others = [reading for name, reading in readings.items() if name != HEADLINE]
    aside = {word for reading in others for swaps in (reading.attack, reading.defense) for word in swaps.values()}
    found = []
    for name, table in tables.items():
        for block, shown in _blocks(verdicts, cells, table, labels, aside).items():
            for label, *entries in shown.itertuples(index=False, name=None):
                found += [(name, block, label, *one) for one in zip(shown.columns[1:], entries, strict=True)]
    return pd.DataFrame(found, columns=["table", "block", "row", "column", "entry"])


def _blocks(
    verdicts: pd.DataFrame, cells: pd.DataFrame, table: TableDef, labels: Mapping[str, str], aside: Collection[str]
) -> dict[str, pd.DataFrame]:
    shape, source = table.shape, table.source_table or ""
    if shape is None:
        return {"": paper_table(verdicts, source, dataset=table.dataset, labels=labels)}
    if table.lost is None:
        return shaped(_published(_claims_of(verdicts, source, table.dataset)), shape, labels)
    by_radius = "epsilon" in shape.axes
    return shaped(_measured_alone(cells, table.lost, table.dataset, aside, by_radius=by_radius), shape, labels)


def laid_out(paper: pd.DataFrame, table: str) -> dict[str, pd.DataFrame]:
    """Return the blocks of one of the tables of `paper` as they were made: name, "" of the only one -> table."""
    entries = paper[paper["table"] == table]
    lines: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for block, row, column, entry in entries[["block", "row", "column", "entry"]].itertuples(index=False, name=None):
        lines[block][row][column] = entry
    return {
        block: pd.DataFrame.from_dict(found, orient="index").rename_axis("").reset_index()
        for block, found in lines.items()
    }


def _pair(value: str, certainty: str, ours: float, half: float, word: str) -> str:
    """Published and ours with the digits of the paper."""
    digits = decimals(value)
    text = "–" if math.isnan(ours) else f"**{ours:.{digits}f}**"
    spread = "" if math.isnan(half) else f" ±{half:.{digits}f}"
    return f"{value}{CERTAINTY_MARKS[certainty]} / {text}{spread} {mark(word)}"


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
    spread = "" if math.isnan(found.half) else f" ±{100 * found.half:.1f}"
    incomplete = " *incomplete*" if any(cell.status == "incomplete" for cell in seeds) else ""
    return f"{100 * sum(values) / len(values):.1f}{spread}{incomplete}"


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
        numbers = [_OF_ATTACKS[line.metric](_measured(found.get(defense, []))) for defense in defenses]
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
    spread = "" if math.isnan(found.half) else f" ±{found.half:.2g}"
    return f"{sum(values) / len(values):.3g}{spread}"


# metric of a published attack -> how it is printed
_OF_ATTACKS = {"accuracy": _percent, "success_rate": _percent, "median_norm": _distance, "mean_norm": _distance}


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
