import html as html_module
import re

import pandas as pd
import pytest

from touchstone.findings.markdown import code, escape, parts, pipe_table, prose


def test_escape_keeps_text_as_it_is() -> None:
    import pypandoc

    text = r"|w| < 0.01 *a* _b_ [c](d) <e> $f$ ~g~ ^h^ `i` \j #k {l} @m &lt;"
    assert "@m" in escape(text)
    frame = pd.DataFrame({"a": [escape(text)]})
    plain = pypandoc.convert_text(pipe_table(frame), "plain", format="markdown-citations", extra_args=["--columns=200"])
    assert " ".join(text.split()) in plain
    assert escape("two\nlines  of \\| text") == r"two lines of \\\| text"
    assert escape(3) == "3"


def test_code_keeps_text_as_it_is() -> None:
    import pypandoc

    for text in ("snakemake --cores all", "a `b` --c | d <e> 'f' \"g\" ..."):
        frame = pd.DataFrame({"a": [code(text)], "b": ["x"]})
        html = pypandoc.convert_text(pipe_table(frame), "html5", format="markdown-citations")
        assert text in html_module.unescape(re.sub("<[^>]*>", "", html))
    assert code("snakemake --cores all") == "`snakemake --cores all`"


@pytest.mark.parametrize(
    ("text", "paragraph"),
    [
        ("one\nparagraph, $|w| < 0.01$ and *so* on", "one paragraph, $|w| < 0.01$ and *so* on"),
        ("a [link](https://example.org)", "a [link](https://example.org)"),
        ("in [0, 1), not all", r"in \[0, 1), not all"),
        ("in $[0, 1)$ and `[`", "in $[0, 1)$ and `[`"),
        ("out ](x) of it", r"out \](x) of it"),
        ("escaped \\\\[ already \\[", "escaped \\\\[ already \\["),
        ("$a<b$ <b>", "$a< b$ < b>"),
        ("`x`{=html}", "`x`{ =html}"),
        ("ends in a backslash\\", "ends in a backslash"),
    ],
)
def test_prose_stays_in_its_place(text: str, paragraph: str) -> None:
    assert prose(text) == paragraph


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
