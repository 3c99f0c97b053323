"""What reports/study.ipynb shows between its text: tables and figures as Markdown, and short values for the text.

Tables and figures of the paper keep its numbers, what only the re-run has is numbered A1, A2, ...
"""

from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from itertools import chain, count
from pathlib import Path
from typing import Any

import pandas as pd

from touchstone.findings.evidence import SEPARATOR
from touchstone.findings.markdown import code, escape, pipe_table, prose
from touchstone.findings.paper import MARKDOWN, laid_out, numbers
from touchstone.findings.statements import WORST_CASE
from touchstone.findings.tables import CERTAINTY_MARKS, data_words, decimals, legend
from touchstone.findings.tables import summary as verdict_counts
from touchstone.findings.vocabulary import NOT_RUN, VERDICTS, known, outcome
from touchstone.paths import Results, link, study_files
from touchstone.registry import counted, nearest
from touchstone.report import glance, pairs, words, works
from touchstone.report.material import Machine, Material, Provenance, existing, stand_ins
from touchstone.report.render import Values, anchor, captioned, figure, folded, join, placed
from touchstone.runs import Run
from touchstone.study.claim import Place
from touchstone.study.claims import HEADLINE
from touchstone.study.config import Config
from touchstone.study.schema import FigureDef, TableDef

PAPER = "paper"  # the run whose numbers may be compared with the published ones
# plots by the sections that show them, in the order of the report; the second has all that are in no other
SECTIONS = (("worst-case", "heat-map"), (), ("selection",))

LINKED = MARKDOWN._replace(linked=lambda text, claim: f"[{text}](#{anchor(claim)})")
_COUNTS = ["certain", "inferred", "uncertain", "all"]
_GAPS = {"attack_gap": "attack gap", "replication_gap": "replication gap"}  # in points


# ---- values for the text


def values(material: Material) -> Values:
    """Return what the text names; a value is empty where there is nothing of its kind."""
    study, config, claims = material.study, material.config, material.tables["claims"]
    criterion = study.selection
    return Values(
        **{f"table_{name.replace(' ', '_')}": label for name, label in own_tables(material).items()},
        **run_values(config, stand_ins(material.runs)),
        title=escape(study.title),
        citation=works.linked(escape(study.citation)),
        claim=prose(material.captions.get("claim", "")),
        numbers=counted(claims["id"].nunique(), "number"),
        headline=escape(study.headline),
        **words.result(claims),
        **words.pairs(material.tables["paired"]),
        pair_counts=pairs.counts(material),
        pair_tables=_numbered_pairs(material),
        pairs_left_out=pairs.left_out(material),
        readings=readings(material),
        claims=claims_tables(material),
        absent=absent(material),
        lost_tables=lost_tables(material),
        marks=legend() if study.tables else "",
        legend=legend(),
        figures=", ".join(figure_names(material)),
        lost_figures=lost_figures(material),
        tolerance=words.per_dataset(criterion.tolerance) if criterion else "",
        reference=criterion.reference if criterion else "",
        amended="\n".join(f"- {escape(text.strip())}" for text in criterion.amended) if criterion else "",
        **rerun(material),
    )


def run_values(config: Config, used: Mapping[str, str]) -> dict[str, str]:
    """Return what is said of a run on page one: what stands in, how many caps; nothing for the paper's own scale."""
    replaced = "; ".join(data_words(dataset, stand_in) for dataset, stand_in in used.items())
    smaller = config.run != PAPER
    caps, part = (str(len(config.caps) or "") if smaller else ""), ("part" if smaller else "")
    return {"run": config.run, "suite": config.suite, "stand_ins": replaced, "caps": caps, "part": part}


