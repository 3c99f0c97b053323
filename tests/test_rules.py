"""The text of the rules, the formatters, and the types."""

import re
import subprocess
from itertools import chain
from pathlib import Path

import pytest
from checkouts import BIN

from touchstone.files import RULES


def test_every_rule_says_what_it_needs_and_writes(root: Path) -> None:
    rules = "\n".join(path.read_text() for path in sorted((root / "rules").glob("*.smk")))
    blocks = re.split(r"^\s*rule\b", rules, flags=re.MULTILINE)[1:]
    names = [re.search(r"^ (\w+):|name:\s+f\"(\w+)_{study}\"", block) for block in blocks]
    assert sorted(filter(None, chain.from_iterable(name.groups() for name in names if name))) == sorted(RULES), (
        "messages name the rule of a file"
    )
    for block in blocks:
        for word in ("log", "benchmark", "conda", "threads", "mem_mb", "runtime", "gpu", "params", "script"):
            assert re.search(rf"^\s*{word}\b", block, flags=re.MULTILINE), f"{word} in rule{block[:40]}"
        assert "to_params()" in block, f"a typed job in rule{block[:40]}"


def test_a_rule_is_read_at_a_glance(root: Path) -> None:
    for path in (root / "rules").glob("*.smk"):
        for block in re.findall(r"^rule \w+:\n(?:(?:    .*)?\n)+", path.read_text(), flags=re.MULTILINE):
            lines = block.rstrip().splitlines()
            assert 13 <= len(lines) <= 25, f"{path.name}: {lines[0]} {len(lines)} lines"


def test_the_job_is_all_that_decides(root: Path) -> None:
    """Any other param says how, and triggers nothing; a script is given nothing else that could."""
    params = [
        line.strip()
        for path in (root / "rules").glob("*.smk")
        for block in re.findall(
            r"^ {4,8}params:\n((?: {8,12}(?! ).*\n)+?)(?= {4,8}\w+:)", path.read_text(), flags=re.MULTILINE
        )
        for line in block.splitlines()
    ]
    written = [line for line in params if not line.startswith("#")]
    assert sum(line.startswith("job=") for line in written) == len(RULES)
    assert all(re.match(r"job=.*to_params\(\),|\w+=manner\(", line) for line in written), written


def test_what_rules_share_defines_no_rule_and_decides_nothing(root: Path) -> None:
    text = (root / "rules" / "common.smk").read_text()
    assert not re.search(r"^\s*(rule|checkpoint)\b", text, flags=re.MULTILINE)
    assert len(text.splitlines()) <= 145


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["snakefmt", "--check", "Snakefile", "rules"],
        pytest.param(["mypy"], marks=pytest.mark.slow),
    ],
)
def test_formatters_have_nothing_to_say(root: Path, command: list[str]) -> None:
    done = subprocess.run([str(BIN / command[0]), *command[1:]], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
