"""Notebooks that become reports: run one, turn it into HTML, turn it into PDF.

    template --papermill--> notebook --nbformat, pandoc--> HTML
                                                 --typst--> PDF

Text stands in Markdown cells. `{{ name }}` in them is filled with a value that a code cell gave (`Values`), and a cell
with the metadata `if: [name]` or `unless: [name]` is there only if that value is not, or is, empty. Neighbours with the
metadata `each: name` are there, together, for each item of a list, and see the item's values too. Code cells give plain
Markdown that Jupyter shows too. Two conventions are translated for pandoc: a paragraph "**Table 1.** ..." before a
table and one "**Figure 1.** ..." after an image are captions. What is `folded` is for a screen, and not in the PDF.

A table's first columns, as far as they are aligned left, name its rows. One that is too wide for an upright page of the
PDF gets a turned one, and one that is too wide for that is split by its other columns, with the names in each part.
"""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import nbformat

from touchstone.files import write_bytes
from touchstone.findings.markdown import parts
from touchstone.paths import Report
from touchstone.plan.jobs import ReportJob
from touchstone.registry import nearest
from touchstone.report.harmless import harmless

# with citations, `@name` in a text would end the conversion; with fancy lists, the "(a)" of a note would be a number
READER = "markdown-citations-fancy_lists"
TABLE = r"(?:\|[^\n]*\n)+"  # lines of a Markdown table
PORTRAIT = 142  # characters of head.typ's smallest letters that fit into a line of the upright page
LANDSCAPE = 225  # of the turned one
WRAP = 20  # characters from which a cell is wrapped rather than its table turned
MARGIN = 1  # characters for the space beside a column of fixed width, its header in bold letters
LONG = 400  # characters of a line of a table with texts that is still set upright; of twice that it is turned
PROSE = 80  # characters from which a cell is a text
TURN, BACK = "```{=typst}\n#landscape[\n```\n\n", "\n```{=typst}\n]\n```\n"  # around what stands on a turned page
ANCHOR = "claim-"  # what the place of a claim in a document begins with
NO_BREAK = "\N{NO-BREAK SPACE}"
VALUES = "application/json"  # form in which a code cell gives values


# ---- Markdown for Jupyter and pandoc


def join(*parts: str, by: str = "\n\n") -> str:
    """Join the parts that are not empty, as paragraphs."""
    return by.join(part for part in parts if part)


def captioned(label: str, caption: str, table: str) -> str:
    """Put a caption over a Markdown table; label: "Table 1"."""
    return f"**{label}.** {caption}\n\n{table}"


def figure(label: str, caption: str, path: str) -> str:
    """Put a caption under an image; label: "Figure 1", path: relative to the notebook."""
    return f"![{label}]({path})\n\n**{label}.** {caption}"


WORD_JOINER = "\u2060"  # has no width


def anchor(claim: str) -> str:
    """Name the place in a report where a claim is."""
    return f"{ANCHOR}{claim}"


def placed(text: str, name: str) -> str:
    """Make a text, or what is not seen in place of none, the place that links to `#name` lead to."""
    return f'<span id="{name}">{text or WORD_JOINER}</span>'


def folded(summary: str, *lines: str) -> str:
    """Hide lines of Markdown until a reader asks for them; also inside a table."""
    return f"<details><summary>{summary}</summary>{'<br>'.join(lines)}</details>"


def for_pandoc(text: str) -> str:
    """Write the captions of `captioned` and `figure` as pandoc wants them, and keep a number's parts on one line.

    A caption goes below its table here, since pandoc gives one that stands between two tables to the first.
    """
    text = re.sub(r" (?=[±+−]\d)", NO_BREAK, text)
    text = re.sub(r"(?<=\d) to (?=-?\d)", f"{NO_BREAK}to{NO_BREAK}", text)
    text = re.sub(r"(?<=\d) (?=\([a-z]+\) \|)", NO_BREAK, text)  # a number and the letter of its note
    text = re.sub(r"\([a-z]+(?:, [a-z]+)+\)(?= \|)", lambda found: found[0].replace(" ", NO_BREAK), text)
    text = re.sub(rf"^(\*\*Table [^\n]+)\n\n({TABLE})", r"\2\nTable: \1\n", text + "\n", flags=re.MULTILINE)
    return re.sub(r"!\[[^\]\n]*\]\(([^)\n]+)\)\n\n(\*\*Figure [^\n]+)", r"![\2](\1)", text)


