"""What people answered: the CSV files of their pages, checked and counted, as Matyasko (2020), table 4.2, has it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import digits
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from touchstone.cell import ModelId
from touchstone.files import read_sealed, write_sealed
from touchstone.registry import counted
from touchstone.study.claims import read_sheet

COLUMNS = ["page", "person", "image", "answer"]
UNKNOWN = "?"  # no digit can even be guessed
ANSWERS = (*digits, UNKNOWN)


class AnswersError(ValueError):
    """Answers that cannot be counted: every problem of every file, a line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join([f"{counted(len(problems), 'problem')} in the answers:", *problems]))


class Numbers(NamedTuple):
    """What people saw in the adversarial images of one net.

    Attributes:
        failed: why there are no images, "" if there are.
        images: that somebody answered.
        people: who answered.
        human_change: share of answers that are the adversarial target, the mean over images; None without any.
        human_no_change: that of answers that are the original label.
        human_kappa: Fleiss' kappa over the images with several answers; None without any.
        rated: how many these are.
    """

    model: ModelId
    stand_in: str
    attack: str
    norm: str
    space: str
    failed: str
    images: int
    people: int
    human_change: float | None
    human_no_change: float | None
    human_kappa: float | None
    rated: int


Answers = Mapping[tuple[str, int], Sequence[tuple[str, str]]]  # page and image on it -> who answered, and what


def count(key: Path, returned: Sequence[Path], out: Path) -> None:
    """Write what the answers come to, for `read`.

    Args:
        key: to the pages.
        returned: a file for each page that somebody has answered.
        out: the file to write.

    Raises:
        AnswersError: if a file is malformed, of another page than these, or there twice.
    """
    asked = read_sealed(key, "pages")
    answers = _answers(asked["pages"], returned)
    numbers = [_numbers(place, facts, asked["pages"], answers) for place, facts in enumerate(asked["nets"])]
    write_sealed(out, {"nets": [one._asdict() for one in numbers]})


def read(answers: Path) -> list[Numbers]:
    """Return what `count` has written, a net each."""
    return [Numbers(**{**one, "model": ModelId(*one["model"])}) for one in read_sealed(answers, "answers")["nets"]]


def _answers(pages: Mapping[str, Any], returned: Sequence[Path]) -> Answers:
    answers = defaultdict[tuple[str, int], list[tuple[str, str]]](list)
    problems, first = list[str](), dict[tuple[str, str], Path]()
    for path in returned:
        sheet = read_sheet(path, COLUMNS, ())
        if sheet is None:
            raise AnswersError([f"{path}: there is no such file"])
        found = [*sheet.problems, *(_problems(path, sheet.rows, pages) if sheet.whole else ())]
        problems += found
        if found:
            continue
        whose = (sheet.rows[0][1]["page"], sheet.rows[0][1]["person"])
        if whose in first:
            problems.append(f"{path}: the answers of {whose[1]!r} to page {whose[0]} are in {first[whose]} already")
        first.setdefault(whose, path)
        for _, row in sheet.rows:
            answers[row["page"], int(row["image"])].append((row["person"], row["answer"]))
    if problems:
        raise AnswersError(problems)
    return answers


def _problems(path: Path, rows: Sequence[tuple[int, Mapping[str, str]]], pages: Mapping[str, Any]) -> Iterator[str]:
    """Say why a file is not one person's answers to one whole page of ours."""
    for column in ("page", "person"):
        if len(values := {row[column] for _, row in rows}) != 1 or "" in values:
            yield f"{path}: {column}: expected one in all lines, got {', '.join(map(repr, sorted(values))) or 'none'}"
            return
    page = rows[0][1]["page"]
    if page not in pages:
        yield f"{path}: page: {page!r} is none of this run's pages, or its images have changed since it was written"
        return
    for line, row in rows:
        if row["answer"] not in ANSWERS:
            yield f"{path}:{line}: answer: expected one of {' '.join(ANSWERS)}, got {row['answer']!r}"
    wanted = {str(number) for number in range(1, len(pages[page]["images"]) + 1)}
    seen = Counter(row["image"] for _, row in rows)
    for image in sorted(wanted.symmetric_difference(seen)):
        yield f"{path}: image: {image!r} is {'missing' if image in wanted else 'not on this page'}"
    for image in sorted(image for image, times in seen.items() if times > 1):
        yield f"{path}: image: {image!r} is there twice"


def _numbers(place: int, facts: Mapping[str, Any], pages: Mapping[str, Any], answers: Answers) -> Numbers:
    """Count the answers to the pages of one net; each image counts once, however many people saw it."""
    changed, kept, table, people = list[float](), list[float](), list[list[int]](), set[str]()
    for name, page in pages.items():
        for number, (_, label, target) in enumerate(page["images"], start=1):
            given = answers.get((name, number), ())
            if page["net"] != place or not given:
                continue
            votes = Counter(answer for _, answer in given)
            # an image that is not misclassified has no adversarial target
            changed.append(votes[str(target)] / len(given) if target != label else 0.0)
            kept.append(votes[str(label)] / len(given))
            table.append([votes[answer] for answer in ANSWERS])
            people.update(person for person, _ in given)
    several = [row for row in table if sum(row) > 1]
    return Numbers(
        **{**facts, "model": ModelId(*facts["model"])},
        images=len(table),
        people=len(people),
        human_change=float(np.mean(changed)) if changed else None,
        human_no_change=float(np.mean(kept)) if kept else None,
        human_kappa=fleiss_kappa(several) if several else None,
        rated=len(several),
    )


def fleiss_kappa(votes: ArrayLike) -> float:
    """Return how far people agree beyond chance: 1 wholly, 0 as by chance.

    Source: J. L. Fleiss, Measuring nominal scale agreement among many raters, Psychological Bulletin 76 (1971), eq. 1
    to 7; where subjects have unequal numbers of raters, an answer counts alike in the shares of the categories.

    Args:
        votes: (subjects, categories), how many raters chose each; at least 2 raters of each subject.

    Raises:
        ValueError: for a subject with fewer raters.
    """
    table = np.asarray(votes, dtype=float)
    raters = table.sum(axis=1)
    if table.ndim != 2 or not len(table) or raters.min() < 2:
        raise ValueError("expected subjects with at least 2 raters each")
    agreement = float(np.mean((table * (table - 1)).sum(axis=1) / (raters * (raters - 1))))
    chance = float(np.square(table.sum(axis=0) / raters.sum()).sum())
    return 1.0 if chance == 1.0 else (agreement - chance) / (1.0 - chance)
