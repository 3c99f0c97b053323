"""Interleaved measurement: in every round each system runs once, and ratios are taken within a round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

import torch

BATCHES = (64, 128, 256, 512, 1024, 2048)
TRIALS = 2  # per batch size; the faster one counts


class Timed(NamedTuple):
    """Seconds of each round, and what the last round returned."""

    seconds: list[float]
    result: Any

    @property
    def median(self) -> float:
        """Return the median of the rounds."""
        return median(self.seconds)


def best_batch(probe: Callable[[int], Any], rows: int) -> int:
    """Return the batch size, no larger than needed for `rows`, at which a short run is fastest."""
    sizes = [size for size in BATCHES if size < rows] + [next((s for s in BATCHES if s >= rows), BATCHES[-1])]
    probe(sizes[0])  # the first call of a library pays for what comes once
    spent = {size: min(seconds(lambda size=size: probe(size))[0] for _ in range(TRIALS)) for size in set(sizes)}
    return min(sorted(spent), key=spent.__getitem__)


def interleave(systems: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Timed]:
    """Run every system once per round, in an order that turns by one place from round to round."""
    spent: dict[str, list[float]] = {name: [] for name in systems}
    results: dict[str, Any] = {}
    names = list(systems)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            took, results[name] = seconds(systems[name])
            spent[name].append(took)
    return {name: Timed(spent[name], results[name]) for name in names}


def ratio(slow: Timed, fast: Timed) -> float:
    """Return the median over the rounds of slow / fast."""
    return median(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True))


def goal(value: float | None, met: bool, sign: str) -> str:
    """Say what was wanted, and whether it is met; nothing if there is no such target."""
    return "" if value is None else f" (wanted {sign} {value:.4g}: {'met' if met else 'MISSED'})"


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long a call takes, until a GPU that is in use has done what it was given, and what it returns."""
    wait()
    start = time.perf_counter()
    result = run()
    wait()
    return time.perf_counter() - start, result


def wait() -> None:
    """Wait for the GPU, if one is in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
