"""Every attack of the table has its test cases."""

from attacks.cases import CASES, Case

from touchstone.attacks import ATTACKS


def test_every_attack_has_a_row() -> None:
    attacks = set(ATTACKS)
    parts = ", ".join(f"{part}=..." for part in Case._fields if part not in Case._field_defaults)
    missing = sorted(attacks - set(CASES))
    assert not missing, f"add to CASES in tests/attacks/cases.py, for each of {missing}: Case({parts})"
    unknown = sorted(set(CASES) - attacks)
    assert not unknown, f"CASES in tests/attacks/cases.py has rows for {unknown}, which the table of attacks has not"