@lru_cache(maxsize=1)
def own_tables(material: Material) -> dict[str, str]:
    """Number the tables that the paper does not have, in the order of the report: name -> "Table A1", "" without it."""
    tables = material.tables
    claims = {f"claims {reading}".removesuffix(f" {HEADLINE}"): reading for reading in _readings(material)}
    own = ("attacks", "worst", "paired", "qualitative", "selection", "flags", "failures")
    there = {name: len(tables[name]) > 0 for name in own} | {"run": True, "models": True}
    there |= {name: len(_found(material, reading)) > 0 for name, reading in claims.items()}
    there |= {"verdicts": len(tables["claims"]) > 0, "absent": len(_absent(material)) > 0}
    there |= {"cited": len(words.cited(tables["claims"])) > 0}
    there |= {"kinds": bool(kinds(material)), "gaps": bool(gaps(material)), "signs": bool(signs(material))}
    there |= {"beyond": len(_beyond(material)) > 0, "sources": len(material.used) > 0}
    each_pair = [f"pairs {number}" for number in range(pairs.number(material))]
    there |= dict.fromkeys(each_pair, True)
    order = ["kinds", "gaps", "signs", "verdicts", "cited", "beyond", "run", "models", "attacks", "worst"]
    order += ["paired", *each_pair, *claims, "absent", "qualitative", "selection", "flags", "failures", "sources"]
    shown = [name for name in order if there[name]]
    return {name: f"Table A{shown.index(name) + 1}" if there[name] else "" for name in order}


# ---- figures


def figure_labels(material: Material) -> dict[str, str]:
    """Label the study's figures by their numbers in the paper; others A1, A2, ... in the order of the report."""
    own, published = count(1), material.published
    shown = [name for plots in SECTIONS for name in figure_names(material, *plots)]
    everything = dict.fromkeys([*shown, *material.study.figures])
    return {n: escape(published[n].number) if n in published else f"Figure A{next(own)}" for n in everything}


def figures(material: Material, *plots: str) -> str:
    """Return the figures that some plots draw, or all that have no section of their own, with their captions.

    Raises:
        FileNotFoundError: for a figure that is not there; names the rule that draws it.
        ValueError: for a figure without a caption.
    """
    labels, study, results = figure_labels(material), material.study, material.results
    notebook, parts = results.report(study.study).ipynb, []
    for name in figure_names(material, *plots):
        path = existing(results.figure(study.study, name), "figures")
        if name not in material.captions:
            raise ValueError(
                f"{study_files(study.study).captions} has no caption for figure {name!r}; "
                f"{nearest(name, material.captions)}"
            )
        here = [_stands_in(material, dataset) for dataset in study.figures[name].datasets]
        caption = join(prose(material.captions[name]), _published(material, name), *here, by=" ")
        parts.append(figure(labels[name], caption, link(notebook, path)))
    return join(*parts)


def lost_figures(material: Material) -> str:
    """Return the labels of the figures that have no net in this run: their panels would be empty."""
    labels, defined = figure_labels(material), material.study.figures
    return ", ".join(labels[name] for name, one in defined.items() if not _has_nets(material, one))


def _has_nets(material: Material, definition: FigureDef) -> bool:
    """Return whether a figure names nets that this run has, trained or failed; one that names none is of all."""
    named = [definition.datasets, definition.models, definition.defenses]
    return any(
        all(not names or one in names for one, names in zip(run.model[1:4], named, strict=True))
        for run in material.runs
    )


def _published(material: Material, name: str) -> str:
    """Say what the paper concludes from its figure; empty for a figure that it does not have."""
    found = material.published.get(name)
    return f"The paper: *{escape(found.claim)}*." if found else ""


def _stands_in(material: Material, dataset: str | None) -> str:
    """Say which data were used in place of a dataset of the paper; empty if it is the paper's own."""
    actual = stand_ins(material.runs).get(dataset or "")
    return f"Here: {actual} in place of {dataset}." if actual else ""


def figure_names(material: Material, *plots: str) -> list[str]:
    """Return which figures, of nets in this run, some plots draw, or all that have no section of their own."""
    there = {name: one for name, one in material.study.figures.items() if _has_nets(material, one)}
    return [name for name, one in there.items() if (one.fn in plots if plots else one.fn not in chain(*SECTIONS))]


# ---- the result


