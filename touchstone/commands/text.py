"""What stands on a screen, and what is typed there."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Collection, Sequence
from itertools import zip_longest
from textwrap import wrap

from touchstone.registry import nearest

WIDTH = 100


def columns(lines: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return lines of equal length as columns, two spaces apart; the last one is wrapped where a screen ends.

    Args:
        lines: the head among them.
        right: columns that are aligned right, by number.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = max(WIDTH - sum(widths[:-1]) - 2 * (len(widths) - 1), 20)
    widths[-1] = min(widths[-1], left)
    text = []
    for line in lines:
        parts = [[cell] for cell in line[:-1]] + [wrap(line[-1], left) or [""]]
        for row in zip_longest(*parts, fillvalue=""):
            aligned = (
                cell.rjust(width) if number in right else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            text.append("  ".join(aligned).rstrip())
    return "\n".join(text)


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """Return what reads one of some names from a command line, and says which there are."""

    def known(word: str) -> str:
        if word not in names:
            raise ArgumentTypeError(f"no {word!r} here; {nearest(word, names)}")
        return word

    return known
