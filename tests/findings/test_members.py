"""Who broke what: the rows of a cascade, counted by attack."""

import pandas as pd
from toy_records import MODEL, clean, points, worst

from touchstone.findings import members
from touchstone.records import Attacked, Batch


def batch() -> Batch:
    """Four images: 0 is wrong by itself, pgd breaks 1 at 0.1, square 2 at 0.3, nobody 3."""
    rows = [
        # sample, epsilon, member, success, carried, backwards
        (0, 0.1, "clean", True, False, 0),
        *((sample, 0.1, "pgd", sample == 1, False, 5) for sample in (1, 2, 3)),
        *((sample, 0.1, "square", False, False, 0) for sample in (2, 3)),
        (0, 0.3, "clean", True, True, 0),
        (1, 0.3, "pgd", True, True, 5),
        *((sample, 0.3, "pgd", False, False, 5) for sample in (2, 3)),
        *((sample, 0.3, "square", sample == 2, False, 0) for sample in (2, 3)),
    ]
    names = ("sample", "epsilon", "member", "success", "carried", "backwards")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    columns["dist_linf"] = columns["epsilon"]
    asked = points(epsilon=[float("nan")] * 4, norm="none")
    return Batch([Attacked(clean(), asked), Attacked(worst(), points(**columns))], [])


def test_each_attack_is_counted_at_each_radius() -> None:
    table = members.table(members.of_attacks(batch()))
    expected = [
        # epsilon, member, tried, broke, left, backwards
        (0.1, "clean", 1, 1, 3, 0),
        (0.1, "pgd", 3, 1, 2, 15),
        (0.1, "square", 2, 0, 2, 0),
        (0.3, "clean", 2, 2, 2, 0),
        (0.3, "pgd", 2, 0, 2, 10),
        (0.3, "square", 2, 1, 1, 0),
    ]
    found = table[["epsilon", "member", "tried", "broke", "left", "backwards"]]
    assert [*found.itertuples(index=False, name=None)] == expected
    assert set(table["n"]) == {4}
    assert table[["study", "dataset", "model", "defense", "seed"]].drop_duplicates().to_numpy().tolist() == [[*MODEL]]
    assert set(table["suite"]) == {"quick"}


def test_published_attacks_and_failures_have_no_members() -> None:
    asked = points(epsilon=[float("nan")] * 4, norm="none")
    failed = Attacked(worst(status="failed", reason="no net"), pd.DataFrame(columns=points(sample=[0]).columns))
    assert members.of_attacks(Batch([Attacked(clean(), asked), failed], [])) == []
