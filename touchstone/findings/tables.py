"""Tables for people: published and re-run numbers side by side, worst cases, counts of verdicts, failures.

Every cell is a string, ready for a Markdown table.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from touchstone.files import write_bytes
from touchstone.findings import metrics
from touchstone.study.claims import HEADLINE

# verdict (up to its colon) -> mark; all of them are in common serif fonts
MARKS = {
    "reproduced": "✓",
    "higher": "↑",
    "lower": "↓",
    "inconclusive": "?",
    "not comparable": "≠",
    "calibrated": "c",
    "label ambiguous": "a",
    "not run": "·",
    "failed": "✗",
    "out of scope": "o",
}
ANOTHER_READING = "(✓)"  # for the mark of a reading, such as "only as coded"
CERTAINTY_MARKS = {"certain": "", "inferred": "‡", "uncertain": "†"}
UNSETTLED = ("higher", "lower", "inconclusive", "label ambiguous", "failed")  # what another reading may explain
NORMS = ["linf", "l2", "l1", "l0", "none"]


def kind(verdict: str) -> str:
    """Return a verdict without its reason: "failed: loss is nan" is "failed"."""
    return verdict.partition(":")[0].strip()


def mark(verdict: str) -> str:
    """Return the mark of a verdict; see `legend`."""
    return MARKS.get(kind(verdict), ANOTHER_READING)


def legend() -> str:
    """Explain the marks in one line."""
    marks = [*MARKS.items(), ("only under another reading", ANOTHER_READING)]
    doubts = [(f"label {name}", sign) for name, sign in CERTAINTY_MARKS.items() if sign]
    return ", ".join(f"{sign} {name}" for name, sign in [*marks, *doubts])


def escape(text: str) -> str:
    """Return text that stays inside one cell of a Markdown table."""
    return " ".join(text.replace("\\|", "|").replace("|", "\\|").split())


def paper_table(
    verdicts: pd.DataFrame,
    source_table: str,
    *,
    reading: str = HEADLINE,
    axes: tuple[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Return one of the paper's tables, with "published / **ours** ±h mark" in every cell, in the paper's unit.

    Args:
        verdicts: as `verdicts.verdicts` returns them.
        source_table: its name in the claims.
        reading: whose numbers of ours are shown.
        axes: published columns that give the rows and the columns; by default attack and defense, or defense
            and dataset where the table is about one attack.
        labels: names to print instead of the published slugs.

    Returns:
        The first column, without a name, holds the row labels; both axes are in the order of the claims.
    """
    rows = verdicts[(verdicts["source_table"] == source_table) & (verdicts["reading"] == reading)]
    axes = axes or (("attack", "defense") if rows["attack"].nunique() > 1 else ("defense", "dataset"))
    named = dict(labels or {})
    texts: dict[str, dict[str, str]] = {}
    for claim in rows.to_dict("records"):
        row, column = (escape(named.get(claim[axis], claim[axis])) for axis in axes)
        line = texts.setdefault(row, {})
        line[column] = f"{line[column]}; {_pair(claim)}" if column in line else _pair(claim)
    table = pd.DataFrame.from_dict(texts, orient="index").fillna("")
    return table.rename_axis("").reset_index()


def _pair(claim: Mapping[str, object]) -> str:
    """Published and ours with the digits of the paper."""
    published = str(claim["value"]) + CERTAINTY_MARKS[str(claim["certainty"])]
    ours, half = float(claim["ours"]), float(claim["h"])
    digits = len(str(claim["value"]).partition(".")[2])
    text = "–" if math.isnan(ours) else f"**{ours:.{digits}f}**"
    spread = "" if math.isnan(half) else f" ±{half:.{digits}f}"
    return escape(f"{published} / {text}{spread} {mark(str(claim['verdict']))}")


