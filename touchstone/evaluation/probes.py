"""What is set beside a published attack on a few samples: random noise, and the attack with twice the steps."""

import inspect
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from touchstone.attacks import ATTACKS
from touchstone.evaluation import flags
from touchstone.evaluation.block import Block, Columns, frame, join, propose
from touchstone.evaluation.flags import Flag
from touchstone.evaluation.noise import in_ball
from touchstone.evaluation.result import Member
from touchstone.registry import AttackSpec, load
from touchstone.rng import SampleRng

PROBED = 200  # samples on which noise and doubled steps are tried
NOISE_DRAWS = 10  # random points per sample; one that is misclassified breaks it

Options = Mapping[str, Any]


def probe(
    block: Block, member: Member, table: pd.DataFrame, chosen: Mapping[float, Options]
) -> tuple[list[Flag], float | None]:
    """Return flags, and the share of samples that twice the steps break more; None for an attack without steps.

    Args:
        block: of the attack.
        member: the attack, with a fixed budget.
        table: its records.
        chosen: epsilon -> the options that a grid chose there.
    """
    part, epsilons = block.at(block.rows[:PROBED]), block.threat.epsilons
    mine = table[table["sample"].isin(part.index.tolist())]
    noise = join(frame(part, noise_columns(part, epsilon), epsilon, "noise") for epsilon in epsilons)
    found = flags.random_noise(mine, noise)
    if _twice(member.spec, member.options) is None:
        return found, None
    frames = []
    for epsilon in epsilons:
        options = _twice(member.spec, {**member.options, **chosen.get(epsilon, {})})
        proposal = propose(part, member.spec, options or {}, eps=epsilon)
        frames.append(frame(part, part.judge(proposal.points, epsilon), epsilon, "doubled", proposal))
    more = join(frames)
    gain = more.groupby("epsilon")["success"].mean() - mine.groupby("epsilon")["success"].mean()
    return found + flags.doubled_steps(mine, more), float(gain.max())


def _twice(spec: AttackSpec, options: Options) -> Options | None:
    """Return the options with twice the steps, of the attack itself or of the one it wraps; None without steps."""
    parameter = inspect.signature(load(spec.fn)).parameters.get("steps")
    if parameter is not None:
        return {**options, "steps": 2 * options.get("steps", parameter.default)}
    if not spec.wraps:
        return None
    inner = _twice(ATTACKS[options.get("attack", spec.wraps[0])], options.get("options") or {})
    return None if inner is None else {**options, "options": inner}


def noise_columns(block: Block, epsilon: float) -> Columns:
    """Judge random points of the ball; a sample keeps a point that breaks it, if one does."""
    rng, ball = SampleRng(block.seed, block.index), {"norm": block.threat.norm, "bounds": block.view.bounds}
    kept: Columns = {}
    for draw in range(NOISE_DRAWS):
        columns = block.judge(in_ball(block.x, eps=epsilon, rng=rng, draw=draw, **ball), epsilon)
        keep = kept.get("success", torch.zeros(len(block), dtype=torch.bool))
        kept = {name: torch.where(keep, kept.get(name, new), new) for name, new in columns.items()}
    return kept
