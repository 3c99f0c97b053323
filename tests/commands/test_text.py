"""Tables on a screen."""

from touchstone.commands.text import WIDTH, columns


def test_the_last_column_is_wrapped_where_a_screen_ends() -> None:
    lines = columns([("name", "n", "source"), ("a", "12", "word " * 30)], right=[1]).splitlines()
    assert lines[:2] == ["name   n  source", "a     12  " + " ".join(["word"] * 18)]
    assert lines[2] == " " * 10 + " ".join(["word"] * 12)
    assert max(map(len, lines)) <= WIDTH
