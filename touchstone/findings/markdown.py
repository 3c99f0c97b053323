"""Text and tables as Markdown, for Jupyter and pandoc alike."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pandas as pd


def escape(text: object) -> str:
    """Return text that Markdown prints as it is, on one line, also inside a table."""
    return re.sub(r"([\\`*_{}\[\]<>$|~^#]|&(?=#?\w+;))", r"\\\1", " ".join(str(text).split()))


def code(text: str) -> str:
    """Return text as code on one line, also inside a table; what would end the code makes it plain text."""
    if not re.search(r"[`|<>]", text):
        return f"`{text}`"
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def prose(text: str) -> str:
    """Return Markdown of a study's author as one paragraph, also in a caption, without code in HTML or typst."""
    plain = " ".join(text.split()).rstrip("\\")
    plain = re.sub(r"<(?=[A-Za-z/!?])", "< ", plain).replace("{=", "{ =")
    pieces = re.split(r"(\$[^$]+\$|`[^`]+`)", plain)  # formulas and code stand at the odd places
    if _balanced("".join(pieces[::2])):
        return plain
    pieces[::2] = [re.sub(r"(?<!\\)([\[\]])", r"\\\1", piece) for piece in pieces[::2]]
    return "".join(pieces)


def _balanced(text: str) -> bool:
    """Say whether every bracket that is not escaped has its partner, so that a caption ends where it does."""
    depth = 0
    for bracket in re.findall(r"(?<!\\)[\[\]]", text):
        depth += 1 if bracket == "[" else -1
        if depth < 0:
            return False
    return depth == 0


def pipe_table(frame: pd.DataFrame, right: Iterable[str] = ()) -> str:
    """Return a Markdown table of strings; columns named in `right` are aligned right. Cells are not escaped."""
    right = set(right)
    lines = [list(map(str, frame.columns)), ["--:" if c in right else ":--" for c in frame.columns]]
    lines += frame.astype(str).to_numpy().tolist()
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def parts(widths: Sequence[int], *, labels: int, room: int) -> list[list[int]]:
    """Split the columns of a table that is too wide into as few parts as fit, of about as many columns each.

    Args:
        widths: of the columns, in characters.
        labels: how many columns at the left name the rows: each part has them.
        room: characters that fit beside each other.

    Returns:
        The columns of each part; a single one that is too wide has a part of its own.
    """
    head, rest = list(range(labels)), range(labels, len(widths))
    left = room - sum(widths[:labels])
    for count in range(1, len(rest) + 1):
        ends = [round(len(rest) * part / count) for part in range(count + 1)]
        shares = [rest[start:end] for start, end in pairwise(ends)]
        if count == len(rest) or all(sum(widths[column] for column in share) <= left for share in shares):
            return [[*head, *share] for share in shares]
    return [head]