def worst_cases(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the worst-case accuracy of every defense in percent, clean accuracy after it.

    Args:
        cells: cells.csv.

    Returns:
        dataset, model, norm, epsilon (pixels), n (the fewest samples of the row), and a column per defense:
        mean over seeds and half-width of its 95 % interval; "*incomplete*" where an attack is missing, and
        "–" where there is no number.
    """
    clean = cells[(cells["metric"] == "accuracy") & (cells["norm"] == "none")]
    shown = pd.concat([cells[cells["metric"] == "worst_accuracy"], clean])
    groups = shown.groupby(["metric", "dataset", "model", "defense", "norm", "epsilon"], dropna=False)
    by_norm: dict[tuple[str, str], list[pd.Series]] = {}
    for (metric, _, _, _, norm, _), seeds in groups:
        by_norm.setdefault((metric, norm), []).append(seeds["value"].dropna())
    pooled = {key: metrics.pooled_deviation(values) for key, values in by_norm.items()}
    lines: dict[tuple, dict[str, str]] = {}
    samples: dict[tuple, int] = {}
    for (metric, dataset, model, defense, norm, epsilon), seeds in groups:
        place = (dataset, model, NORMS.index(norm), -1.0 if math.isnan(epsilon) else epsilon)
        good = seeds.dropna(subset="value")
        if len(good):
            samples[place] = min(samples.get(place, int(good["n"].min())), int(good["n"].min()))
        lines.setdefault(place, {})[defense] = _percent(good, pooled[metric, norm])
    defenses = list(dict.fromkeys(shown["defense"]))
    rows = []
    for place in sorted(lines):
        dataset, model, norm, epsilon = place
        where = [dataset, model, "clean" if epsilon < 0 else NORMS[norm], "" if epsilon < 0 else f"{epsilon:g}"]
        count = str(samples.get(place, "–"))
        rows.append([*map(escape, where), count, *(lines[place].get(defense, "–") for defense in defenses)])
    return pd.DataFrame(rows, columns=["dataset", "model", "norm", "epsilon", "n", *map(escape, defenses)])


def _percent(seeds: pd.DataFrame, pooled: metrics.Deviation | None) -> str:
    if seeds.empty:
        return "–"
    found = metrics.interval(list(seeds["value"]), int(seeds["n"].min()), sampling="binomial", pooled=pooled)
    spread = "" if math.isnan(found.half) else f" ±{100 * found.half:.1f}"
    incomplete = " *incomplete*" if (seeds["status"] == "incomplete").any() else ""
    return f"{100 * seeds['value'].mean():.1f}{spread}{incomplete}"


def overall(verdicts: pd.DataFrame) -> pd.Series:
    """Return one verdict per claim id: the headline's, or another reading's mark where that explains it."""
    headline = verdicts[verdicts["reading"] == HEADLINE].set_index("id")["verdict"].map(kind)
    others = verdicts[(verdicts["reading"] != HEADLINE) & ~verdicts["verdict"].map(kind).isin(MARKS)]
    marks = others.drop_duplicates("id").set_index("id")["verdict"]
    explained = headline.isin(UNSETTLED) & headline.index.isin(marks.index)
    return headline.mask(explained, marks.reindex(headline.index))


def summary(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Count the claims by verdict, each claim once; labels that are certain, inferred and uncertain apart."""
    words = overall(verdicts)
    claims = verdicts[verdicts["reading"] == HEADLINE].set_index("id")
    order = [*MARKS, *sorted(set(words) - set(MARKS))]
    rows = []
    for word in [name for name in order if (words == name).any()]:
        counts = [int(((words == word) & (claims["certainty"] == each)).sum()) for each in CERTAINTY_MARKS]
        rows.append([mark(word), escape(word), *map(str, counts), str(sum(counts))])
    return pd.DataFrame(rows, columns=["", "verdict", *CERTAINTY_MARKS, "all"])


def failures(cells: pd.DataFrame, folder: str = "") -> pd.DataFrame:
    """Return what has no number: what, why, where (the files that say so, below `folder`); seeds together."""
    failed = cells[cells["status"] == "failed"]
    rows = []
    for (dataset, model, defense, reason), group in failed.groupby(["dataset", "model", "defense", "reason"]):
        seeds = ", ".join(map(str, sorted(group["seed"].unique())))
        attacks = list(dict.fromkeys(group["attack"]))
        trained = "clean" not in attacks  # a failed training takes every attack with it
        what = f"{', '.join(attacks)} on {defense}" if trained else f"training of {defense}"
        kept = "attacks" if trained else "models"
        file = f"{attacks[0]}/records.parquet" if trained else "run.json"
        first = Path(folder, kept, dataset, model, defense, str(group["seed"].min()), file)
        rows.append([f"{what} ({dataset}, {model}; seed {seeds})", reason, str(first)])
    return pd.DataFrame(rows, columns=["what", "why", "where"]).map(escape)


def gather(paths: Iterable[str | Path], out: str | Path) -> None:
    """Write the claims tables of several studies as one file; the text of every field is kept."""
    parts = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in paths]
    write_bytes(Path(out), pd.concat(parts, ignore_index=True).fillna("").to_csv(index=False).encode())
