"""Protocol `published`: what a paper did. Each epsilon alone, all steps, no repair, the attack's own criterion."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from touchstone.attacks.balls import confine
from touchstone.evaluation import flags
from touchstone.evaluation.block import COSTS, Block, Columns, Proposal, frame, join, make_block, propose
from touchstone.evaluation.judge import log_odds
from touchstone.evaluation.probes import probe
from touchstone.evaluation.result import Member, Progress, Result, query_flags, reporter
from touchstone.losses import Loss
from touchstone.query import undisturbed
from touchstone.records import Choice
from touchstone.registry import EXAMPLES, BudgetRule
from touchstone.rng import own_generator
from touchstone.threat import Threat

Report = Callable[[str, Columns], None]


@dataclass(frozen=True)
class Request:
    """One attack on a block, further options to choose from, how its points count, how many to show, whom to tell."""

    member: Member
    choices: Sequence[Mapping[str, Any]]  # of which the best are kept; [{}] if there is no choice
    chosen: Mapping[float, Mapping[str, Any]]  # radius (inf: none) -> the choice that was made before, in their place
    budget_rule: str
    examples: int
    progress: Progress | None

    def at(self, eps: float) -> Sequence[Mapping[str, Any]]:
        """Return the options to choose from at a radius."""
        return [self.chosen[eps]] if self.chosen else self.choices


def run(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    member: Member,
    *,
    threat: Threat | None,
    seed: int,
    batch_size: int,
    grid: Mapping[str, Sequence[Any]] | None = None,
    budget_rule: BudgetRule | None = None,
    chosen: Sequence[Choice] | None = None,
    own_loss: Loss | None = None,
    progress: Progress | None = None,
    index: Tensor | None = None,
    examples: int = EXAMPLES,
    probes: bool = True,
) -> Result:
    """Attack a model as a paper did.

    Args:
        model: pixels (B, *shape) -> logits (B, classes); its mode, parameters and gradients are left alone.
        x: (n, *shape) float32 pixels in [0, 1], on the model's device.
        y: (n,) int64 true classes.
        member: the attack.
        threat: norm, epsilons, space and box; None for an attack of kind "none".
        seed: of the draws, which depend on it and on the index of the sample only.
        batch_size: rows per call of the model.
        grid: option -> values to choose from. The attack runs with every combination, and one of them is kept for all
            samples together: at each epsilon the one that breaks most; without epsilons the one of smallest mean
            distance over the samples that were right and are broken, however few it breaks (as Matyasko, 2020, sorted
            in chapter 5), then of smallest median over those that were right, a failure counting as infinite. The
            first of equals. The cost in the records is that of all of them.
        budget_rule: of a minimal-norm attack; the usual one of the attack if not given.
        chosen: what a run of the same attack tried of its grid (`Result.grid`): what it kept is taken over, at each
            epsilon its own.
        own_loss: the loss that the model was trained with, which attacks know as the loss "own".
        progress: called with (stages done, stages in all, what was done and at what rate).
        index: (n,) int64 places of the samples in the test set; 0..n-1 if not given.
        examples: how many points to return as images.
        probes: set random noise, and twice the steps, beside an attack with a fixed budget on at most 200 samples.

    Returns:
        A row per sample and epsilon; of a minimal-norm attack one per sample, without an epsilon (and with the budget
        rule shrink_and_retest one per epsilon too).

    Raises:
        ValueError: for an unknown attack, or a combination that means nothing.
    """
    spec = member.check(threat)
    if grid and spec.kind == "none":
        raise ValueError(f"a grid is for an attack, got {member.fn!r}")
    if budget_rule and spec.kind != "minimal":
        raise ValueError(f"a budget rule is for a minimal-norm attack, got {member.fn!r}")
    with undisturbed(x.device), own_generator(x.device, seed):
        block = make_block(model, x, y, threat or Threat("linf"), seed, batch_size, index, own_loss)
        block = replace(block, goal=_GOALS[spec.criterion](block.clean, member.options))
        taken = _taken(chosen or [])
        request = Request(member, _combinations(grid or {}), taken, budget_rule or spec.budget_rule, examples, progress)
        found = _RUNS[spec.kind](block, request)
        if probes and spec.kind == "fixed":
            seen, gain = probe(block, member, found.records, _taken(found.grid))
            found = replace(found, flags=found.flags + seen, doubled_steps_gain=gain)
        more = flags.rejected(found.records)
        if spec.kind != "none" and threat is not None:
            classes = block.clean.shape[1]
            more += flags.full_range(found.records, classes=classes, space=threat.space) if probes else []
    return replace(found, flags=found.flags + more)


def _clean(block: Block, request: Request) -> Result:
    """Judge the samples themselves."""
    report, slug = reporter(request.progress, 1), request.member.slug
    columns = block.judge(block.x)
    report(slug, columns)
    table = frame(block, columns, math.nan, slug, norm="none")
    return Result(table, {"clean": block.images(block.x, request.examples)})


def _fixed(block: Block, request: Request) -> Result:
    """Run every epsilon on its own."""
    report = reporter(request.progress, len(block.threat.epsilons) * len(request.choices))
    tables, shown, flagged, grid = [], {}, set[str](), list[Choice]()
    for epsilon in block.threat.epsilons:
        proposal, columns, tried = _chosen(block, request, report, epsilon)
        tables.append(frame(block, columns, epsilon, request.member.slug, proposal))
        shown[f"epsilon-{epsilon:g}"] = block.images(proposal.points, request.examples)
        flagged |= proposal.flags
        grid += tried
    return Result(join(tables), shown, query_flags(flagged), grid)


def _minimal(block: Block, request: Request) -> Result:
    """Run once without a budget; if the rule says so, shrink the points onto each ball and judge again."""
    report, slug = reporter(request.progress, len(request.choices)), request.member.slug
    proposal, columns, tried = _chosen(block, request, report)
    tables = [frame(block, columns, math.nan, slug, proposal)]
    shown = {"minimal": block.images(proposal.points, request.examples)}
    for epsilon in block.threat.epsilons if request.budget_rule == "shrink_and_retest" else ():
        radius = block.x.new_full((len(block),), epsilon)
        shrunk = confine(proposal.points, block.x, radius, block.threat.norm, block.view.bounds)
        columns = block.judge(shrunk, epsilon)
        tables.append(frame(block, columns, epsilon, slug, proposal.again(block.rows)))
        shown[f"epsilon-{epsilon:g}"] = block.images(shrunk, request.examples)
    return Result(join(tables), shown, query_flags(proposal.flags), tried)


_RUNS = {"none": _clean, "fixed": _fixed, "minimal": _minimal}


def _chosen(
    block: Block, request: Request, report: Report, eps: float = math.inf
) -> tuple[Proposal, Columns, list[Choice]]:
    """Run an attack with each of the options to try; return the best run, at the cost of all, and how each did."""
    member = request.member
    measures, place = _MEASURES[member.spec.kind], f"epsilon {eps:g}, " if math.isfinite(eps) else ""
    best: tuple[tuple[float, ...], int, Proposal, Columns] | None = None
    costs: dict[str, Any] = dict.fromkeys(COSTS, 0)
    tried: list[Choice] = []
    for options in request.at(eps):
        proposal = propose(block, member.spec, {**member.options, **options}, eps=eps)
        columns = block.judge(proposal.points, eps)
        report(place + " ".join([member.slug, *(f"{name}={value}" for name, value in options.items())]), columns)
        costs = {name: cost + getattr(proposal, name) for name, cost in costs.items()}
        rank = tuple(measure(columns) for measure in measures.values())
        if best is None or rank < best[0]:
            best = rank, len(tried), proposal, columns
        plain = {name: value if math.isfinite(value) else None for name, value in zip(measures, rank, strict=True)}
        tried.append(Choice(eps if math.isfinite(eps) else None, dict(options), plain, chosen=False))
    assert best is not None  # there is always a choice, if only that of no further option
    _, winner, proposal, columns = best
    tried[winner] = replace(tried[winner], chosen=True)
    return replace(proposal, **costs), columns, tried if any(request.at(eps)) else []


def _combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the values, the last option changing fastest; [{}] for no grid."""
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _taken(tried: Sequence[Choice]) -> dict[float, Mapping[str, Any]]:
    """Return what an earlier run kept, by radius, inf where it had none."""
    return {math.inf if one.epsilon is None else one.epsilon: one.options for one in tried if one.chosen}


