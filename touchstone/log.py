"""Progress and errors: lines in a job's log file and on stderr, a bar for a person at a terminal."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

log = logging.getLogger(__name__)


def set_up(path: str | Path) -> None:
    """Log to the rule's log file and to stderr; an uncaught exception goes to both."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    form = logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in (logging.FileHandler(path, mode="w"), logging.StreamHandler(sys.stderr)):
        handler.setFormatter(form)
        root.addHandler(handler)

    def hook(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        root.error("failed: %s", value, exc_info=(kind, value, trace))

    sys.excepthook = hook


def progress(name: str) -> Callable[[int, int, str], None]:
    """Return a callback (done, total, text) for the evaluation.

    A job of the workflow gets a line per stage; a program that has not set up logging and runs on a terminal
    gets a bar.
    """
    if logging.getLogger().handlers or not sys.stderr.isatty():
        return lambda done, total, text: log.info("%s: stage %d of %d, %s", name, done, total, text)
    bar = tqdm(desc=name)

    def show(done: int, total: int, text: str) -> None:
        bar.total = total
        bar.set_postfix_str(text)
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show
