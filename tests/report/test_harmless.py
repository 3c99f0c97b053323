"""A document's tree without code, attributes, and what leads elsewhere."""

import json
from typing import Any

import pytest

from touchstone.report.harmless import IMAGE, LINK, harmless

WORDS = [{"t": "Str", "c": "w"}]
NONE = ["", [], []]
SPAN = {"t": "Span", "c": [NONE, WORDS]}


def cleaned(tree: Any) -> Any:
    return json.loads(harmless(json.dumps(tree)))


@pytest.mark.parametrize(
    ("element", "left"),
    [
        ({"t": "RawInline", "c": ["html", "<script>"]}, {"t": "Str", "c": "<script>"}),
        ({"t": "RawInline", "c": ["html", "</details>"]}, None),
        (
            {"t": "RawInline", "c": ["html", "<details ontoggle=x>"]},
            {"t": "Str", "c": "<details ontoggle=x>"},
        ),
        ({"t": "RawInline", "c": ["typst", "#read(1)"]}, {"t": "Str", "c": "#read(1)"}),
        ({"t": "RawBlock", "c": ["typst", "#landscape["]}, None),
        ({"t": "RawBlock", "c": ["tex", "\\x"]}, {"t": "Plain", "c": [{"t": "Str", "c": "\\x"}]}),
        ({"t": "Link", "c": [NONE, WORDS, ["javascript:x", ""]]}, SPAN),
        ({"t": "Link", "c": [NONE, WORDS, ["#claim-a", ""]]}, None),
        ({"t": "Image", "c": [NONE, WORDS, ["/etc/passwd", ""]]}, SPAN),
        ({"t": "Image", "c": [NONE, WORDS, ["figures/a.svg", ""]]}, None),
        (
            {"t": "Span", "c": [["id", ["c"], [["onclick", "x"]]], WORDS]},
            {"t": "Span", "c": [["id", ["c"], []], WORDS]},
        ),
        ({"t": "Math", "c": [{"t": "InlineMath"}, "x"]}, None),
        ({"t": "Table", "c": [["", [], [["style", "x"]]], [], 3.5, None]}, {"t": "Table", "c": [NONE, [], 3.5, None]}),
    ],
)
def test_an_element_is_kept_or_read(element: Any, left: Any) -> None:
    assert cleaned([element]) == [left or element]
    nested = {"blocks": [{"t": "Para", "c": [{"t": "Strong", "c": [element]}]}]}
    assert cleaned(nested)["blocks"][0]["c"][0]["c"] == [left or element]


@pytest.mark.parametrize(
    ("target", "link", "image"),
    [
        ("https://arxiv.org/abs/2011.13719", True, False),
        ("#claim-t1-std", True, False),
        ("minmax/report.html#claim-a", True, False),
        ("figures/figure2.svg", True, True),
        ("../figures/figure2.svg", True, False),
        ("/figures/figure2.svg", True, False),
        ("", True, False),
        ("JavaScript:x", False, False),
        ("java\nscript:x", False, False),
        ("data:text/html,x", False, False),
        ("vbscript:x", False, False),
        ("file:///etc/passwd", False, False),
        ("figures/../../a.svg", True, False),
        ("//example.org/a.svg", False, False),
        ("https://example.org/a.svg", True, False),
    ],
)
def test_where_links_and_images_may_lead(target: str, link: bool, image: bool) -> None:
    assert bool(LINK.fullmatch(target)) == link
    assert bool(IMAGE.fullmatch(target)) == image
