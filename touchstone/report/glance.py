"""What stands on the first page: how the published numbers fared, the largest gaps, the flags that matter.

Clean numbers, those at the floor and all others are counted apart, and so is what was not run: no total hides them.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from touchstone.findings.flags import TECHNICAL, concerns
from touchstone.findings.markdown import escape, pipe_table
from touchstone.findings.tables import counts, decimals, spread_of
from touchstone.findings.vocabulary import NOT_RUN, STANDS, mark, outcome
from touchstone.paths import link
from touchstone.report import words
from touchstone.report.material import Material
from touchstone.report.render import anchor
from touchstone.study.claim import KINDS, Claim
from touchstone.study.claims import HEADLINE
from touchstone.study.scale import POINTS

NO_NET = "–"
PGD = "pgd"  # what a paper calls its attack
# kind of a claim -> what its row is called, in the order of the rows
ROWS = dict(zip(reversed(KINDS), ("attacked", "floor", "clean"), strict=True)) | {"": "others"}
FIRST = ("reproduced", "higher", "lower", "cannot tell", "not comparable", "other")  # columns of what was run
USUAL = ("reproduced", "higher", "lower", "not run")  # have a column in any case
SECOND = {word: word for word in STANDS} | {"label ambiguous": "doubtful label"}  # not what the first verdict is called
_NET = ["cell_dataset", "cell_model", "cell_defense"]
_COMPARED = ["paper", "ours", "worst case", "attack gap", "replication gap"]  # columns of numbers
MOST = 6  # gaps and flags on a first page


class Fate(NamedTuple):
    """How the numbers of one kind fared.

    Attributes:
        whose: names of the row: a study or a net, then the kind.
        nets: how many different ones are behind those that were run.
        first: column -> how many got such a verdict.
        second: word of STANDS -> how many got it.
    """

    whose: tuple[str, str]
    nets: int
    first: Counter[str]
    second: Mapping[str, int]


# ---- verdicts


def by_study(claims: Mapping[str, pd.DataFrame]) -> str:
    """Count the verdicts, a row per study (slug -> its claims.csv) and kind of number; empty without any."""
    fates = [fate for study, judged in claims.items() for fate in _fates(study, words.own(judged))]
    return _table(("study", "numbers"), fates)


def by_net(material: Material) -> str:
    """Count the verdicts of a study, a row per net and kind of number; empty without any."""
    claims = words.own(material.tables["claims"])
    nets = claims.loc[claims["reading"] == HEADLINE].groupby("cell_model", sort=True)["id"].agg(list)
    groups = ((str(net) or NO_NET, claims[claims["id"].isin(ids)]) for net, ids in nets.items())
    return _table(("net", "numbers"), [fate for net, group in groups for fate in _fates(net, group)])


def _fates(whose: str, claims: pd.DataFrame) -> list[Fate]:
    """Return how some claims fared, by their kind in the headline reading."""
    headline = claims[claims["reading"] == HEADLINE]
    kinds = ((name, headline.loc[headline["kind"] == kind, "id"]) for kind, name in ROWS.items())
    return [_fate((whose, name), claims[claims["id"].isin(ids)]) for name, ids in kinds if len(ids)]


def _fate(whose: tuple[str, str], claims: pd.DataFrame) -> Fate:
    first: Counter[str] = Counter()
    for count in counts(claims):
        first[_column(count.word)] += count.all
    nets = {*map(tuple, _nets(words.run(claims)).values)} - {("", "", "")}
    return Fate(whose, len(nets), first, words.second_verdicts(claims))


def _column(word: str) -> str:
    """Return the column in which a verdict is counted."""
    if outcome(word) == "cannot tell":
        return "cannot tell"
    return word if word in (*FIRST, *NOT_RUN) else "other"


def _nets(claims: pd.DataFrame) -> pd.DataFrame:
    return claims[_NET]


def _table(heads: tuple[str, str], fates: Sequence[Fate]) -> str:
    """Return them as a table without its zeros; a verdict that is rare has a column only where it occurs."""
    if not fates:
        return ""
    first, without = (
        [word for word in words if word in USUAL or any(fate.first[word] for fate in fates)]
        for words in (FIRST, NOT_RUN)
    )
    second = [word for word, said in STANDS.items() if said.usual or any(fate.second.get(word) for fate in fates)]
    lines = [
        [
            fate.nets,
            sum(fate.first[name] for name in FIRST),
            *(fate.first[name] for name in first),
            *(fate.second.get(word, 0) for word in second),
            *(fate.first[word] for word in without),
        ]
        for fate in fates
    ]
    texts = [[*map(escape, fate.whose), *(str(n or "") for n in line)] for fate, line in zip(fates, lines, strict=True)]
    columns = [*heads, "nets", "run", *first, *(SECOND[word] for word in second), *without]
    return pipe_table(pd.DataFrame(texts, columns=columns), right=columns[2:])


# ---- gaps


def gaps(materials: Sequence[Material], *, of_run: bool = False) -> str:
    """List the largest gaps above the tolerance of an accuracy, one of each net in a norm; empty without any.

    A claim counts by its attack gap and, where it was compared, by its replication gap. Claims that were compared come
    first, then the larger gaps. The flags are those of the net in the claim's norm and of its attack.

    Args:
        materials: of the studies.
        of_run: for the report of the run, which names the study and leads to its report; otherwise the claim is in the
            same document.
    """
    found = [(material, row) for material in materials for row in _headline(material).to_dict("records")]
    large = [one for one in found if _size(one[1]) > 100.0 * POINTS]
    large.sort(key=lambda one: (_compared(one[1]), _size(one[1])), reverse=True)
    first: dict[tuple[str, ...], tuple[Material, Mapping[Hashable, Any]]] = {}
    for material, claim in large:
        first.setdefault((material.study.study, *(claim[name] for name in _NET), claim["norm"]), (material, claim))
    shown = [*first.values()][:MOST]
    table = pd.DataFrame([_gap(material, claim, of_run=of_run) for material, claim in shown])
    return pipe_table(table, _COMPARED) if shown else ""


def _headline(material: Material) -> pd.DataFrame:
    """Return the paper's own claims in the headline reading."""
    claims = words.own(material.tables["claims"])
    return claims[claims["reading"] == HEADLINE]


