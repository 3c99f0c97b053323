"""The mutants: every attack has one, and those that take the least time are tried."""

import mutants
import pytest

from touchstone.attacks import ATTACKS


def test_every_attack_has_a_mutant_that_matches_once() -> None:
    assert {m.attack for m in mutants.MUTANTS} == {name for name, spec in ATTACKS.items() if spec.kind != "suite"}
    for mutant in mutants.MUTANTS:
        text = (mutants.ROOT / "touchstone" / "attacks" / mutant.module).read_text()
        assert text.count(mutant.old) == 1, f"{mutant.attack}: {mutant.old!r} no longer occurs once"
        assert mutant.old != mutant.new


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["clean", "fgsm", "spsa", "transfer"])
def test_the_tests_notice(attack: str) -> None:
    assert mutants.main([attack]) == 0


def test_a_replacement_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="occurs 0 times, expected once"):
        mutants.red(mutants.Mutant("fgsm", "pgd.py", "no such text", "", ("test_pgd.py",)))
