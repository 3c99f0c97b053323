"""Progress and errors: lines in a job's log file and on stderr, a bar for a person at a terminal."""

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from touchstone.files import write_sealed
from touchstone.paths import attempt_beside, attempts_beside, machine_beside
from touchstone.provenance import machine

log = logging.getLogger(__name__)


class _File(logging.FileHandler):
    """A log that says once that it cannot be written: on a full disk no line is worth a traceback."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - as logging calls it
        """Replace the traceback that each line would have."""
        if not self.failed:
            print(f"{self.baseFilename} lacks lines: {sys.exc_info()[1]}", file=sys.stderr)
        self.failed = True


def set_up(path: str | Path) -> None:
    """Log to the rule's log file and to stderr; an uncaught exception goes to both. Write down on which machine.

    Each attempt has a log of its own beside that of the job, which the next attempt replaces. It goes when the job has
    done what it should: what is left are the logs of attempts that failed, were killed, or ran out of time.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    number = len(attempts_beside(path)) + 1
    own = attempt_beside(path, number)
    form = logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in (_File(own), _File(path, mode="w"), logging.StreamHandler(sys.stderr)):
        handler.setFormatter(form)
        root.addHandler(handler)
    atexit.register(own.unlink)

    def hook(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        atexit.unregister(own.unlink)
        root.error("failed: %s", value, exc_info=(kind, value, trace))

    sys.excepthook = hook
    here = machine()
    write_sealed(machine_beside(path), here)
    where = [here["platform"], here["cpu"], f"{here['cores']} cores", f"{here['memory_gb']:g} GB"]
    where += [here["gpu"]] if "gpu" in here else []
    where += [f"SLURM job {os.environ['SLURM_JOB_ID']}"] if "SLURM_JOB_ID" in os.environ else []
    log.info("%s, attempt %d, on %s", time.strftime("%Y-%m-%d"), number, ", ".join(where))


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