def _size(claim: Mapping[Hashable, Any]) -> float:
    """Return the larger of a claim's gaps in points, 0 without one."""
    gaps = [claim["attack_gap"], *([claim["replication_gap"].removeprefix("-")] if _compared(claim) else [])]
    return max((float(text) for text in gaps if text), default=0.0)


def _compared(claim: Mapping[Hashable, Any]) -> bool:
    return outcome(claim["verdict"]) != "other"


def _gap(material: Material, claim: Mapping[Hashable, Any], *, of_run: bool) -> dict[str, str]:
    report = material.results.report(material.study.study).html
    document = link(material.results.report().html, report) if of_run else ""
    return {
        **({"study": escape(material.study.study)} if of_run else {}),
        "claim": f"[{escape(claim['id'])}]({document}#{anchor(claim['id'])})",
        **_compare(claim, material.tables["flags"], most=2),
    }


def _compare(claim: Mapping[Hashable, Any], flags: pd.DataFrame, *, most: int) -> dict[str, str]:
    """Return a published number beside ours and the worst case, and what it may rest on: so many flags at most."""
    return {
        "paper": claim["value"],
        "ours": _with_half(claim, "ours", "h"),
        "worst case": _with_half(claim, "worst", "worst_h"),
        **{name.replace("_", " "): words.fixed(claim[name], 1) for name in ("attack_gap", "replication_gap")},
        "verdict": f"{escape(mark(claim['verdict']))} {claim['verdict']}",
        "in the worst case": escape(words.second_verdict(claim)),
        "flags": escape(words.few(_concerning(claim, flags), most=most)),
    }


def _concerning(claim: Mapping[Hashable, Any], flags: pd.DataFrame) -> pd.Series:
    """Return the names of the flags that say of a claim's net or attack that its number may be wrong."""
    net = (flags[["dataset", "model", "defense"]] == [claim[column] for column in _NET]).all(axis=1)
    about = flags["attack"].map(lambda raised_for: concerns(raised_for, claim["cell_attack"], claim["norm"]))
    return flags.loc[net & about & ~flags["flag"].isin(TECHNICAL), "flag"]


