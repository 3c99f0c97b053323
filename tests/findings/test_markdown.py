import pandas as pd
import pytest

from touchstone.findings.markdown import escape, parts, pipe_table


def test_escape_keeps_text_as_it_is() -> None:
    import pypandoc

    text = r"|w| < 0.01 *a* _b_ [c](d) <e> $f$ ~g~ ^h^ `i` \j #k {l} @m"
    assert "@m" in escape(text)
    frame = pd.DataFrame({"a": [escape(text)]})
    plain = pypandoc.convert_text(pipe_table(frame), "plain", format="markdown-citations", extra_args=["--columns=200"])
    assert " ".join(text.split()) in plain
    assert escape("two\nlines  of \\| text") == r"two lines of \\\| text"
    assert escape(3) == "3"


def test_pipe_table_aligns() -> None:
    table = pipe_table(pd.DataFrame({"a": ["x"], "b": ["1"]}), right=["b"])
    assert table == "| a | b |\n| :-- | --: |\n| x | 1 |"


@pytest.mark.parametrize(
    ("widths", "room", "split"),
    [
        ([5, 9, 9], 23, [[0, 1, 2]]),
        ([5, 9, 9], 22, [[0, 1], [0, 2]]),
        ([5, *[9] * 5], 33, [[0, 1, 2], [0, 3, 4, 5]]),
        ([5, 50, 1, 1], 20, [[0, 1], [0, 2], [0, 3]]),
        ([5], 20, [[0]]),
    ],
)
def test_a_wide_table_is_split_into_parts_that_fit(widths: list[int], room: int, split: list[list[int]]) -> None:
    assert parts(widths, labels=1, room=room) == split
