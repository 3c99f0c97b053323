"""The evaluation: attacks propose points for a whole block of samples, the judge decides, records come out.

Two protocols, kept apart. `published` repeats what a paper did: every epsilon on its own, all steps, no
repair, success by the attack's own criterion. `worst` is a cascade: attacks one after another on what is left,
epsilons upwards, and what is broken stays broken; there every misclassified point counts, whatever the attack
aimed at, since a cascade asks what can be broken and not whether an attack kept its word.
"""

import inspect
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from touchstone import records
from touchstone.attacks import ATTACKS
from touchstone.evaluation import flags
from touchstone.evaluation.block import COSTS, Block, Columns, Proposal, frame, join, make_block, propose
from touchstone.evaluation.judge import TOLERANCE, log_odds
from touchstone.evaluation.noise import in_ball, own_generator
from touchstone.evaluation.preflight import preflight
from touchstone.losses import Loss
from touchstone.norms import project
from touchstone.registry import AttackSpec, BudgetRule, load, nearest
from touchstone.rng import SampleRng
from touchstone.threat import Threat

PROTOCOLS = ("published", "worst")
EXAMPLES = 16  # points that are kept as images
PROBED = 200  # samples on which noise and doubled steps are tried
NOISE_DRAWS = 10  # random points per sample; one that is misclassified breaks it

Progress = Callable[[int, int, str], None]
Result = tuple[pd.DataFrame, dict[str, Tensor], dict[str, Any]]


class Request(NamedTuple):
    """One attack with its options, further ones to choose from, its name, how many points to show, whom to tell."""

    spec: AttackSpec
    options: Mapping[str, Any]
    choices: Sequence[Mapping[str, Any]]  # further options, of which the best are kept; [{}] if there is no choice
    slug: str
    examples: int
    progress: Progress | None


