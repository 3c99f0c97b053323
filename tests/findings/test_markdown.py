import pandas as pd

from touchstone.findings.markdown import escape, pipe_table


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
