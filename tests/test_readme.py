"""The main README says what is true: its tables come from the package's, and its Python runs.

`python tests/test_readme.py` writes the tables anew.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from touchstone.attacks import ATTACKS
from touchstone.defenses import DEFENSES
from touchstone.findings.vocabulary import STANDS, STATEMENTS, VERDICTS
from touchstone.models import MODELS

# whoever asks for the network ends with that
OFFLINE = 'import sys; sys.addaudithook(lambda event, _: sys.exit(event) if event == "socket.connect" else None)'
README = Path(__file__).resolve().parents[1] / "README.md"


def catalogue() -> str:
    """What can be named: attacks with their norms, defenses, models."""
    attacks = [f"`{name}` ({', '.join(s.norms)})" for name, s in ATTACKS.items() if s.kind != "none"]
    rows = {"attacks": attacks, "defenses": [f"`{name}`" for name in DEFENSES], "models": [f"`{n}`" for n in MODELS]}
    return "\n".join(["| what | names |", "|---|---|", *(f"| {k} | {', '.join(v)} |" for k, v in rows.items())])


def verdicts() -> str:
    """What a verdict means, the second one of a number under attack, and that on a statement."""
    lines = [f"| {meaning.mark} {word} | {meaning.meaning} |" for word, meaning in VERDICTS.items()]
    second, said = (
        "; ".join(f"*{word}*: {row.meaning}" for word, row in words.items()) for words in (STANDS, STATEMENTS)
    )
    table = "\n".join(["| verdict | meaning |", "|---|---|", *lines])
    under_attack = f"The second verdict of an accuracy or error under attack: {second}."
    return f"{table}\n\n{under_attack} The verdict on what a paper says in words: {said}."


PARTS: dict[str, Callable[[], str]] = {"catalogue": catalogue, "verdicts": verdicts}


def part(name: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?<=<!-- {name}: written by `python tests/test_readme.py` -->\n).*?(?=<!-- end of {name} -->)", re.S
    )


@pytest.mark.parametrize("name", PARTS)
def test_tables_of_the_readme_are_those_of_the_package(name: str) -> None:
    (found,) = part(name).findall(README.read_text())
    assert found.strip() == PARTS[name](), "run `python tests/test_readme.py`"


def test_a_reader_comes_first() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 100
    assert lines[2].startswith("Touchstone re-runs published adversarial-robustness results")


def test_its_python_runs_as_it_stands(tmp_path: Path) -> None:
    """In an empty folder and with nothing else defined: it needs neither data nor network."""
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    environment = {**os.environ, "PYTHONPATH": str(README.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", f"{OFFLINE}\n{code}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.fullmatch(r"accuracy under attack: ([\d.]+)\n", done.stdout)
    assert found, done.stdout + done.stderr
    assert 0 < float(found[1]) < 0.5, "trained, it classifies 97 %"


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
    text = README.read_text()
    for name, make in PARTS.items():
        text = part(name).sub(lambda _, make=make: make() + "\n", text)
    README.write_text(text)