def run(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    spec_name: str,
    options: Mapping[str, Any],
    threat: Threat | None,
    protocol: str,
    seed: int,
    batch_size: int,
    grid: Mapping[str, Sequence[Any]] | None = None,
    budget_rule: BudgetRule | None = None,
    own_loss: Loss | None = None,
    progress: Progress | None = None,
    slug: str | None = None,
    index: Tensor | None = None,
    examples: int = EXAMPLES,
    checks: bool = True,
    probe: bool = False,
) -> Result:
    """Attack a model and return one row per judged point.

    Args:
        model: pixels (B, *shape) -> logits (B, classes); its mode, parameters and gradients are left alone.
        x: (n, *shape) float32 pixels in [0, 1], on the model's device.
        y: (n,) int64 true classes.
        spec_name: a name in ATTACKS.
        options: keyword arguments of the attack; for a suite {"members": [{slug, fn, options}, ...]}.
        threat: norm, epsilons, space and box; None for an attack of kind "none".
        protocol: "published" or "worst".
        seed: of the draws, which depend on it and on the index of the sample only.
        batch_size: rows per call of the model.
        grid: option -> values to choose from, under protocol "published". The attack runs with every combination,
            and one of them is kept for all samples together: at each epsilon the one that breaks most; without
            epsilons the one of smallest median distance, a failure counting as infinite, then of smallest mean
            over the successes. The first of equals. The cost in the records is that of all of them.
        budget_rule: of a minimal-norm attack under protocol "published", a registry.BudgetRule; the usual
            one of the attack if not given.
        own_loss: the loss that the model was trained with, which attacks know as the loss "own".
        progress: called with (stages done, stages in all, what was done and at what rate).
        slug: name of the attack in the records; spec_name if it has no other.
        index: (n,) int64 places of the samples in the test set; 0..n-1 if not given.
        examples: how many points to return as images.
        checks: run the preflight, random noise beside an attack with a fixed budget, and a cascade in linf also at
            radius 0.5, which makes every image grey, on at most 200 samples.
        probe: also double the steps of such an attack, on at most 200 samples.

    Returns:
        Records with the columns of records.COLUMNS; a minimal-norm attack has one row per sample, without an
        epsilon (and with the budget rule shrink_and_retest one per epsilon too). Examples: name -> points
        (k, *shape) in pixels. Info, plain data: flags, preflight, doubled_steps_gain (a share of samples) if
        measured; and `grid`, if there is one, a row per epsilon and combination: {epsilon, options, accuracy, chosen},
        for a minimal-norm attack median_dist and mean_dist (null where infinite) in place of the accuracy.

    Raises:
        ValueError: for an unknown attack or protocol, or a combination of them that means nothing.
    """
    spec = _check(spec_name, protocol, threat)
    if grid and (protocol, spec.kind) not in (("published", "fixed"), ("published", "minimal")):
        raise ValueError(f"a grid is for one attack under protocol 'published', got {spec_name!r} under {protocol!r}")
    if budget_rule and (protocol, spec.kind) != ("published", "minimal"):
        got = f"{spec_name!r} under {protocol!r}"
        raise ValueError(f"a budget rule is for a minimal-norm attack under protocol 'published', got {got}")
    spec = replace(spec, budget_rule=budget_rule or spec.budget_rule)
    slug = slug or spec_name
    with own_generator(x.device, seed):
        if protocol == "worst" and spec.kind != "none":
            alone = [{"slug": slug, "fn": spec_name, "options": options}]
            members = options["members"] if spec.kind == "suite" else alone
            tried = partial(cascade, model, members=members, seed=seed, batch_size=batch_size, own_loss=own_loss)
            table, shown, info = tried(x, y, threat=threat, progress=progress, index=index, examples=examples)
            reach = table
            if checks and (threat.norm, threat.space) == ("linf", "pixel") and max(threat.epsilons) < flags.FULL_RANGE:
                few = {"index": None if index is None else index[:PROBED], "examples": 0}
                widest = replace(threat, epsilons=(flags.FULL_RANGE,))
                reach, _, _ = tried(x[:PROBED], y[:PROBED], threat=widest, **few)
        else:
            block = make_block(model, x, y, threat or Threat("linf"), seed, batch_size, index, own_loss)
            block = replace(block, goal=_GOALS[spec.criterion](block.clean, options))
            request = Request(spec, options, _combinations(grid or {}), slug, examples, progress)
            table, shown, info = _PUBLISHED[spec.kind](block, request)
            reach = table
            if spec.kind == "fixed" and (checks or probe):
                probed = _probe(block, request, table, info, doubled=probe)
                info = {**info, **probed, "flags": info["flags"] + probed["flags"]}
    found, measured = info["flags"] + flags.rejected(table), {}
    if protocol == "worst":
        found += flags.black_box(table)
    if checks and spec.kind != "none":
        measured = preflight(model, x, y, threat=threat, seed=seed, batch_size=batch_size)
        found += flags.preflight(measured)
        found += flags.full_range(reach, classes=int(measured["classes"]), space=threat.space)
    return table, shown, {**info, "flags": found, "preflight": measured}


