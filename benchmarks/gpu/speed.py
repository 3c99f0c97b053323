"""Attacks beside those of other libraries: interleaved, float32 for all, and ours with a search in bfloat16.

Every system gets all samples of a case in one batch, or in batches of BATCH. What is shown of its points is judged by
the float32 model, however they were found. A case that has used up its seconds shows the rounds that are whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import ours, peers
from benchmarks.cases import GRID
from benchmarks.gpu.images import images
from benchmarks.gpu.job import Finding, Job, OutOfTime, Site, limit
from benchmarks.nets import Subject
from benchmarks.peers import INF, Run
from benchmarks.timing import Timed, goal, ratio, seconds
from touchstone.data import DATASETS
from touchstone.data.prepare import to_float
from touchstone.defenses.ce import CrossEntropy
from touchstone.losses import misclassified
from touchstone.models.classifier import build
from touchstone.norms import distance
from touchstone.rng import SampleRng
from touchstone.training import Phase, fit

BATCH = 2048
ROUNDS = 3
HARD = 20.0  # seconds of a case
SPARE = 1.0  # of them, to say what was found
LEAST = 2.0  # times as fast as each peer
SLACK = 1e-5  # of a radius: float32 rounding
FEWEST = 10  # steps: C&W of adv-lib takes no fewer
OURS = "ours"


class Net(NamedTuple):
    """What is attacked: an architecture, the channels of its images, for how many epochs it is trained."""

    model: str
    channels: int
    epochs: int
    options: Mapping[str, Any] = {}


class Case(NamedTuple):
    """One comparison: of systems by name, in a norm, on `count` samples, at `steps` of each."""

    net: str
    count: int
    steps: int
    norm: str
    systems: Mapping[str, Run]
    epsilons: tuple[float, ...] = ()
    text: str = ""


NETS = {"lenet5": Net("lenet5", 1, 3), "vgg13": Net("vgg13", 3, 4), "wrn-34-10": Net("wrn-34-10", 3, 0)}
SMALL = {"vgg13": Net("cnn3", 3, 1), "wrn-34-10": Net("wrn", 3, 0, {"depth": 10, "width": 1})}  # of a tiny run
SIXTEENTH = (8 / 255,)


class InBf16(nn.Module):
    """A model whose layers run in bfloat16; logits are float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, classes)."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.model(x).float()


def in_bf16(run: Run) -> Run:
    """Let a system search on a model in bfloat16."""
    return lambda at, batch, steps: run(at._replace(model=InBf16(at.model).eval()), batch, steps)


def _grid(net: str, count: int, steps: int, epsilons: tuple[float, ...], step_size: float, text: str) -> Case:
    pgd = {"fn": "pgd", "options": {"step_size": step_size, "random_start": False}}
    systems = {
        OURS: ours.cascade(epsilons, pgd),
        "torchattacks": peers.torchattacks_pgd(epsilons, step_size),
        "foolbox": peers.foolbox_pgd(epsilons, step_size),
        "adv-lib": peers.adv_lib_pgd(epsilons, step_size),
        "ours, search in bf16": in_bf16(ours.cascade(epsilons, pgd)),
    }
    return Case(net, count, steps, "linf", systems, epsilons, text)


def _pdpgd(net: str, count: int, steps: int) -> Case:
    options = {"start": 0.0, "finetune": False, "lr": 0.5, "ratio": 1.0}
    mine = ours.minimal("pdpgd", "linf", **options)
    systems = {
        OURS: mine,
        "adv-lib": peers.adv_lib_minimal("pdpgd", "num_steps", norm=INF),
        "ours, search in bf16": in_bf16(mine),
    }
    return Case(net, count, steps, "linf", systems, text="As many steps for each; rates of ours as in `make bench`.")


def _cw(net: str, count: int, steps: int, searches: int) -> Case:
    mine = ours.minimal("cw", "l2", binary_steps=searches, lr=0.01, init_const=1e-3, abort_early=True)
    systems = {
        OURS: mine,
        "adv-lib": peers.adv_lib_minimal("carlini_wagner_l2", "max_iterations", binary_search_steps=searches),
        "foolbox": peers.foolbox_minimal("L2CarliniWagnerAttack", binary_search_steps=searches),
        "ours, search in bf16": in_bf16(mine),
    }
    return Case(net, count, steps, "l2", systems, text=f"{searches} searches for the weight.")


