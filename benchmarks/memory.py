"""Peak memory of our attacks, each measured in a process of its own, and how it grows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from touchstone.data import DATASETS
from touchstone.evaluation import published
from touchstone.evaluation.result import Member
from touchstone.models.classifier import build
from touchstone.threat import Threat

ATTACKED = {  # name -> (norm, options): few steps, since memory does not grow with them
    "pgd": ("linf", {"steps": 3}),
    "apgd-t": ("linf", {"steps": 3, "targets": 9}),
    "square": ("linf", {"queries": 20}),
    "deepfool": ("l2", {"steps": 3}),
    "fab": ("l1", {"steps": 3}),
    "cw": ("l2", {"steps": 3, "binary_steps": 1}),
    "pdpgd": ("l0", {"steps": 3}),
    "onepixel": ("l0", {"steps": 2}),
    "jsma": ("l0", {"gamma": 0.01}),
}
BASE = {"samples": 1000, "epsilons": 1, "classes": 10}
GROWN = {"samples": 4000, "epsilons": 4, "classes": 100}


def table() -> str:
    """Return peak memory over that of the loaded program, at BASE and with each of its numbers grown."""
    lines = [
        "## Memory",
        f"MB of a process beyond the model, the samples and the libraries, at {BASE} on 1 x 28 x 28 with batches of "
        "512, and with one number grown (an untrained lenet; the records are part of it).",
        "",
        "| attack | " + " | ".join(["as said", *(f"{GROWN[key]} {key}" for key in GROWN)]) + " |",
        "|---|" + "---|" * (1 + len(GROWN)),
    ]
    for name in ATTACKED:
        sizes = [BASE, *({**BASE, key: GROWN[key]} for key in GROWN)]
        lines.append(f"| {name} | " + " | ".join(f"{_apart(name, size):.0f}" for size in sizes) + " |")
    return "\n".join([*lines, ""])


def _apart(name: str, size: dict[str, int]) -> float:
    """Measure one attack in a new process."""
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps({"name": name, **size})]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _peak(name: str, samples: int, epsilons: int, classes: int) -> float:
    """Run one attack; return the MB by which it raised this process's peak."""
    torch.set_num_threads(1)
    norm, options = ATTACKED[name]
    radii = tuple((1.0 if norm == "l0" else 0.01) * (k + 1) for k in range(epsilons))
    model = build("lenet", replace(DATASETS["mnist"], classes=classes), seed=0).eval()

    def attack(count: int) -> None:
        torch.manual_seed(0)
        x = torch.rand(count, 1, 28, 28)
        y = torch.cat([model(part).argmax(dim=1) for part in x.split(512)])
        member, threat = Member(name, name, options), Threat(norm, radii)
        published.run(model, x, y, member, threat=threat, seed=0, batch_size=512, probes=False)

    with torch.no_grad():
        attack(8)  # whatever is loaded late
        Path("/proc/self/clear_refs").write_text(
            "5"
        )  # until then the peak is that of the process that started this one
        before = _resident_peak()
        attack(samples)
    return _resident_peak() - before


def _resident_peak() -> float:
    """Return the peak of this process in MB, as Linux counts it."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


if __name__ == "__main__":
    print(_peak(**json.loads(sys.argv[1])))