def verdicts(material: Material) -> str:
    """Return the counts of verdicts on the paper's own numbers; empty without any."""
    claims = words.own(material.tables["claims"])
    return pipe_table(verdict_counts(claims), right=_COUNTS) if len(claims) else ""


def cited(material: Material) -> str:
    """Return the counts of verdicts on numbers that the paper repeats from other works; empty without any."""
    rows = words.cited(material.tables["claims"])
    return pipe_table(verdict_counts(rows), right=_COUNTS) if len(rows) else ""


def kinds(material: Material) -> str:
    """Count the verdicts by net and kind of number: many floor rows are one finding; empty without any."""
    return glance.by_net(material)


def gaps(material: Material) -> str:
    """List the largest gaps; empty without any."""
    return glance.gaps([material])


def signs(material: Material) -> str:
    """List the flags that say of an attack or a net that a number may be wrong; empty without any."""
    return glance.flags([material])


def beyond(material: Material) -> str:
    """List what is higher or lower, the surest first, with its p-value and the corrected one; empty without any."""
    rows = _beyond(material)
    rows = rows.assign(order=rows["q"].astype(float)).sort_values("order", kind="stable")
    table = pd.DataFrame({name: rows[name].map(escape) for name in ("id", "value", "verdict")})
    table = table.assign(**{name: [f"{float(text):.2g}" for text in rows[name]] for name in ("p", "q")})
    named = table.rename(columns={"id": "claim", "value": "paper"})
    return pipe_table(named, right=["paper", "p", "q"]) if len(table) else ""


def _beyond(material: Material) -> pd.DataFrame:
    """Return the paper's own claims that are higher or lower, in the headline reading."""
    rows = words.own(_reading(material, HEADLINE))
    return rows[rows["verdict"].map(outcome) == "higher or lower"]


def readings(material: Material) -> list[dict[str, str]]:
    """Return what each other reading of the paper gives: its name, how many numbers it changes, counts, its mark."""
    items = []
    for reading in _readings(material)[1:]:
        rows = _reading(material, reading)
        names = pd.Series([_named(row) for row in rows.to_dict("records")])
        counts = ", ".join(f"{n} {name}" for name, n in names.value_counts().items())
        mark = material.study.readings[reading].mark
        items.append({"name": reading, "changed": str(len(rows)), "counts": escape(counts), "mark": escape(mark)})
    return items


def _readings(material: Material) -> list[str]:
    """Return the readings in the claims table, the headline first."""
    return [HEADLINE, *(r for r in dict.fromkeys(material.tables["claims"]["reading"]) if r != HEADLINE)]


def _reading(material: Material, reading: str) -> pd.DataFrame:
    claims = material.tables["claims"]
    return claims[claims["reading"] == reading]


def _found(material: Material, reading: str) -> pd.DataFrame:
    """Return the claims, as a reading has them, that a job was there to find a number of."""
    rows = _reading(material, reading)
    return rows[~rows["verdict"].isin(NOT_RUN)]


def _absent(material: Material) -> pd.DataFrame:
    """Return the claims that no job was there to find a number of."""
    rows = _reading(material, HEADLINE)
    return rows[rows["verdict"].isin(NOT_RUN)]


# ---- what was run


def machine(material: Material) -> str:
    """Return facts about the run."""
    return run_table(material.config, material.provenance, stand_ins(material.runs))


def run_table(config: Config, provenance: Provenance, used: Mapping[str, str]) -> str:
    """Return a table of facts about a run; what was not recorded is left out."""
    only = {name: ", ".join(slugs) for name, slugs in config.only.model_dump().items() if slugs}
    several = [one for one in provenance.get("machines", ()) if "cpu" in one]
    machines = [f"{_machine(one)} ({counted(len(one['jobs']), 'job')})" for one in several]
    time = f"{provenance.get('started', '?')} to {provenance.get('finished', '?')}"
    if "seconds" in provenance:
        time += f"; the jobs took {words.duration(provenance['seconds'])} in all{words.broken_off(provenance)}"
    facts = {
        "run": config.run,
        "data": run_values(config, used)["stand_ins"] or "those of the study",
        "caps": "; ".join(map(words.cap_words, config.caps)) or "none",
        "only": "; ".join(f"{name}: {slugs}" for name, slugs in only.items()),
        "device": f"{config.device}, {counted(config.threads, 'thread')} per job",
        "machine": "; ".join(machines) if len(machines) > 1 else _machine(provenance),
        "versions": ", ".join(f"{k} {v}" for k, v in provenance.get("versions", {}).items()),
        "code": f"touchstone {provenance.get('touchstone', '?')}, revision {provenance.get('git', '?')}",
        "time": time,
    }
    rows = [(key, value) for key, value in facts.items() if value]
    return _escaped(pd.DataFrame(rows, columns=["what", "value"]))