def _cascade(net: str, count: int, steps: int) -> Case:
    members = (
        {"fn": "apgd", "options": {"loss": "ce"}},
        {"fn": "apgd-t", "options": {"targets": 9}},
        {"fn": "fab-t", "options": {"targets": 9}},
        {"fn": "square", "options": {}},
    )
    mine = ours.cascade(GRID, *members)
    systems = {OURS: mine, "pyautoattack": peers.autoattack(GRID), "ours, search in bf16": in_bf16(mine)}
    text = "APGD-CE, APGD-T, FAB-T, and Square with fifty queries for each step."
    return Case(net, count, steps, "linf", systems, GRID, text)


_PGD = "PGD from x at each radius; ours carries what is broken on."
# sizes are such that three rounds of all systems should take less than 20 s on an H100
CASES: dict[str, Case] = {
    "pgd-grid lenet5": _grid("lenet5", 10_000, 40, GRID, 0.01, _PGD),
    "pgd-grid vgg13": _grid("vgg13", 1_000, 10, GRID, 0.04, _PGD),
    "cw lenet5": _cw("lenet5", 1_000, 50, 9),
    "pdpgd-linf lenet5": _pdpgd("lenet5", 1_000, 200),
    "cascade lenet5": _cascade("lenet5", 1_000, 20),
    "pgd-10 wrn-34-10": _grid("wrn-34-10", 256, 10, SIXTEENTH, 2 / 255, "PGD-10 from x at 8/255; an untrained net."),
    "pdpgd-linf vgg13": _pdpgd("vgg13", 1_000, 50),
    "cw vgg13": _cw("vgg13", 1_000, 10, 3),
    "cascade vgg13": _cascade("vgg13", 1_000, 10),
}
SHORT = ("pgd-grid lenet5", "cw lenet5", "pgd-grid vgg13")


def net(name: str, tiny: bool) -> Net:
    """Return the row of a net, or of the one that stands in its place."""
    return SMALL.get(name, NETS[name]) if tiny else NETS[name]


@cache
def attacked(name: str, device: torch.device, tiny: bool, folder: Path) -> tuple[nn.Module, Tensor]:
    """Return a net on the device, trained if its row says so, and images (N, C, H, W) of its dataset."""
    row = net(name, tiny)
    data = images(row.channels, device, folder)
    model = build(row.model, DATASETS[data.name], seed=0, **row.options).to(device)
    if row.epochs:
        rows, epochs = (64, 1) if tiny else (20_000, row.epochs)
        phase = Phase(epochs, 64, lr=1e-3, collapse="finish")
        x, y = data.train.x[:rows], data.train.y[:rows]
        fit(model, CrossEntropy(), x, y, (phase,), seed=0, on_epoch=lambda _: None)
    return model.eval().requires_grad_(False), to_float(torch.cat([data.test.x, data.train.x]))


def subject(case: Case, site: Site) -> Subject:
    """Return the net of a case with samples and the classes it gives them; a small set is repeated with noise."""
    model, x = attacked(case.net, site.device, site.tiny, site.data)
    count = 8 if site.tiny else case.count
    index = torch.arange(count, device=site.device)
    noise = 0.05 * (SampleRng(0, index).uniform(tuple(x.shape[1:])) - 0.5)
    x = torch.where((index < len(x)).view(-1, 1, 1, 1), x[index % len(x)], (x[index % len(x)] + noise).clamp(0, 1))
    y = torch.cat([model(part).argmax(1) for part in x.split(BATCH)])
    return Subject(case.net, model, x, y)


class Timing(NamedTuple):
    """Seconds of each system in each whole round, what it returned, and what is to be said of the rest."""

    timed: Mapping[str, Timed]
    remarks: list[str]


def take_turns(
    warm: Mapping[str, Callable[[], Any]], systems: Mapping[str, Callable[[], Any]], rounds: int, allowed: float
) -> Timing:
    """Run every system once per round, in an order that turns, for as many rounds as the seconds allow.

    A short run of each, `warm`, comes before. A library that is not installed, or does not run here, is left out.
    """
    spent: dict[str, list[float]] = {}
    results: dict[str, Any] = {}
    remarks = []
    try:
        with limit(allowed):
            for name, run in warm.items():
                reason = _unfit(name, run)
                if reason:
                    remarks.append(f"{name}: {reason}")
                else:
                    spent[name] = []
            for number in range(rounds):
                names = list(spent)
                turn = number % len(names)
                for name in names[turn:] + names[:turn]:
                    took, results[name] = seconds(systems[name])
                    spent[name].append(took)
    except OutOfTime:
        remarks.append(f"stopped after {allowed:.0f} s")
    whole = min((len(took) for took in spent.values()), default=0)
    if whole < rounds:
        remarks.append(f"{whole} of {rounds} rounds")
    kept = {name: took[:whole] or took for name, took in spent.items() if took}
    return Timing({name: Timed(took, results[name]) for name, took in kept.items()}, remarks)