def _with_half(claim: Mapping[Hashable, Any], number: str, half: str) -> str:
    shown, width = (words.fixed(claim[name], decimals(claim["value"])) for name in (number, half))
    return f"{shown} {spread_of(shown, width, claim['cell_metric'], claim['unit'])}" if shown and width else shown


# ---- claims


def masked(claims: pd.DataFrame, flags: pd.DataFrame) -> str:
    """List what may be masked: a claim per net and norm, at the largest radius that was run, if it has an attack gap.

    It is the claim under PGD, and where a paper has none in that norm the one with the least left in print. What other
    attacks miss is not looked at.

    Args:
        claims: of a study, its claims.csv; those that a paper repeats, or that no worst case tests, do not count. Where
            readings share a net, the headline is shown.
        flags: of the same study.

    Returns:
        A row per net and norm whose gap is above the tolerance of an accuracy; empty without any.
    """
    tested = words.run(words.own(claims)).loc[lambda rows: (rows["kind"] != "") & (rows["worst"] != "")]
    if tested.empty:
        return ""
    numbers = tested.astype({"cell_epsilon": float, "low": float, "high": float}).to_dict("records")
    read = [Claim.of(row, row["reading"]) for row in numbers]
    order = tested.assign(
        radius=[-claim.epsilon for claim in read],
        left=[claim.accuracy(claim.high) for claim in read],
        other=tested["reading"] != HEADLINE,
    )
    order.loc[order["attack"] == PGD, "left"] = -1.0  # before all others; of two numbers the first that is printed
    order = order.sort_values(["radius", "left", "other"], kind="stable")
    first = order.drop_duplicates([*_NET, "norm"]).sort_values([*_NET, "norm"])
    rows = [
        {
            "net": escape(" ".join(row[name] for name in _NET)),
            "claim": escape(row["id"]),
            "attack": escape(f"{row['cell_attack']} {row['cell_epsilon']}"),
            **_compare(row, flags, most=len(flags)),
            **({"in the worst case": "stands (printed at the floor)"} if row["kind"] == "floor" else {}),
        }
        for row in first.to_dict("records")
        if float(row["attack_gap"] or 0.0) > 100.0 * POINTS
    ]
    return pipe_table(pd.DataFrame(rows), right=_COMPARED) if rows else ""


# ---- flags


def flags(materials: Sequence[Material]) -> str:
    """List the flags that say of an attack or a net that a number may be wrong; empty without any.

    Returns:
        A row per flag: on how many nets (of how many), how many published numbers under attack rest on these, and one
        of the things that were seen. What touches most numbers comes first.
    """
    rows: dict[str, list[tuple[int, int, str]]] = {}
    everything = sum(len(_measured(material)) for material in materials)
    for material in materials:
        shown = material.tables["flags"]
        attacked = _headline(material).loc[lambda claims: claims["stands"] != ""]
        for flag, group in shown[~shown["flag"].isin(TECHNICAL)].groupby("flag", sort=False):
            nets = {*group[["dataset", "model", "defense"]].itertuples(index=False, name=None)}
            touched = [net in nets for net in _nets(attacked).itertuples(index=False, name=None)].count(True)
            rows.setdefault(str(flag), []).append((len(nets), touched, group["detail"].iloc[0]))
    lines = [
        [escape(flag), f"{sum(n for n, _, _ in seen)} of {everything}", str(sum(n for _, n, _ in seen)), seen[0][2]]
        for flag, seen in rows.items()
    ]
    lines = sorted(lines, key=lambda line: int(line[2]), reverse=True)[:MOST]
    columns = ["flag", "nets", "numbers", "for instance"]
    table = pd.DataFrame([[*line[:3], escape(line[3])] for line in lines], columns=columns)
    return pipe_table(table, columns[1:3]) if lines else ""


def _measured(material: Material) -> set[tuple[str, ...]]:
    """Return the nets that this run measured."""
    cells = material.tables["cells"]
    return {*cells[["dataset", "model", "defense"]].itertuples(index=False, name=None)}