def _machine(facts: Machine) -> str:
    """Return a machine in words."""
    memory = f"{facts['memory_gb']:g} GB" if facts.get("memory_gb") else ""
    said = [facts.get("cpu", "?"), counted(facts.get("cores", 0), "core"), memory]
    return ", ".join(filter(None, [*said, facts.get("gpu"), facts.get("platform")]))


def trained(material: Material) -> str:
    """Return the trained models: a row per dataset, model and defense over its seeds."""
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in material.runs:
        place = (data_words(run.model.dataset, run.stand_in), run.model.model, run.model.defense)
        groups.setdefault(place, []).append(run)
    rows = []
    for place, group in groups.items():
        failed = "; ".join(f"seed {run.model.seed}: {run.reason}" for run in group if run.status != "ok")
        seconds = pd.Series([run.seconds for run in group]).median()
        epochs = ", ".join(dict.fromkeys(str(run.epochs) for run in group))
        rows.append([*place, ", ".join(str(run.model.seed) for run in group), epochs, f"{seconds:.0f}", failed or "ok"])
    columns = ["dataset", "model", "defense", "seeds", "epochs", "seconds", "status"]
    return _escaped(pd.DataFrame(rows, columns=columns), right=["epochs", "seconds"])


def _escaped(frame: pd.DataFrame, right: Iterable[str] = ()) -> str:
    """Return a table of plain text as Markdown."""
    return pipe_table(frame.map(escape), right)


# ---- numbers


def attacks(material: Material) -> str:
    """Return the table of what every attack found; empty without any."""
    table = material.tables["attacks"]
    return pipe_table(table, _of_defenses(table)) if len(table) else ""


def worst_case(material: Material) -> str:
    """Return the table of worst cases; empty without any."""
    table = material.tables["worst"]
    return pipe_table(table, _of_defenses(table)) if len(table) else ""


def _of_defenses(table: pd.DataFrame) -> list[str]:
    """Return the columns with numbers: n, and those of the defenses behind it."""
    return list(table.columns[table.columns.get_loc("n") :])


def paper_tables(material: Material) -> str:
    """Return the paper's tables, published and re-run side by side."""
    tables = material.study.tables.items()
    blocks = [one for name, table in tables if not table.lost for one in _blocks(material, name, table)]
    return join(*(captioned(**block) for block in blocks))


def lost_tables(material: Material) -> list[dict[str, str]]:
    """Return the paper's tables of which no number is published: label, caption and table of each block."""
    tables = material.study.tables.items()
    return [one for name, table in tables if table.lost for one in _blocks(material, name, table)]


def _blocks(material: Material, name: str, table: TableDef) -> list[dict[str, str]]:
    """Return label, caption and table of each block of one of the paper's tables."""
    caption = join(f"{escape(table.heading)}.", _stands_in(material, table.dataset), by=" ")
    return [
        {
            "label": join(escape(table.label), block, by=", "),
            "caption": caption,
            "table": pipe_table(shown, numbers(shown)),
        }
        for block, shown in laid_out(material.tables["paper"], name, LINKED).items()
    ]


