"""Protocol `worst`: what is true. A suite of attacks one after another on what is left, epsilons upwards.

What is broken stays broken, and every misclassified point counts, whatever its attack aimed at: a cascade asks what
can be broken and not whether an attack kept its word.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from touchstone.evaluation import flags
from touchstone.evaluation.block import Block, Columns, Proposal, frame, join, make_block, propose
from touchstone.evaluation.probes import PROBED
from touchstone.evaluation.result import Member, Progress, Result, Shelf, query_flags, reporter
from touchstone.losses import Loss
from touchstone.query import undisturbed
from touchstone.records import CLEAN, TOLERANCE
from touchstone.registry import EXAMPLES
from touchstone.rng import draw_seed, own_generator
from touchstone.threat import Threat

# of a long suite: each block has its own calls of the model, so small ones cost passes that are not full
BLOCKS, BATCHES = 8, 4  # at most so many, of at least so many batches
Known = dict[str, tuple[Tensor, Columns, Proposal]]  # slug -> rows, and what a minimal-norm attack found for them


def run(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    members: Sequence[Member],
    *,
    threat: Threat,
    seed: int,
    batch_size: int,
    own_loss: Loss | None = None,
    progress: Progress | None = None,
    index: Tensor | None = None,
    examples: int = EXAMPLES,
    full_range: bool = True,
    shelf: Shelf | None = None,
) -> Result:
    """Run attacks one after another, each on the samples that all before it left correct, epsilons upwards.

    A sample that is wrong by itself is broken from the start (member "clean"), and a broken one stays broken
    at larger epsilons, as a row with carried=True. A minimal-norm member runs once, at the first epsilon, on
    what is left when its turn comes; from then on its judged distances are read before anything else runs.
    Every other member runs with stop="first". All draw from one seed: a member finds here what it finds alone, if
    its rows do not influence one another (coupled attacks see other batches here).

    Source: Croce and Hein (2020), section 5, for the order and the rule of survivors.

    Everything that is not said here is as in `touchstone.evaluation.published.run`: `members` are the attacks in their
    order; `full_range` asks, in linf on pixels, also for radius 0.5, which makes every image grey, on 200 samples.
    With a `shelf`, many images are attacked in blocks, each of which is taken from there, or kept there.

    Returns:
        A row per epsilon, sample, and member that was tried on it; at each epsilon one block of images after another.

    Raises:
        ValueError: without epsilons or members, or if a member cannot run in the threat's norm.
    """
    _check(members, threat)
    about = {"seed": seed, "batch_size": batch_size, "own_loss": own_loss}
    with undisturbed(x.device), own_generator(x.device, seed):
        block = make_block(model, x, y, threat, index=index, **about)
        found = _in_blocks(block, members, examples, progress, shelf)
        reach = found.records
        if full_range and (threat.norm, threat.space) == ("linf", "pixel") and max(threat.epsilons) < flags.FULL_RANGE:
            few = None if index is None else index[:PROBED]
            widest = replace(threat, epsilons=(flags.FULL_RANGE,))
            part = make_block(model, x[:PROBED], y[:PROBED], widest, index=few, **about)
            reach = _in_blocks(part, members, 0, None, None).records
    more = flags.rejected(found.records) + flags.black_box(found.records)
    if full_range:
        more += flags.full_range(reach, classes=block.clean.shape[1], space=threat.space)
    return replace(found, flags=found.flags + more)


def _in_blocks(
    block: Block, members: Sequence[Member], examples: int, progress: Progress | None, shelf: Shelf | None
) -> Result:
    """Attack one block of images after another, those that are not on the shelf; put together what was found."""
    stages, size = len(block.threat.epsilons) * len(members), _size(len(block), block.batch_size)
    if shelf is None or len(block) <= size:  # a whole suite is kept as such
        return _climb(block, members, examples, reporter(progress, stages))
    rows = block.rows.split(size)
    found = [shelf.load(number) for number in range(len(rows))]
    report = reporter(progress, stages * found.count(None))
    for number, here in enumerate(rows):
        if found[number] is None:
            part, place = block.at(here), f"block {number + 1} of {len(rows)}, "
            with own_generator(part.x.device, draw_seed(part.seed, number)):  # whichever blocks ran before
                done = _climb(part, members, max(0, examples - number * size), report, place)
            shelf.keep(number, done)
            found[number] = done
    return _joined([one for one in found if one is not None])


def _size(samples: int, batch_size: int) -> int:
    """Return how many images a block has."""
    return batch_size * max(BATCHES, math.ceil(samples / (BLOCKS * batch_size)))


def _joined(parts: Sequence[Result]) -> Result:
    """Put blocks together, epsilons upwards."""
    rows = join(part.records for part in parts).sort_values("epsilon", kind="stable", ignore_index=True)
    shown = {name: torch.cat([part.examples[name] for part in parts]) for name in parts[0].examples}
    return Result(rows, shown, query_flags({flag["flag"] for part in parts for flag in part.flags}))


def _climb(
    block: Block, members: Sequence[Member], examples: int, report: Callable[[str, Columns], None], place: str = ""
) -> Result:
    epsilons, device = block.threat.epsilons, block.x.device
    best, points = block.judge(block.x, 0.0), block.x.clone()  # the point that broke each sample
    best["restart"] = torch.zeros(len(block), dtype=torch.int64)
    owner = np.full(len(block), CLEAN, dtype=object)  # and whose it is
    known: Known = {}
    tables, shown, flagged = [], {}, set[str]()
    for step, epsilon in enumerate(epsilons):
        done = _where(best["success"], device)
        kept = {name: values[done.cpu()] for name, values in best.items()}
        tables.append(frame(block.at(done), kept, epsilon, owner[done.cpu().numpy()], carried=step > 0))
        for member in sorted(members, key=lambda m: m.slug not in known):
            left, stage = _where(~best["success"], device), f"{place}epsilon {epsilon:g}, {member.slug}"
            if not len(left):
                report(stage, {"success": left})
                continue
            columns, proposal = _attempt(block, left, member, epsilon, known)
            tables.append(frame(block.at(left), columns, epsilon, member.slug, proposal))
            new = _where(columns["success"], device)
            points[left[new]] = proposal.points[new]
            owner[left[new].cpu().numpy()] = member.slug
            found = columns | {"restart": proposal.restart}
            for name, values in best.items():
                values[left[new].cpu()] = found[name][new.cpu()]
            flagged |= proposal.flags
            report(stage, columns)
        shown[f"epsilon-{epsilon:g}"] = block.images(points, examples)
    return Result(join(tables), shown, query_flags(flagged))


def _attempt(block: Block, left: Tensor, member: Member, epsilon: float, known: Known) -> tuple[Columns, Proposal]:
    """Let one member try the rows `left` at one epsilon; `known` keeps what minimal-norm members found."""
    spec, slug, part = member.spec, member.slug, block.at(left)
    if spec.kind == "fixed":
        stop = "first" if spec.droppable else "never"
        proposal = propose(part, spec, member.options, eps=epsilon, stop=stop)
        return part.judge(proposal.points, epsilon), proposal
    fresh = slug not in known
    if fresh:
        proposal = propose(part, spec, member.options)
        known[slug] = left, part.judge(proposal.points), proposal
    before, columns, proposal = known[slug]
    place = torch.searchsorted(before, left)  # whoever is left now was left then
    columns = {name: values[place.cpu()] for name, values in columns.items()}
    near = columns["dist"] <= epsilon + TOLERANCE
    return columns | {"success": columns["success"] & near}, proposal if fresh else proposal.again(place)


def _where(mask: Tensor, device: torch.device) -> Tensor:
    return mask.nonzero().squeeze(1).to(device)


def _check(members: Sequence[Member], threat: Threat) -> None:
    if not members or not threat.epsilons:
        got = f"{len(members)} and {len(threat.epsilons)}"
        raise ValueError(f"a cascade needs members and epsilons, got {got}")
    slugs = [member.slug for member in members]
    if len(set(slugs)) < len(slugs) or CLEAN in slugs:
        raise ValueError(f"members need slugs of their own, and {CLEAN!r} is taken; got {slugs}")
    for member in members:
        if member.check(threat).kind == "none":
            raise ValueError(f"member {member.slug!r}: expected an attack, got {member.fn!r}")
