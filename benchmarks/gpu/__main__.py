"""Show on a GPU all that it must show: `python -m benchmarks.gpu`; results/gpu/report.md grows as it goes."""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from touchstone.paths import PREPARED

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts

import torch

from benchmarks.gpu import agreement, endurance, graphs, hours, longest, machine, report, speed, training, wheels
from benchmarks.gpu.job import CHECK, Entry, Job, Site, perform

DEADLINE, SHORT_DEADLINE = 480.0, 180.0  # seconds
GRACE = 30.0  # after the deadline the process ends, whatever hangs; what was found is written by then
# by worth: what is right, how long the studies take, how fast it is, then the rest
JOBS: tuple[Job, ...] = (
    *agreement.FIRST,
    *endurance.CORE,
    *agreement.TRAINED,
    *agreement.BUILT,
    *agreement.ATTACKED,
    longest.LONGEST,
    speed.PREPARED,
    *speed.SPEED.values(),
    *training.RATES,
    hours.HOURS,
    endurance.SEEDS,
    *graphs.GRAPHS,
    *endurance.COMPILES,
)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", choices=("full", "tiny"), default="full", help="tiny shows on a CPU that it runs")
    parser.add_argument("--short", action="store_true", help=f"what is worth most, in {SHORT_DEADLINE:.0f} s")
    parser.add_argument("--deadline", type=float, help=f"seconds; {DEADLINE:.0f}, or {SHORT_DEADLINE:.0f} if short")
    parser.add_argument("--only", default="", help="jobs whose part/name contains this text")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels of the libraries that are compared")
    parser.add_argument("--data", type=Path, default=PREPARED, help="a folder of prepared datasets")
    parser.add_argument("--trainings", type=Path, default=Path("results/gpu/trainings.json"), help="for the hours")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    args = parser.parse_args(given)
    args.deadline = args.deadline or (SHORT_DEADLINE if args.short else DEADLINE)
    return args


def run(jobs: Sequence[Job], site: Site, deadline: float, out: Path, heading: str) -> list[Entry]:
    """Run jobs until the deadline, in seconds from now, and write down each as it ends."""
    end, facts = time.monotonic() + deadline, machine.facts(site.device)
    entries: list[Entry] = []
    for job in jobs:
        entry = perform(job, site, end - time.monotonic())
        entries.append(entry)
        if entry.status == "ok":
            site.found[job.key] = entry.data
        report.write(out, heading, facts, entries)
        print(f"{entry.status:8}{entry.seconds:6.1f} s  {job.key}: {entry.text.splitlines()[0]}", flush=True)
        if site.device.type == "cuda":
            torch.cuda.empty_cache()
    return entries


def main() -> int:
    """Run what was asked for; return 1 if something is not right."""
    args = arguments()
    if args.wheels:
        wheels.use(args.wheels, args.out / "site")
    device = torch.device(args.device)
    machine.set_up(device)
    faulthandler.dump_traceback_later(args.deadline + GRACE, exit=True)
    site = Site(
        device,
        tiny=args.size == "tiny",
        scratch=args.out / "scratch",
        data=args.data,
        short=args.short,
        trainings=args.trainings,
    )
    jobs = [job for job in JOBS if args.only in job.key and (job.short or not args.short)]
    heading = f"What a {'GPU' if args.device == 'cuda' else 'CPU'} shows" + (", tiny sizes" if site.tiny else "")
    entries = run(jobs, site, args.deadline, args.out, heading)
    print(report.summary(entries), f"The report is {args.out / 'report.md'}")
    return int(any(entry.part == CHECK and entry.status == "failed" for entry in entries))


if __name__ == "__main__":
    sys.exit(main())
