"""What is set beside a published attack on a few samples: random noise, and the attack with twice the steps."""

import inspect
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from touchstone.attacks import twice_the_steps
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
    if twice_the_steps(member.spec, member.options, _steps) is None:
        return found, None
    frames = []
    for epsilon in epsilons:
        options = twice_the_steps(member.spec, {**member.options, **chosen.get(epsilon, {})}, _steps)
        proposal = propose(part, member.spec, options or {}, eps=epsilon)
        frames.append(frame(part, part.judge(proposal.points, epsilon), epsilon, "doubled", proposal))
    more = join(frames)
    gain = more.groupby("epsilon")["success"].mean() - mine.groupby("epsilon")["success"].mean()
    return found + flags.doubled_steps(mine, more), float(gain.max())


def _steps(spec: AttackSpec) -> int | None:
    """Return how many steps an attack takes by itself; None without steps."""
    parameter = inspect.signature(load(spec.fn)).parameters.get("steps")
    return None if parameter is None else parameter.default


def noise_columns(block: Block, epsilon: float) -> Columns:
    """Judge random points of the ball; a sample keeps a point that breaks it, if one does."""
    rng, ball = SampleRng(block.seed, block.index), {"norm": block.threat.norm, "bounds": block.view.bounds}
    kept: Columns = {}
    for draw in range(NOISE_DRAWS):
        columns = block.judge(in_ball(block.x, eps=epsilon, rng=rng, draw=draw, **ball), epsilon)
        keep = kept.get("success", torch.zeros(len(block), dtype=torch.bool))
        kept = {name: torch.where(keep, kept.get(name, new), new) for name, new in columns.items()}
    return kept