# ---- template -> notebook


Value: TypeAlias = str | list[dict[str, str]]


class Values(dict[str, Value]):
    """Texts by name, and lists of such, for the Markdown cells of the notebook whose cell ends in them."""

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        return {VALUES: dict(self), "text/plain": f"{len(self)} values for the text"}


def document(
    job: ReportJob, out: Report, log: str | Path, *, template: str | Path, head: str | Path, page: str | Path
) -> None:
    """Write a report in its three forms; raises as `execute` and `to_pdf` do.

    Args:
        job: its parameters and title.
        out: the notebook, HTML and PDF.
        log: what the cells print is appended to it.
        template: of the notebook.
        head: what the PDF is set with.
        page: what the HTML is set with.
    """
    execute(template, out.ipynb, job.parameters, log)
    to_html(out.ipynb, out.html, page=page, title=job.title)
    to_pdf(out.ipynb, out.pdf, head=head, title=job.title)


def execute(template: str | Path, out: str | Path, parameters: Mapping[str, Any], log: str | Path) -> None:
    """Run a notebook template with parameters, fill its text and write the result; a failed run leaves no notebook.

    Args:
        template: notebook with a cell tagged `parameters`.
        out: the executed notebook.
        parameters: for that cell; they are recorded in the notebook, so no machine paths.
        log: what the cells print is appended to it.

    Raises:
        papermill.PapermillExecutionError: if a cell fails; it shows the cell and its traceback.
        ValueError: if the text names a value that no cell gave.
    """
    import papermill

    out, log = Path(out), Path(log)
    for folder in (out.parent, log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file, tempfile.TemporaryDirectory() as scratch:
        executed = Path(scratch) / out.name
        papermill.execute_notebook(
            template,
            executed,
            parameters=dict(parameters),
            kernel_name="python3",  # whatever the template was saved with
            kernel_manager_class="touchstone.report.kernel.OwnKernel",
            progress_bar=False,
            stdout_file=file,
            stderr_file=file,
            extra_arguments=[  # of the kernel
                "--log-level=CRITICAL",  # or it warns of its sockets each time
                f"--ipython-dir={scratch}",  # no settings of the user's, who may have no home
                "--IPKernelApp.exec_PYTHONSTARTUP=False",
            ],
        )
        book = _read(executed)
    book.metadata.papermill["output_path"] = str(out)  # not where it was executed
    fill(book)
    write_bytes(out, nbformat.writes(book).encode())  # type: ignore[no-untyped-call]


def _read(notebook: str | Path) -> nbformat.NotebookNode:
    book: nbformat.NotebookNode = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    return book


def fill(book: nbformat.NotebookNode) -> None:
    """Put values into the Markdown cells of an executed notebook, take out those that do not apply, repeat lists.

    Raises:
        ValueError: if a cell names a value that no code cell before it gave.
    """
    values: dict[str, Value] = {}
    kept = []
    for each, cells in groupby(book.cells, key=lambda cell: cell.metadata.get("each", "")):
        if each:
            kept += _repeated(list(cells), values, each)
            continue
        for cell in cells:
            if cell.cell_type == "code":
                for output in cell.outputs:
                    values |= output.get("data", {}).get(VALUES, {})
                cell.outputs = [output for output in cell.outputs if VALUES not in output.get("data", {})]
                kept.append(cell)
            else:
                kept += _filled(cell, values)
    book.cells = kept


def _filled(cell: nbformat.NotebookNode, values: Mapping[str, Value]) -> list[nbformat.NotebookNode]:
    """Return a Markdown cell with its values in it; nothing where it does not apply."""
    if any(bool(_value(values, name)) != wanted for name, wanted in _conditions(cell)):
        return []
    cell.source = re.sub(r"\{\{ (\w+) \}\}", lambda found: str(_value(values, found[1])), cell.source)
    return [cell]


def _repeated(
    cells: Sequence[nbformat.NotebookNode], values: Mapping[str, Value], each: str
) -> list[nbformat.NotebookNode]:
    """Return Markdown cells once for each item of a list."""
    made = []
    for number, item in enumerate(_value(values, each)):
        for cell in map(deepcopy, cells):
            cell.id = f"{cell.id}-{number}"  # of a notebook's cells no two have the same
            made += _filled(cell, {**values, **item})
    return made


def _value(values: Mapping[str, Value], name: str) -> Any:
    if name not in values:
        raise ValueError(f"the text names a value {name!r} that no cell before it gave; {nearest(name, values)}")
    return values[name]


def _conditions(cell: nbformat.NotebookNode) -> list[tuple[str, bool]]:
    """Return the values that must be there, or must not be, for a cell to apply."""
    return [(name, key == "if") for key in ("if", "unless") for name in cell.metadata.get(key, [])]


# ---- notebook -> HTML, PDF


def markdown(notebook: str | Path) -> str:
    """Return a notebook's text and the Markdown that its cells gave, without code and streams.

    Raises:
        ValueError: if a cell gave something that has no Markdown; it would be missing from the report.
    """
    parts = []
    for number, cell in enumerate(_read(notebook).cells, 1):
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                continue
            if "text/markdown" not in output.get("data", {}):
                raise ValueError(
                    f"{notebook}: cell {number} gave {output.output_type} without Markdown; end it in Markdown(...)"
                )
            parts.append(output.data["text/markdown"])
    return join(*parts) + "\n"


def _convert(text: str, form: str, template: str | Path, title: str, *options: str) -> str:
    import pypandoc

    about = ["--wrap=none", f"--template={template}", "--metadata", f"title={title}", *options]
    tree = harmless(pypandoc.convert_text(text, "json", format=READER, extra_args=_reading(options)))
    return str(pypandoc.convert_text(tree, form, format="json", extra_args=about))


def _reading(options: Sequence[str]) -> list[str]:
    """Return those of pandoc's options that say how it reads: the share of a table's columns is of the columns."""
    return [option for option in options if option.startswith("--columns=")]


def to_html(notebook: str | Path, out: str | Path, *, page: str | Path, title: str) -> None:
    """Write one HTML file that needs no other, set with reports/page.html: no code, formulas as MathML."""
    notebook = Path(notebook)
    options = (
        "--columns=100000",
        "--standalone",
        "--embed-resources",
        "--mathml",
        "--toc",
        "--toc-depth=2",
        f"--resource-path={os.pathsep.join([str(notebook.parent), str(Path(page).parent)])}",
    )
    text = for_pandoc(markdown(notebook))
    text = re.sub(r"</?(?:details|summary)>", r" `\g<0>`{=html}", text)  # pandoc has no place for them in a table
    html = _convert(text, "html5", page, title, *options)
    # a table that is wider than the page is moved in a box of its own, also by the keyboard
    html = html.replace("<table", '<div class="table" tabindex="0"><table').replace("</table>", "</table></div>")
    write_bytes(Path(out), html.encode())


def typst_source(notebook: str | Path, *, head: str | Path, title: str) -> str:
    """Return the typst document of a notebook, set with reports/head.typ."""
    headed = rf"^((?:#+ [^\n]+\n\n)?)({TABLE})\n(Table: [^\n]+\n)"
    text = re.sub(r" ?<details>.*?</details>", "", for_pandoc(markdown(notebook)))
    text = re.sub(headed, _laid_out, text, flags=re.MULTILINE)
    text = re.sub(rf"{re.escape(BACK)}\s*{re.escape(TURN)}", "\n\n", text)  # tables in a row share the page
    return _convert(text, "typst", head, title, f"--columns={LONG}")


def _laid_out(found: re.Match[str]) -> str:
    """Fit a table, with the heading before it, to the page: upright, turned, or split."""
    heading, table, caption = found.groups()
    lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])] for line in table.splitlines()]
    columns = [[_seen(cell) for cell in column] for column in zip(lines[0], *lines[2:], strict=True)]
    longest = max(sum(map(len, line)) + 3 * len(line) for line in zip(*columns, strict=True))
    widths = [_least(column) for column in columns]
    prose = longest > LONG and max(len(cell) for column in columns for cell in column) > PROSE
    wide = longest > 2 * LONG if prose else sum(widths) > PORTRAIT
    room = LANDSCAPE if wide else PORTRAIT
    labels = next((place for place, mark in enumerate(lines[1]) if mark.endswith(":")), len(columns))
    shares = parts(widths, labels=labels, room=room)
    titles = [f"{caption.rstrip()} ({number}/{len(shares)})\n" for number in range(1, len(shares) + 1)]
    text = "\n".join(
        _part([[line[place] for place in share] for line in lines], [columns[place] for place in share], title, room)
        for share, title in zip(shares, titles if len(shares) > 1 else [caption], strict=True)
    )
    return f"{TURN}{heading}{text}{BACK}" if wide else f"{heading}{text}"


