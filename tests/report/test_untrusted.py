"""What a stranger writes into a study is read in its reports and does nothing: no HTML, no typst, no other files."""

from ast import Expr, Expression, parse, unparse
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
import typst
import yaml
from small_study import CLAIM, STATEMENT, make_results, write_study
from test_optional_keys import CONFIG, ROOT
from toy_claims import write

from touchstone.paths import templates
from touchstone.plan import build
from touchstone.plan.plan import Plan, make_plan
from touchstone.report import render
from touchstone.report.harmless import LINK

NUMBERS = count()
# of a caption, which is Markdown: what of it could be code is a text, what could lead elsewhere leads nowhere
CODE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[l](javascript:alert(1)) [l](data:text/html,x) <a href='javascript:alert(1)'>l</a>",
    "![i](file:///etc/passwd) ![i](/etc/passwd) ![i](../../../etc/passwd.svg) ![i](https://example.org/x.png)",
    "[w]{onclick=alert(1) style=x} `c`{onclick=alert(1)}",
    '`<script>alert(1)</script>`{=html} `#panic("typst")`{=typst}',
    '#panic("typst") $#panic("typst")$ $\\text{"#panic()}$ $"+read("/etc/passwd")+"$ \\input{/etc/passwd}',
    "half [of it ](x) {=html} ::: {onclick=x} <!-- --> <![CDATA[x]]> &lt;script&gt; \\",
)


def hostile() -> str:
    """A text with every sign of Markdown, HTML and typst, which a report prints as it is."""
    return (
        f"T{next(NUMBERS)} <b onclick=x>b</b> <script>x</script> [l](javascript:x) ![i](/etc/passwd) #panic() $x$ "
        "$#panic()$ `#panic()`{=typst} {{ run }} *e* __u__ | ~~s~~ ^u^ \\input{x} @q ](x) ]{onclick=x} // /* <l> &amp;"
    )


class Written(NamedTuple):
    """A planned study, and each of its texts by where it stands."""

    plan: Plan
    texts: dict[str, str]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    folder = tmp_path_factory.mktemp("untrusted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        texts = write_hostile(folder)
        plan = make_plan(folder, folder / "config.yaml")
        make_results(plan)
        yield Written(plan, texts)


def write_hostile(folder: Path) -> dict[str, str]:
    """Write a study whose texts are all hostile, and return those that its report shows as they are."""
    write_study(folder, ())
    home = folder / "studies" / "small"
    (folder / "studies" / "worst.yaml").write_text((ROOT / "studies" / "worst.yaml").read_text())
    (folder / "config.yaml").write_text(CONFIG)
    named = ("title", "citation", "headline", "label", "source table", "table's title", "mark")
    named += ("statement", "threshold", "agree", "figure", "figure's claim")
    texts = {name: hostile() for name in named}
    study = yaml.safe_load((home / "study.yaml").read_text())
    study |= {name: texts[name] for name in ("title", "citation", "headline")}
    study["selection"]["amended"] = [hostile()]
    study["labels"] = {"std": texts["label"]}
    study["tables"] = {"table1": {"source_table": texts["source table"], "title": texts["table's title"]}}
    study["readings"]["more"]["mark"] = texts["mark"]
    (home / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    claim = CLAIM | {"source_table": texts["source table"]}
    claim |= {name: hostile() for name in ("note", "source_ref", "threat", "train_params")}
    write(home, claim, claim | {"id": "b", "defense": "adv", "cell_defense": "adv"})
    said = {
        "claim": texts["statement"],
        "evidence_table": texts["source table"],
        "threshold": texts["threshold"],
        "datasets": "mnist",
    }
    said |= {"how_to_test": hostile(), "published_numbers_agree": texts["agree"]}
    write(home, STATEMENT | said, name="qualitative.csv")
    drawn = {"paper": "small", "figure": texts["figure"], "claim": texts["figure's claim"], "drawn": "worst-case"}
    write(home, drawn | {name: hostile() for name in ("x", "y", "series", "datasets_models")}, name="figures.csv")
    captions = {"claim": " ".join(CODE), "worst-case": " ".join(CODE)}
    (home / "captions.yaml").write_text(yaml.safe_dump(captions))
    return texts


@pytest.fixture(scope="module", params=["study", "summary"])
def report(request: pytest.FixtureRequest, written: Written) -> tuple[str, Path, str]:
    """The kind of a report, its notebook, and its title."""
    of = "small" if request.param == "study" else ""
    job = build.report_job(written.plan, of)
    out = written.plan.results.report(of).ipynb
    out.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(executed(ROOT / "reports" / f"{request.param}.ipynb", dict(job.parameters)), out)
    return request.param, out, job.title


def executed(template: Path, parameters: dict[str, Any]) -> nbformat.NotebookNode:
    """Run a template in this process, which takes no kernel, and fill its text."""
    book, names = nbformat.read(template, as_version=4), dict[str, Any]()
    for cell in (one for one in book.cells if one.cell_type == "code"):
        if "parameters" in cell.metadata.get("tags", ()):
            exec(cell.source, names)  # what is not given stays at its default
            names |= parameters
            continue
        *before, last = parse(cell.source).body
        exec("\n".join(map(unparse, before)), names)
        assert isinstance(last, Expr)
        shown = eval(compile(Expression(last.value), "<cell>", "eval"), names)
        bundle = getattr(shown, "_repr_mimebundle_", lambda shown=shown: {"text/markdown": shown.data})()
        cell.outputs = [nbformat.v4.new_output("execute_result", bundle)]
    render.fill(book)
    return book


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def test_a_page_has_no_code_of_strangers_and_shows_their_texts(
    written: Written, report: tuple[str, Path, str], tmp_path: Path
) -> None:
    kind, notebook, title = report
    out = tmp_path / "report.html"
    render.to_html(notebook, out, page=templates(ROOT).page, title=title)
    html = out.read_text()
    page = Page(html)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1  # the page's own
    assert not {"iframe", "object", "embed", "form", "base", "link", "b"} & {*tags}
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "srcdoc"]
        assert "style" not in attributes or tag in ("table", "col", "th", "td")  # how pandoc aligns
        assert LINK.fullmatch(attributes.get("href", "")), attributes
        assert attributes.get("src", "data:image/").startswith("data:image/"), attributes
    assert "root:" not in html
    shown = written.texts if kind == "study" else {"title": written.texts["title"]}
    assert [name for name, text in shown.items() if text not in page.text] == []


def test_a_pdf_runs_no_typst_of_strangers(report: tuple[str, Path, str], tmp_path: Path) -> None:
    """An unescaped `#panic()` would end it."""
    _, notebook, title = report
    out = tmp_path / "report.pdf"
    render.to_pdf(notebook, out, head=templates(ROOT).head, title=title)
    assert out.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("code", CODE)
def test_markdown_of_strangers_becomes_text(code: str, tmp_path: Path) -> None:
    """Alone, and as the caption of a figure, without anything that was done to it before pandoc."""
    page, head = tmp_path / "page", tmp_path / "head"
    page.write_text("$body$")
    head.write_text("#set page(height: auto)\n$body$")
    (tmp_path / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>')
    for text in (code, render.for_pandoc(render.figure("Figure 1", code, "a.svg"))):
        for tag, attributes in Page(render._convert(text, "html5", page, "title")).elements:
            assert tag not in ("script", "iframe", "style")
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            assert LINK.fullmatch(attributes.get("href", ""))
            assert attributes.get("src", "a.svg") == "a.svg"
        source = render._convert(text, "typst", head, "title").encode()
        assert typst.compile(source, root=str(tmp_path)).startswith(b"%PDF")
