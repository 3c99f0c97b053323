"""What is measured: for each case the net, the samples, ours, the peers, and what is to be reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks import ours, peers
from benchmarks.peers import INF, Run

GRID = (0.1, 0.2, 0.3)

EQUAL = 1.0005  # mean norms that differ by less are the same: searches end at other points of one boundary


class System(NamedTuple):
    """One way of doing the work: its steps, and those of the short runs that choose its batch size."""

    run: Run
    steps: int
    peer: bool = True


class Case(NamedTuple):
    """One comparison on `count` samples of a net; the norm is that of the distances shown.

    `wanted` maps a system of ours to (least ratio of the fastest peer's time to its time, largest ratio of its mean
    norm to the smallest of the peers that `against` names, or None). None stands for no such target.
    """

    subject: str
    count: int
    norm: str
    systems: Mapping[str, System]
    wanted: Mapping[str, tuple[float | None, float | None]]
    against: tuple[str, ...] = ()  # all peers where empty
    text: str = ""


def _grid(subject: str, count: int, least: float | None, text: str) -> Case:
    pgd = {"fn": "pgd", "options": {"step_size": 0.01, "random_start": False}}
    systems = {
        "ours": System(ours.cascade(GRID, pgd), 40, peer=False),
        "torchattacks": System(peers.torchattacks_pgd(GRID, 0.01), 40),
        "foolbox": System(peers.foolbox_pgd(GRID, 0.01), 40),
        "adv-lib": System(peers.adv_lib_pgd(GRID, 0.01), 40),
    }
    return Case(subject, count, "linf", systems, {"ours": (least, None)}, text=text)


def _primal_dual(norm: str, least: float, tuned: dict[str, Any], quick: int, /, **theirs: Any) -> Case:
    """Compare at equal passes, and at `quick` passes, after which ours is to be where theirs ends."""
    fn = "pdgd" if norm == "l2" else "pdpgd"
    one = {"start": 0.0, "finetune": False}
    peer = peers.adv_lib_minimal(fn, "num_steps", **theirs)
    same = peers.adv_lib_minimal(fn, "num_steps", primal_lr=tuned["lr"], dual_ratio_init=tuned["ratio"], **theirs)
    systems = {
        "ours": System(ours.minimal(fn, norm, **one, **tuned), 500, peer=False),
        "ours, fine-tuned": System(ours.minimal(fn, norm, share=0.5, start=0.0, **tuned), 500, peer=False),
        f"ours, {quick} passes": System(ours.minimal(fn, norm, **one, **tuned), quick, peer=False),
        "adv-lib": System(peer, 500),
        "adv-lib, our rates": System(same, 500),
    }
    if norm == "l0":
        systems["adv-lib fmn"] = System(peers.adv_lib_minimal("fmn", "steps", norm=0), 500)
    wanted = {"ours": (least, 1.005), f"ours, {quick} passes": (2.0, 1.0)}
    if norm == "l0":
        wanted["ours"] = (None, 1.0)
    text = "Both rates of ours were chosen on 100 of these samples; the second peer has them too."
    return Case("lenet-std", 250, norm, systems, wanted, against=("adv-lib", "adv-lib fmn"), text=text)


def _minimal(
    name: str, norm: str, count: int, steps: int, others: Mapping[str, Run], subject: str = "lenet-std", **options: Any
) -> Case:
    systems = {"ours": System(ours.minimal(name, norm, **options), steps, peer=False)}
    systems |= {peer: System(run, steps) for peer, run in others.items()}
    return Case(subject, count, norm, systems, {"ours": (1.0, EQUAL)})


_CASCADE = (
    {"fn": "apgd", "options": {"loss": "ce"}},
    {"fn": "apgd-t", "options": {"targets": 9}},
    {"fn": "fab-t", "options": {"targets": 9}},
    {"fn": "square", "options": {}},
)


def _cascade(subject: str, count: int) -> Case:
    systems = {
        "ours": System(ours.cascade(GRID, *_CASCADE), 100, peer=False),
        "pyautoattack": System(peers.autoattack(GRID), 100),
    }
    text = "APGD-CE, APGD-T, FAB-T, Square with 5,000 queries; three epsilons in one run, and one run each."
    return Case(subject, count, "linf", systems, {"ours": (2.0, None)}, text=text)


_CW = {"binary_steps": 9, "lr": 0.01, "init_const": 1e-3, "abort_early": True}
CASES: dict[str, Case] = {
    "pgd-grid": _grid("lenet-std", 1000, 2.8, "PGD-40 from x at linf 0.1, 0.2, 0.3; ours is protocol `worst`."),
    "pgd-grid-adv": _grid("lenet-adv", 500, None, "As above on an adversarially trained net, where little breaks."),
    "pgd-grid-vgg": _grid("vgg-std", 32, None, "As above on 3 x 32 x 32."),
    "pdpgd-linf": _primal_dual("linf", 1.5, {"lr": 0.5, "ratio": 1.0}, 240, norm=INF),
    "pdpgd-l1": _primal_dual("l1", 1.0, {"lr": 0.5, "ratio": 0.1}, 240, norm=1),
    "pdgd-l2": _primal_dual("l2", 1.0, {"lr": 0.5, "ratio": 3.0}, 240),
    "pdpgd-l0": _primal_dual("l0", 1.0, {"lr": 0.5, "ratio": 0.1}, 240, norm=0, proximal_operator=23),
    "ddn-l2": _minimal(
        "ddn",
        "l2",
        250,
        500,
        {
            "adv-lib": peers.adv_lib_minimal("ddn", "steps", levels=None),
            "foolbox": peers.foolbox_minimal("DDNAttack"),
        },
    ),
    "cw-l2": _minimal(
        "cw",
        "l2",
        100,
        200,
        {
            "adv-lib": peers.adv_lib_minimal("carlini_wagner_l2", "max_iterations"),
            "foolbox": peers.foolbox_minimal("L2CarliniWagnerAttack"),
        },
        **_CW,
    ),
    **{
        f"fab-{norm}": _minimal("fab", norm, 200, 100, {"adv-lib": peers.adv_lib_minimal("fab", "n_iter", norm=p)})
        for norm, p in (("linf", INF), ("l2", 2), ("l1", 1))
    },
    "cascade": _cascade("lenet-std", 100),
    "cascade-adv": _cascade("lenet-adv", 50),
}