def _part(lines: Sequence[Sequence[str]], columns: Sequence[Sequence[str]], caption: str, room: int) -> str:
    """Return a table with its caption; where typst would make its columns equally wide, they get their shares.

    Args:
        lines: of its cells.
        columns: what is seen of them, the header first.
        caption: as pandoc wants it.
        room: characters that fit into a line of the page.
    """
    header, marks, *rows = lines
    written = max(sum(map(len, line)) + len(line) + 1 for line in lines)  # with what is not seen
    if written > LONG or sum(max(map(len, column)) + 2 for column in columns) > room:
        marks = _spread(marks, columns, room)
    table = "\n".join(f"|{'|'.join(line)}|" for line in (header, marks, *rows))
    return f"{table}\n\n{caption}"


def _seen(cell: str) -> str:
    """Return about what is printed of a cell: no tags, no targets of links, no signs of Markdown."""
    return re.sub(rf"<[^>]*>|\]\([^)]*\)|\*\*|\\(?=\W)|(?<!\\)\[|{WORD_JOINER}", "", cell)


def _least(column: Sequence[str]) -> int:
    """Return the characters that a column needs: its header breaks between words, and long cells are wrapped."""
    header, *cells = column
    words = max(map(len, re.split(r"\s", header)))
    return max([words + 1, *(min(WRAP, len(cell)) for cell in cells)]) + 2  # its letters are bold


