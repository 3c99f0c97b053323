"""The READMEs and docs/verdict.md say what is true: their tables come from the package; the main one's Python runs.

`python tests/test_readme.py` writes the tables anew.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import pandas as pd
import pytest
from shipped import planned
from tiny_nets import conv, samples
from toy_records import clean, points
from toy_runs import finished

from touchstone.attacks import ATTACKS
from touchstone.commands.plan import HEAD, SHARED, cells
from touchstone.defenses import DEFENSES
from touchstone.findings.vocabulary import PAIRED, STANDS, STATEMENTS, VERDICTS, Reply, Standing, Word
from touchstone.models import MODELS
from touchstone.plan import cost
from touchstone.plan.units import UNITS, read
from touchstone.records import Attacked
from touchstone.report import glance

ROOT = Path(__file__).resolve().parents[1]
README, CONFIGS, VERDICT = ROOT / "README.md", ROOT / "configs" / "README.md", ROOT / "docs" / "verdict.md"
EVIDENCE = ROOT / "reports" / "reference" / "evidence"


def catalogue() -> str:
    """What can be named: attacks with their norms, defenses, models."""
    attacks = [f"`{name}` ({', '.join(s.norms)})" for name, s in ATTACKS.items() if s.kind != "none"]
    rows = {"attacks": attacks, "defenses": [f"`{name}`" for name in DEFENSES], "models": [f"`{n}`" for n in MODELS]}
    return "\n".join(["| what | names |", "|---|---|", *(f"| {k} | {', '.join(v)} |" for k, v in rows.items())])


def words_of(table: Mapping[str, Word]) -> str:
    """The words of a verdict, each with its mark."""
    return meanings({f"{word.mark} {name}": word for name, word in table.items()})


def meanings(table: Mapping[str, Word | Standing | Reply]) -> str:
    """What the words of a verdict mean."""
    return "\n".join(["| verdict | meaning |", "|---|---|", *(f"| {k} | {v.meaning} |" for k, v in table.items())])


def paper() -> str:
    """What each study costs at the scale of the papers."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cost, "units", cache(partial(read, UNITS)))  # whatever this machine has measured
        rows = cost.costs(planned("configs/paper.yaml"))
    table = [[f"`{row.study}`" if row.study else SHARED, *cells(row)[1:]] for row in rows]
    table.append(["all", *cells(cost.total(rows))[1:]])
    shown = [n for n, name in enumerate(HEAD) if name not in ("done", "figures")]
    lines = [list(HEAD), ["---"] * len(HEAD), *table]
    return "\n".join("| " + " | ".join(line[n] for n in shown) + " |" for line in lines)


def evidence(table: str) -> dict[str, pd.DataFrame]:
    """A table of each study that was run as evidence."""
    files = sorted(EVIDENCE.glob(f"*/{table}.csv"))
    return {file.parent.name: pd.read_csv(file, dtype=str, keep_default_na=False) for file in files}


def masks() -> str:
    """A claim per net and norm that has an attack gap, beside ours and the worst case."""
    flags = evidence("flags")
    tables = {study: glance.masked(claims, flags[study]) for study, claims in evidence("claims").items()}
    return "\n\n".join(f"**{study}**\n\n{table}" for study, table in tables.items() if table)


# what is written -> where, by what
PARTS: dict[str, tuple[Path, Callable[[], str]]] = {
    "catalogue": (README, catalogue),
    "paper": (CONFIGS, paper),
    "verdicts": (README, lambda: glance.by_study(evidence("claims"))),
    "masks": (EVIDENCE / "README.md", masks),
    "words": (VERDICT, lambda: words_of(VERDICTS)),
    "stands": (VERDICT, lambda: meanings(STANDS)),
    "paired": (VERDICT, lambda: words_of(PAIRED)),
    "statements": (VERDICT, lambda: meanings(STATEMENTS)),
}


def part(name: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?<=<!-- {name}: written by `python tests/test_readme.py` -->\n).*?(?=<!-- end of {name} -->)", re.S
    )


@pytest.mark.parametrize("name", PARTS)
def test_tables_of_the_pages_are_those_of_the_package(name: str) -> None:
    file, make = PARTS[name]
    (found,) = part(name).findall(file.read_text())
    assert found.strip() == make(), "run `python tests/test_readme.py`"


def test_a_reader_comes_first() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 100
    assert lines[2].startswith("Touchstone re-runs published adversarial-robustness results")


@pytest.mark.slow
def test_its_python_runs_on_a_net_images_and_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    finished(Path("results") / "demo", [Attacked(clean(), points(epsilon=[float("nan")] * 4, norm="none"))])
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    assert len([*filter(None, code.splitlines())]) == 6
    model = conv()
    x, y = samples(model, 8)
    exec(code, {"model": model, "x": x, "y": y})
    head, *verdicts, _, columns, right, near, far = capsys.readouterr().out.splitlines()
    assert head == "verdict"
    assert [line.split() for line in verdicts] == [["reproduced", "1"], ["lower", "1"]]
    assert columns.split() == ["epsilon", "accuracy", "low", "high", "n"]
    assert [float(line.split()[2]) for line in (right, near, far)] == [0.5, 0.125, 0.0]


def test_the_schema_of_a_config_is_named_from_where_the_config_lies() -> None:
    """An editor takes `$schema` relative to the file."""
    said = README.read_text()
    assert "touchstone schema > config.schema.json" in said
    assert "`../config.schema.json` in `configs/`" in said


def test_every_path_that_it_names_is_there() -> None:
    named = re.findall(r"`([\w./]+/|[\w./]+\.(?:md|yaml|py|cff))`", README.read_text())
    assert len(named) > 15
    missing = [
        name
        for name in named
        if not any((base / name).exists() for base in (README.parent, README.parent / "touchstone"))
    ]
    assert [name for name in missing if not name.startswith("results/")] == []


if __name__ == "__main__":
    for name, (file, make) in PARTS.items():
        file.write_text(part(name).sub(lambda _, make=make: make() + "\n", file.read_text()))
