"""`touchstone reference`: docs/reference.md is what it prints, and it leaves out neither an option nor a key."""

from argparse import Namespace
from pathlib import Path

import pytest

from touchstone.commands import reference
from touchstone.registry import Option


def test_the_page_in_docs_is_what_it_prints(root: Path) -> None:
    text = (root / "docs" / "reference.md").read_text()
    assert text == f"{reference.run(Namespace())}\n", "run `touchstone reference > docs/reference.md`"


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        (Option(True, "Count"), ("int >= 1", "required")),
        (Option(False, "Positive | None"), ("finite float > 0 or null", "null")),
        (Option(False, "bool", True), ("bool", "true")),
        (Option(False, "Sequence[Count]"), ("sequence of int >= 1", "may be left out")),  # its default is no literal
    ],
)
def test_an_option_is_shown_with_what_it_may_be_and_is(option: Option, shown: tuple[str, str]) -> None:
    assert (reference.allowed(option), reference.default(option)) == shown


def test_what_is_not_a_studys_to_give_is_left_out() -> None:
    assert "`rng`" not in reference.entry("pgd", "", "touchstone.attacks.pgd:pgd", "", reference.CONTRACT)
    (wide,) = (text for text in reference.models() if text.startswith("### `wrn-34-10`"))
    assert "`depth` is 34" in wide
    assert "- `" not in wide


def test_keys_inside_others_follow_them() -> None:
    keys = [key for key, _, _ in reference.keys(reference.Config)]
    inside = keys[keys.index("`caps`") + 1 :]
    assert inside[:2] == ["`caps[].where`", "`caps[].where.study`"]
    assert "`data.<name>.source.local`" in keys
