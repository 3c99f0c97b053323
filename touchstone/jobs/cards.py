"""Which of several GPUs of a machine a job takes: Snakemake counts them, and gives nobody a number."""

import fcntl
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"  # read by CUDA when a process first asks for a GPU, so it is set before
LOOK = 1.0  # seconds between two looks for a card that has become free


@contextmanager
def one_card(asked: int, share: int) -> Iterator[None]:
    """Let this process see one GPU of the machine, and no other; wait while all of them are taken.

    Where there is no choice, nothing is done: for a CPU, with one card, and in an allocation that names the job's own.
    A process that ends, however it ends, gives its card back.

    Args:
        asked: how many cards the job needs, 0 or 1.
        share: how many jobs may be on a card at once, >= 1; empty cards are taken first.
    """
    cards = visible() if asked else []
    if len(cards) < 2:
        yield
        return
    card, lock = _taken(cards, share)
    log.info("takes card %s of %s", card, ", ".join(cards))
    before = {name: os.environ[name] for name in (VISIBLE,) if name in os.environ}
    os.environ[VISIBLE] = card
    try:
        yield
    finally:
        del os.environ[VISIBLE]
        os.environ.update(before)
        lock.close()


def visible() -> list[str]:
    """Return the names of the cards that this process may use: those of CUDA_VISIBLE_DEVICES, by default all."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    ask = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []  # no NVIDIA driver: whether there is any GPU is torch's word


def _taken(cards: Sequence[str], share: int) -> tuple[str, IO[str]]:
    """Return a card, and the lock that holds a place on it; wait for one."""
    folder = Path(tempfile.gettempdir()) / f"touchstone-cards-{os.getuid()}"  # of this machine, for all checkouts
    folder.mkdir(exist_ok=True)
    while True:
        for place in range(share):
            for card in cards:
                file = (folder / f"{card}.{place}").open("a")
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.close()
                else:
                    return card, file
        time.sleep(LOOK)
