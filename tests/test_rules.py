"""The text of the rules, the formatters, and the types."""

import re
import subprocess
from pathlib import Path

import pytest
from checkouts import BIN


def test_every_rule_says_what_it_needs_and_writes(root: Path) -> None:
    rules = "\n".join(path.read_text() for path in sorted((root / "rules").glob("*.smk")))
    blocks = re.split(r"^\s*rule\b", rules, flags=re.MULTILINE)[1:]
    assert len(blocks) >= 11
    for block in blocks:
        for word in ("log", "benchmark", "conda", "threads", "mem_mb", "runtime", "gpu", "params", "script"):
            assert re.search(rf"^\s*{word}\b", block, flags=re.MULTILINE), f"{word} in rule{block[:40]}"
        assert "to_params()" in block, f"a typed job in rule{block[:40]}"


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["snakefmt", "--check", "Snakefile", "rules"],
        ["mypy"],
    ],
)
def test_formatters_have_nothing_to_say(root: Path, command: list[str]) -> None:
    done = subprocess.run([str(BIN / command[0]), *command[1:]], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