def cascade(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    members: Sequence[Mapping[str, Any]],
    threat: Threat,
    seed: int,
    batch_size: int,
    own_loss: Loss | None = None,
    progress: Progress | None = None,
    index: Tensor | None = None,
    examples: int = EXAMPLES,
) -> Result:
    """Run attacks one after another, each on the samples that all before it left correct, epsilons upwards.

    A sample that is wrong by itself is broken from the start (member "clean"), and a broken one stays broken
    at larger epsilons, as a row with carried=True. A minimal-norm member runs once, at the first epsilon, on
    what is left when its turn comes; from then on its judged distances are read before anything else runs.
    Every other member runs with stop="first". All draw from one seed: a member finds here what it finds alone, if
    its rows do not influence one another (coupled attacks see other batches here).

    `members` are rows {slug, fn, options}, in order; everything else is as in `run`, and so is the result: a
    row per epsilon, sample, and member that was tried on it.

    Source: Croce and Hein (2020), section 5, for the order and the rule of survivors.

    Raises:
        ValueError: without epsilons or members, or if a member cannot run in the threat's norm.
    """
    _check_members(members, threat)
    block = make_block(model, x, y, threat, seed, batch_size, index, own_loss)
    report = _reporter(progress, len(threat.epsilons) * len(members))
    best, points = block.judge(block.x, 0.0), block.x.clone()  # the point that broke each sample
    best["restart"] = torch.zeros(len(block), dtype=torch.int64)
    owner = np.full(len(block), "clean", dtype=object)  # and whose it is
    known: dict[str, tuple[Tensor, Columns, Proposal]] = {}
    tables, shown, flagged = [], {}, set()
    for step, epsilon in enumerate(threat.epsilons):
        done = _where(best["success"], x.device)
        kept = {name: values[done.cpu()] for name, values in best.items()}
        tables.append(frame(block.at(done), kept, epsilon, owner[done.cpu().numpy()], carried=step > 0))
        for member in sorted(members, key=lambda m: m["slug"] not in known):
            left, stage = _where(~best["success"], x.device), f"epsilon {epsilon:g}, {member['slug']}"
            if not len(left):
                report(stage, {"success": left})
                continue
            columns, proposal = _attempt(block, left, member, epsilon, known)
            tables.append(frame(block.at(left), columns, epsilon, member["slug"], proposal))
            new = _where(columns["success"], x.device)
            points[left[new]] = proposal.points[new]
            owner[left[new].cpu().numpy()] = member["slug"]
            found = columns | {"restart": proposal.restart}
            for name, values in best.items():
                values[left[new].cpu()] = found[name][new.cpu()]
            flagged |= proposal.flags
            report(stage, columns)
        shown[f"epsilon-{epsilon:g}"] = block.images(points, examples)
    return join(tables), shown, {"flags": _query_flags(flagged)}


def _attempt(
    block: Block,
    left: Tensor,
    member: Mapping[str, Any],
    epsilon: float,
    known: dict[str, tuple[Tensor, Columns, Proposal]],
) -> tuple[Columns, Proposal]:
    """Let one member try the rows `left` at one epsilon; `known` keeps what minimal-norm members found."""
    spec, slug, part = ATTACKS[member["fn"]], member["slug"], block.at(left)
    if spec.kind == "fixed":
        stop = "first" if spec.droppable else "never"
        proposal = propose(part, spec, member["options"], eps=epsilon, stop=stop)
        return part.judge(proposal.points, epsilon), proposal
    fresh = slug not in known
    if fresh:
        proposal = propose(part, spec, member["options"])
        known[slug] = left, part.judge(proposal.points), proposal
    before, columns, proposal = known[slug]
    place = torch.searchsorted(before, left)  # whoever is left now was left then
    columns = {name: values[place.cpu()] for name, values in columns.items()}
    near = columns["dist"] <= epsilon + TOLERANCE
    return columns | {"success": columns["success"] & near}, proposal if fresh else proposal.again(place)


def empty(reason: str) -> Result:
    """Return what stands for an attack on a model whose training failed: no rows, and why."""
    return records.empty(), {}, {"status": "failed", "reason": reason, "flags": [], "preflight": {}}


def _clean(block: Block, request: Request) -> Result:
    """Judge the samples themselves."""
    report = _reporter(request.progress, 1)
    columns = block.judge(block.x)
    report(request.slug, columns)
    table = frame(block, columns, math.nan, request.slug, norm="none")
    return table, {"clean": block.images(block.x, request.examples)}, {"flags": []}


def _fixed(block: Block, request: Request) -> Result:
    """Run every epsilon on its own."""
    report = _reporter(request.progress, len(block.threat.epsilons) * len(request.choices))
    tables, shown, flagged, tried = [], {}, set(), []
    for epsilon in block.threat.epsilons:
        proposal, columns, rows = _chosen(block, request, report, epsilon)
        tables.append(frame(block, columns, epsilon, request.slug, proposal))
        shown[f"epsilon-{epsilon:g}"] = block.images(proposal.points, request.examples)
        flagged |= proposal.flags
        tried += rows
    return join(tables), shown, {"flags": _query_flags(flagged), **({"grid": tried} if tried else {})}


