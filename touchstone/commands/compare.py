"""Compare two runs cell by cell, and say what changed in their verdicts.

Records are joined sample by sample. Shares of samples are compared by McNemar's exact test, minimal distances by
Wilcoxon's signed-rank test, all together at a false discovery rate of 5 % (Benjamini and Hochberg). A run is named by
its folder. Tables of all cells and changes, and a picture, are written beside the runs, or where --out says.

example: touchstone compare results/demo results/demo-cuda
"""

import argparse
import math
from pathlib import Path

from touchstone import paths
from touchstone.commands.text import columns
from touchstone.files import write_bytes
from touchstone.findings.compare import Change, Comparison, Pair, compare, count
from touchstone.findings.results import load_run
from touchstone.report.plots.comparison import runs
from touchstone.report.plots.output import save

MOST = 20  # lines of a part of what is printed
CELL = ("model", "attack", "norm", "epsilon", "measure", "n", "first", "second", "p", "q")
WORD = ("study", "claim", "reading", "what", "first", "second")


def options(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    parser.add_argument(
        "one", metavar="RUN_A", type=Path, help="a finished run: its folder, results/<run>, or its name"
    )
    parser.add_argument("other", metavar="RUN_B", type=Path, help="another one")
    parser.add_argument("--out", type=Path, help="folder for the tables and the picture")


def run(arguments: argparse.Namespace) -> str:
    """Write what two runs have apart, and return what is said of it.

    Raises:
        RunError: for a folder without a finished run.
        DamagedError: for a file that is not as the run left it.
    """
    one, other = (load_run(paths.run_named(given)) for given in (arguments.one, arguments.other))
    found = compare(one, other)
    files = paths.comparison(arguments.out or paths.compared(one.results, other.results))
    for path, table in ((files.cells, found.cells), (files.words, found.words)):
        write_bytes(path, table.to_csv(index=False).encode())
    names = {"one": one.results.name, "other": other.results.name}
    save(runs(found.cells, **names), [files.picture])
    return f"{text(found)}\n\nwritten: {', '.join(map(str, files))}"


def text(found: Comparison) -> str:
    """Return what is printed of a comparison: the verdict, the clearest cells, and changed words."""
    words = [change for change in found.changes if change.what != "ours"]
    moved = len(found.changes) - len(words)
    parts = [
        found.verdict,
        table(CELL, [cell(pair) for pair in found.differing], range(3, len(CELL))),
        f"claims and statements: {len(words):,} words changed, and {moved:,} numbers of ours",
        table(WORD, [word(change) for change in words]),
        *(
            f"{count(len(labels))} {where}: {labels[0]}{', ...' if len(labels) > 1 else ''}"
            for where, labels in (
                ("in the first run alone", found.only_one),
                ("in the second run alone", found.only_other),
                ("on other data of the same name, not compared", found.unlike),
                ("without a common sample, not compared", found.disjoint),
            )
            if labels
        ),
    ]
    return "\n\n".join(filter(None, parts))


def table(head: tuple[str, ...], lines: list[tuple[str, ...]], right: range = range(0)) -> str:
    """Return the first lines of a table, and how many more there are; nothing without a line."""
    if not lines:
        return ""
    more = f"\n... and {len(lines) - MOST:,} more" if len(lines) > MOST else ""
    return columns([head, *lines[:MOST]], right) + more


def cell(pair: Pair) -> tuple[str, ...]:
    """Return a pair of cells as a line: shares in percent, distances as they are."""
    model = f"{pair.study}/{pair.dataset}/{pair.model}/{pair.defense}/{pair.seed}"
    epsilon = "" if math.isnan(pair.epsilon) else f"{pair.epsilon:g}"
    numbers = [f"{100 * v:.1f} %" if pair.measure == "accuracy" else f"{v:.3g}" for v in (pair.one, pair.other)]
    where = (model, pair.attack, pair.norm, epsilon, pair.measure, f"{pair.n:,}")
    return (*where, *numbers, f"{pair.p:.2g}", f"{pair.q:.2g}")


def word(change: Change) -> tuple[str, ...]:
    """Return a change as a line; a row that a run has not is a dash."""
    return (change.study, change.id, change.reading, change.what, change.one or "-", change.other or "-")
