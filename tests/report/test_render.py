"""Notebooks to HTML and PDF: nothing is lost on the way, nothing is fetched, the same input gives the same bytes."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import typst
from matplotlib.figure import Figure
from PIL import Image

from touchstone.findings.markdown import escape, pipe_table
from touchstone.paths import templates
from touchstone.report import render as notebooks
from touchstone.report.plots import output
from touchstone.report.render import Value, Values, anchor, captioned, figure, folded, for_pandoc, join, placed

TEMPLATES = templates(Path(__file__).parents[2])
POINTS = (595.28, 841.89)  # A4


def typst_source(notebook: Path) -> str:
    return notebooks.typst_source(notebook, head=TEMPLATES.head, title="Title")


def to_pdf(notebook: Path, out: Path) -> None:
    notebooks.to_pdf(notebook, out, head=TEMPLATES.head, title="Title")


def to_html(notebook: Path, out: Path) -> None:
    notebooks.to_html(notebook, out, page=TEMPLATES.page, title="Title")


def notebook(folder: Path, *texts: str) -> Path:
    """Write an executed notebook whose cells gave these Markdown texts."""
    cells = []
    for text in texts:
        output = nbformat.v4.new_output("execute_result", {"text/markdown": text, "text/plain": "<Markdown>"})
        cells.append(nbformat.v4.new_code_cell("Markdown(secret_code())", outputs=[output]))
    path = folder / "report.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def rows(count: int, columns: int = 3, text: str = "x") -> str:
    return pipe_table(pd.DataFrame([[f"row-{i}", *[text] * (columns - 1)] for i in range(count)]))


# ---- Markdown


def test_join_skips_what_is_empty() -> None:
    assert join("a", "", "b") == "a\n\nb"
    assert join("a", "", "b", by=" ") == "a b"


def test_each_table_keeps_its_own_caption() -> None:
    import pypandoc

    text = join(captioned("Table 1", "first", rows(1)), captioned("Table 2", "second", rows(1)))
    html = pypandoc.convert_text(for_pandoc(text), "html5", format=notebooks.READER)
    captions = re.findall(r"<table>\s*<caption><strong>(Table \d).</strong> (\w+)", html)
    assert captions == [("Table 1", "first"), ("Table 2", "second")]


def test_image_and_caption_become_a_figure() -> None:
    text = for_pandoc(figure("Figure 1", "with [brackets] and |w|", "figures/a.svg"))
    assert text.strip() == "![**Figure 1.** with [brackets] and |w|](figures/a.svg)"


def test_markdown_has_text_and_outputs_but_no_code(tmp_path: Path) -> None:
    path = notebook(tmp_path, "# Title", "")
    book = nbformat.read(path, as_version=4)
    book.cells.insert(1, nbformat.v4.new_markdown_cell("prose"))
    book.cells[0].outputs.append(nbformat.v4.new_output("stream", name="stderr", text="noise"))
    nbformat.write(book, path)
    assert notebooks.markdown(path) == "# Title\n\nprose\n"


def test_output_without_markdown_is_an_error(tmp_path: Path) -> None:
    path = notebook(tmp_path, "# Title")
    book = nbformat.read(path, as_version=4)
    book.cells[0].outputs = [nbformat.v4.new_output("display_data", {"image/png": "aaaa"})]
    nbformat.write(book, path)
    with pytest.raises(ValueError, match=r"cell 1 gave display_data without Markdown"):
        notebooks.markdown(path)


# ---- values in the text


def text(source: str, **metadata: str | list[str]) -> nbformat.NotebookNode:
    return nbformat.v4.new_markdown_cell(source, metadata=metadata)


def gives(**values: Value) -> nbformat.NotebookNode:
    data = Values(values)._repr_mimebundle_()
    return nbformat.v4.new_code_cell("values", outputs=[nbformat.v4.new_output("execute_result", data)])


def filled(*cells: nbformat.NotebookNode) -> list[str]:
    book = nbformat.v4.new_notebook(cells=list(cells))
    notebooks.fill(book)
    assert not any(cell.get("outputs") for cell in book.cells)
    return [cell.source for cell in book.cells if cell.cell_type == "markdown"]


def test_text_is_filled_with_values_as_they_are() -> None:
    assert filled(gives(a="{{ b }}", b=r"\1"), text("x {{ a }}, {{ b }}; $\\rVert_2^{{n}}$")) == [
        r"x {{ b }}, \1; $\rVert_2^{{n}}$"
    ]


def test_a_later_value_is_the_one_that_counts() -> None:
    assert filled(gives(a="1"), text("{{ a }}"), gives(a="2"), text("{{ a }}")) == ["1", "2"]


def test_text_that_does_not_apply_is_taken_out() -> None:
    cells = [text("some", **{"if": ["some"]}), text("none", **{"if": ["none"]}), text("no some", unless=["some"])]
    cells += [text("no none", unless=["none"]), text("both", **{"if": ["some"], "unless": ["none"]})]
    cells += [text("not both", **{"if": ["some", "none"]})]
    assert filled(gives(some="x", none=""), *cells) == ["some", "no none", "both"]


@pytest.mark.parametrize("cell", [text("{{ lable }}"), text("x", **{"if": ["lable"]}), text("x", unless=["lable"])])
def test_a_value_that_no_cell_gave_is_an_error(cell: nbformat.NotebookNode) -> None:
    with pytest.raises(ValueError, match=r"a value 'lable' that no cell before it gave; .*did you mean 'label'"):
        filled(gives(label="Table 1"), cell)


def test_text_is_repeated_for_each_item_of_a_list() -> None:
    """Neighbours together, each with what applies to the item; no two cells have one name."""
    cells = [text("{{ a }}{{ b }}", each="some"), text("only", each="some", **{"if": ["c"]}), text("{{ a }}")]
    items = [{"b": "1", "c": ""}, {"b": "2", "c": "x", "a": "own "}]
    assert filled(gives(a="all ", some=items), *cells) == ["all 1", "own 2", "only", "all "]
    assert filled(gives(a="all ", some=[]), *cells) == ["all "]
    book = nbformat.v4.new_notebook(cells=[gives(a="", some=items), *cells])
    notebooks.fill(book)
    nbformat.validate(book)


# ---- PDF


def row_places(source: str) -> list[dict[str, float]]:
    """Lay the document out and return page, x, y (points) of every cell that begins with row-."""
    marked = re.sub(r"(?<=\[)row-(\d+)", r"#metadata(\1)<row>row-\1", source)
    end = "\n#context [#metadata(query(<row>).map(m => m.location().position()).map(p => "
    end += "(p.page, p.x.pt(), p.y.pt())))<places>]"
    found = json.loads(
        typst.query((marked + end).encode(), "<places>", field="value", one=True, ignore_system_fonts=True)
    )
    return [dict(zip(("page", "x", "y"), place, strict=True)) for place in found]


@pytest.mark.parametrize("count", [20, 67, 134, 300])
def test_no_row_of_a_long_table_is_cut(tmp_path: Path, count: int) -> None:
    text = captioned("Table 1", "long", rows(count))
    places = row_places(typst_source(notebook(tmp_path, "# Title", text)))
    assert len(places) == count
    assert all(40 < place["y"] < POINTS[1] - 50 for place in places)
    per_page = pd.Series([place["page"] for place in places]).value_counts()
    assert per_page.max() < 75  # a line of 7 pt needs 9 pt
    assert (np.diff([place["page"] for place in places]) >= 0).all()


def test_short_table_of_tall_rows_is_not_cut(tmp_path: Path) -> None:
    table = rows(20, 3, "many words " * 40)
    places = row_places(typst_source(notebook(tmp_path, "# Title", captioned("Table 1", "tall", table))))
    assert len(places) == 20
    assert all(40 < place["y"] < POINTS[1] - 50 for place in places)


def test_caption_stays_with_its_table(tmp_path: Path) -> None:
    firsts = set()
    for lines in range(28, 36):  # the table moves over the end of the page
        texts = ["# Title", *["filler"] * lines, captioned("Table 1", "kept", rows(6))]
        source = typst_source(notebook(tmp_path, *texts))
        source = source.replace("#strong[Table 1.]", "#metadata(0)<row>#strong[Table 1.]")
        pages = [place["page"] for place in row_places(source)]
        assert len(pages) == 7
        assert len(set(pages)) == 1
        firsts |= set(pages)
    assert firsts == {1, 2}


def test_wide_tables_turn_the_page_and_narrow_ones_do_not(tmp_path: Path) -> None:
    assert "#landscape[" not in typst_source(notebook(tmp_path, "# T", captioned("Table 1", "c", rows(3, 11))))
    text = captioned("Table 1", "c", rows(3, 12, "a cell of nineteen c"))
    source = typst_source(notebook(tmp_path, "# T", text))
    assert "#landscape[" in source
    assert len(row_places(source)) == 3


def test_wide_tables_after_each_other_share_a_turned_page(tmp_path: Path) -> None:
    wide, narrow = (captioned("Table 1", "c", rows(3, *size)) for size in ((12, "a cell of nineteen c"), (3,)))
    source = typst_source(notebook(tmp_path, "# T", wide, wide, "## More", wide, narrow, wide))
    assert source.count("#landscape[") == 2
    assert source.index("== More") < source.rindex("#landscape[")
    pages = [place["page"] for place in row_places(source)]
    assert pages[:9] == [pages[0]] * 9
    assert len(set(pages)) == 3


@pytest.mark.parametrize(("length", "turned"), [(60, False), (200, True)])
def test_a_long_text_gets_the_width_that_short_ones_leave(tmp_path: Path, length: int, turned: bool) -> None:
    """typst by itself makes all columns that do not fit equally wide."""
    row = ["mm01", "Min-Max is better " * 3, "undecided 0 of 6", "0.95 over 0.93 " * (length // 2)]
    table = pipe_table(pd.DataFrame([row] * 3, columns=["id", "claim", "verdict", "detail"]))
    source = typst_source(notebook(tmp_path, "# T", "## Long", captioned("Table 1", "c", table)))
    assert (f"#landscape[{chr(10)}" in source) == turned
    assert not turned or source.index("== Long") > source.index("#landscape["), "a heading goes with its table"
    (shares,) = re.findall(r"columns: \(([\d.%, ]+)\)", source)
    name, claim, verdict, detail = (float(part) for part in re.findall(r"([\d.]+)%", shares))
    page = 225 if turned else 142
    assert name * page / 100 > len("mm01")
    assert verdict * page / 100 > len("undecided 0 of 6")
    assert claim * page / 100 > len("better") + 3
    assert detail > 1.8 * max(name, claim, verdict)
    assert sum((name, claim, verdict, detail)) == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("sign", list("/_=;+-"))
def test_long_words_stay_inside_the_page(tmp_path: Path, sign: str) -> None:
    word = escape(sign.join(["results", "demo", "minmax", "models", "digits", "lenet"] * 4))
    text = captioned("Table 1", "c", pipe_table(pd.DataFrame([["what failed", "why it did", word]])))
    source = typst_source(notebook(tmp_path, "# T", text))
    page = Image.open(io.BytesIO(typst.compile(source.encode(), format="png", ppi=72, ignore_system_fonts=True)))
    ink = np.asarray(page.convert("L")) < 200
    assert ink.any()
    assert not ink[:, int(POINTS[0] - 60) :].any()


def test_awkward_text_survives(tmp_path: Path) -> None:
    path = notebook(
        tmp_path, "# A \\_title\\_ with \\# and @name", r"see @madry: $\lVert x\rVert_\infty \le 0.3$ ✓ ✗ ≠ ‡ ρ"
    )
    source = typst_source(path)
    assert r"see \@madry" in source
    assert "lr(bar.v.double" in source
    to_pdf(path, tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_the_letter_of_a_note_is_a_text(tmp_path: Path) -> None:
    to_html(notebook(tmp_path, "Notes.\n\n- (a) one seed\n- (b) another"), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert re.search(r"<li>(<p>)?\(a\) one seed", html)
    assert "<ol" not in html.partition("<body")[2]


def test_places_without_a_text_are_each_led_to(tmp_path: Path) -> None:
    """In a PDF a link to a place that is not there is an error."""
    names = ("one", "two", "three+l1")
    links = " ".join(f"[{name}](#{name})" for name in (*names, "{more}"))
    cell = join("3" + "".join(placed("", name) for name in names), folded("which", "x"), by=" ")
    table = pipe_table(pd.DataFrame({"n": [cell], "to": [links]}))
    to_pdf(notebook(tmp_path, table.format(more="two")), tmp_path / "report.pdf")
    with pytest.raises(typst.TypstError, match="label `<four>` does not exist"):
        to_pdf(notebook(tmp_path, table.format(more="four")), tmp_path / "report.pdf")


def test_what_is_not_seen_of_a_cell_takes_no_room(tmp_path: Path) -> None:
    places = "".join(placed("", f"claim-{number}") for number in range(100))
    table = pipe_table(pd.DataFrame({"printed in": ["Table 5.4"], "numbers": [f"100{places}"], "verdict": ["not run"]}))
    source = typst_source(notebook(tmp_path, "# T", captioned("Table 1", "c", table)))
    (shares,) = re.findall(r"columns: \((.*)\)", source)
    first, second, third = (float(share) for share in re.findall(r"([\d.]+)%", shares))
    assert second <= min(first, third)


def test_same_notebook_same_pdf(tmp_path: Path) -> None:
    path = notebook(tmp_path, "# Title", captioned("Table 1", "c", rows(5)), figure("Figure 1", "c", "figures/a.svg"))
    picture = Figure(figsize=(2, 1))
    picture.subplots().plot([1, 2])
    output.save(picture, [tmp_path / "figures/a.svg"])
    to_pdf(path, tmp_path / "1.pdf")
    book = nbformat.read(path, as_version=4)
    book.metadata["papermill"] = {"start_time": "2026-01-01", "duration": 3.0}
    nbformat.write(book, path)
    to_pdf(path, tmp_path / "2.pdf")
    assert (tmp_path / "1.pdf").read_bytes() == (tmp_path / "2.pdf").read_bytes()
    assert b"CreationDate" not in (tmp_path / "1.pdf").read_bytes()


def test_failed_pdf_leaves_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "report.pdf"
    out.write_bytes(b"old")
    with pytest.raises(typst.TypstError, match="missing"):
        to_pdf(notebook(tmp_path, "# T", figure("Figure 1", "c", "figures/missing.svg")), out)
    assert out.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.ipynb", "report.pdf"]


# ---- HTML


def test_html_is_one_file_without_code(tmp_path: Path) -> None:
    output.save(Figure(figsize=(2, 1)), [tmp_path / "figures/a.svg"])
    text = join(
        captioned("Table 1", "c $\\lVert x\\rVert$ @madry", rows(3)), figure("Figure 1", "cap", "figures/a.svg")
    )
    to_html(notebook(tmp_path, "# Title", "## A part", text), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "<title>Title</title>" in html
    assert re.search(r'<nav>.*<a href="#a-part".*</nav>.*<h2 id="a-part">', html, flags=re.DOTALL)
    assert html.count("row-") == 3
    assert 'src="data:image/svg+xml;base64,' in html
    assert "<math" in html
    assert "@madry" in html
    assert re.search(r"<figcaption[^>]*><strong>Figure 1.</strong> cap", html)
    assert "secret_code" not in html
    assert not re.search(r"<script [^>]*src|<link|src=\"(?!data:)|@import|url\(|fetch\(|https?://(?!www.w3.org)", html)
    assert html.count("<script>") == 1


def test_what_is_folded_is_in_the_page_and_not_in_the_pdf(tmp_path: Path) -> None:
    cell = f"{placed('t1', anchor('t1'))} {folded('from', 'mnist, lenet', '[1](a/b.parquet)', '`run it`')}"
    path = notebook(tmp_path, "# T", captioned("Table 1", "c [t1](#claim-t1)", pipe_table(pd.DataFrame({"a": [cell]}))))
    to_html(path, tmp_path / "report.html")
    html = re.sub(r"\s*(<[^>]*>)\s*", r"\1", (tmp_path / "report.html").read_text())
    shown = 'mnist, lenet<br><a href="a/b.parquet">1</a><br><code>run it</code>'
    assert f'<span id="claim-t1">t1</span><details><summary>from</summary>{shown}</details>' in html
    source = typst_source(path)
    assert "#link(<claim-t1>)" in source
    assert "<claim-t1>" in source.replace("#link(<claim-t1>)", "")
    assert "mnist" not in source


def test_the_parts_of_a_number_stay_on_one_line() -> None:
    assert for_pandoc("| 0.0 +3.1 | 100.0 −3.1 |\n").strip() == "| 0.0\xa0+3.1 | 100.0\xa0−3.1 |"
    text = for_pandoc("| 0.98 / **0.97** ±0.01 ✓ | 0.1 to 0.2 (a) | 5 (see b) | no (a, b) |\n")
    assert text.strip() == "| 0.98 / **0.97**\xa0±0.01 ✓ | 0.1\xa0to\xa00.2\xa0(a) | 5 (see b) | no (a,\xa0b) |"


@pytest.mark.parametrize(("columns", "pages"), [(9, 1), (24, 3)])
def test_a_wide_table_is_turned_or_split_and_its_last_column_is_on_the_page(
    tmp_path: Path, columns: int, pages: int
) -> None:
    """The names of the rows are in every part."""
    frame = pd.DataFrame([["row-1", *["0.1234 / **0.1234** ±0.1234 ✓"] * columns]] * 40)
    frame.columns = ["", *(f"net {place}" for place in range(columns))]
    path = notebook(tmp_path, "# T", captioned("Table 1", "wide", pipe_table(frame, frame.columns[1:])))
    source = typst_source(path)
    assert source.count("#landscape[") == 1
    assert (source.count("wide"), len(row_places(source))) == (pages, 40 * pages)
    for place in range(columns):
        assert source.count(f"[net {place}]") == 1
    sheets = typst.compile(source.encode(), format="png", ppi=72, ignore_system_fonts=True)
    for sheet in sheets if isinstance(sheets, list) else [sheets]:
        ink = np.asarray(Image.open(io.BytesIO(sheet)).convert("L")) < 200
        assert not ink[:, -40:].any()


CLICKS = """<script>
const table = document.querySelector("table");
const [name, value] = table.querySelectorAll("th button");
const shown = () => [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[0].textContent[0]);
const said = [];
const say = () => said.push(shown().join("") + ":" + value.parentElement.getAttribute("aria-sort"));
value.click(); say(); value.click(); say(); value.click(); say();
const filter = document.querySelector(".find input");
filter.value = "0.5"; filter.dispatchEvent(new Event("input")); say();
location.hash = "claim-x";
addEventListener("hashchange", () => setTimeout(() => {
  say();
  document.body.append("RESULT " + said.join(" ") + " " + document.querySelector("td details").open);
}));
</script></body>"""


@pytest.mark.slow
def test_tables_of_the_page_sort_and_filter(tmp_path: Path) -> None:
    if (browser := shutil.which("chromium")) is None:
        pytest.skip("no chromium")
    values = ["10 ±1", "9 ±2", "–", "-1", "0.5", "e 1", "4e-05", "3", "4", "5"]
    cells = [[chr(ord("a") + place), value] for place, value in enumerate(values)]
    cells[3][0] = f"{placed('d', anchor('x'))} {folded('from', 'here')}"
    table = pipe_table(pd.DataFrame(cells, columns=["name", "value"]))
    to_html(notebook(tmp_path, "# T", captioned("Table 1", "c", table)), out := tmp_path / "report.html")
    out.write_text(out.read_text().replace("</body>", CLICKS))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run([browser, *options, out.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    sorted_up, sorted_down = "dgeh" + "ijbaf" + "c", "fabjihegdc"
    result = re.search(r"RESULT ([^\"]*)</body>", done.stdout)
    assert result, done.stderr[-2000:]
    assert result[1].split() == [
        f"{sorted_up}:ascending",
        f"{sorted_down}:descending",
        "abcdefghij:none",
        "e:none",
        "abcdefghij:none",
        "true",
    ]


# ---- execution


def template(folder: Path, *sources: str, text: str = "") -> Path:
    cells = [nbformat.v4.new_code_cell("a = 1", id="parameters", metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    cells += [nbformat.v4.new_markdown_cell(text)] if text else []
    path = folder / "template.ipynb"
    saved_with = {"kernelspec": {"name": "somebody-elses", "display_name": "?", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=saved_with), path)
    return path


def test_parameters_reach_the_cells_and_prints_the_log(tmp_path: Path) -> None:
    source = "from IPython.display import Markdown; print('printed'); Markdown(f'# {a}')"
    out, log = tmp_path / "out/report.ipynb", tmp_path / "logs/r.log"
    notebooks.execute(template(tmp_path, source), out, {"a": 42}, log)
    assert notebooks.markdown(out) == "# 42\n"
    assert "printed" in log.read_text()
    assert [p.name for p in out.parent.iterdir()] == ["report.ipynb"]


def test_a_notebook_is_run_by_this_python_without_a_home_or_settings_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": ["false"], "display_name": "another Python", "language": "python"}))
    startup = tmp_path / "ipython" / "profile_default" / "startup" / "00.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("import sys; sys.executable = 'of the profile'")
    (tmp_path / "start.py").write_text("import sys; sys.executable = 'of the user'")
    changes = {
        **{"JUPYTER_PATH": str(tmp_path / "jupyter"), "IPYTHONDIR": str(tmp_path / "ipython")},
        **{"PYTHONSTARTUP": str(tmp_path / "start.py"), "HOME": "/dev/null/nowhere", "LC_ALL": "C"},
    }
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "report.ipynb"
    source = "import sys; from IPython.display import Markdown; Markdown(f'# {sys.executable} \\u221e')"
    notebooks.execute(template(tmp_path, source), out, {}, tmp_path / "log")
    assert notebooks.markdown(out) == f"# {sys.executable} \u221e\n"


def test_failing_cell_leaves_no_notebook(tmp_path: Path) -> None:
    from papermill import PapermillExecutionError

    with pytest.raises(PapermillExecutionError, match="no such thing"):
        notebooks.execute(
            template(tmp_path, "raise ValueError('no such thing')"), tmp_path / "r.ipynb", {}, tmp_path / "log"
        )
    assert not list(tmp_path.glob("*r.*ipynb"))


def test_values_of_a_cell_reach_the_text_and_leave_no_output(tmp_path: Path) -> None:
    source = "from touchstone.report.render import Values; Values(half=str(a / 2))"
    out = tmp_path / "out/report.ipynb"
    notebooks.execute(template(tmp_path, source, text="# {{ half }}"), out, {"a": 42}, tmp_path / "log")
    assert notebooks.markdown(out) == "# 21.0\n"
    book = nbformat.read(out, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells)
    assert book.metadata["papermill"]["output_path"] == str(out), "and not where it was executed"


def test_text_without_its_value_leaves_no_notebook(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names a value 'half'"):
        notebooks.execute(template(tmp_path, text="{{ half }}"), tmp_path / "r.ipynb", {}, tmp_path / "log")
    assert not list(tmp_path.glob("*r.*ipynb"))
