"""Notebooks that become reports: run one, turn it into HTML, turn it into PDF.

    template --papermill--> notebook --nbconvert--> HTML
                            notebook --nbformat, pandoc, typst--> PDF

Cells give plain Markdown that Jupyter shows too. Two conventions are translated for pandoc: a paragraph
"**Table 1.** ..." before a table and one "**Figure 1.** ..." after an image are captions.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd

from touchstone.files import write_bytes

REPORTS = Path(__file__).resolve().parents[2] / "reports"
READER = "markdown-citations"  # with citations, `@name` in a text would end the conversion
TABLE = r"(?:\|[^\n]*\n)+"  # lines of a Markdown table
PORTRAIT = 140  # characters of head.typ's smallest letters that fit into a line of the upright page
WRAP = 20  # characters from which a cell is wrapped rather than its table turned


# ---- Markdown for Jupyter and pandoc


def join(*parts: str, by: str = "\n\n") -> str:
    """Join the parts that are not empty, as paragraphs."""
    return by.join(part for part in parts if part)


def escape(text: Any) -> str:
    """Return text that Markdown prints as it is, on one line; a bar that is escaped already is not escaped twice."""
    plain = " ".join(str(text).replace(r"\|", "|").split())
    return re.sub(r"([\\`*_{}\[\]<>$|~^#])", r"\\\1", plain)


def pipe_table(frame: pd.DataFrame, right: Iterable[str] = ()) -> str:
    """Return a Markdown table of strings; columns named in `right` are aligned right. Cells are not escaped."""
    right = set(right)
    lines = [list(map(str, frame.columns)), ["--:" if c in right else ":--" for c in frame.columns]]
    lines += frame.astype(str).to_numpy().tolist()
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def captioned(label: str, caption: str, table: str) -> str:
    """Put a caption over a Markdown table; label: "Table 1"."""
    return f"**{label}.** {caption}\n\n{table}"


def figure(label: str, caption: str, path: str) -> str:
    """Put a caption under an image; label: "Figure 1", path: relative to the notebook."""
    return f"![{label}]({path})\n\n**{label}.** {caption}"


def for_pandoc(text: str) -> str:
    """Write the captions of `captioned` and `figure` as pandoc wants them.

    A caption goes below its table here, since pandoc gives one that stands between two tables to the first.
    """
    text = re.sub(rf"^(\*\*Table [^\n]+)\n\n({TABLE})", r"\2\nTable: \1\n", text + "\n", flags=re.MULTILINE)
    return re.sub(r"!\[[^\]\n]*\]\(([^)\n]+)\)\n\n(\*\*Figure [^\n]+)", r"![\2](\1)", text)


# ---- notebook -> HTML, PDF


def execute(template: str | Path, out: str | Path, parameters: Mapping[str, Any], log: str | Path) -> None:
    """Run a notebook template with parameters and write the result; a failed run leaves no notebook.

    Args:
        template: notebook with a cell tagged `parameters`.
        out: the executed notebook.
        parameters: for that cell; they are recorded in the notebook, so no machine paths.
        log: what the cells print is appended to it.

    Raises:
        papermill.PapermillExecutionError: if a cell fails; it shows the cell and its traceback.
    """
    import papermill

    out, log = Path(out), Path(log)
    aside = out.with_name(f".{out.stem}.part.ipynb")
    for folder in (out.parent, log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("a", encoding="utf-8") as file:
            papermill.execute_notebook(
                template,
                aside,
                parameters=dict(parameters),
                kernel_name="python3",  # of the environment that runs this, whatever the template was saved with
                progress_bar=False,
                stdout_file=file,
                stderr_file=file,
                extra_arguments=["--log-level=CRITICAL"],  # of the kernel, which else warns of its sockets each time
            )
        os.replace(aside, out)
    finally:
        aside.unlink(missing_ok=True)


def markdown(notebook: str | Path) -> str:
    """Return a notebook's text and the Markdown that its cells gave, without code and streams.

    Raises:
        ValueError: if a cell gave something that has no Markdown; it would be missing from the report.
    """
    parts = []
    for number, cell in enumerate(nbformat.read(notebook, as_version=4).cells, 1):
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


def heading(notebook: str | Path) -> str:
    """Return the first heading of a notebook's text as plain words, the title of its documents."""
    found = re.search(r"^# +(.+)$", markdown(notebook), flags=re.MULTILINE)
    if found is None:
        raise ValueError(f"{notebook}: expected a first-level heading, got none")
    return re.sub(r"\\(.)", r"\1", found[1]).replace("`", "")


def to_html(notebook: str | Path, out: str | Path, title: str = "") -> None:
    """Write one HTML file that needs no other: code hidden, images embedded, formulas as MathML.

    nbconvert walks the notebook; pandoc renders the Markdown, as for the PDF, because nbconvert's own renderer leaves
    formulas to a script from the network and knows no captions.
    """
    import pypandoc
    from nbconvert import HTMLExporter

    notebook = Path(notebook)
    options = ["--embed-resources", "--mathml", "--columns=100000", f"--resource-path={notebook.parent}"]

    def render(text: str) -> str:
        return pypandoc.convert_text(for_pandoc(text), "html5", format=READER, extra_args=options)

    exporter = HTMLExporter(template_file=str(REPORTS / "report.html.j2"), filters={"markdown2html": render})
    page, _ = exporter.from_filename(str(notebook), resources={"title": title or heading(notebook)})
    write_bytes(Path(out), page.encode())


def typst_source(notebook: str | Path, title: str = "") -> str:
    """Return the typst document of a notebook, set with reports/head.typ; by default the first heading is its title."""
    import pypandoc

    options = [
        "--columns=100000",
        f"--template={REPORTS / 'head.typ'}",
        "--metadata",
        f"title={title or heading(notebook)}",
    ]
    text = re.sub(rf"^{TABLE}\nTable: [^\n]+\n", _turned, for_pandoc(markdown(notebook)), flags=re.MULTILINE)
    return pypandoc.convert_text(text, "typst", format=READER, extra_args=options)


def _turned(table: re.Match[str]) -> str:
    """Put a table on a page in landscape if its text would not fit, long cells wrapped."""
    cells = [re.split(r"(?<!\\)\|", line.strip()[1:-1]) for line in table[0].splitlines() if line.startswith("|")]
    width = sum(min(WRAP, max(len(cell.strip()) for cell in column)) + 2 for column in zip(*cells, strict=True))
    if width <= PORTRAIT:
        return table[0]
    return f"```{{=typst}}\n#landscape[\n```\n\n{table[0]}\n```{{=typst}}\n]\n```\n"


def to_pdf(notebook: str | Path, out: str | Path, title: str = "") -> None:
    """Write the PDF; the same notebook gives the same bytes. Images are looked for beside the notebook.

    Raises:
        typst.TypstError: if the document cannot be set.
    """
    import typst

    notebook = Path(notebook)
    source = typst_source(notebook, title).encode()
    write_bytes(Path(out), typst.compile(source, root=str(notebook.parent), timestamp=0, ignore_system_fonts=True))
