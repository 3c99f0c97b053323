"""The paper's tables in their own shape: published beside re-run, as numbers, Markdown, plain text and LaTeX."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, get_args

import pandas as pd

from touchstone.files import write_bytes
from touchstone.findings import latex
from touchstone.findings.cells import Cell, rows
from touchstone.findings.inputs import read_table
from touchstone.findings.markdown import escape, parts, pipe_table
from touchstone.findings.tables import CERTAINTY_MARKS, data_words, decimals, legend, of_metric, radius, spread_of
from touchstone.findings.vocabulary import mark
from touchstone.paths import PaperFiles, Results
from touchstone.plan.jobs import ClaimsJob
from touchstone.study.claims import HEADLINE, Readings
from touchstone.study.schema import Axis, LostDef, ShapeDef, TableDef

NOTHING = "–"  # where a number of ours is missing
ROOM = 88  # characters of \small that fit into a line of LaTeX's article


class Number(NamedTuple):
    """A number of one of the paper's tables, as text in the paper's unit with the paper's digits.

    Attributes:
        published: with the mark of a doubtful label; "" in a table of our numbers alone.
        ours: NOTHING where we have none.
        spread: of ours, as `intervals.spread` returns it: half of a 95 % interval with its sign.
        mark: of the verdict, "" without one.
        claim: its id, "" where none is published.
    """

    published: str
    ours: str
    spread: str = ""
    mark: str = ""
    claim: str = ""


class Place(NamedTuple):
    """Where a number stands: labels of a block ("" of the only one), a row and a column."""

    block: str
    row: str
    column: str


Placed = tuple[Place, Number | None]  # None: nothing stands there
COLUMNS = ["table", *Place._fields, *Number._fields]
_EMPTY = Number("", "")


class Form(NamedTuple):
    """How a table is written: plain text, bold text, and the text of a published number with the id of its claim."""

    plain: Callable[[str], str]
    bold: Callable[[str], str]
    linked: Callable[[str, str], str] | None = None

    def number(self, number: Number) -> str:
        """Return "published / ours spread mark", as far as there is any of it."""
        known = number.ours != NOTHING
        ours = self.bold(self.plain(number.ours)) if number.published and known else self.plain(number.ours)
        slash = f"{self.plain(number.published)} / " if number.published else ""
        known_to = f" {self.plain(number.spread)}" if number.spread else ""
        sign = f" {self.plain(number.mark)}" if number.mark else ""
        text = f"{slash}{ours}{known_to}{sign}"
        return self.linked(text, number.claim) if self.linked and number.claim else text


MARKDOWN = Form(escape, "**{}**".format)
PLAIN = Form(str, str)
LATEX = Form(latex.escape, r"\textbf{{{}}}".format)


# ---- what stands where


def paper(
    verdicts: pd.DataFrame,
    cells: pd.DataFrame,
    tables: Mapping[str, TableDef],
    *,
    labels: Mapping[str, str],
    readings: Readings,
) -> pd.DataFrame:
    """Return all tables of the paper that a study shows, a number per row; an empty place has empty columns.

    Args:
        verdicts: as `verdicts.verdicts` returns them.
        cells: cells.csv.
        tables: of the study.
        labels: names to print instead of slugs and published words.
        readings: whose slugs a table of our numbers alone leaves out, but for the headline's.

    Returns:
        COLUMNS, all of plain text. A place has several rows where the paper prints several numbers in it.
    """
    others = [reading for name, reading in readings.items() if name != HEADLINE]
    aside = {word for reading in others for swaps in (reading.attack, reading.defense) for word in swaps.values()}
    found = [
        (name, *place, *(number or _EMPTY))
        for name, table in tables.items()
        for place, number in _placed(verdicts, cells, table, labels, aside)
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def _placed(
    verdicts: pd.DataFrame, cells: pd.DataFrame, table: TableDef, labels: Mapping[str, str], aside: Collection[str]
) -> list[Placed]:
    shape, source = table.shape, table.source_table or ""
    if shape is None:
        return usual(_claims_of(verdicts, source, table.dataset), labels)
    if table.lost is None:
        return shaped(_published(_claims_of(verdicts, source, table.dataset)), shape, labels)
    by_radius = "epsilon" in shape.axes
    return shaped(_measured_alone(cells, table.lost, table.dataset, aside, by_radius=by_radius), shape, labels)


def _claims_of(verdicts: pd.DataFrame, source_table: str, dataset: str | None) -> pd.DataFrame:
    """Return the claims of one of the paper's tables, on one dataset or all of them, under the headline."""
    claims = verdicts[(verdicts["source_table"] == source_table) & (verdicts["reading"] == HEADLINE)]
    on = claims["cell_dataset"].where(claims["cell_dataset"] != "", claims["dataset"])
    return claims[on == dataset] if dataset else claims


