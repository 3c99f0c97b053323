"""What a paper says in words, as tests of our numbers.

A statement's test is clauses of a small language (`touchstone.study.statements`). Each becomes comparisons
(`comparisons.py`) of the numbers in its scope (`scope.py`, `measured.py`), by subject: `defenses.py`, `attacks.py`,
`plain.py` (no attack), `trainings.py`, `samples.py`. It is asked of the published attacks and of the worst case.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import pandas as pd

from touchstone.findings.cells import derive, index
from touchstone.findings.evidence import Caps, Cut, Worst
from touchstone.findings.statements import attacks, defenses, plain, printed, samples, trainings
from touchstone.findings.statements.comparisons import REPLY, Check, Outcome, Test, conclude
from touchstone.findings.statements.measured import Samples, Trainings
from touchstone.findings.statements.scope import Scope
from touchstone.study.claim import Claim
from touchstone.study.claims import HEADLINE
from touchstone.study.statements import Clause, Statement, Subject

__all__ = ["COLUMNS", "REPLY", "TESTS", "WORST_CASE", "of_trainings", "qualitative", "sampled"]

WORST_CASE = "worst_"  # before the columns of the verdict in the worst case
COLUMNS = [
    *("id", "claim", "test", "threshold", *REPLY),
    *(*(WORST_CASE + name for name in REPLY), "published_numbers_agree", "as_printed"),
]
NOTHING = ("", None, None, "", "")  # a REPLY where nothing is asked

# what `touchstone.study.statements` names: functions of (scope, *words)
TESTS: Mapping[str, Test] = {
    **defenses.TESTS,
    **attacks.TESTS,
    **plain.TESTS,
    **trainings.TESTS,
    **samples.TESTS,
}


def sampled(statements: Iterable[Statement]) -> frozenset[str]:
    """Return the attacks that some statements compare sample by sample."""
    clauses = (clause for one in statements for clause in one.test.clauses)
    return frozenset(attack for clause in clauses if clause.name in samples.TESTS for attack in clause.attacks)


def of_trainings(statements: Iterable[Statement]) -> bool:
    """Return whether one of them is about how nets were trained."""
    return any(clause.name in trainings.TESTS for one in statements for clause in one.test.clauses)


def qualitative(
    statements: Iterable[Statement],
    claims: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    worst: Worst,
    caps: Mapping[Cut, Caps],
    near_zero: str,
    reference: str,
    measured: Samples | None = None,
    trained: Trainings | None = None,
) -> pd.DataFrame:
    """Return whether each statement holds for our numbers.

    Args:
        statements: as `touchstone.study.statements.load` returns them.
        claims: of the study; they say which attacks, radii, models and defenses a statement is about.
        cells: cells.csv.
        worst: as for `verdicts.verdicts`.
        caps: as for `verdicts.verdicts`.
        near_zero: as for `verdicts.verdicts`.
        reference: as for `verdicts.verdicts`.
        measured: what was measured of every sample under the attacks that `sampled` names.
        trained: how the nets were trained, where `of_trainings` asks for it.

    Returns:
        COLUMNS: REPLY under the published attacks, and again, after WORST_CASE, in the worst case, where it is empty if
        no attacker has a say. `verdict` is a word of STATEMENTS, `right` of `compared` comparisons are on its side.
        `as_printed` is the same of the paper's own numbers, in words; empty where these are not enough to ask it.
    """
    numbers = index(derive(cells, near_zero=near_zero, reference=reference))
    with_cell = claims[(claims["out_of_scope"] == "") & (claims["cell_metric"] != "")]
    claimed = [Claim.of(row, HEADLINE) for row in with_cell.to_dict("records")]
    of_samples = replace(measured or Samples(), caps=caps)
    scope = partial(Scope, claimed, numbers=numbers, samples=of_samples, trainings=trained or Trainings(), caps=caps)
    theirs = index(derive(printed.table(claimed), near_zero=near_zero, reference=reference))
    as_printed = partial(Scope, claimed, numbers=theirs, samples=printed.samples(claimed))
    others = dict(cells.loc[cells["stand_in"] != "", ["dataset", "stand_in"]].itertuples(index=False, name=None))
    rows = []
    for one in statements:
        replies = [
            column
            for case, attacked in ((scope, False), (partial(scope, worst=worst), True))
            for column in _asked(one, case, others, caps, attacked=attacked)
        ]
        agree = one.published_numbers_agree, _in_words(_asked(one, as_printed, {}, {}))
        rows.append([one.id, one.claim, str(one.test), one.threshold, *replies, *agree])
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({f"{case}{name}": "Int64" for case in ("", WORST_CASE) for name in ("right", "compared")})


def _in_words(reply: tuple[object, ...]) -> str:
    """Say in few words what becomes of a statement; "" where its numbers are missing or cannot be."""
    word, right, compared = reply[:3]
    return f"{word} {right} of {compared}" if word in ("holds", "fails", "undecided") else ""


def _asked(
    statement: Statement,
    scope: Callable[..., Scope],
    others: Mapping[str, str],
    caps: Mapping[Cut, Caps],
    *,
    attacked: bool = False,
) -> tuple[object, ...]:
    """Return the REPLY of a statement.

    Args:
        statement: that is asked.
        scope: (statement, clause) -> the numbers that it is asked of.
        others: dataset -> what stands in for it.
        caps: as for `qualitative`.
        attacked: ask those clauses alone in which an attacker has a say; the reply is empty without any.
    """
    if statement.test.why_not:
        return Outcome("not testable", (statement.test.why_not,)).columns if not attacked else NOTHING
    clauses = [one for one in statement.test.clauses if not attacked or one.name in defenses.UNDER_ATTACK]
    if not clauses:
        return NOTHING
    checks: list[Check] = []
    left_out: dict[str, None] = {}
    nothing: list[str] = []
    unlike: dict[str, None] = {}
    for clause in clauses:
        here = scope(statement=statement, clause=clause)
        found = list(TESTS[clause.name](here, *clause.words))
        outside = here.left_out if clause.name in defenses.UNDER_ATTACK else []
        checks += found
        left_out |= dict.fromkeys(outside)
        nothing += [] if found or outside else [str(clause)]
        unlike |= {f"{others[name]} stands in for {name}": None for name in here.datasets if name in others}
        unlike |= dict.fromkeys(_changes(clause, here, caps))
    return conclude(checks, left_out, nothing, unlike).columns


def _changes(clause: Clause, here: Scope, caps: Mapping[Cut, Caps]) -> Iterable[str]:
    """Return what was cut short of that which a clause is asked of."""
    if clause.name not in trainings.TESTS:
        return [text for place in here.places for text in caps.get(place, Caps()).changes]
    # no attack has a say in how a net was trained, nor another net, though the statement's table may have it
    named = {Subject.of(word) for word in clause.words}
    return [
        text
        for (dataset, model, defense, _), cut in caps.items()
        if dataset in here.datasets and named & {Subject(defense), Subject(defense, model)}
        for text in cut.model
    ]