def claims_tables(material: Material) -> list[dict[str, str]]:
    """Return every claim that was run: a table per reading with label, reading unless it is the headline, and notes.

    Another reading has the claims that it changes.
    """
    items = []
    for reading in _readings(material):
        rows = _found(material, reading).to_dict("records")
        if not rows:
            continue
        notes = words.letters(
            [*map(_interval_note, rows), *map(_reason, rows), *(str(row["stands_why"]) for row in rows)]
        )
        other = "" if reading == HEADLINE else reading
        label = own_tables(material)[f"claims {other}".strip()]
        shown = pd.DataFrame([_claim_row(row, notes, _origin(material, row)) for row in rows])
        # of clean numbers there is no second verdict
        second = [name for name in ("stands", *_GAPS.values()) if not shown[name].any()]
        right = ["paper", "ours", "interval", "n", "seeds", *_GAPS.values()]
        table = pipe_table(shown.drop(columns=second), right=[name for name in right if name not in second])
        items.append({"label": label, "other": other, "table": table, "notes": words.explained(notes)})
    return items


def absent(material: Material) -> str:
    """Count, by where they are printed, the numbers that no job was there to find; on a screen, also which; or ""."""
    shown = []
    for (place, verdict, why), group in _absent(material).groupby(["source_table", "verdict", "why"], sort=False):
        anchors = "".join(placed("", anchor(claim)) for claim in group["id"])
        which = (f"{escape(claim)} {escape(value)}" for claim, value in zip(group["id"], group["value"], strict=True))
        number = join(str(len(group)) + anchors, folded("which", ", ".join(which)), by=" ")
        shown.append({"printed in": escape(place), "numbers": number, "verdict": verdict, "why": escape(why)})
    return pipe_table(pd.DataFrame(shown)) if shown else ""


def _named(claim: Mapping[Hashable, Any]) -> str:
    """Name the verdict of a claim: the mark of the reading that alone reproduces it, or its word."""
    word = known(claim["verdict"], VERDICTS)
    return str(claim["only"] or word)


def _reason(claim: Mapping[Hashable, Any]) -> str:
    return words.reasons(claim["why"], claim["caps"])


def _interval_note(claim: Mapping[Hashable, Any]) -> str:
    kind = claim["interval_kind"]
    return "" if kind in ("", "none", "t") else f"interval: {kind}"


def _origin(material: Material, claim: Mapping[Hashable, Any]) -> str:
    """Return, folded, the cell of a claim, the files that our number is from, and the command that makes them again."""
    if not claim["records"]:
        return ""
    files = claim["records"].split(SEPARATOR)
    home = Results.of(material.config.run).report(material.study.study).ipynb
    links = [f"[{number}]({link(home, Path(file))})" for number, file in enumerate(files, 1)]
    cell = [claim[f"cell_{slot}"] for slot in (*Place._fields[:-1], "epsilon", "metric")]
    again = f"{rerun(material)['command']} --force {' '.join(files)}"
    return folded("from", escape(", ".join(filter(None, cell))), f"records: {', '.join(links)}", code(again))


def _claim_row(claim: Mapping[Hashable, Any], notes: Mapping[str, str], origin: str) -> dict[str, str]:
    name = escape(claim["id"])
    name = placed(name, anchor(claim["id"])) if claim["reading"] == HEADLINE else name
    digits = decimals(claim["value"])
    low, high = (words.fixed(claim[end], digits) for end in ("interval_lo", "interval_hi"))
    return {
        "claim": join(name + CERTAINTY_MARKS[claim["certainty"]], origin, by=" "),
        "paper": claim["value"],
        "ours": words.fixed(claim["ours"], digits),
        "interval": words.noted(f"{low} to {high}" if low and high else "", _interval_note(claim), notes),
        "n": words.fixed(claim["n"], 0),
        "seeds": words.fixed(claim["seeds"], 0),
        "verdict": words.noted(escape(_named(claim)), _reason(claim), notes),
        "stands": words.noted(escape(words.second_verdict(claim)), claim["stands_why"], notes),
        **{name: words.fixed(claim[column], 1) for column, name in _GAPS.items()},
    }


def _numbered_pairs(material: Material) -> list[dict[str, str]]:
    labels = own_tables(material)
    return [one | {"label": labels[f"pairs {number}"]} for number, one in enumerate(pairs.tables(material))]