def _minimal(block: Block, request: Request) -> Result:
    """Run once without a budget; if the rule says so, shrink the points onto each ball and judge again."""
    report = _reporter(request.progress, len(request.choices))
    proposal, columns, tried = _chosen(block, request, report)
    tables = [frame(block, columns, math.nan, request.slug, proposal)]
    shown = {"minimal": block.images(proposal.points, request.examples)}
    for epsilon in block.threat.epsilons if request.spec.budget_rule == "shrink_and_retest" else ():
        shrunk = block.x + project(proposal.points - block.x, epsilon, block.threat.norm)
        columns = block.judge(shrunk, epsilon)
        tables.append(frame(block, columns, epsilon, request.slug, proposal.again(block.rows)))
        shown[f"epsilon-{epsilon:g}"] = block.images(shrunk, request.examples)
    return join(tables), shown, {"flags": _query_flags(proposal.flags), **({"grid": tried} if tried else {})}


def _chosen(
    block: Block, request: Request, report: Callable[[str, Columns], None], eps: float = math.inf
) -> tuple[Proposal, Columns, list[dict[str, Any]]]:
    """Run an attack with each of the options to try; return the best run, at the cost of all, and a row for each."""
    measures, place = _MEASURES[request.spec.kind], f"epsilon {eps:g}, " if math.isfinite(eps) else ""
    best, costs, rows = None, dict.fromkeys(COSTS, 0), []
    for options in request.choices:
        proposal = propose(block, request.spec, {**request.options, **options}, eps=eps)
        columns = block.judge(proposal.points, eps)
        report(place + " ".join([request.slug, *(f"{name}={value}" for name, value in options.items())]), columns)
        costs = {name: cost + getattr(proposal, name) for name, cost in costs.items()}
        rank = tuple(measure(columns) for measure in measures.values())
        if best is None or rank < best[0]:
            best = rank, len(rows), proposal, columns
        plain = {name: value if math.isfinite(value) else None for name, value in zip(measures, rank, strict=True)}
        rows.append({"epsilon": eps if math.isfinite(eps) else None, "options": dict(options), **plain})
    _, winner, proposal, columns = best
    rows = [{**row, "chosen": number == winner} for number, row in enumerate(rows)]
    return replace(proposal, **costs), columns, rows if any(request.choices) else []


def _combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the values, the last option changing fastest; [{}] for no grid."""
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _nearest(columns: Columns) -> Tensor:
    """Return the distances (n,) of the points that count, infinite for the others."""
    return columns["dist"].where(columns["success"], math.inf)


# what runs of one attack are compared by, the smaller the better
_MEASURES: dict[str, dict[str, Callable[[Columns], float]]] = {
    "fixed": {"accuracy": lambda columns: 1 - columns["success"].double().mean().item()},
    "minimal": {
        "median_dist": lambda columns: float(np.median(_nearest(columns))),
        "mean_dist": lambda columns: (
            columns["dist"][columns["success"]].double().mean().nan_to_num(nan=math.inf).item()
        ),
    },
}
_PUBLISHED = {"none": _clean, "fixed": _fixed, "minimal": _minimal}


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


def _probe(
    block: Block, request: Request, table: pd.DataFrame, info: Mapping[str, Any], *, doubled: bool
) -> dict[str, Any]:
    """Set random noise, and the attack with twice the steps, beside its records on at most 200 samples."""
    part, epsilons = block.at(block.rows[:PROBED]), block.threat.epsilons
    mine = table[table["sample"].isin(part.index.tolist())]
    noise = join(frame(part, _noise(part, epsilon), epsilon, "noise") for epsilon in epsilons)
    found = flags.random_noise(mine, noise)
    if not doubled or _twice(request.spec, request.options) is None:
        return {"flags": found}
    chosen = {row["epsilon"]: row["options"] for row in info.get("grid", []) if row["chosen"]}
    frames = []
    for epsilon in epsilons:
        options = _twice(request.spec, {**request.options, **chosen.get(epsilon, {})})
        proposal = propose(part, request.spec, options, eps=epsilon)
        frames.append(frame(part, part.judge(proposal.points, epsilon), epsilon, "doubled", proposal))
    more = join(frames)
    gain = more.groupby("epsilon")["success"].mean() - mine.groupby("epsilon")["success"].mean()
    return {"flags": found + flags.doubled_steps(mine, more), "doubled_steps_gain": float(gain.max())}


def _twice(spec: AttackSpec, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the options with twice the steps, of the attack itself or of the one it wraps; None without steps."""
    parameter = inspect.signature(load(spec.fn)).parameters.get("steps")
    if parameter is not None:
        return {**options, "steps": 2 * options.get("steps", parameter.default)}
    if not spec.wraps:
        return None
    inner = _twice(ATTACKS[options.get("attack", spec.wraps[0])], options.get("options") or {})
    return None if inner is None else {**options, "options": inner}


