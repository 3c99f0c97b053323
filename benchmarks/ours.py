"""Our attacks behind the signature of peers.py."""

from __future__ import annotations

from typing import Any

from benchmarks.nets import Subject
from benchmarks.peers import Run
from touchstone.attacks import ATTACKS
from touchstone.evaluation import cascade as worst
from touchstone.evaluation.result import Member
from touchstone.query import Query
from touchstone.registry import load
from touchstone.threat import Threat


def cascade(epsilons: tuple[float, ...], *members: dict[str, Any]) -> Run:
    """Return protocol `worst` with these members {fn, options}, judge included; `steps` goes to all that take it.

    The points are those of each epsilon, a broken sample's from the epsilon that broke it.
    """
    threat = Threat("linf", epsilons)

    def run(subject: Subject, batch: int, steps: int) -> list[Any]:
        given = [Member(m["fn"], m["fn"], {**m["options"], **_budget(m["fn"], steps)}) for m in members]
        more = {"threat": threat, "seed": 0, "batch_size": batch, "examples": len(subject.x), "full_range": False}
        return list(worst.run(subject.model, subject.x, subject.y, given, **more).examples.values())

    return run


def _budget(name: str, steps: int) -> dict[str, int]:
    """Return what stands for a number of steps; Square gets fifty queries for each."""
    return {"queries": 50 * steps} if name == "square" else {"steps": steps}


def minimal(name: str, norm: str, *, share: float = 1.0, **options: Any) -> Run:
    """Return a minimal-norm attack that gets `share` of the steps (one half where it spends the others on tuning)."""
    attack = load(ATTACKS[name].fn)

    def run(subject: Subject, batch: int, steps: int) -> list[Any]:
        query = Query(subject.model, samples=len(subject.x), batch_size=batch)
        count = max(1, round(share * steps))
        return [attack(query, subject.x, subject.y, norm=norm, rng=0, steps=count, **options).x_adv]

    return run
