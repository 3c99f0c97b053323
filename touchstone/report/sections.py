"""The text of the reports: a function Material -> Markdown for each section, in the order of reports/study.ipynb.

The notebook only calls these; `touchstone.report.render` runs it and makes HTML and PDF of it. Tables and figures of
the paper keep its numbers, what only the re-run has is numbered A1, A2, ...
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from touchstone.findings.tables import CERTAINTY_MARKS, HEADLINE, kind, legend
from touchstone.findings.tables import summary as summarise
from touchstone.registry import nearest
from touchstone.report.material import Material, existing, gather, substitutes
from touchstone.report.render import captioned, escape, figure, join, pipe_table

__all__ = ["Material", "gather", "summary"]  # the notebooks need no other module

PAPER = "paper"  # the run whose numbers may be compared with the published ones

# verdict -> what it means; the marks are in touchstone.findings.tables
MEANINGS = {
    "reproduced": "within the tolerance, and our 95 % half-width is within it too",
    "higher": "above the published number by more than tolerance and half-width together",
    "lower": "below it by more than tolerance and half-width together",
    "inconclusive": "none of these: more seeds or samples would tell",
    "not comparable": "measured on other data or under caps that changed what is measured",
    "calibrated": "a constant was fitted to a published number",
    "label ambiguous": "the printed label is in doubt, and only one reading of it agrees",
    "not run": "outside this run",
    "failed": "training or attack ended without a number",
    "out of scope": "not a number that a re-run can produce",
}
ELSEWHERE = "reproduced, but only under another reading of the paper than the one fixed beforehand"


# ---- small words


def _escaped(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.map(escape)


def _count(number: int, noun: str, nouns: str = "") -> str:
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def _notes(texts: Iterable[str]) -> dict[str, str]:
    """Give each different text a letter for use in a table: {"some text": "a"}."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    unique = [text for text in dict.fromkeys(texts) if text]
    return {text: letters[i % 26] * (i // 26 + 1) for i, text in enumerate(unique)}


def _explained(notes: Mapping[str, str]) -> str:
    return "Notes. " + "; ".join(f"({letter}) {escape(text)}" for text, letter in notes.items()) + "." if notes else ""


# ---- numbering


def own_tables(material: Material) -> dict[str, str]:
    """Number the tables that the paper does not have: name -> "Table A1"."""
    claims = ["claims", *(f"claims {reading}" for reading in _readings(material)[1:])]
    optional = ("qualitative", "selection", "flags", "failures")
    filled = [name for name in optional if len(material.tables[name])]
    names = ["verdicts", "run", "models", "worst", *(claims if len(material.tables["claims"]) else []), *filled]
    return {name: f"Table A{i}" for i, name in enumerate(names, 1)}


def figure_labels(material: Material) -> dict[str, str]:
    """Label the study's figures: figure2 -> "Figure 2", as in the paper; others are numbered A1, A2, ..."""
    labels: dict[str, str] = {}
    own = 0
    for name in material.study.get("figures", {}):
        number = re.fullmatch(r"figure(\d+\w?)", name)
        own += not number
        labels[name] = f"Figure {number[1]}" if number else f"Figure A{own}"
    return labels


def show_figures(material: Material, names: Iterable[str]) -> str:
    """Return the figures with their captions.

    Raises:
        FileNotFoundError: for a figure that is not there; names the rule that draws it.
        ValueError: for a figure without a caption.
    """
    labels, figures, parts = figure_labels(material), material.study["figures"], []
    for name in names:
        existing(material.folder / "figures" / f"{name}.svg")
        if name not in material.captions:
            raise ValueError(
                f"studies/{material.study['study']}/captions.yaml has no caption for figure {name!r}; "
                f"{nearest(name, material.captions)}"
            )
        caption = join(material.captions[name].strip(), _stands_in(material, figures[name].get("dataset")), by=" ")
        parts.append(figure(labels[name], caption, f"figures/{name}.svg"))
    return join(*parts)


def _stands_in(material: Material, dataset: str | None) -> str:
    """Say which data were used in place of a dataset of the paper; empty if it is the paper's own."""
    actual = {pair[1]: pair[0] for pair in substitutes(material.tables["cells"])}.get(dataset)
    return f"Here: {actual} in place of {dataset}." if actual else ""


def _figures_of(material: Material, plot: str | None) -> list[str]:
    """Names of the figures drawn by one plot; None: all that have no section of their own."""
    figures = material.study.get("figures", {})
    own = {"worst-case", "selection"}
    return [n for n, f in figures.items() if (f["fn"] == plot if plot else f["fn"] not in own)]


# ---- sections of a study's report


def title(material: Material) -> str:
    """Say what is re-run, and on page one if the numbers are not the paper's."""
    study, claims = material.study, material.tables["claims"]
    numbers = claims["id"].nunique()
    return join(
        f"# {escape(study['title'])}: a re-run",
        f"{escape(study['citation'])}",
        material.captions.get("claim", "").strip(),
        f"This report re-runs the {_count(numbers, 'number')} that the paper prints, from the data to the tables, and "
        f"says of each whether it is reproduced and whether it stands up to a strong attack. Fixed beforehand as the "
        f"paper's meaning: {escape(study['headline'])}. Tables and figures with the paper's numbers are re-runs of "
        f"the paper's own; A1, A2, ... exist only here.",
        banner(material.run, material.config, material.tables["cells"]),
    )


def banner(run: str, config: Mapping[str, Any], cells: pd.DataFrame) -> str:
    """Warn that a run smaller than the paper is not comparable with it; empty for the paper's own scale."""
    if run == PAPER:
        return ""
    stand_ins = _stand_ins(cells)
    why = [f"stand-in data ({'; '.join(stand_ins)})"] if stand_ins else []
    why += ["caps on the published sizes"] if config.get("caps") else []
    return f"> **Run `{run}`: {' and '.join(why) or 'not the published scale'}.** " + (
        "Its numbers show that the pipeline works and are not comparable with the paper's. "
        if stand_ins
        else "Where a cap bites, a number is not comparable with the paper's; its verdict says so. "
    )


def _stand_ins(cells: pd.DataFrame) -> list[str]:
    return [f"{dataset} for {original}" for dataset, original in substitutes(cells)]


def headline(material: Material) -> str:
    """Return the box with the counts of verdicts, and the table behind it."""
    claims = material.tables["claims"]
    label = own_tables(material)["verdicts"]
    caption = "Verdicts on the published numbers, by how sure we are of the printed number and its label."
    table = pipe_table(verdict_counts(claims), right=["certain", "inferred", "uncertain", "all"])
    box = f"> **{summary_sentence(claims)}**\n>\n> {stands_sentence(claims)}"
    return join("## Result", box, captioned(label, caption, table), _other_readings(material))


def summary_sentence(claims: pd.DataFrame) -> str:
    """Count the verdicts in words: "Of 67 published numbers, 3 reproduced, 1 lower, ..."."""
    counts = summarise(claims).set_index("verdict")["all"]
    found = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"Of {_count(counts.astype(int).sum(), 'published number')}: {found or 'none looked at'}."


def stands_sentence(claims: pd.DataFrame) -> str:
    """Say how many robust accuracies of the headline reading stand up to the worst case."""
    stands = _stands(claims)
    if stands.empty:
        return "None of them is a robust accuracy."
    points = [float(text) for text in stands.str.extract(r"^overstated by (-?\d+(?:\.\d+)?)")[0].dropna()]
    size = f" by {min(points):g} to {max(points):g} points" if points else ""
    words = {"stands": "stand", "overstated": f"are overstated{size}", "not tested": "could not be tested"}
    found = [f"{stands.str.startswith(start).sum()} {text}" for start, text in words.items()]
    ambiguous = (stands == "label ambiguous").sum()
    found += [f"{ambiguous} hang on a doubtful label"] if ambiguous else []
    accuracies = _count(len(stands), "robust accuracy", "robust accuracies")
    return f"Against the worst of a fixed list of attacks, of {accuracies} among them {', '.join(found)}."


def _stands(claims: pd.DataFrame) -> pd.Series:
    """Return the second verdicts of the headline reading, of robust accuracies only."""
    stands = claims["stands"][claims["reading"] == HEADLINE]
    return stands[stands != ""]


def verdict_counts(claims: pd.DataFrame) -> pd.DataFrame:
    """Return a row per verdict: its mark, counts by certainty, and what it means."""
    counts = summarise(claims)
    return counts.assign(meaning=counts["verdict"].map(MEANINGS).fillna(ELSEWHERE))


def _other_readings(material: Material) -> str:
    lines = []
    for reading in _readings(material)[1:]:
        verdicts = _reading(material, reading)["verdict"]
        mark = material.study["readings"].get(reading, {}).get("mark", reading)
        counts = ", ".join(f"{n} {word}" for word, n in verdicts.map(kind).value_counts().items())
        lines.append(
            f'- `{reading}`, of the {len(verdicts)} that it changes: {escape(counts)}; its mark is "{escape(mark)}".'
        )
    intro = "Other readings of the paper, run beside its headline and never counted as reproduced:"
    return join(intro, "\n".join(lines)) if lines else ""


def _readings(material: Material) -> list[str]:
    """Return the readings in the claims table, the headline first."""
    return [HEADLINE, *(r for r in dict.fromkeys(material.tables["claims"]["reading"]) if r != HEADLINE)]


def _reading(material: Material, reading: str) -> pd.DataFrame:
    claims = material.tables["claims"]
    return claims[claims["reading"] == reading]


def what_was_run(material: Material) -> str:
    """List scale, data, machine and trained models."""
    facts = machine(material.run, material.config, material.provenance, material.tables["cells"])
    models = captioned(
        own_tables(material)["models"],
        "Trained models. Seconds are the median of the seeds.",
        pipe_table(_escaped(_models(material.models)), right=["epochs", "seconds"]),
    )
    return join("## What was run", captioned(own_tables(material)["run"], "The run.", facts), models)


def machine(run: str, config: Mapping[str, Any], provenance: Mapping[str, Any], cells: pd.DataFrame) -> str:
    """Return a table of facts about the run; what was not recorded is left out."""
    memory, seconds = provenance.get("memory_gb"), provenance.get("seconds")
    facts = {
        "run": run,
        "data": "; ".join(_stand_ins(cells)) or "the paper's datasets",
        "caps": "; ".join(_cap(cap) for cap in config.get("caps", [])) or "none",
        "only": "; ".join(f"{k}: {', '.join(v)}" for k, v in (config.get("only") or {}).items() if v),
        "device": f"{config.get('device', '?')}, {_count(config.get('threads', 1), 'thread')} per job",
        "machine": ", ".join(
            [str(provenance.get("cpu", "?")), _count(provenance.get("cores", 0), "core")]
            + ([f"{memory:g} GB"] if memory else [])
            + [str(provenance.get(k)) for k in ("gpu", "platform") if provenance.get(k)]
        ),
        "versions": ", ".join(f"{k} {v}" for k, v in provenance.get("versions", {}).items()),
        "code": f"touchstone {provenance.get('touchstone', '?')}, revision {provenance.get('git', '?')}",
        "time": f"{provenance.get('started', '?')} to {provenance.get('finished', '?')}"
        + (f"; the jobs took {_duration(float(seconds))} in all" if seconds is not None else ""),
    }
    rows = [(key, value) for key, value in facts.items() if value]
    return pipe_table(_escaped(pd.DataFrame(rows, columns=["what", "value"])))


def _cap(cap: Mapping[str, Any]) -> str:
    limits = ", ".join(f"{k} {v}" for k, v in cap.items() if k != "where" and v is not None)
    where = ", ".join(f"{k} {v}" for k, v in (cap.get("where") or {}).items() if v is not None)
    return f"{limits} ({where})" if where else limits


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def _models(runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row per dataset, model and defense over its seeds."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault(tuple(str(run["cell"][k]) for k in ("dataset", "model", "defense")), []).append(run)
    rows = []
    for key, group in groups.items():
        failed = [f"seed {r['cell']['seed']}: {r['reason']}" for r in group if r["status"] != "ok"]
        seconds = pd.Series([r.get("seconds") for r in group], dtype=float).median()
        epochs = ", ".join(dict.fromkeys(str(r.get("epochs", "?")) for r in group))
        seeds = ", ".join(str(r["cell"]["seed"]) for r in group)
        rows.append([*key, seeds, epochs, f"{seconds:.0f}", "; ".join(failed) or "ok"])
    return pd.DataFrame(rows, columns=["dataset", "model", "defense", "seeds", "epochs", "seconds", "status"])


def worst_case(material: Material) -> str:
    """Return the worst-case table and curves, before anything that is compared with the paper."""
    return join(
        "## Worst case",
        "The share of samples that no attack breaks: for each sample and radius every attack of a fixed list counts, "
        "and so does any other point found for it within the radius. This, and not one attack of the paper, is the "
        "robustness of the models trained here. Radii are in pixels from 0 to 1.",
        captioned(
            own_tables(material)["worst"],
            "Worst-case accuracy in percent, mean over seeds and half-width of its 95 % interval; n is the fewest "
            "samples of a row. *incomplete*: an attack of the list is missing, so the true value is this or lower; "
            "–: no number.",
            pipe_table(_piped(material.tables["worst"])),
        )
        if len(material.tables["worst"])
        else "No worst-case attack was run.",
        show_figures(material, _figures_of(material, "worst-case")),
    )


def tables(material: Material) -> str:
    """Return the paper's tables, published and re-run side by side, with the legend of the marks."""
    parts = []
    for name, table in material.study.get("tables", {}).items():
        caption = table["title"].removesuffix(f" ({table['source_table']})")
        caption = join(
            f"{caption}. Each entry: published, re-run, mark of the verdict.",
            _stands_in(material, table.get("dataset")),
            by=" ",
        )
        parts.append(captioned(table["source_table"], caption, pipe_table(_piped(material.tables[name]))))
    return join("## The paper's tables", *parts, f"Marks: {legend()}.") if parts else ""


def _piped(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave ready-made Markdown as it is, but for the character that would end a cell."""
    return frame.map(lambda text: re.sub(r"(?<!\\)\|", r"\\|", text)).rename(columns=lambda c: c.replace("|", r"\|"))


def claims(material: Material) -> str:
    """Return every claim, a table per reading; another reading has the claims that it changes."""
    if material.tables["claims"].empty:
        return join("## Every claim", "The study has no claims yet.")
    parts = []
    for reading in _readings(material):
        rows = _reading(material, reading)
        name = "claims" if reading == HEADLINE else f"claims {reading}"
        notes = _notes(
            [*rows["interval_kind"].map(_interval_note), *rows.apply(_reason, axis=1), *rows["stands"].map(_why)]
        )
        what = "Every published number" if reading == HEADLINE else f"The numbers that the reading `{reading}` changes"
        caption = f"{what}. Intervals are 95 %, Student's t over seeds where no note says otherwise."
        table = pipe_table(_claim_rows(rows, notes), right=["paper", "ours", "interval", "n", "seeds"])
        parts += [captioned(own_tables(material)[name], caption, table), _explained(notes)]
    return join("## Every claim", *parts)


def _why(verdict: str) -> str:
    """Return the reason in a verdict: "failed: loss is nan" is "loss is nan"."""
    return verdict.partition(":")[2].strip()


def _reason(claim: Mapping[str, str]) -> str:
    parts = [
        part for text in (_why(claim["verdict"]), claim["why"], claim["caps"]) for part in text.split("; ") if part
    ]
    return "; ".join(dict.fromkeys(parts))


def _interval_note(kind: str) -> str:
    return "" if kind in ("", "none", "t") else f"interval: {kind}"


def _claim_rows(rows: pd.DataFrame, notes: Mapping[str, str]) -> pd.DataFrame:
    def noted(text: str, note: str) -> str:
        return f"{text} ({notes[note]})" if text and note in notes else text

    lines = []
    for claim in rows.to_dict("records"):
        digits = len(claim["value"].partition(" ")[0].partition(".")[2])  # a range is "17 to 19"
        low, high = (_fixed(claim[k], digits) for k in ("interval_lo", "interval_hi"))
        lines.append(
            {
                "claim": escape(claim["id"]) + CERTAINTY_MARKS[claim["certainty"]],
                "paper": claim["value"],
                "ours": _fixed(claim["ours"], digits),
                "interval": noted(f"{low} to {high}" if low and high else "", _interval_note(claim["interval_kind"])),
                "n": _fixed(claim["n"], 0),
                "seeds": _fixed(claim["seeds"], 0),
                "verdict": noted(escape(kind(claim["verdict"])), _reason(claim)),
                "stands": noted(escape(kind(claim["stands"])), _why(claim["stands"])),
            }
        )
    return pd.DataFrame(lines)


def _fixed(text: str, digits: int) -> str:
    """Print a number with so many decimals; an empty cell stays empty."""
    return f"{float(text):.{digits}f}" if text else ""


def qualitative(material: Material) -> str:
    """Return the statements of the paper that are not numbers."""
    table = material.tables["qualitative"]
    if table.empty:
        return ""
    shown = table[["id", "claim", "holds", "detail", "published_numbers_agree"]]
    shown = shown.rename(columns={"holds": "holds here", "published_numbers_agree": "published numbers agree"})
    caption = "Statements of the paper, tested on the re-run."
    return join("## Statements", captioned(own_tables(material)["qualitative"], caption, pipe_table(_escaped(shown))))


def figures(material: Material) -> str:
    """Return the paper's figures, drawn from the re-run."""
    shown = show_figures(material, _figures_of(material, None))
    return join("## The paper's figures", shown) if shown else ""


def selection(material: Material) -> str:
    """Return how unstated constants were chosen, and what the other choices would have given."""
    table, rule = material.tables["selection"], material.study.get("selection", {})
    if table.empty:
        return ""
    digits = {"validation_accuracy": 4, "robust_accuracy": 4, "fuzziness": 4, "near_zero": 3, "max_abs": 3}
    shown = _escaped(table[["dataset", "defense", "candidate", "status"]])
    runaway = (table["bounded"].str.lower() == "false") & (table["status"] == "ok")
    shown["status"] = shown["status"].mask(runaway, "unbounded")
    shown["status"] = shown["status"].mask(table["selected"].str.lower() == "true", "**selected**")
    for column, number in digits.items():
        shown[column.replace("_", " ")] = table[column].map(partial(_fixed, digits=number))
    return join(
        "## Unstated constants",
        f"Neither the paper nor its authors' code states them. Candidates were trained without the validation split, "
        f"and the last one, from weak to strong, was taken whose training does not fail, whose weights the objective "
        f"keeps bounded, and which loses at most {_per_dataset(rule.get('tolerance', {}))} of validation accuracy "
        f"against `{rule.get('reference', '?')}`. The criterion reads no published number; the other columns show what "
        f"depends on the choice. *Unbounded*: a weight lies where the objective drives it outwards however large it "
        f"is. One seed trains each candidate, so neighbours can change places.",
        _amendments(rule),
        captioned(own_tables(material)["selection"], "Candidates and what they give on the validation split.",
                  pipe_table(shown, right=shown.columns[4:])),
        show_figures(material, _figures_of(material, "selection")),
    )  # fmt: skip


def _amendments(rule: Mapping[str, Any]) -> str:
    """Say how the criterion was changed after results of the selection had been seen."""
    if not rule.get("amended"):
        return ""
    items = "\n".join(f"- {escape(text.strip())}" for text in rule["amended"])
    return f"The criterion was amended after results of the selection itself (never a claim) had been seen:\n\n{items}"


def _per_dataset(values: Mapping[str, Any]) -> str:
    """Write {mnist: 0.01, cifar10: 0.05} as "0.01 (mnist), 0.05 (cifar10)"."""
    return ", ".join(f"{value} ({dataset})" for dataset, value in values.items()) or "?"


def flags(material: Material) -> str:
    """Return what preflight and the checks after the attacks found; attacks and seeds of one model together."""
    table = material.tables["flags"]
    intro = "Signs that an attack, and not the model, decides a number. A flag changes no verdict."
    if table.empty:
        return join("## Flags", intro, "No flag was raised.")
    keys = ["flag", "dataset", "model", "defense"]
    rows = [
        [*key, _few(group["seed"], 9), _few(group["attack"], 1), _few(group["detail"], 2)]
        for key, group in table.groupby(keys, sort=False)
    ]
    shown = pd.DataFrame(rows, columns=[*keys, "seeds", "attacks", "detail"])
    return join("## Flags", intro, captioned(own_tables(material)["flags"], "Flags.", pipe_table(_escaped(shown))))


def _few(texts: Iterable[str], most: int = 3) -> str:
    """List the different texts, the first ones only where there are many."""
    unique = [text for text in dict.fromkeys(texts) if text]
    sign = "; " if any("," in text or " " in text for text in unique) else ", "
    return sign.join([*unique[:most], *([f"and {len(unique) - most} more"] if len(unique) > most else [])])


def failures(material: Material) -> str:
    """Return what has no number, why, and which file says so."""
    table = material.tables["failures"]
    if table.empty:
        return join("## Failures", "Nothing failed.")
    caption = "What failed, why, and where it is written."
    shown = table[["what", "why", "where"]]
    return join("## Failures", captioned(own_tables(material)["failures"], caption, pipe_table(_escaped(shown))))


def rerun(material: Material) -> str:
    """Return the commands that repeat the run or a part of it."""
    report = material.folder / "report.pdf"
    model = next(iter(sorted(material.folder.glob("models/*/*/*/*/model.safetensors"))), None)
    run = material.provenance.get("command", "snakemake --cores all")
    commands = ["# all of it", run, "# this report and what it needs", f"{run} {report}"]
    commands += ["# one model again", f"{run} --force {model}"] if model else []
    return join("## How to re-run", "From the checkout, after `make setup`:", "```\n" + "\n".join(commands) + "\n```")


# ---- the summary of a run


def summary(materials: Sequence[Material]) -> str:
    """Return the report over all studies of a run: what was found, in which report it is, what was run."""
    first = materials[0]
    cells = pd.concat([m.tables["cells"] for m in materials])
    counts = {m.study["study"]: summarise(m.tables["claims"]).set_index("verdict")["all"].to_dict() for m in materials}
    kinds = sorted(
        {k for c in counts.values() for k in c}, key=lambda k: (k not in MEANINGS, [*MEANINGS, k].index(k), k)
    )
    rows, lines = [], []
    for m in materials:
        claims, slug = m.tables["claims"], m.study["study"]
        stands = _stands(claims)
        numbers = [counts[slug].get(k, "0") for k in kinds]
        rows.append([slug, str(sum(map(int, numbers))), *numbers, f"{(stands == 'stands').sum()} of {len(stands)}"])
        links = ", ".join(f"[{form}]({slug}/report.{form})" for form in ("pdf", "html", "ipynb"))
        text = f"{summary_sentence(claims)} {stands_sentence(claims)} Report: {links}."
        lines.append(f"### {escape(m.study['title'])}\n\n{text}")
    table = pd.DataFrame(rows, columns=["study", "numbers", *kinds, "robust accuracies that stand"])
    return join(
        f"# Run {first.run}: which published numbers hold",
        banner(first.run, first.config, cells),
        captioned("Table A1", "Verdicts per study, headline reading.", pipe_table(table, right=table.columns[1:])),
        *lines,
        "## What was run",
        captioned("Table A2", "The run.", machine(first.run, first.config, first.provenance, cells)),
    )
