"""The command line: `touchstone <command>`, also `python -m touchstone`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from touchstone.commands import COMMANDS
from touchstone.files import DamagedError, RunError
from touchstone.registry import nearest
from touchstone.study.config import ConfigError


def parser(name: str = "") -> argparse.ArgumentParser:
    """Return what reads the command line: every command is listed, and the one of that name has its arguments."""
    top = argparse.ArgumentParser(prog="touchstone", description="Re-run published adversarial-robustness results.")
    commands = top.add_subparsers(metavar="command", required=True)
    for each, (module, about) in COMMANDS.items():
        one = commands.add_parser(each, help=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        if each == name:
            command = import_module(module)
            one.description = command.__doc__
            command.options(one)
            one.set_defaults(run=command.run)
    return top


def main(words: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 1 where a file has a problem, 2 for no command; both are printed."""
    given = list(sys.argv[1:] if words is None else words)
    name = given[0] if given else ""
    if name and not name.startswith("-") and name not in COMMANDS:
        print(f"touchstone: no command {name!r}; {nearest(name, COMMANDS)}", file=sys.stderr)
        return 2
    arguments = parser(name).parse_args(given)
    try:
        print(arguments.run(arguments))
    except (ConfigError, RunError, DamagedError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