def _noise(block: Block, epsilon: float) -> Columns:
    """Judge random points of the ball; a sample keeps a point that breaks it, if one does."""
    rng, ball = SampleRng(block.seed, block.index), {"norm": block.threat.norm, "bounds": block.view.bounds}
    kept: Columns = {}
    for draw in range(NOISE_DRAWS):
        columns = block.judge(in_ball(block.x, eps=epsilon, rng=rng, draw=draw, **ball), epsilon)
        keep = kept.get("success", torch.zeros(len(block), dtype=torch.bool))
        kept = {name: torch.where(keep, kept.get(name, new), new) for name, new in columns.items()}
    return kept


def _where(mask: Tensor, device: torch.device) -> Tensor:
    return mask.nonzero().squeeze(1).to(device)


def _query_flags(names: Iterable[str]) -> list[flags.Flag]:
    return [{"flag": name, "detail": flags.QUERY[name]} for name in sorted(names)]


def _reporter(progress: Progress | None, total: int) -> Callable[[str, Columns], None]:
    """Return a function that tells what a stage broke and at what rate; stages done carry the time left."""
    done, start = 0, time.perf_counter()
    began = start

    def report(text: str, columns: Columns) -> None:
        nonlocal done, began
        done, now = done + 1, time.perf_counter()
        hit, count = int(columns["success"].sum()), len(columns["success"])
        rate, began = count / max(now - began, 1e-9), now
        left = f", about {(now - start) / done * (total - done):.0f} s left" if done < total else ""
        if progress is not None:
            progress(done, total, f"{text}: {hit} of {count} broken, {rate:.0f} samples/s{left}")

    return report


def _check(name: str, protocol: str, threat: Threat | None) -> AttackSpec:
    """Look up an attack, and say what is wrong with asking for it in this way."""
    if name not in ATTACKS:
        raise ValueError(f"unknown attack {name!r}; {nearest(name, ATTACKS)}")
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; {nearest(protocol, PROTOCOLS)}")
    spec = ATTACKS[name]
    if spec.kind == "none":
        return spec
    if threat is None:
        raise ValueError(f"attack {name!r} needs a threat, got None")
    if threat.norm not in spec.norms:
        raise ValueError(f"attack {name!r} in norm {threat.norm!r}: {nearest(threat.norm, spec.norms)}")
    if spec.kind == "suite" and protocol == "published":
        raise ValueError(f"attack {name!r} is a suite: expected protocol 'worst', got 'published'")
    if spec.kind == "fixed" and not threat.epsilons:
        raise ValueError(f"attack {name!r} has a fixed budget: expected epsilons, got none")
    return spec


def _check_members(members: Sequence[Mapping[str, Any]], threat: Threat) -> None:
    if not members or not threat.epsilons:
        got = f"{len(members)} and {len(threat.epsilons)}"
        raise ValueError(f"a cascade needs members and epsilons, got {got}")
    slugs = [member["slug"] for member in members]
    if len(set(slugs)) < len(slugs) or "clean" in slugs:
        raise ValueError(f"members need slugs of their own, and 'clean' is taken; got {slugs}")
    for member in members:
        spec = _check(member["fn"], "worst", threat)
        if spec.kind not in ("fixed", "minimal"):
            raise ValueError(f"member {member['slug']!r}: expected one attack, got the {spec.kind} {member['fn']!r}")
