"""Whatever a user's files say, there is a plan, or a message that names file, line and key; soon, and nothing else."""

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    below = rf"{re.escape(one.file)}:\d+: {re.escape(one.key)}\."
    if one.key and any(re.match(rf"{here}|{below}", problem) for problem in problems):
        return "key", ""
    named = not one.key and any(problem.startswith(f"{one.file}:{line or ''}") for problem in problems)
    return "file", "" if named or not one.refused else f"{one.key or line} is not named: {problems[0][:300]!r}"


def test_what_is_changed_is_valid_and_says_every_key(folder: Path) -> None:
    assert make_plan(Path(), folder / CONFIG).models
    for root, file in ((Config, CONFIG), (Study, STUDY), (SuitesFile, SUITES)):
        written = {part for path, _, _ in fuzzing.walk(file) for part in path}
        assert keys(root) - written == set()
    for columns, file in ((claims, CLAIMS), (statements, STATEMENTS)):
        assert {*fuzzing.ROWS[file][0]} == {*columns.COLUMNS, *columns.OPTIONAL}


# how many inputs of each file are tried, first by the fast test; of these how many messages name the key at least
TRIED = {CONFIG: (160, 110), STUDY: (170, 110), SUITES: (90, 40), CAPTIONS: (80, 20), CLAIMS: (150, 80)}
TRIED |= {STATEMENTS: (90, 35), FIGURES: (70, 15)}


def swept(inputs: list[Input]) -> Counter[str]:
    """Try inputs, and count what becomes of them."""
    counts, wrong = Counter[str](), []
    for one in inputs:
        became, why = outcome(one)
        counts[became] += 1
        wrong += [f"{one}: {why}"] if why else []
    assert wrong == []
    return counts


@pytest.mark.parametrize("file", TRIED)
@pytest.mark.usefixtures("folder")
def test_a_changed_file_is_planned_or_named(file: str) -> None:
    count, least = TRIED[file]
    counts = swept(fuzzing.inputs(file)[:count])
    assert counts["key"] >= least
    assert counts["plan"] >= 3


@pytest.mark.slow
@pytest.mark.parametrize("file", TRIED)
@pytest.mark.usefixtures("folder")
def test_more_changed_files_are_planned_or_named(file: str) -> None:
    count, least = TRIED[file]
    assert swept(fuzzing.inputs(file)[count : 2 * count])["key"] >= least


def test_a_thousand_inputs_are_tried_and_every_second_is_one_fault_at_one_key() -> None:
    assert sum(2 * count for count, _ in TRIED.values()) >= 1000
    assert sum(least for _, least in TRIED.values()) >= 0.5 * sum(count for count, _ in TRIED.values())


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
