"""The command line: `touchstone <command>`, also `python -m touchstone`."""

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from touchstone import __version__
from touchstone.commands import COMMANDS
from touchstone.files import DamagedError, RunError
from touchstone.registry import nearest
from touchstone.study.config import ConfigError

CLOSED, INTERRUPTED = 128 + signal.SIGPIPE, 128 + signal.SIGINT  # what a shell says of a program that is ended so
OWN = ("--help", "--version", "-h")  # what is answered without a command
ABOUT = (
    "Re-run published adversarial-robustness results, or evaluate a net of your own. The commands are started in a "
    "checkout of the project; installed alone, it is a package for Python."
)


def parser(name: str = "") -> argparse.ArgumentParser:
    """Return what reads the command line: every command is listed, and the one of that name has its arguments."""
    top = argparse.ArgumentParser(prog="touchstone", description=ABOUT)
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(metavar="command", required=True)
    for each, (module, about) in COMMANDS.items():
        form = argparse.RawDescriptionHelpFormatter
        one = commands.add_parser(each, help=about, formatter_class=form, allow_abbrev=False)
        if each == name:
            command = import_module(module)
            one.description = command.__doc__
            command.options(one)
            one.set_defaults(run=command.run)
    return top


def options(name: str) -> set[str]:
    """Return the options that a command takes."""
    one = argparse.ArgumentParser()
    import_module(COMMANDS[name][0]).options(one)
    return set(re.findall(r"--[a-z-]+", one.format_help()))


def main(words: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 1 where a file has a problem, 2 for no command; both are printed.

    It is CLOSED where nobody reads the rest of what is printed, as behind `| head`, and INTERRUPTED after Ctrl-C.
    """
    try:
        try:
            return run(list(sys.argv[1:] if words is None else words))
        finally:
            sys.stdout.flush()  # what is printed last, and by argparse, which then exits
    except BrokenPipeError:
        _forget_what_nobody_reads()
        return CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED


def run(words: Sequence[str]) -> int:
    """Run a command, print what it says or what is wrong, and return the exit status."""
    name = words[0] if words else ""
    if name not in COMMANDS:
        return _no_command(name)
    known = options(name)
    wrong = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    # argparse would first miss what is required, and not say that it is there under another name
    arguments, others = parser(name).parse_known_args(words) if not wrong else (argparse.Namespace(), wrong)
    if others:
        said = nearest(others[0].partition("=")[0], known)
        print(f"touchstone {name}: no argument {others[0]!r} is taken here; {said}", file=sys.stderr)
        return 2
    try:
        print(arguments.run(arguments))
    except (ConfigError, RunError, DamagedError) as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"{error.filename}: {error.strerror}" if error.filename else error, file=sys.stderr)
        return 1
    return 0


def _no_command(word: str) -> int:
    """Answer words that do not begin with a command."""
    if word in OWN:
        parser().parse_args([word])  # prints, and ends Python
    if not word:
        parser().print_help(sys.stderr)
    elif word.startswith("-"):
        print(f"touchstone: no option {word!r} before a command; {nearest(word, OWN)}", file=sys.stderr)
    else:
        print(f"touchstone: no command {word!r}; {nearest(word, COMMANDS)}", file=sys.stderr)
    return 2


def _forget_what_nobody_reads() -> None:
    """Point each closed stream to nowhere, or Python would try once more as it ends, and complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
