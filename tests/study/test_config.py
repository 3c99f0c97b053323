"""Reading one YAML file: what is wrong is said with file, line and key."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from touchstone.study import config
from touchstone.study.config import ConfigError


@pytest.fixture
def file(tmp_path: Path, root: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_bytes((root / "tests" / "minmax.yaml").read_bytes())
    return path


def test_the_shipped_file_loads(file: Path) -> None:
    assert config.load(file)[0].run == "demo"


def test_a_key_is_found_in_lists_and_mappings(file: Path) -> None:
    text = "a:\n  - {b: 1}\n  - b: 2\n    c: 3\n"
    file.write_text(text)
    _, lines = config.read(file)
    assert [lines.of(key) for key in (("a",), ("a", 1, "c"), ("a", 1, "missing"), ("z",))] == [1, 4, 3, 1]


def test_a_file_read_twice_gives_values_of_its_own(file: Path) -> None:
    """The tree of nodes is kept, and a merge of mappings may only happen once in it."""
    file.write_text("base: &base {a: [1], b: 2}\nall:\n  <<: *base\n  b: 3\n")
    first, lines = config.read(file)
    first["all"]["a"].append(2)
    assert config.read(file)[0] == {"base": {"a": [1], "b": 2}, "all": {"a": [1], "b": 3}}
    assert lines.of(("all", "b")) == 4


@pytest.mark.parametrize(
    ("make", "needle"),
    [
        (lambda p: p.unlink(), "cannot be read"),
        (lambda p: p.write_bytes(b"run: \xff\xfe"), "not UTF-8"),
        (lambda p: p.write_text("- a\n- b\n"), "expected a mapping"),
        (lambda p: p.write_text(""), "expected a mapping"),
        (lambda p: p.write_text("run: " + "[" * 500 + "]" * 500), "brackets or lists are nested too deeply"),
        (lambda p: p.write_text("run: &a {x: [*a]}"), "an alias .* stands inside what it names"),
        (lambda p: p.write_text("run: a\nx: \0"), "yaml:2: not valid YAML: special characters are not allowed"),
        (lambda p: p.write_text("run: a\nx: !!int y"), "yaml:2: x: not valid YAML: .*int.*'y'"),
        (lambda p: p.write_text("run: a\nx: !!bool si"), "yaml:2: x: not valid YAML: .*bool.*'si'"),
        (lambda p: p.write_text("run: a\nx: 2001-13-45"), "yaml:2: x: not valid YAML: .*'2001-13-45'"),
        (lambda p: p.write_text("run: a\nx: 1" + "0" * 5000), "yaml:2: x: not valid YAML: .*int.*'1000"),
        (lambda p: p.write_text("run: a\nx: 0x" + "f" * 5000), "yaml:2: x: not valid YAML: .*int.*'0xff"),
    ],
    ids=[
        "missing",
        "bytes",
        "list",
        "empty",
        "deep",
        "endless",
        "nul",
        "no-int",
        "no-bool",
        "no-date",
        "long-int",
        "long-hex",
    ],
)
def test_a_file_that_is_no_mapping(file: Path, make: Callable[[Path], object], needle: str) -> None:
    make(file)
    with pytest.raises(ConfigError, match=needle):
        config.load(file)


def test_a_message_can_be_read_whatever_is_wrong(file: Path) -> None:
    text = file.read_text()
    long, many = f"run: {'x' * 10_000}", "caps:\n" + "  - 7\n" * 10_000
    file.write_text(text.replace("run: demo", long).replace("caps:", many))
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    assert len(caught.value.problems) == 10_001
    lines = str(caught.value).splitlines()
    assert lines[-1] == "... and 9,801 more"
    assert max(map(len, lines)) < 2100
    assert "yaml:2: run: " in lines[1]
    assert "characters left out" in lines[1]
    with pytest.raises(ConfigError) as caught:
        config.parse(config.Config, {"run\x1b\u2028": 7}, config.Lines(file))
    assert all(map(str.isprintable, caught.value.problems))


def test_the_command_of_the_readme_names_the_line_that_is_no_yaml(root: Path, tmp_path: Path) -> None:
    """Snakemake says of such a --configfile neither file nor line."""
    (command,) = re.findall(r"    touchstone (validate .*)", (root / "configs" / "README.md").read_text())
    (tmp_path / "mine.yaml").write_text("run: a\nstudies: [minmax\nfoo: 1\n")
    words = command.replace("configs/mine.yaml", str(tmp_path / "mine.yaml")).split()
    done = subprocess.run(
        [sys.executable, "-m", "touchstone", *words], cwd=root, capture_output=True, text=True, check=False
    )
    assert re.search(r"mine\.yaml:3: not valid YAML", done.stderr)
