from pathlib import Path

import pytest

from touchstone import provenance
from touchstone.plan.plan import make_plan
from touchstone.plan.state import state


def test_what_a_plan_is_made_of_is_its_state(root: Path, tmp_path: Path) -> None:
    written = (root / "tests" / "config.yaml").read_text()

    def of(text: str) -> str:
        (tmp_path / "config.yaml").write_text(text)
        return state(make_plan(root, tmp_path / "config.yaml"))

    assert of(written) == of(f"# a comment\n{written}")
    assert of(written) != of(written.replace("epochs: 1,", "epochs: 2,"))


@pytest.mark.parametrize(
    ("module", "same"),
    [
        ("touchstone.attacks.pgd", False),  # of the study
        ("touchstone.attacks.square", False),  # of the suite alone
        ("touchstone.defenses.minmax", False),
        ("touchstone.models.lenet", False),
        ("touchstone.attacks", False),  # the table
        ("touchstone.rng", False),
        ("touchstone.defenses.critic", True),  # of no study of this run
        ("touchstone.report.render", True),  # made where the run was started
    ],
)
def test_so_is_the_code_that_its_jobs_reach_and_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch, module: str, same: bool
) -> None:
    plan = make_plan(root, root / "tests" / "config.yaml")
    before, of = state(plan), provenance._fingerprint

    def changed(name: str) -> str:
        return "changed" if name == module else of(name)

    monkeypatch.setattr(provenance, "_fingerprint", changed)
    assert (state(plan) == before) is same