def usual(claims: pd.DataFrame, labels: Mapping[str, str]) -> list[Placed]:
    """Lay claims out in the usual shape.

    Args:
        claims: of one of the paper's tables.
        labels: names to print instead of the published words.

    Returns:
        A row per attack, radius, number of steps and whatever else tells printed numbers apart, and a column per
        defense; a row per defense and a column per dataset where the table is about one attack. Both are in the order
        of the claims.
    """
    head, across = ("attack", "defense") if claims["attack"].nunique() > 1 else ("defense", "dataset")
    columns = [labels.get(word, word) for word in claims[across]]
    places = zip(_row_labels(claims, head, across, labels), columns, strict=True)
    filled: dict[tuple[str, str], list[Number]] = defaultdict(list)
    for place, claim in zip(places, claims[_NUMBER].itertuples(index=False), strict=True):
        filled[place].append(_number(*claim))
    return _grid("", filled, list(dict.fromkeys(row for row, _ in filled)), list(dict.fromkeys(columns)))


def _grid(
    block: str, filled: Mapping[tuple[str, str], Sequence[Number]], rows: Sequence[str], columns: Sequence[str]
) -> list[Placed]:
    """Return every place of a block, row by row, with what stands there."""
    return [
        (Place(block, row, column), number)
        for row in rows
        for column in columns
        for number in filled.get((row, column), [None])
    ]


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
    """A number of one of the paper's tables, and the word of each Axis."""

    words: Mapping[Axis, str]
    number: Number


def shaped(entries: Sequence[_Entry], shape: ShapeDef, labels: Mapping[str, str]) -> list[Placed]:
    """Lay numbers out in the shape of a table.

    Args:
        entries: the numbers.
        shape: what its rows, columns and blocks are of.
        labels: names to print instead of slugs; words stand in their order, radii rise.

    Returns:
        A row per word of `rows` and a column per word of `columns`, as far as a block has any.
    """
    blocks: dict[str, dict[tuple[str, str], list[Number]]] = defaultdict(lambda: defaultdict(list))
    for words, number in entries:
        blocks[words[shape.blocks] if shape.blocks else ""][words[shape.rows], words[shape.columns]].append(number)
    found: list[Placed] = []
    for block in _ordered(blocks, labels):
        here = blocks[block]
        rows, columns = (_ordered((place[axis] for place in here), labels) for axis in (0, 1))
        for place, there in _grid(block, here, rows, columns):
            found.append((Place(*(labels.get(word, word) for word in place)), there))
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
        found.append(_Entry(words, _number(*(claim[name] for name in _NUMBER))))
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
        _Entry(dict(zip(axes, words, strict=True)), _alone(of_metric(words[-1], seeds)))
        for words, seeds in groups.items()
    ]


def _alone(text: str) -> Number:
    """Return a number that nothing is published of: "97.0 ±1.0"."""
    ours, _, known_to = text.partition(" ")
    return Number("", ours, known_to)


_SLOTS: tuple[Axis, ...] = ("dataset", "model", "defense", "attack", "metric")  # columns cell_<slot> of the claims
_NUMBER = ["id", "value", "certainty", "ours", "h", "verdict", "cell_metric", "unit"]


