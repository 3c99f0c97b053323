"""What a stranger writes into a study is read in its reports and does nothing: no HTML, no typst, no other files."""

import shlex
from ast import Expr, Expression, parse, unparse
from collections.abc import Iterator, Mapping
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
from toy_claims import NO_CELL, write

from touchstone.paths import templates
from touchstone.plan import build
from touchstone.plan.plan import Plan, make_plan
from touchstone.report import render
from touchstone.report.harmless import LINK
from touchstone.report.unfinished import Undone, lacks
from touchstone.study import claims, figures, statements
from touchstone.study.schema import Study

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
    texts: "Texts"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    folder = tmp_path_factory.mktemp("untrusted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        texts = write_hostile(folder)
        plan = make_plan(folder, folder / COMMAND[-1])
        make_results(plan, failed=texts["reason"], command=shlex.join(COMMAND))
        yield Written(plan, texts)


# what of a study.yaml and its sheets is a text to a schema, and to a check the name of something that there is, or more
OF_A_FUNCTION = ("DataDef", "ModelDef", "DefenseDef", "MemberDef", "AttackDef", "FigureDef")
WORDS = ("norm", "epsilon_unit", "metric", "unit", "certainty", "cell_metric")
CHECKED = {
    **{f"{kind}.fn": "a function" for kind in OF_A_FUNCTION},
    **{f"{kind}.substitute": "<model>/<defense>" for kind in ("MemberDef", "AttackDef")},
    **{"Study.plain": "<model>/<defense>", "FileDef.file": "a file", "FileDef.key": "of what is in it"},
    **{"Reading.metric": "metrics", "FigureDef.along": "options", "NearZero.parameters": "tensors"},
    **{f"claims.csv {name}": "a slug" for name in ("id", "paper", "against", *claims.CELL)},
    **{f"claims.csv {name}": "a number" for name in ("epsilon", "value", "std", "n_runs", "cell_epsilon")},
    **{f"claims.csv {name}": "a word" for name in WORDS},
    **{"claims.csv alternative": "numbers", "qualitative.csv paper": "a slug", "qualitative.csv id": "a slug"},
    **{"qualitative.csv evidence_table": "of claims.csv", "qualitative.csv datasets": "slugs"},
    **{"figures.csv paper": "a slug", "figures.csv drawn": "a slug"},
}


def free(kind: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield every key of a definition under which any text may stand."""
    for key, said in schema["properties"].items():
        if any(not {"pattern", "enum", "const"} & {*one} for one in strings(said)):
            yield f"{kind}.{key}"


def strings(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the schemas of texts that stand at a key, in a list or in a mapping there."""
    if isinstance(schema, Mapping) and schema.get("type") == "string":
        yield schema
    elif isinstance(schema, Mapping):
        yield from (found for inside in schema.values() for found in strings(inside))
    elif isinstance(schema, list):
        yield from (found for inside in schema for found in strings(inside))


def every_text() -> set[str]:
    """Where a text may stand in a study."""
    schema = Study.model_json_schema()
    sheets = {"claims": (claims.COLUMNS, claims.OPTIONAL), "qualitative": (statements.COLUMNS, statements.OPTIONAL)}
    columns = {f"{name}.csv {column}" for name, parts in sheets.items() for part in parts for column in part}
    keys = {key for kind, one in schema["$defs"].items() if "properties" in one for key in free(kind, one)}
    return {*free("Study", schema), *keys} | columns | {f"figures.csv {column}" for column in figures.COLUMNS}


class Texts(dict[str, str]):
    """A hostile text of its own for each place, made when it is first asked for."""

    def __missing__(self, where: str) -> str:
        self[where] = hostile()
        return self[where]

    def row(self, sheet: str, *columns: str) -> dict[str, str]:
        return {column: self[f"{sheet}.csv {column}"] for column in columns}


def write_hostile(folder: Path) -> Texts:
    """Write a study whose texts are all hostile, and return them by where they stand."""
    write_study(folder, ())
    home, texts = folder / "studies" / "small", Texts()
    (folder / "studies" / "worst.yaml").write_text((ROOT / "studies" / "worst.yaml").read_text())
    (folder / COMMAND[-1]).write_text(CONFIG)
    study = yaml.safe_load((home / "study.yaml").read_text())
    study |= {name: texts[f"Study.{name}"] for name in ("title", "citation", "headline")}
    study["selection"]["amended"] = [texts["Selection.amended"]]
    study["labels"] = {"std": texts["Study.labels"]}
    source = texts["TableDef.source_table"] = texts["claims.csv source_table"]
    lost = {"number": texts["LostDef.number"], "metric": "accuracy"}
    study["tables"] = {"table1": {"source_table": source, "title": texts["TableDef.title"]}}
    study["tables"]["table2"] = {"lost": lost, "title": hostile(), "shape": {"rows": "defense", "columns": "attack"}}
    study["readings"]["more"]["mark"] = texts["Reading.mark"]
    (home / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    claim = CLAIM | {"source_table": source}
    claim |= texts.row("claims", "note", "source_ref", "threat", "train_params")
    words = texts.row("claims", "dataset", "model", "defense", "attack", "attack_params", "out_of_scope")
    other, cited = claim | NO_CELL | words | {"id": "c"}, claim | NO_CELL | {"id": "d"} | texts.row("claims", "cited")
    write(home, claim, claim | {"id": "b", "defense": "adv", "cell_defense": "adv"}, other, cited)
    said = STATEMENT | {"evidence_table": source, "datasets": "mnist"}
    said |= texts.row("qualitative", "claim", "threshold", "how_to_test", "published_numbers_agree")
    untested = {"id": "s2", "test": f"not-testable {texts['qualitative.csv test']}", "threshold": ""}
    write(home, said, said | untested, name="qualitative.csv")
    drawn = {"paper": "small", "drawn": "worst-case"}
    drawn |= texts.row("figures", "figure", "claim", "x", "y", "series", "datasets_models")
    write(home, drawn, name="figures.csv")
    captions = {"claim": " ".join(CODE), "worst-case": " ".join(CODE)}
    (home / "captions.yaml").write_text(yaml.safe_dump(captions))
    return texts


# a name of a config that a shell, HTML, Markdown and typst would take for more, in what starts the run again
COMMAND = ("snakemake", "--configfile", "a`b`$(c)<script>x<!--#panic()$y$.yaml")
# what no report prints, or this one has no place for
SILENT = {
    *(f"claims.csv {column}" for column in ("note", "source_ref", "threat", "train_params", "attack_params")),
    *(f"figures.csv {column}" for column in ("x", "y", "series", "datasets_models")),
    *("qualitative.csv how_to_test", "Selection.amended"),
}
# report -> the texts that it prints; None: all others
PRINTED = {
    "study": None,
    "model": {"Study.title", "Study.citation", "figures.csv figure", "figures.csv claim", "reason"},
    "summary": {"Study.title"},
}


@pytest.fixture(scope="module", params=PRINTED)
def report(request: pytest.FixtureRequest, written: Written) -> tuple[str, Path, str]:
    """The kind of a report, its notebook, and its title."""
    of = "" if request.param == "summary" else "small"
    job = build.report_job(written.plan, of)
    failed = Undone([written.plan.results.report("small").pdf], Path("a.log"), failed=True)
    more = {} if of else {"unfinished": [*lacks(written.plan, [failed]).values()]}
    out = written.plan.results.report(of).ipynb.with_stem(request.param)
    out.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(executed(ROOT / "reports" / f"{request.param}.ipynb", {**job.parameters, **more}), out)
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
    printed = PRINTED[kind] or written.texts.keys() - SILENT
    assert [where for where in sorted(printed) if written.texts[where] not in page.text] == []
    assert (f"Not finished: {written.texts['Study.title']}." in page.text) is (kind == "summary")
    assert (shlex.join(COMMAND) in page.text) is (kind != "summary")


def test_every_text_that_a_study_may_have_is_hostile(written: Written) -> None:
    """But for what is checked before; a new key, or column, is one or the other."""
    assert every_text() - CHECKED.keys() == written.texts.keys() - {"reason"}
    assert every_text() >= CHECKED.keys()


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
