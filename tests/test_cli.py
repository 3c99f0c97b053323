"""The command line: what it prints, where it ends, and what it does not import."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import touchstone
from touchstone import cli
from touchstone.commands import COMMANDS


def test_the_console_script_is_this(root: Path) -> None:
    scripts = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"touchstone": "touchstone.cli:main"}
    assert callable(cli.main)


@pytest.mark.parametrize("words", [["--help"], ["plan", "--help"]])
def test_help_says_how(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: touchstone")
    assert ("example: touchstone plan --configfile configs/paper.yaml" in said) == ("plan" in words)


def test_a_command_is_a_module_with_an_example() -> None:
    for name, (module, about) in COMMANDS.items():
        said = cli.import_module(module).__doc__
        assert f"example: touchstone {name} " in said
        assert said.startswith(f"{about}\n")


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["paln"]) == 2
    assert (
        "no command 'paln'; allowed: compare, evaluate, ls, plan, reference, schema, validate; did you mean"
        in capsys.readouterr().err
    )


def test_without_a_command_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "evaluate" in err


def test_a_run_that_is_not_there_is_said_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", str(tmp_path / "demo"), str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'demo'}: holds no tables of a finished run")


@pytest.mark.parametrize(("command", "wrong", "meant"), [("ls", "atacks", "attacks"), ("schema", "studdy", "study")])
def test_an_unknown_word_comes_with_the_nearest(
    command: str, wrong: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, wrong])
    assert end.value.code == 2
    assert f"did you mean {meant!r}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["evaluate", *["--model", "m", "--weights", "w", "--norm", "linf", "--eps", "0.1", "--epsilon", "1"]],
            "did you mean '--eps'?",
        ),
        (["evaluate", "--model", "m", "--weights", "w", "--norm", "linf", "--epsilon", "0.1"], "did you mean '--eps'?"),
        (["evaluate", "--weigths=w"], "no argument '--weigths=w' is taken here; allowed: --classes, "),
        (["evaluate", "--weigths=w"], "did you mean '--weights'?"),
        (["--configfile", "x", "plan"], "touchstone: no option '--configfile' before a command; allowed: --help, "),
        (["plan", "--config", "config.yaml"], "'--config' is taken here; allowed: --configfile, --help"),
        (["plan", "config.yaml"], "touchstone plan: no argument 'config.yaml' is taken here"),
    ],
)
def test_an_unknown_argument_comes_with_those_there_are(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"--norm": "Linf"}, "argument --norm: no 'Linf' here; allowed: l0, l1, l2, linf; did you mean 'linf'?"),
        ({"--mean": "0.4,0.4,0.4"}, "expected a number, got '0.4,0.4,0.4'; separate values by spaces"),
        ({"--device": "gpu"}, "argument --device: no 'gpu' here; allowed: cpu, cuda"),
        ({"--classes": "0"}, "expected a number above 0"),
    ],
)
def test_a_value_that_is_not_understood_comes_with_what_is(
    more: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"--model": "m", "--weights": "w", "--norm": "linf", "--eps": "0.1", **more}
    with pytest.raises(SystemExit) as end:
        cli.main(["evaluate", *(word for pair in given.items() for word in pair)])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_it_says_its_version_and_that_it_wants_a_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("--version", "--help"):
        with pytest.raises(SystemExit):
            cli.main([word])
    said = capsys.readouterr().out
    assert said.startswith(touchstone.__version__)
    assert "in a checkout of the project" in " ".join(said.split())


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("touchstone.commands.ls.run", interrupted)
    assert cli.main(["ls", "attacks"]) == cli.INTERRUPTED


def test_a_file_that_cannot_be_written_is_said_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("touchstone.commands.ls.run", lambda _: (tmp_path / "none" / "file").write_text(""))
    assert cli.main(["ls", "attacks"]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'none' / 'file'}: No such file or directory\n"


def test_problems_of_a_config_are_said_without_a_traceback(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "config.yaml").write_text((project / "config.yaml").read_text().replace("device: cpu", "device: cpx"))
    monkeypatch.chdir(project)
    assert cli.main(["plan"]) == 1
    out, err = capsys.readouterr()
    assert (out, "Traceback" in err) == ("", False)
    assert "config.yaml:5: device" in err


@pytest.mark.parametrize("words", [["ls", "attacks"], ["ls", "--help"], ["validate", "nowhere"]])
def test_a_reader_that_has_seen_enough_is_no_error(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As `head` has. Nothing is left to be written, or the interpreter would say so where it ends."""
    for name, buffering in (("stdout", -1), ("stderr", 1)):  # lines of the second one are written at once
        reader, writer = os.pipe()
        os.close(reader)
        monkeypatch.setattr(sys, name, os.fdopen(writer, "w", buffering))
    assert cli.main(words) == cli.CLOSED
    sys.stdout.close()
    sys.stderr.close()


def test_it_imports_neither_torch_nor_snakemake(root: Path) -> None:
    code = "import sys; from touchstone.cli import main; main(['plan'])"
    code += "; sys.exit(bool({'torch', 'snakemake'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("config.yaml: run demo\n")


def test_it_runs_as_a_module(root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-m", "touchstone", "--help"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "plan" in done.stdout
