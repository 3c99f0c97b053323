"""What a report shows of two attacks on one net: their published difference beside ours, a table per net and norm."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from touchstone.findings.markdown import escape, pipe_table
from touchstone.findings.tables import CERTAINTY_MARKS, decimals, radius
from touchstone.findings.vocabulary import PAIRED, known
from touchstone.registry import counted
from touchstone.report import words
from touchstone.report.material import Material
from touchstone.study.claims import HEADLINE
from touchstone.study.schema import Study, for_cell

COLUMNS = ["attack", "restarts", "against", "restarts", "metric", "ε", "published", "ours", "n", "τ", "verdict"]
_NUMBERS = ["restarts", "published", "ours", "n", "τ"]
WITHOUT_NET = ("not run", "too small to test")  # what a pair can be called without a net of ours
_PLACE = ["reading", "dataset", "model", "defense", "printed_norm"]  # what the rows of one table share
_PRINTED = ["norm", "value", "certainty", "epsilon", "epsilon_unit"]  # of a claim; the same in every reading


def counts(material: Material) -> str:
    """Return the counts of verdicts on pairs in the headline reading; empty without any."""
    found = words.pair_verdicts(material.tables["paired"])
    rows = [[PAIRED[word].mark, word, str(number), PAIRED[word].meaning] for word, number in found.items()]
    return pipe_table(pd.DataFrame(rows, columns=["", "verdict", "pairs", "meaning"]), ["pairs"]) if rows else ""


def tables(material: Material) -> list[dict[str, str]]:
    """Return the pairs of nets that were run, a table per reading, net and norm.

    Returns:
        `other` (the reading, empty for the headline), `net`, `norm`, `table` and `notes` of each.
    """
    named, items = material.study.labels, []
    for place, group in _printed(material).groupby(_PLACE, sort=False):
        reading, *net, norm = map(str, place)
        rows = group.to_dict("records")
        notes = words.letters(map(_note, rows))
        table = pd.DataFrame([_row(row, material.study, notes) for row in rows], columns=COLUMNS)
        items.append(
            {
                "other": "" if reading == HEADLINE else reading,
                "net": escape(", ".join(named.get(word, word) for word in net)),
                "norm": escape(named.get(norm, norm)),
                "table": pipe_table(table, _NUMBERS),
                "notes": words.explained(notes),
            }
        )
    return items


def left_out(material: Material) -> str:
    """Say how many pairs have no row in `tables`, "278 pairs of attacks"; empty without any."""
    count = len(material.tables["paired"]) - len(_printed(material))
    return counted(count, "pair of attacks", "pairs of attacks") if count else ""


def number(material: Material) -> int:
    """Return how many tables there are."""
    return int(_printed(material).groupby(_PLACE).ngroups)


def _printed(material: Material) -> pd.DataFrame:
    """Return the pairs with what is printed of their claims, but for nets and norms of which nothing was run."""
    claims = material.tables["claims"].drop_duplicates("id").set_index("id")
    found = material.tables["paired"].join(claims[_PRINTED].add_prefix("printed_"), on="id")
    run = found.assign(run=~found["verdict"].isin(WITHOUT_NET)).groupby(_PLACE)["run"].transform("any")
    return found[run.astype(bool)]


def _row(pair: Mapping[Hashable, Any], study: Study, notes: Mapping[str, str]) -> list[str]:
    digits, word = decimals(pair["printed_value"]), known(pair["verdict"], PAIRED)
    ours, half = (words.fixed(pair[name], digits) for name in ("ours", "h"))
    attacks = [(escape(pair[name]), _restarts(study, pair, pair[name])) for name in ("attack", "against")]
    return [
        *(text for attack in attacks for text in attack),
        pair["metric"].replace("_", " "),
        radius(pair["printed_epsilon"], pair["printed_epsilon_unit"]),
        words.fixed(pair["published"], digits) + CERTAINTY_MARKS[pair["printed_certainty"]],
        f"{ours} ±{half}" if ours else "–",
        pair["n"] if ours else "–",
        words.fixed(pair["tau"], digits + 1),  # half of a difference has a digit more
        words.noted(f"{PAIRED[word].mark} {word}", _note(pair), notes),
    ]


def _restarts(study: Study, pair: Mapping[Hashable, Any], attack: str) -> str:
    """Return how often an attack starts anew, as the study has it."""
    return str(for_cell(study.attacks[attack].options.get("restarts", 1), pair["dataset"], pair["defense"]))


def _note(pair: Mapping[Hashable, Any]) -> str:
    return words.reasons(pair["why"], pair["caps"])