def _number(
    claim: str, value: str, certainty: str, ours: float, half: float, word: str, metric: str, unit: str
) -> Number:
    digits = decimals(value)
    printed = NOTHING if math.isnan(ours) else f"{ours:.{digits}f}"
    return Number(
        published=value + CERTAINTY_MARKS[certainty],
        ours=printed,
        spread="" if math.isnan(half) else spread_of(printed, f"{half:.{digits}f}", metric, unit),
        mark=mark(word),
        claim=claim,
    )


# ---- the tables as they are shown


def laid_out(paper: pd.DataFrame, table: str, form: Form = MARKDOWN) -> dict[str, pd.DataFrame]:
    """Return the blocks of one of the tables of `paper`: name, "" of the only one -> table.

    Args:
        paper: as `paper` returns it, or as it was written.
        table: its name in the study.
        form: how its cells are written.

    Returns:
        Tables whose first column, without a name, holds the row labels.
    """
    shown: dict[str, dict[str, dict[str, list[str]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for line in paper.loc[paper["table"] == table, COLUMNS[1:]].itertuples(index=False, name=None):
        block, row, column = map(form.plain, line[:3])
        number = Number(*line[3:])
        shown[block][row][column] += [form.number(number)] if number != _EMPTY else []
    return {
        block: pd.DataFrame(
            [[row, *("; ".join(texts) for texts in places.values())] for row, places in found.items()],
            columns=["", *next(iter(found.values()))],
        )
        for block, found in shown.items()
    }


def numbers(table: pd.DataFrame) -> list[str]:
    """Return the columns of a table of `laid_out` that hold numbers."""
    return list(table.columns[1:])


def write(job: ClaimsJob) -> None:
    """Write each table in its own shape, as CSV, Markdown and LaTeX."""
    results = Results.of(job.run)
    for study, headings in job.headings.items():
        found = read_table(results.table(study, "paper"))
        for name, heading in headings.items():
            used = ", ".join(data_words(*whose) for whose in heading.stand_ins.items())
            caption = f"{heading.text} ({used})" if used else heading.text
            _write(results.paper(study, name), found, name, caption)


def _write(out: PaperFiles, paper: pd.DataFrame, table: str, caption: str) -> None:
    write_bytes(out.csv, _csv(laid_out(paper, table, PLAIN)).encode())
    write_bytes(out.md, _markdown(laid_out(paper, table), escape(caption)).encode())
    write_bytes(out.tex, _latex(laid_out(paper, table, LATEX), latex.escape(caption)).encode())


def _csv(blocks: Mapping[str, pd.DataFrame]) -> str:
    """Return the blocks below each other; a first column names them where there are several."""
    named = [table.assign(**({"block": name} if name else {})) for name, table in blocks.items()]
    whole = pd.concat(named, ignore_index=True).fillna("") if named else pd.DataFrame({"": []})
    first = [name for name in ("block",) if name in whole]
    text: str = whole[[*first, *(name for name in whole if name not in first)]].to_csv(index=False)
    return text


def _markdown(blocks: Mapping[str, pd.DataFrame], caption: str) -> str:
    titles = [f"**{caption}{f' ({name})' if name else ''}**" for name in blocks]
    tables = [pipe_table(table, numbers(table)) for table in blocks.values()]
    both = [text for pair in zip(titles, tables, strict=True) for text in pair]
    return "\n\n".join([*both, legend()]) + "\n"


def _latex(blocks: Mapping[str, pd.DataFrame], caption: str) -> str:
    """Return a float per block, or several of one that is too wide, each with the row labels."""
    floats = []
    for name, table in blocks.items():
        widths = [max(map(latex.width, [column, *table[column]])) + 2 for column in table]
        shares = parts(widths, labels=1, room=ROOM)
        for number, share in enumerate(shares, 1):
            which = ", ".join(filter(None, [name, f"{number}/{len(shares)}" if len(shares) > 1 else ""]))
            floats.append(latex.table(table.iloc[:, share], f"{caption}{f' ({which})' if which else ''}"))
    return "\n".join([latex.PREAMBLE, *floats, f"% {latex.escape(legend())}", ""])
