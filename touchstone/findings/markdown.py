"""Text and tables as Markdown, for Jupyter and pandoc alike."""

import re
from collections.abc import Iterable

import pandas as pd


def escape(text: object) -> str:
    """Return text that Markdown prints as it is, on one line, also inside a table."""
    return re.sub(r"([\\`*_{}\[\]<>$|~^#])", r"\\\1", " ".join(str(text).split()))


def pipe_table(frame: pd.DataFrame, right: Iterable[str] = ()) -> str:
    """Return a Markdown table of strings; columns named in `right` are aligned right. Cells are not escaped."""
    right = set(right)
    lines = [list(map(str, frame.columns)), ["--:" if c in right else ":--" for c in frame.columns]]
    lines += frame.astype(str).to_numpy().tolist()
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
