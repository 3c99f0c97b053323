"""The command line: `touchstone <command>`, also `python -m touchstone`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from touchstone.commands import COMMANDS
from touchstone.study.config import ConfigError


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line: a command each for the modules of COMMANDS."""
    top = argparse.ArgumentParser(prog="touchstone", description="Re-run published adversarial-robustness results.")
    commands = top.add_subparsers(metavar="command", required=True)
    for name, module in COMMANDS.items():
        command = import_module(module)
        about = command.__doc__ or ""
        form = argparse.RawDescriptionHelpFormatter
        one = commands.add_parser(name, description=about, help=about.partition("\n")[0], formatter_class=form)
        command.options(one)
        one.set_defaults(run=command.run)
    return top


def main(words: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 1 where a file of the run has a problem, which is printed."""
    arguments = parser().parse_args(words)
    try:
        print(arguments.run(arguments))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