def statements(material: Material) -> str:
    """Return the statements of the paper that are not numbers, then what their verdicts rest on; empty without any."""
    rows = material.tables["qualitative"].to_dict("records")
    table = _escaped(pd.DataFrame([_statement_row(row) for row in rows])) if rows else ""
    return join(table, join(*(_statement_note(row) for row in rows), by="\n"))


def _statement_row(row: Mapping[Hashable, Any]) -> dict[str, str]:
    return {
        "id": row["id"],
        "claim": " ".join(filter(None, (row["claim"], row["threshold"] and f"[threshold {row['threshold']}]"))),
        "published attacks": words.statement_verdict(row),
        "worst case": words.statement_verdict(row, WORST_CASE),
        "published numbers agree": SEPARATOR.join(filter(None, (row["published_numbers_agree"], _as_printed(row)))),
    }


def _as_printed(row: Mapping[Hashable, Any]) -> str:
    return row["as_printed"] and f"by the same test: {row['as_printed']}"


def _statement_note(row: Mapping[Hashable, Any]) -> str:
    """Return an item of what a statement's verdicts rest on; empty of one without, or for which numbers are missing."""
    cases = {"": "", WORST_CASE: "in the worst case "}
    found = {
        say: words.statement_detail(row, case) for case, say in cases.items() if row[f"{case}verdict"] != "not run"
    }
    said = "; ".join(f"{say}{escape(detail)}" for say, detail in found.items() if detail)
    return f"- {escape(row['id'])}: {said}" if said else ""


# ---- how it came about


def selection(material: Material) -> str:
    """Return what each candidate for an unstated constant gives; empty if nothing had to be selected."""
    table = material.tables["selection"]
    if table.empty:
        return ""
    digits = {"validation_accuracy": 4, "robust_accuracy": 4, "fuzziness": 4, "near_zero": 3, "max_abs": 3}
    data = [data_words(*whose) for whose in table[["dataset", "stand_in"]].itertuples(index=False, name=None)]
    shown = table[["defense", "candidate", "status"]].map(escape)
    shown.insert(0, "dataset", list(map(escape, data)))
    runaway = (table["bounded"].str.lower() == "false") & (table["status"] == "ok")
    shown["status"] = shown["status"].mask(runaway, "unbounded")
    shown["status"] = shown["status"].mask(table["selected"].str.lower() == "true", "**selected**")
    for column, number in digits.items():
        shown[column.replace("_", " ")] = [words.fixed(text, number) for text in table[column]]
    return pipe_table(shown, right=shown.columns[4:])


def flags(material: Material) -> str:
    """Return what was flagged, attacks and seeds of one model together; empty without any."""
    table = material.tables["flags"]
    keys = ["flag", "dataset", "stand_in", "model", "defense"]
    rows = []
    for place, group in table.groupby(keys, sort=False):
        flag, dataset, stand_in, *model = map(str, place)
        seeds, attacks, details = (words.few(group[name], n) for name, n in (("seed", 9), ("attack", 1), ("detail", 2)))
        rows.append([flag, data_words(dataset, stand_in), *model, seeds, attacks, details])
    columns = ["flag", "dataset", "model", "defense", "seeds", "attacks", "detail"]
    return _escaped(pd.DataFrame(rows, columns=columns)) if rows else ""


def failures(material: Material) -> str:
    """Return what has no number, why, and which file says so; empty without any."""
    table = material.tables["failures"]
    return _escaped(table) if len(table) else ""


def sources(material: Material) -> str:
    """Return whose works the run is made of; empty where nothing of it is recorded."""
    return works.sources(material.used)


def rerun(material: Material) -> dict[str, str]:
    """Return the command that repeats the run, the file that is this report, and that of one model if there is any."""
    first = next(iter(material.runs), None)
    return {
        "command": material.provenance.get("command", "snakemake --cores all"),
        "report": str(material.results.report(material.study.study).pdf),
        "weights": str(first.files.weights) if first else "",
    }
