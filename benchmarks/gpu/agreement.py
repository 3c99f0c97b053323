"""What a GPU computes is what a CPU computes: draws, attacks, objectives, architectures, verdicts.

Tolerances. Both compute in float32 and round differently; a step of an attack takes the sign of a gradient, or a class
that is ahead by rounding, so iterates part. What must agree is what is reported: how many samples are broken (TIES may
fall on the other side of a boundary) and how far away (SPREAD). Objectives are compared in float64, where they agree.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.gpu.job import CHECK, Finding, Job, NotHere, Site
from benchmarks.gpu.machine import set_up, tf32, under_test
from benchmarks.nets import dataset
from benchmarks.peers import library
from touchstone.attacks import ATTACKS
from touchstone.attacks.pgd import fgsm
from touchstone.data import DATASETS
from touchstone.data.prepare import to_float
from touchstone.defenses import DEFENSES
from touchstone.defenses.base import Defense
from touchstone.defenses.ce import CrossEntropy
from touchstone.evaluation import judge
from touchstone.evaluation.preflight import preflight
from touchstone.losses import misclassified
from touchstone.models import MODELS
from touchstone.models.classifier import Classifier, build
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.registry import AttackSpec, load, options
from touchstone.rng import SampleRng
from touchstone.threat import Threat, in_space
from touchstone.training import Phase, fit

CPU = torch.device("cpu")
TIES = 1 / 8  # of the samples may be broken on one device alone
SPREAD = 0.05  # by which mean distances may differ
GRADIENT = 1e-6  # of its length by which a gradient in float64 may differ
LOGITS = 1e-4  # of the largest by which logits in float32 may differ
NORMAL = 4e-6  # by which normal draws may differ: up to 5.8, through a log and a cos that are right to a few ulp
RADII = {"linf": 0.1, "l2": 2.0, "l1": 15.0, "l0": 30.0}

# what an attack is given of these options, if it has them: few steps, so that a hundred attacks take a minute
QUICK: Mapping[str, Any] = {
    "steps": 10, "step_size": 0.1, "relative": True, "queries": 60, "restarts": 2, "targets": 2, "boundary_steps": 8,
    "binary_steps": 3, "init_const": 0.1, "population": 20, "directions": 16, "starts": 20,
}  # fmt: skip
TINY = {
    "steps": 5,
    "queries": 20,
    "restarts": 1,
    "boundary_steps": 4,
    "binary_steps": 2,
    "population": 8,
    "gamma": 0.03,
}
INNER = {"steps": 10, "step_size": 0.1, "relative": True}
_PRIMAL_DUAL = {"steps": 60, "lr": 0.5, "start": 0.0, "ratio": 1.0, "relative": False, "finetune": False}
# what suits an attack better
SUITED: Mapping[str, Mapping[str, Any]] = {
    "cw": {"steps": 40, "lr": 0.1},
    "ead": {"steps": 60, "lr": 0.02, "init_const": 1.0, "beta": 1e-2},
    "ddn": {"steps": 30},
    "high-confidence": {"steps": 60},
    "pdgd": _PRIMAL_DUAL,
    "pdpgd": _PRIMAL_DUAL,
    "jsma": {"gamma": 1.0},
    "spsa": {"lr": 0.05},
    "transfer": {"options": INNER},
    "bpda": {"options": {"step_size": 0.1, "relative": True}},
    "brendel-bethge": {"steps": 1, "lr": 0.01},
    "autoattack": {"version": "custom", "attacks": ("apgd-ce", "fab-t"), "steps": 5},
}
SLOW = {"brendel-bethge": 2}  # samples, where fewer must do: a solver in plain Python
# constants that an objective asks for, by their name
CONSTANTS: Mapping[str, Any] = {
    "variant": "coded", "norm": "linf", "eps": 0.05, "attack_steps": 2, "step_size": 0.03, "beta": 1.0, "clean": 0.5,
    "adversarial": 0.5, "lam": 1e-3, "mu": 1e-3, "c": 0.01, "alpha": 0.333, "s": 1.0, "scale": 2.0,
    "p": 0.0,  # dropout draws from torch's generator of the device, so other units would be dropped
}  # fmt: skip
# where others are needed; noise would be drawn from torch's generator
SUITED_CONSTANTS: Mapping[str, Mapping[str, Any]] = {
    "margin": {"norm": "l2"},
    "critic": {"input_noise": 0.0, "hidden_noise": 0.0},
}
LATE = 100  # an epoch in which nothing is only pre-trained any more
# what an architecture must be told; the critic is given no noise, which it would draw from torch's generator
ASKED: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"hidden": (64, 64), "init": "glorot"},
    "critic": {"input_noise": 0.0, "hidden_noise": 0.0},
    "wrn": {"depth": 10, "width": 1},
    "torchvision": {"name": "resnet18"},
    "timm": {"name": "resnet18"},
}


class Seen(NamedTuple):
    """What an attack did on one device: which samples it broke, how far each point is, and the points."""

    broken: Tensor
    far: Tensor
    points: Tensor


@cache
def trained() -> tuple[Classifier, Tensor, Tensor]:
    """Return a lenet that was trained on digits, and the test images (420, 1, 28, 28) with their labels, on the CPU."""
    data = dataset("digits")
    model = build("lenet", DATASETS["digits"], seed=0)
    fit(model, CrossEntropy(), data.train.x, data.train.y, (Phase(4, 64, lr=2e-3),), seed=0, on_epoch=lambda _: None)
    return model.eval(), to_float(data.test.x), data.test.y


def draws(site: Site) -> Finding:
    """Draw the same numbers on both devices: uniform ones and integers to the bit, normal ones but for rounding."""
    here, there = (SampleRng(5, torch.arange(1000, device=device)) for device in (CPU, site.device))
    for dtype in (torch.float32, torch.float64):
        equal(here.uniform((3, 8, 8), step=2, dtype=dtype), there.uniform((3, 8, 8), step=2, dtype=dtype))
    equal(here.integers(10, (7,), restart=1), there.integers(10, (7,), restart=1))
    apart = gap(here.normal((3, 8, 8)), there.normal((3, 8, 8)))
    assert apart <= NORMAL, f"normal draws differ by {apart:.1e}"
    return Finding(f"uniform and integers: the same bits; normal: {apart:.1e} apart at most", {"normal": apart})


def attack_agrees(site: Site, name: str, norm: str) -> Finding:
    """Run an attack on both devices."""
    try:
        if name == "brendel-bethge":
            uncompiled()
        here = _attacked(name, norm, CPU, site)
        with under_test(site.device):
            there = _attacked(name, norm, site.device, site)
    except ModuleNotFoundError as missing:
        raise NotHere(f"{missing.name} is not installed") from missing
    count = len(here.broken)
    ties = int((here.broken != there.broken).sum())
    assert ties <= max(1, TIES * count), f"{ties} of {count} samples are broken on one device alone"
    both = here.broken & there.broken
    far = [float(seen.far[both].double().mean()) if both.any() else 0.0 for seen in (here, there)]
    assert abs(far[1] - far[0]) <= SPREAD * far[0], f"mean {norm} {far[0]:.4g} and {far[1]:.4g}"
    apart = gap(here.points, there.points)
    sides = (int(here.broken.sum()), int(there.broken.sum()))
    text = f"{sides[0]} and {sides[1]} of {count} broken, mean {norm} {far[0]:.4g} and {far[1]:.4g}"
    return Finding(
        f"{text}; points {apart:.1e} apart", {"broken": list(sides), "mean": far, "apart": apart, "samples": count}
    )


def _attacked(name: str, norm: str, device: torch.device, site: Site) -> Seen:
    spec, (model, x, y) = ATTACKS[name], trained()
    model, count = copy.deepcopy(model).to(device), SLOW.get(name, 8 if site.tiny else 32)
    if name == "bpda":  # it is for saturating activations
        model.logits = nn.Tanh()
    x, y = x[:count].to(device), y[:count].to(device)
    budget = {} if spec.kind == "minimal" else {"eps": RADII[norm]}
    more = chosen(name, spec, tiny=site.tiny) | ({"substitute": model} if name == "transfer" else {})
    out = load(spec.fn)(Query(model), x, y, norm=norm, rng=0, **budget, **more)
    points = out.x_adv if spec.kind == "minimal" else out
    assert points.device == x.device, f"the points are on {points.device}"
    far = distance(points - x, norm)
    assert spec.kind != "fixed" or bool((far <= RADII[norm] * (1 + 1e-5)).all()), f"{float(far.max())} from x"
    broken = misclassified(Query(model).logits(points), y)
    return Seen(broken.cpu(), far.cpu(), points.cpu())


def uncompiled() -> None:
    """Let Foolbox' solvers run as plain Python, unless it is imported already: numba needs a minute to compile them.

    Raises:
        ModuleNotFoundError: without numba or Foolbox.
    """

    def plain(spec: object) -> Callable[[type], type]:  # noqa: ARG001  the signature is numba's
        def leave(solver: type) -> type:
            solver.class_type, solver._ctor = SimpleNamespace(instance_type=None), SimpleNamespace(signatures=[None])
            return solver

        return leave

    numba = importlib.import_module("numba.experimental")
    compiling, numba.jitclass = numba.jitclass, plain
    try:
        library("foolbox")
    finally:
        numba.jitclass = compiling


def chosen(name: str, spec: AttackSpec, *, tiny: bool = False) -> dict[str, Any]:
    """Return the options with which an attack is compared; with fewer steps still if `tiny`."""
    known = options(spec.fn)
    given = {option: value for option, value in QUICK.items() if option in known} | SUITED.get(name, {})
    return {o: min(value, TINY[o]) if tiny and o in TINY else value for o, value in given.items()}


def defense_agrees(site: Site, name: str) -> Finding:
    """Take the loss and its gradients on both devices, in float64."""
    with under_test(site.device):
        there = _stepped(name, site.device)
    here = _stepped(name, CPU)
    assert len(here) == len(there) > 0, f"{len(here)} and {len(there)} steps"
    apart = max(gap(a, b) / (1e-12 + float(a.norm())) for one, other in zip(here, there, strict=True)
                for a, b in zip(one, other, strict=True))  # fmt: skip
    assert apart <= GRADIENT, f"a loss or gradient differs by {apart:.1e} of its length"
    return Finding(f"{len(here)} steps, {apart:.1e} apart", {"apart": apart})


def objective(name: str, given: Mapping[str, Any] | None = None) -> Defense:
    """Build an objective with the constants that are given, and with suitable ones for those it asks for besides."""
    asked = {option: CONSTANTS[option] for option, fact in options(DEFENSES[name].fn).items() if fact.required}
    made: Defense = load(DEFENSES[name].fn)(**asked | SUITED_CONSTANTS.get(name, {}) | dict(given or {}))
    return made


def net_for(name: str, seed: int = 0) -> Classifier:
    """Build a small net that an objective can train."""
    kind = {"dropout": "mlp-1000", "weightpen": "smallcnn"}.get(name, "lenet")
    return build(kind, DATASETS["digits"], seed=seed)


def _stepped(name: str, device: torch.device) -> list[list[Tensor]]:
    """Return for each step of one batch its loss and the gradients of what it steps, on the CPU."""
    _, x, y = trained()
    model, defense = net_for(name).double().to(device).train(), objective(name)
    extra, found = defense.setup(model, 0), []
    for step in defense.steps(model, extra, x[:16].double().to(device), y[:16].to(device), seed=3, epoch=LATE):
        parameters = [p for p in step.parameters if p.requires_grad]
        grads = torch.autograd.grad(step.loss, parameters, allow_unused=True, retain_graph=True)
        found.append([part.detach().cpu() for part in (step.loss, *grads) if part is not None])
    return found


def model_agrees(site: Site, name: str) -> Finding:
    """Send images through an architecture on both devices, in float32 without TF32."""
    try:
        model = build(name, DATASETS["cifar10"], seed=0, **ASKED.get(name, {})).eval()
    except ModuleNotFoundError as missing:
        raise NotHere(str(missing)) from missing
    x = SampleRng(0, torch.arange(2)).uniform((3, 32, 32))
    here = judge.logits(model, x)
    with under_test(site.device):
        there = judge.logits(copy.deepcopy(model).to(site.device), x.to(site.device))
    apart = gap(here, there) / float(here.abs().max())
    assert apart <= LOGITS, f"logits differ by {apart:.1e} of the largest"
    return Finding(f"{apart:.1e} of the largest logit apart", {"apart": apart})


def verdict_agrees(site: Site, *, allowed: bool = False) -> Finding:
    """Judge the same points on both devices; also where TF32 is `allowed`, as torch does by default in convolutions."""
    model, x, y = trained()
    threat, radius = Threat("linf", (0.2,)), 0.2
    reach = 0.3 * SampleRng(1, torch.arange(len(x))).uniform(())  # some points are near, some too far
    points = fgsm(model, x, y, norm="linf", eps=reach, rng=0)
    here = judge.judge(in_space(model, threat), x, y, points, threat, radius)
    view = in_space(copy.deepcopy(model).to(site.device), threat)
    try:
        tf32(allowed)
        with under_test(site.device):
            there = judge.judge(view, *(part.to(site.device) for part in (x, y, points)), threat, radius)
    finally:
        set_up(site.device)
    clear = here["adv_margin"].abs() > LOGITS
    assert clear.double().mean() > 0.95
    for column in ("clean_pred", "adv_pred", "success", "rejected", "adv_rank"):
        differ = int((here[column] != there[column])[clear].sum())
        assert not differ, f"{column} differs for {differ} samples"
    equal(here["dist"], there["dist"])
    apart = gap(here["adv_margin"], there["adv_margin"])
    assert apart <= 1e-3, f"margins differ by {apart:.1e}: not float32"
    share, out = (float(here[column].double().mean()) for column in ("success", "rejected"))
    text = f"{len(x)} points, {share:.0%} adversarial and {out:.0%} rejected on both"
    return Finding(f"{text}; margins {apart:.1e} apart", {"apart": apart})


def preflight_agrees(site: Site) -> Finding:
    """Measure on both devices what would mislead an attack."""
    model, x, y = trained()
    threat, more = Threat("linf", (0.1,)), {"seed": 0, "batch_size": 256}
    here = preflight(model, x, y, threat=threat, **more)
    with under_test(site.device):
        there = preflight(
            copy.deepcopy(model).to(site.device), x.to(site.device), y.to(site.device), threat=threat, **more
        )
    assert here.keys() == there.keys()
    apart = {name: abs(float(here[name]) - float(there[name])) for name in here}
    worst = max(apart, key=apart.__getitem__)
    assert apart[worst] <= 0.02, f"{worst}: {here[worst]} and {there[worst]}"
    return Finding(f"{len(here)} measures, {apart[worst]:.1e} apart ({worst})", {"apart": apart[worst]})


def equal(here: Tensor, there: Tensor) -> None:
    """Raise AssertionError unless both have the same bits."""
    assert torch.equal(here.cpu(), there.cpu()), f"{gap(here, there):.1e} apart"


def gap(here: Tensor, there: Tensor) -> float:
    """Return the largest difference."""
    return float((here.cpu().double() - there.cpu().double()).abs().max())


# what calls a foreign attack has no points of its own
_ATTACKS = [(name, norm) for name, spec in ATTACKS.items() if not spec.foreign for norm in spec.norms]
_SHORT = {"pgd", "apgd-t", "fab", "cw", "pdpgd", "square"}

FIRST = [  # what everything else rests on
    Job(CHECK, "draws", draws, 30, short=True),
    Job(CHECK, "verdict", verdict_agrees, 30, short=True),
    Job(CHECK, "verdict where TF32 is allowed", partial(verdict_agrees, allowed=True), 30, short=True),
    Job(CHECK, "preflight", preflight_agrees, 30, short=True),
]
ATTACKED = [
    Job(CHECK, f"attack {name} {norm}", partial(attack_agrees, name=name, norm=norm), 30, short=name in _SHORT)
    for name, norm in sorted(_ATTACKS, key=lambda pair: pair[0] in SLOW)
]
TRAINED = [Job(CHECK, f"defense {name}", partial(defense_agrees, name=name), 30) for name in DEFENSES]
BUILT = [Job(CHECK, f"model {name}", partial(model_agrees, name=name), 30) for name in MODELS]