def _nearest(columns: Columns) -> Tensor:
    """Return the distances (k,) of the samples that were right, infinite for the points that do not count."""
    return columns["dist"].where(columns["success"], math.inf)[columns["clean_gap"] >= 0]


def _mean(dist: Tensor) -> float:
    """Return the mean of the finite distances, infinite if there are none."""
    return dist[dist.isfinite()].double().mean().nan_to_num(nan=math.inf).item()


def _median(dist: Tensor) -> float:
    """Return the median of distances, infinite if there are none."""
    return float(np.median(dist)) if len(dist) else math.inf


# what runs of one attack are compared by, the smaller the better
_MEASURES: dict[str, dict[str, Callable[[Columns], float]]] = {
    "fixed": {"accuracy": lambda columns: 1 - columns["success"].double().mean().item()},
    "minimal": {
        "mean_norm": lambda columns: _mean(_nearest(columns)),
        "median_norm": lambda columns: _median(_nearest(columns)),
    },
}


def _confidence(clean: Tensor, options: Mapping[str, Any]) -> Tensor:
    """Return the log-odds (n,) that a point must reach: those of the clean prediction, or of a constant."""
    wanted = options.get("target_confidence")
    if wanted is None:
        return log_odds(clean, clean.argmax(1))
    return torch.tensor(float(wanted), dtype=torch.float64).logit().expand(len(clean))


# criterion of an attack -> what its points must reach besides being misclassified
_GOALS: dict[str, Callable[[Tensor, Mapping[str, Any]], Tensor | None]] = {
    "misclassified": lambda *_: None,
    "confidence": _confidence,
}
