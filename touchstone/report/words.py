"""Small words of the reports: counts, notes, lists. Sentences stand in the notebooks of reports/."""

from collections.abc import Hashable, Iterable, Mapping
from itertools import count, product
from string import ascii_lowercase
from typing import Any

import pandas as pd

from touchstone.findings.evidence import SEPARATOR
from touchstone.findings.markdown import escape
from touchstone.findings.statements import REPLY
from touchstone.findings.tables import counts
from touchstone.findings.vocabulary import NOT_RUN, PAIRED, STANDS, STATEMENTS, known
from touchstone.registry import counted
from touchstone.study.claims import HEADLINE
from touchstone.study.config import Cap

FEW = 3  # comparisons that are shown with their numbers where all are right


def fixed(text: str, digits: int) -> str:
    """Print a number with so many decimals, and zero without a sign; an empty cell stays empty."""
    return f"{float(text):z.{digits}f}" if text else ""


def few(texts: Iterable[str], most: int = 3) -> str:
    """List the different texts, the first ones only where there are many."""
    unique = [text for text in dict.fromkeys(texts) if text]
    sign = "; " if any("," in text or " " in text for text in unique) else ", "
    return sign.join([*unique[:most], *([f"and {len(unique) - most} more"] if len(unique) > most else [])])


def per_dataset(values: Mapping[str, float]) -> str:
    """Write {mnist: 0.01, cifar10: 0.05} as "0.01 (mnist), 0.05 (cifar10)"."""
    return ", ".join(f"{value} ({dataset})" for dataset, value in values.items())


def duration(seconds: float) -> str:
    """Return "2 h 3 min" or "7 min 4 s"."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def broken_off(provenance: Mapping[str, Any]) -> str:
    """Return what the seconds of all jobs leave out, "" if nothing."""
    number = provenance.get("broken_off", 0)
    return f", not counting {counted(number, 'attempt')} broken off before" if number else ""


def cap_words(cap: Cap) -> str:
    """Return "epochs 10, samples 300 (dataset mnist)"."""
    limits = ", ".join(f"{k} {v}" for k, v in cap.model_dump(exclude={"where"}, exclude_none=True).items())
    where = ", ".join(f"{k} {v}" for k, v in cap.where.model_dump(exclude_none=True).items())
    return f"{limits} ({where})" if where else limits


# ---- notes under a table


def letters(texts: Iterable[str]) -> dict[str, str]:
    """Give each different reason in some texts letters for use in a table, as a sheet's columns have: a, ..., z, aa."""
    unique = dict.fromkeys(reason for text in texts for reason in text.split(SEPARATOR) if reason)
    names = ("".join(word) for size in count(1) for word in product(ascii_lowercase, repeat=size))
    return dict(zip(unique, names, strict=False))


def noted(text: str, note: str, notes: Mapping[str, str]) -> str:
    """Put the letters of a note's reasons behind a text that is not empty."""
    return f"{text} ({', '.join(notes[reason] for reason in note.split(SEPARATOR))})" if text and note else text


def explained(notes: Mapping[str, str]) -> str:
    """List the reasons that the letters stand for, an item each; empty without any."""
    return "\n".join(f"- ({letter}) {escape(text)}" for text, letter in notes.items())


def reasons(*columns: str) -> str:
    """Join the texts of several columns, each text once."""
    return SEPARATOR.join(dict.fromkeys(text for column in columns for text in column.split(SEPARATOR) if text))


# ---- a study's claims


def own(claims: pd.DataFrame) -> pd.DataFrame:
    """Leave out the numbers that a paper only repeats: they are counted apart."""
    return claims[claims["cited"] == ""]


