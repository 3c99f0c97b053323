"""Whatever a user's files say, there is a plan, or a message that names file, line and key; soon, and nothing else."""

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import fuzzing
import pytest
from fuzzing import CAPTIONS, CLAIMS, CONFIG, FIGURES, FILES, STATEMENTS, STUDY, SUITES, Input
from test_languages import keys

from touchstone.plan.plan import make_plan
from touchstone.study import claims, statements
from touchstone.study.config import Config, ConfigError
from touchstone.study.schema import Study
from touchstone.study.suites import SuitesFile

SECONDS = 20  # for an input of which a usual one takes 0.03, on a machine that has much else to do
LONGEST = 2100  # characters of a message about one thing
# what is allowed: its names, type, range or form; a file that is not there is told, and what must not be there twice
ALLOWED = re.compile(
    r"allowed: .|should (be|have|match) .|must .|expected .|required|needs |give either |only |"
    r"there is no (file|folder)|no source file|missing column|write `|twice|duplicate|say why"
)
PROBLEM = re.compile(rf"({'|'.join(map(re.escape, FILES))})(:\d+)?: .")


class TooSlow(Exception):
    pass


@contextmanager
def bounded() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooSlow(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The valid run; one is in its folder, and what it adds to where Python looks for code is taken away again."""
    fuzzing.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    return tmp_path


def outcome(one: Input) -> tuple[str, str]:
    """What becomes of an input, `key`, `file` or `plan`, and what is wrong with that; "" if nothing is."""
    content, line = one.make()
    path = Path(one.file)
    path.write_bytes(content)
    try:
        with bounded():
            make_plan(Path(), Path(CONFIG))
    except ConfigError as error:
        return said(one, line, error.problems)
    except Exception as error:  # what a user would see a traceback of
        return "traceback", f"{type(error).__name__}: {str(error)[:300]}"
    else:
        return "plan", "it is planned" if one.refused else ""
    finally:
        path.write_text(FILES[one.file])


def said(one: Input, line: int, problems: list[str]) -> tuple[str, str]:
    """Hold a message to what an input asks of it; `key` if it names that, `file` if it names file and line."""
    for problem in problems:
        if not PROBLEM.match(problem) or not problem.isprintable() or len(problem) > LONGEST:
            return "nothing", f"neither file nor text, or too long: {problem[:300]!r}"
    here = re.escape(f"{one.file}:{line}: {one.key}: ")
    below = rf"{re.escape(one.file)}:\d+: {re.escape(one.key)}\.\S+: "
    for found in [found for problem in problems if one.key and (found := re.match(rf"({here}|{below})(.*)", problem))]:
        return "key", "" if ALLOWED.search(found[2]) else f"what is allowed is not said: {found[0][:300]!r}"
    named = not one.key and any(problem.startswith(f"{one.file}:{line or ''}") for problem in problems)
    return "file", "" if named or not one.refused else f"{one.key or line} is not named: {problems[0][:300]!r}"


def test_what_is_changed_is_valid_and_says_every_key(folder: Path) -> None:
    assert make_plan(Path(), folder / CONFIG).models
    for root, file in ((Config, CONFIG), (Study, STUDY), (SuitesFile, SUITES)):
        written = {part for path, _, _ in fuzzing.walk(file) for part in path}
        assert keys(root) - written == set()
    for columns, file in ((claims, CLAIMS), (statements, STATEMENTS)):
        assert {*fuzzing.ROWS[file][0]} == {*columns.COLUMNS, *columns.OPTIONAL}


class Became(NamedTuple):
    """How many inputs are planned, or named by their key, or by their file and where there is one the line."""

    key: int = 0
    file: int = 0
    plan: int = 0


# what becomes of the inputs of each file that are tried; docs/faults.md has the sums
TRIED = {CONFIG: Became(251, 42, 27), STUDY: Became(288, 35, 17), SUITES: Became(111, 62, 7)}
TRIED |= {CAPTIONS: Became(68, 62, 30), CLAIMS: Became(226, 31, 43)}
TRIED |= {STATEMENTS: Became(86, 33, 61), FIGURES: Became(49, 42, 49)}


def tried(file: str) -> list[Input]:
    return fuzzing.inputs(file)[: sum(TRIED[file])]


def swept(inputs: list[Input]) -> Became:
    """Try inputs, and count what becomes of them."""
    counts, wrong = Counter[str](), []
    for one in inputs:
        became, why = outcome(one)
        counts[became] += 1
        wrong += [f"{one}: {why}"] if why else []
    assert wrong == []
    return Became(**counts)


@pytest.mark.slow
@pytest.mark.parametrize("file", TRIED)
@pytest.mark.usefixtures("folder")
def test_a_changed_file_is_planned_or_named(file: str) -> None:
    assert swept(tried(file)) == TRIED[file]


def test_the_page_of_faults_says_how_many_are_tried_and_what_becomes_of_them(root: Path) -> None:
    """A thousand at least, of which every second names a key."""
    inputs = [one for file in TRIED for one in tried(file)]
    sums = Became(*map(sum, zip(*TRIED.values(), strict=True)))
    assert len(inputs) == sum(sums) >= 1000
    assert sums.key >= 0.5 * len(inputs)
    keyed = [one for one in inputs if one.key]
    refused = [one for one in keyed if one.refused]
    (row,) = re.findall(r"^\|.*test_a_changed_file_is_planned_or_named.*$", (root / "docs/faults.md").read_text(), re.M)
    numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d", row)]
    assert numbers == [len(inputs), len(keyed), len(refused), sums.plan, sums.key, sums.file, SECONDS]


@pytest.mark.slow
def test_snakemake_starts_nothing_for_a_config_that_it_cannot_read(root: Path, tmp_path: Path) -> None:
    """It reads a --configfile before this project does, in its own words; `touchstone validate` says more."""
    laughs = "run: fuzz\n" + fuzzing.TAILS["many aliases"]
    contents = {
        "latin.yaml": "run: été\n".encode("latin-1"),
        "endless.yaml": b"run: &a [*a]\n",
        "many.yaml": laughs.encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.yaml").mkdir()
    names = [*contents, "folder.yaml", "missing.yaml"]
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "1", "--snakefile", str(root / "Snakefile")]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    runs = {name: subprocess.Popen([*snakemake, "--configfile", name], **pipes) for name in names}  # type: ignore[call-overload]
    for name, run in runs.items():
        _, stderr = run.communicate(timeout=60)
        assert run.returncode == 1, name
        assert name in stderr or name == "latin.yaml"
        with pytest.raises(ConfigError, match=name):
            make_plan(root, tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} - {*names, ".snakemake"} == set()
