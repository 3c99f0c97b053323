"""The mutants: every attack has one, and those that take the least time are tried."""

import mutants
import pytest
from attacks.cases import CASES, Mutant


@pytest.mark.parametrize("name", CASES)
def test_every_attack_has_mutants_that_match_once(name: str) -> None:
    assert CASES[name].mutants
    for mutant in CASES[name].mutants:
        text = (mutants.ROOT / "touchstone" / "attacks" / mutant.module).read_text()
        assert text.count(mutant.old) == 1, f"{mutant.module}: {mutant.old!r} no longer occurs once"
        assert mutant.old != mutant.new


def test_an_attack_without_a_row_is_missed(capsys: pytest.CaptureFixture) -> None:
    assert mutants.main(["fgsmm"]) == 1
    assert "fgsmm             has no mutant: add one to its row in tests/attacks/cases.py" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["clean", "fgsm", "spsa", "transfer"])
def test_the_tests_notice(attack: str) -> None:
    assert mutants.main([attack]) == 0


def test_a_replacement_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="occurs 0 times, expected once"):
        mutants.red(Mutant("pgd.py", "no such text", "", ("test_pgd.py",)))
