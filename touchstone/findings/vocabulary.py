"""The words of verdicts: a table for each kind of verdict, word -> what it means and how it is shown.

Verdicts, statements, result tables, reports and the main README read them here, and a word that is not here is an
error wherever it turns up.
"""

from collections.abc import Collection
from typing import Literal, NamedTuple, TypeAlias

from touchstone.registry import nearest
from touchstone.study.scale import LEAST_SEEDS, POINTS

Outcome: TypeAlias = Literal["reproduced", "higher or lower", "cannot tell", "other"]


class Word(NamedTuple):
    """A verdict on a claim.

    Attributes:
        mark: in tables; all marks are in common serif fonts.
        meaning: what it says of our number.
        outcome: what it counts as where few words are wanted; `other` is no answer to whether the numbers agree.
        open: whether the claim counts as explained where another reading of the paper reproduces it.
    """

    mark: str
    meaning: str
    outcome: Outcome = "other"
    open: bool = False


ELSEWHERE = "only under another reading"
# verdict on a claim, in the order in which they are counted
VERDICTS = {
    "reproduced": Word("✓", "within the tolerance, and our 95 % half-width is within it too", "reproduced"),
    "higher": Word(
        "↑",
        "above the published number by more than the tolerance and the error of both together",
        "higher or lower",
        open=True,
    ),
    "lower": Word(
        "↓", "below it by more than the tolerance and the error of both together", "higher or lower", open=True
    ),
    "within spread": Word(
        "~",
        "cannot tell: nets of this recipe differ by more than the tolerance, and the printed one may be among them",
        "cannot tell",
        open=True,
    ),
    "inconclusive": Word(
        "?",
        f"cannot tell: none of these, or fewer than {LEAST_SEEDS} seeds; more of them or samples would",
        "cannot tell",
        open=True,
    ),
    "not comparable": Word("≠", "measured on other data or under caps that changed what is measured"),
    "label ambiguous": Word("a", "the printed label is in doubt, and readings of it lead to other verdicts", open=True),
    "not run": Word("·", "outside this run"),
    "failed": Word("✗", "training or attack ended without a number", open=True),
    "out of scope": Word("o", "not a number that a re-run can produce"),
    "cited": Word("c", "another work's number, which the paper repeats"),
    ELSEWHERE: Word("(✓)", "reproduced, but only under another reading of the paper than the one fixed beforehand"),
}
NOT_RUN = ("not run", "out of scope", "cited")  # no job was there to find a number


# verdict on the difference of two attacks on one net, in the order in which they are counted
PAIRED = {
    **{word: VERDICTS[word] for word in ("reproduced", "higher", "lower")},
    "inconclusive": VERDICTS["inconclusive"]._replace(meaning="cannot tell: none of these; more nets or samples would"),
    "too small to test": Word("s", "the published difference is smaller than the tolerance of one such number"),
    "not comparable": Word(
        "≠", f"no net of ours has the published clean and robust accuracy to {100 * POINTS:g} points"
    ),
    **{word: VERDICTS[word] for word in ("not run", "failed")},
}


class Standing(NamedTuple):
    """A second verdict, on a robust accuracy or an error under attack.

    Attributes:
        meaning: what it says of the published number.
        one: how it is said of one claim, {} for its points.
        many: how it is said of several.
        points: the column with its points, "" without any.
        size: how many points several have, from the least to the most.
        usual: whether a report counts it where no claim has it.
    """

    meaning: str
    one: str
    many: str
    points: str = ""
    size: str = ""
    usual: bool = True


STANDS = {
    "stands": Standing(
        "the 95 % interval of our worst case, of three nets or more, is nowhere below the claim minus the tolerance",
        "stands",
        "stand",
    ),
    "overstated": Standing(
        "the claim is reproduced or within spread, and that interval lies below it: by so many points",
        "overstated by {} points",
        "are overstated",
        "overstated_by",
        " by {:g} to {:g} points",
    ),
    "attack gap": Standing(
        "our number is higher or lower; on our nets the worst case takes so many points more than the claim's attack",
        "attack gap {}, claim not reproduced",
        "are not reproduced and have an attack gap",
        "attack_gap",
        " of {:g} to {:g} points",
        usual=False,
    ),
    "label ambiguous": Standing(
        "the printed label is in doubt, and its readings do not agree",
        "label ambiguous",
        "hang on a doubtful label",
        usual=False,
    ),
    "not tested": Standing(
        "no worst case of ours bounds it, or not closely enough, or the first verdict leaves it open",
        "not tested",
        "could not be tested",
    ),
}


class Reply(NamedTuple):
    """A verdict on a statement: what it means, and how it is said; {right}, {compared} and {why} are its data."""

    meaning: str
    said: str


STATEMENTS = {
    "holds": Reply("the bounds of all comparisons are on its side", "holds"),
    "fails": Reply("one is on the other side, after Holm's correction", "fails"),
    "undecided": Reply("neither: so many of them are on its side", "undecided {right} of {compared}"),
    "not comparable": Reply("its numbers are from other data, or from what a cap cut short", "not comparable"),
    "not run": Reply("a number that it rests on is missing", "not run"),
    "not testable": Reply("no measurement of a re-run answers it", "not testable: {why}"),
}


def known(word: str, words: Collection[str]) -> str:
    """Return a word of one of these tables as it is.

    Raises:
        ValueError: if it is none.
    """
    if word not in words:
        raise ValueError(f"unknown verdict {word!r}; {nearest(word, words)}")
    return word


def mark(word: str) -> str:
    """Return the mark of a verdict on a claim; raises ValueError for an unknown one."""
    return VERDICTS[known(word, VERDICTS)].mark


def outcome(word: str) -> Outcome:
    """Return what a verdict on a claim counts as; raises ValueError for an unknown one."""
    return VERDICTS[known(word, VERDICTS)].outcome