def _unfit(name: str, run: Callable[[], Any]) -> str:
    """Run a system; say why it does not run here, empty if it does. Ours must."""
    try:
        run()
    except ModuleNotFoundError as missing:
        return f"{missing.name} is not installed"
    except Exception as error:
        if name.startswith(OURS):
            raise
        return f"{type(error).__name__}: {error}"
    return ""


def as_theirs(run: Run) -> Run:
    """Let a peer run as it does for its users: without the deterministic algorithms that ours are held to."""

    def free(at: Subject, batch: int, steps: int) -> list[Tensor]:
        torch.use_deterministic_algorithms(False)
        try:
            return run(at, batch, steps)
        finally:
            torch.use_deterministic_algorithms(True)

    return free


def compare(site: Site, name: str) -> Finding:
    """Run the systems of a case in turn."""
    case = CASES[name]
    at, steps = subject(case, site), FEWEST if site.tiny else case.steps
    warm, systems = (
        {
            system: partial(run if system.startswith(OURS) else as_theirs(run), at, BATCH, count)
            for system, run in case.systems.items()
        }
        for count in (FEWEST, steps)
    )
    found = take_turns(warm, systems, 1 if site.tiny else ROUNDS, HARD - SPARE)
    if not found.timed:
        raise RuntimeError("; ".join(found.remarks))
    told = {system: quality(case, at, timed.result) for system, timed in found.timed.items()}
    lines = [f"{net(case.net, site.tiny).model}, {len(at.x)} samples, {steps} steps. {case.text}", ""]
    lines += ["| system | s (median) | s of each round | result |", "|---|---|---|---|"]
    for system, timed in found.timed.items():
        each = " ".join(f"{s:.3f}" for s in timed.seconds)
        lines.append(f"| {system} | {timed.median:.3f} | {each} | {told[system]} |")
    lines += ["", *(f"- {remark}" for remark in found.remarks), *verdicts(found.timed)]
    data = {system: timed.seconds for system, timed in found.timed.items()}
    return Finding("\n".join(lines), {"seconds": data, "results": told, "remarks": found.remarks})


def verdicts(timed: Mapping[str, Timed]) -> list[str]:
    """Say how many times as long each other system takes as ours, in lines of a list."""
    rivals = [name for name in timed if not name.startswith(OURS)]
    said = []
    for name in (n for n in timed if n.startswith(OURS)):
        pairs = {peer: ratio(timed[peer], timed[name]) for peer in rivals if _as_often(timed[peer], timed[name])}
        if pairs:
            text = ", ".join(f"{peer} {value:.2f}x" for peer, value in pairs.items())
            aim = goal(LEAST, min(pairs.values()) >= LEAST, ">=") if name == OURS else ""
            said.append(f"- {name}: seconds of the others over ours: {text}{aim}")
    return said


def _as_often(one: Timed, other: Timed) -> bool:
    return len(one.seconds) == len(other.seconds)


@torch.no_grad()
def quality(case: Case, at: Subject, points: list[Tensor]) -> str:
    """Say what share of the samples a system leaves unbroken at each radius, or how far it goes, by the net itself."""
    kept = [p.to(at.x.device) for p in points]
    fooled = [torch.cat([misclassified(at.model(z), y) for z, y in _batches(p, at.y)]) for p in kept]
    far = [distance(p - at.x, case.norm) for p in kept]
    if case.epsilons:
        near = [d <= eps * (1 + SLACK) for d, eps in zip(far, case.epsilons, strict=True)]
        left = [1 - float((hit & n).double().mean()) for hit, n in zip(fooled, near, strict=True)]
        return "left: " + " / ".join(f"{share:.1%}" for share in left)
    return f"{float(fooled[0].double().mean()):.1%} at mean {case.norm} {float(far[0][fooled[0]].double().mean()):.4f}"


def _batches(x: Tensor, y: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    return zip(x.split(BATCH), y.split(BATCH), strict=True)


def prepare(site: Site) -> Finding:
    """Train the nets that are attacked, so that no case pays for it."""
    for name in NETS:
        attacked(name, site.device, site.tiny, site.data)
    return Finding(f"{', '.join(NETS)} are ready")


PREPARED = Job("attacks", "nets", prepare, 60, short=True)
SPEED = {name: Job("attacks", name, partial(compare, name=name), 2 * HARD, short=name in SHORT) for name in CASES}