def _spread(marks: Sequence[str], columns: Sequence[Sequence[str]], room: int) -> list[str]:
    """Return the line under a table's header with as many dashes as a column is wide, which pandoc takes for its share.

    A column is at least as wide as its longest word, and a short one as its longest cell. What is left of the page is
    shared among the others by the length of their texts.

    Args:
        marks: ":--" or "--:" for each column.
        columns: their cells, the header first.
        room: characters that fit into a line of the page.
    """
    widths = [max(map(len, column)) for column in columns]
    words = [max(len(word) for cell in column for word in re.split(r"[\s/_=;+-]", cell)) for column in columns]
    shorts = [max(map(len, cells)) <= WRAP for _, *cells in columns]
    least = [
        MARGIN + (_least(column) if short else word) for column, short, word in zip(columns, shorts, words, strict=True)
    ]
    texts = [1 if short else width for short, width in zip(shorts, widths, strict=True)]
    rest = max(0, room - sum(least)) / sum(texts)
    # pandoc takes them for shares of the page where the line is LONG
    dashes = ["-" * round(LONG / room * (start + rest * text) + 1) for start, text in zip(least, texts, strict=True)]
    return [f"{line}:" if mark.endswith(":") else f":{line}" for line, mark in zip(dashes, marks, strict=True)]


def to_pdf(notebook: str | Path, out: str | Path, *, head: str | Path, title: str) -> None:
    """Write the PDF; the same notebook gives the same bytes. Images are looked for beside the notebook.

    Raises:
        typst.TypstError: if the document cannot be set.
    """
    import typst

    notebook = Path(notebook)
    source, home = typst_source(notebook, head=head, title=title).encode(), str(notebook.parent)
    # its stubs want one type for source and root
    page = typst.compile(source, root=home, timestamp=0, ignore_system_fonts=True)  # type: ignore[type-var]
    write_bytes(Path(out), page)