def cited(claims: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers that a paper repeats from another work."""
    return claims[claims["cited"] != ""]


def run(claims: pd.DataFrame) -> pd.DataFrame:
    """Leave out the numbers that nothing was run for."""
    return claims[~claims["verdict"].isin(NOT_RUN)]


def result(claims: pd.DataFrame) -> dict[str, str]:
    """Return what the text names of a study's claims; each is empty where there is nothing of its kind.

    Returns:
        printed ("67 published numbers") and their `verdicts` ("3 reproduced, 1 lower"), then the same of the numbers
        that the paper only repeats, `repeated` and `others`; how many of its own are `attacked` and were run, and how
        they `stand`.
    """
    found, more = counts(own(claims)), counts(cited(claims))
    printed, repeated = (sum(count.all for count in part) for part in (found, more))
    attacked = sum(second_verdicts(claims).values())
    return {
        "printed": counted(printed, "published number") if printed else "",
        "verdicts": ", ".join(f"{count.all} {escape(count.name)}" for count in found),
        "repeated": counted(repeated, "number") if repeated else "",
        "others": ", ".join(f"{count.all} {escape(count.name)}" for count in more),
        "attacked": counted(attacked, "number") if attacked else "",
        "stand": _standing(claims),
    }


def pair_verdicts(paired: pd.DataFrame) -> dict[str, int]:
    """Count the verdicts on pairs in the headline reading, those that occur; raises ValueError for an unknown one."""
    found = [known(word, PAIRED) for word in paired.loc[paired["reading"] == HEADLINE, "verdict"]]
    return {word: found.count(word) for word in PAIRED if word in found}


def pairs(paired: pd.DataFrame) -> dict[str, str]:
    """Return what the text names of a study's pairs of attacks: how many ("3 pairs of attacks"), and their verdicts."""
    found = pair_verdicts(paired)
    return {
        "pairs": counted(sum(found.values()), "pair of attacks", "pairs of attacks") if found else "",
        "pair_verdicts": ", ".join(f"{number} {word}" for word, number in found.items()),
    }


def second_verdict(claim: Mapping[Hashable, Any]) -> str:
    """Return the second verdict of a claim with its points, "overstated by 41.0 points"; empty without one."""
    if not (word := claim["stands"]):
        return ""
    said = STANDS[known(word, STANDS)]
    return said.one.format(fixed(claim[said.points], 1) if said.points else "")


def statement_verdict(row: Mapping[Hashable, Any], case: str = "") -> str:
    """Return the verdict on a statement, "undecided 2 of 3" or "not testable: people judge it"; empty without one.

    Args:
        row: of qualitative.csv.
        case: what its columns begin with: WORST_CASE for the verdict in the worst case.
    """
    word, data = row[f"{case}verdict"], {name: row[f"{case}{name}"] for name in REPLY[1:]}
    return STATEMENTS[known(word, STATEMENTS)].said.format(**data) if word else ""


def statement_detail(row: Mapping[Hashable, Any], case: str = "") -> str:
    """Return what that verdict rests on, "2 of 3; open: ..."; empty where nothing was compared by us.

    A few comparisons that are all right are shown with their numbers; qualitative.csv has those of all.
    """
    word, right, compared, why, numbers = (row[f"{case}{name}"] for name in REPLY)
    if word == "not testable":
        return ""
    shown = why or (numbers if numbers.count(SEPARATOR) < FEW else "")
    return reasons(f"{right} of {compared}" if compared else "", shown)


def second_verdicts(claims: pd.DataFrame) -> dict[str, int]:
    """Count the second verdicts of the headline reading; raises ValueError for one that is not in STANDS."""
    words = [known(word, STANDS) for word in _under_attack(claims)["stands"]]
    return {word: words.count(word) for word in STANDS} if words else {}


def _under_attack(claims: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's own claims that were run and have a second verdict, in the headline reading."""
    return run(own(claims[(claims["reading"] == HEADLINE) & (claims["stands"] != "")]))


def _standing(claims: pd.DataFrame) -> str:
    """Count the second verdicts of the headline with their points: "1 stand, 2 are overstated by 7 to 41 points"."""
    found, rows = second_verdicts(claims), _under_attack(claims)
    parts = []
    for word, said in STANDS.items() if found else ():
        if not found[word] and not said.usual:
            continue
        such = rows[rows["stands"] == word]
        points = [round(float(text), 1) for text in such[said.points]] if said.points else []
        size = said.size.format(min(points), max(points)) if points else ""
        parts.append(f"{found[word]} {said.many}{size}")
    return ", ".join(parts)
