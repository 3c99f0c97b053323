"""Run the comparisons: `python -m benchmarks [case ...]`; writes report.md and a JSON file per case."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import CASES, GRID, Case, System
from benchmarks.memory import table as memory_table
from benchmarks.nets import Subject, subject
from benchmarks.seeds import table as seeds_table
from benchmarks.timing import Timed, best_batch, goal, interleave, ratio
from benchmarks.training import TRAINING, measure_training, training_section
from benchmarks.units import table as units_table
from touchstone.norms import distance
from touchstone.provenance import machine, versions

PROBE = 10  # a run that chooses a batch size takes a tenth of the steps
BARE = 10  # passes over all samples in one measurement of the bare model
OVERHEAD = 1.15  # what a run of ours may cost over its passes through the bare model


class Counted(nn.Module):
    """Counts the rows that go forward through a model, and those whose gradient comes back."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.forwards, self.backwards = model, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's logits (B, classes)."""
        logits = self.model(x)
        self.forwards += len(x)
        if logits.requires_grad:
            logits.register_hook(self._back)
        return logits

    def _back(self, grad: Tensor) -> None:
        self.backwards += len(grad)


def measure(case: Case, at: Subject, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Give every system its best batch size, run all of them in turn, and describe what they returned."""
    counted = Counted(at.model).eval()
    at = at._replace(model=counted)
    systems, batches = {}, {}
    for name, system in case.systems.items():
        batches[name] = best_batch(partial(_short, system, at), len(at.x))
        systems[name] = partial(_counting, system, at, batches[name])
        say(f"  {name}: batches of {batches[name]}")
    best = batches["ours"]
    systems["bare gradient"] = partial(_bare, at, best, torch.enable_grad)
    systems["bare forward"] = partial(_bare, at, best, torch.no_grad)
    timed = interleave(systems, rounds)
    gradient, forward = (timed[f"bare {kind}"].median / BARE for kind in ("gradient", "forward"))
    rows = []
    for name, system in case.systems.items():
        points, forwards, backwards = timed[name].result
        passes = backwards * gradient + (forwards - backwards) * forward
        rows.append(
            {
                "system": name,
                "peer": system.peer,
                "batch": batches[name],
                "seconds": timed[name].seconds,
                "median": timed[name].median,
                "forwards": forwards,
                "backwards": backwards,
                "bare": passes,
                "over_bare": timed[name].median / passes,
                **_quality(case, at, points),
            }
        )
    return {"rows": rows, "verdicts": _verdicts(case, timed, rows), "bare": {"gradient": gradient, "forward": forward}}


def _short(system: System, at: Subject, batch: int) -> None:
    system.run(at, batch, max(2, system.steps // PROBE))


def _counting(system: System, at: Subject, batch: int) -> tuple[list[Tensor], float, float]:
    """Run a system; return its points and its passes per sample."""
    at.model.forwards = at.model.backwards = 0
    points = system.run(at, batch, system.steps)
    return points, at.model.forwards / len(at.x), at.model.backwards / len(at.x)


def _bare(at: Subject, batch: int, mode: Callable[[], Any]) -> None:
    """Send all samples through the model as PyTorch would, with cross-entropy and its gradient if wanted."""
    for _ in range(BARE):
        for x, y in zip(at.x.split(batch), at.y.split(batch), strict=True):
            with mode():
                inputs = torch.empty_like(x, memory_format=torch.channels_last).copy_(x)
                inputs.requires_grad_(torch.is_grad_enabled())
                loss = nn.functional.cross_entropy(at.model(inputs), y, reduction="sum")
                if loss.requires_grad:
                    torch.autograd.grad(loss, inputs)


@torch.no_grad()
def _quality(case: Case, at: Subject, points: list[Tensor]) -> dict[str, Any]:
    """Say which samples each set of points breaks, and how far they are."""
    fooled = [torch.cat([at.model(z).argmax(dim=1) for z in p.split(512)]) != at.y for p in points]
    far = [distance(p - at.x, case.norm) for p in points]
    if len(points) > 1:
        fooled = [hit & (d <= eps + 1e-6) for hit, d, eps in zip(fooled, far, GRID, strict=True)]
        return {"left": [1 - float(hit.double().mean()) for hit in fooled], "broken": [hit.tolist() for hit in fooled]}
    return {"success": float(fooled[0].double().mean()), "norm": float(far[0][fooled[0]].double().mean())}


def _verdicts(case: Case, timed: dict[str, Timed], rows: list[dict[str, Any]]) -> list[str]:
    """Compare ours with the peers, and say which targets are met."""
    by_name = {row["system"]: row for row in rows}
    peers = [name for name, system in case.systems.items() if system.peer]
    rivals = [name for name in peers if name in case.against] or peers
    said = []
    for name in (n for n, system in case.systems.items() if not system.peer):
        mine, (least, largest) = by_name[name], case.wanted.get(name, (None, None))
        ratios = {peer: ratio(timed[peer], timed[name]) for peer in peers}
        worst = min(ratios[peer] for peer in rivals)
        text = ", ".join(f"{peer} {value:.2f}x" for peer, value in ratios.items())
        said.append(f"{name}: seconds of the others over ours: {text}{goal(least, worst >= (least or 0), '>=')}")
        if "norm" in mine:
            shortest = min(by_name[peer]["norm"] for peer in rivals)
            share, hit = mine["norm"] / shortest, mine["success"] >= max(by_name[peer]["success"] for peer in rivals)
            aim = goal(largest, hit and share <= (largest or 0), "<=")
            said.append(f"{name}: mean norm over the smallest of theirs {share:.4f}{aim}")
        if "broken" in mine:
            said += _dominance(name, mine, {peer: by_name[peer] for peer in peers})
        good = mine["over_bare"] <= OVERHEAD
        said.append(f"{name}: {mine['over_bare']:.3f} of its passes bare{goal(OVERHEAD, good, '<=')}")
    return said


def _dominance(name: str, mine: dict[str, Any], peers: dict[str, dict[str, Any]]) -> list[str]:
    """Count what a peer breaks and ours does not, and compare the ratio of times with that of passes."""
    said = []
    for peer, row in peers.items():
        missed = [
            sum(b and not a for a, b in zip(ours, theirs, strict=True))
            for ours, theirs in zip(mine["broken"], row["broken"], strict=True)
        ]
        got, bound = row["median"] / mine["median"], row["bare"] / mine["bare"]
        said.append(
            f"{name}: {missed} samples are broken by {peer} alone, per epsilon; {got:.2f}x faster, where the passes "
            f"allow {bound:.2f}x: {got / bound:.2f} of it"
        )
    return said


def section(name: str, case: Case, found: dict[str, Any]) -> str:
    """Return one case as a section of the report."""
    lines = [f"## {name}: {case.subject}, {case.count} samples", case.text, ""]
    header = ("system", "batch", "s (median)", "s (range)", "forwards", "backwards", "result")
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in found["rows"]:
        span = f"{min(row['seconds']):.2f} to {max(row['seconds']):.2f}"
        if "left" in row:
            result = "left: " + " / ".join(f"{100 * share:.1f} %" for share in row["left"])
        else:
            result = f"{100 * row['success']:.1f} % at mean {case.norm} {row['norm']:.4f}"
        cells = [row["system"], row["batch"], f"{row['median']:.2f}", span]
        cells += [f"{row['forwards']:.1f}", f"{row['backwards']:.1f}", result]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    bare = found["bare"]
    lines += ["", f"A bare gradient of all samples takes {bare['gradient']:.3f} s, a forward {bare['forward']:.3f} s."]
    return "\n".join([*lines, *(f"- {text}" for text in found["verdicts"]), ""])


def _heading(threads: int, rounds: int, channels_last: bool) -> str:
    """Say on what and how it was measured."""
    here, form = machine(), "channels_last" if channels_last else "PyTorch's ordinary format"
    how = f"{threads} threads; weights in {form}; medians of {rounds} rounds in turn"
    using = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"# Speed beside peers\n{here['cpu']}, {here['cores']} cores; {how}.\n\n{using}\n"


def _attacked(name: str, args: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], str]:
    case = CASES[name]
    at = subject(case.subject, args.out / "nets", case.count, channels_last=args.channels_last, say=say)
    say(f"{name}: {case.subject}, {case.count} samples")
    found = measure(case, at, args.rounds, say)
    return found, section(name, case, found)


def _trained(name: str, args: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], str]:
    say(f"{name}: {TRAINING[name].text}")
    found = measure_training(TRAINING[name], args.rounds, say)
    return found, training_section(name, TRAINING[name], found)


def _seeds(name: str, args: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], str]:  # noqa: ARG001
    return seeds_table(args.rounds)


def _memory(name: str, args: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], str]:  # noqa: ARG001
    return {}, memory_table()


def _units(name: str, args: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], str]:  # noqa: ARG001
    return {}, units_table(say)


# name -> (name, arguments, say) -> what was measured and a section of the report; all are run if none is named
PARTS = {**dict.fromkeys(CASES, _attacked), **dict.fromkeys(TRAINING, _trained), "seeds": _seeds, "memory": _memory}
NAMED = {"units": _units}  # only if named: it writes a file of the package


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"all if none are named: {', '.join(PARTS)}; or units")
    parser.add_argument("--rounds", type=int, default=5, help="each system runs this often (default 5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch")
    parser.add_argument("--channels-last", action="store_true", help="give the peers weights in the faster format")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    args = parser.parse_args()
    unknown = set(args.cases) - PARTS.keys() - NAMED.keys()
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}")
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)  # as in a job
    say = partial(print, flush=True)
    sections = [_heading(args.threads, args.rounds, args.channels_last)]
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.cases or PARTS:
        start = time.perf_counter()
        found, text = (PARTS | NAMED)[name](name, args, say)
        (args.out / f"{name}.json").write_text(json.dumps(found))
        sections.append(text)
        say(text + f"\n({time.perf_counter() - start:.0f} s)")
        (args.out / "report.md").write_text("\n".join(sections))


if __name__ == "__main__":
    main()
