"""What reports/model.ipynb shows between its text: the report of one net of the user's own.

The study has a net that is given (`weights`), a worst case, and no claims; tables and figures are numbered A1, A2, ...
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from touchstone.cell import ModelId
from touchstone.findings.cells import WORST, Cell, from_text, rows
from touchstone.findings.flags import TECHNICAL
from touchstone.findings.inputs import read_table
from touchstone.findings.intervals import share_interval
from touchstone.findings.markdown import escape, pipe_table
from touchstone.records import CLEAN
from touchstone.registry import rounded
from touchstone.report import words
from touchstone.report.material import Material, stand_ins
from touchstone.report.render import Values
from touchstone.report.sections import failures, figure_names, figures, machine, rerun, run_values, sources
from touchstone.study.schema import Study

__all__ = ["accuracies", "costs", "failures", "figures", "machine", "members", "sources", "values"]
NOTHING = "–"
GALLERIES = ("gallery-of-broken", "gallery")  # plots of the figures that the template shows under one heading
HEAD = ("norm", "radius", "right, %", "95 % interval", "images")


def values(material: Material) -> Values:
    """Return what the text names; a value is empty where there is nothing of its kind."""
    study, measured = material.study, _cells(material)
    worst = _worst(measured)
    clean, several = _clean(measured), _several(cell.seed for cell in measured)
    suite = next((cell.suite for cell in worst), "")
    return Values(
        stand_ins=run_values(material.config, stand_ins(material.runs))["stand_ins"],
        title=escape(study.title),
        citation=escape(study.citation),
        suite=escape(suite),
        n=f"{clean[0].n:,}",
        clean="; ".join(f"{_share(cell)}{_whose(cell.seed, several)}" for cell in clean),
        answers="; ".join(
            f"{_share(cell)} at {cell.norm} {cell.epsilon:g}{_whose(cell.seed, several)}" for cell in worst
        ),
        incomplete="; ".join(dict.fromkeys(escape(cell.reason) for cell in worst if cell.status == "incomplete")),
        flags=_flags(material, several=several),
        galleries=", ".join(figure_names(material, *GALLERIES)),
        failed="yes" if len(material.tables["failures"]) else "",
        **rerun(material),
    )


def lines(cells: Sequence[Cell], model: str) -> list[tuple[str, ...]]:
    """Return accuracies as the lines of a table, the head among them: clean, then in the worst case by radius.

    Where there is no number, the reason stands in place of its interval. Of several nets the seed stands first.
    """
    of_model = [cell for cell in cells if cell.model == model]
    told = [*_clean(of_model), *_worst(of_model)]
    if not _several(cell.seed for cell in told):
        return [HEAD, *map(_line, told)]
    return [("seed", *HEAD), *((str(cell.seed), *_line(cell)) for cell in told)]


def looks_wrong(flags: Path, model: str) -> str:
    """Return a line per flag that is about what the numbers mean, from the table of flags; empty without any."""
    found = read_table(flags)
    told = _told(found[found["model"] == model], several=False)
    return "\n".join(f"looks wrong: {flag} ({raised_for}): {detail}" for flag, raised_for, detail in told)


def accuracies(material: Material) -> str:
    """Return the accuracies with their intervals over images."""
    head, *found = ([*map(escape, line)] for line in lines(_cells(material), _model(material.study).model))
    return pipe_table(pd.DataFrame(found, columns=list(head)), right=head[1:])


def members(material: Material) -> str:
    """Return who broke what: radius by radius, the attacks of the suite in their order."""
    table = _of_model(material.tables["members"], material.study)
    shown = pd.DataFrame([_member({str(k): str(v) for k, v in row.items()}) for row in table.to_dict("records")])
    if shown.empty:
        return ""
    if _several(table["seed"]):
        shown.insert(0, "seed", table["seed"].to_list())
    return pipe_table(shown, right=["tried", "broke", "left, %", "backward passes"])


def costs(material: Material) -> str:
    """Return what it cost: passes through the net for an image, and seconds of all jobs."""
    table = _of_model(material.tables["members"], material.study)
    if table.empty:
        return ""
    n, nets = int(table["n"].iloc[0]), table["seed"].nunique()
    forwards, backwards = (pd.to_numeric(table[kind]).sum() for kind in ("forwards", "backwards"))
    provenance = material.provenance
    facts = {
        "images": f"{n:,}",
        "passes forward, per image": rounded(forwards / (n * nets)),
        "passes backward, per image": rounded(backwards / (n * nets)),
        "seconds of all jobs": f"{provenance.get('seconds', math.nan):,.0f}{words.broken_off(provenance)}",
    }
    return pipe_table(pd.DataFrame(facts.items(), columns=["what", "value"]), right=["value"])


def _member(row: Mapping[str, str]) -> dict[str, str]:
    """Return a line of who broke what; what was broken before any attack ran costs no pass."""
    before = row["member"] == CLEAN
    return {
        "radius": f"{row['norm']} {float(row['epsilon']):g}",
        "attack": "(wrong or broken before)" if before else escape(row["member"]),
        "tried": NOTHING if before else row["tried"],
        "broke": row["broke"],
        "left, %": f"{100 * int(row['left']) / int(row['n']):.1f}",
        "backward passes": NOTHING if before else f"{int(row['backwards']):,}",
    }


def _flags(material: Material, *, several: bool) -> str:
    """Return every flag that is about what the numbers mean as a point of a list, in its own words."""
    table = _of_model(material.tables["flags"], material.study)
    told = (map(escape, row) for row in _told(table, several=several))
    return "\n".join(f"- *{flag}* ({raised_for}): {detail}." for flag, raised_for, detail in told)


def _told(flags: pd.DataFrame, *, several: bool) -> list[tuple[str, str, str]]:
    """Return flag, what raised it and detail of the flags that are about what the numbers mean, each once.

    Args:
        flags: a table of flags.
        several: whether there are several nets, so that whose a flag is must be said.
    """
    told = flags[~flags["flag"].isin(TECHNICAL)]
    found = zip(told["flag"], told["attack"], told["seed"], told["detail"], strict=True)
    named = ((flag, f"{attack}{_whose(seed, several)}", detail) for flag, attack, seed, detail in found)
    return list(dict.fromkeys(named))


def _several(seeds: Iterable[object]) -> bool:
    """Return whether there is more than one net, so that whose a number is must be said."""
    return len({*seeds}) > 1


def _whose(seed: object, several: bool) -> str:
    return f", seed {seed}" if several else ""


def _model(study: Study) -> ModelId:
    """Return the net that the study is about: the first that it gives weights of."""
    given = study.weights[0]
    return ModelId(study.study, given.dataset, given.model, given.defense, 0)


def _of_model(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    about = _model(study)
    return table[(table["model"] == about.model) & (table["defense"] == about.defense)]


def _cells(material: Material) -> list[Cell]:
    return rows(from_text(_of_model(material.tables["cells"], material.study)))


def _clean(cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.attack == CLEAN and cell.metric == "accuracy"]


def _worst(cells: Iterable[Cell]) -> list[Cell]:
    return sorted((cell for cell in cells if cell.metric == WORST), key=lambda cell: (cell.norm, cell.epsilon))


def _line(cell: Cell) -> tuple[str, ...]:
    radius = "" if math.isnan(cell.epsilon) else f"{cell.epsilon:g}"
    where = ("clean", "") if cell.attack == CLEAN else (cell.norm, radius)
    if math.isnan(cell.value):
        return (*where, NOTHING, cell.reason, f"{cell.n:,}")
    found = share_interval(cell.value, cell.n)
    return (*where, f"{100 * cell.value:.1f}", f"{100 * found.low:.1f} to {100 * found.high:.1f}", f"{cell.n:,}")


def _share(cell: Cell) -> str:
    _, _, value, ends, _ = _line(cell)
    return f"no number ({escape(ends)})" if value == NOTHING else f"{value} % ({ends})"
