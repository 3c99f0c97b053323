"""The rivals of chapter 5 as its author runs them, where the numbers that are printed do not say."""

import pytest

from touchstone.plan import build
from touchstone.plan.plan import Plan

# threat -> dataset -> the radii that the author's scripts give FAB
RADII = {
    "linf": {"mnist": {0.15, 0.3}, "cifar10": {0.02}},
    "l2": {"mnist": {2.0}, "cifar10": {0.5, 4.0}},
    "l1": {"mnist": {40.0}, "cifar10": {10.0}},
}


@pytest.mark.parametrize("threat", RADII)
def test_fab_is_the_author_s_which_has_no_last_search_and_radii_of_its_own(paper: Plan, threat: str) -> None:
    """With a last search the rival is stronger than the one that is printed, and pairs are judged by it."""
    found: dict[str, set[object]] = {}
    for model in (model for model in paper.models if model.study == "pdpgd"):
        for restarts in (1, 10, 100):
            (member,) = build.attack_job(paper, model, f"fab{restarts}-{threat}").members
            assert (member.fn, member.options["last_search"]) == ("fab", 0), model
            assert member.options.get("restarts", 1) == restarts
            found.setdefault(model.dataset, set()).add(member.options["start_radius"])
    assert found == RADII[threat]
