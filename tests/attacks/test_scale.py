"""Norms of attacks that weigh the distance against the logits, when all logits are multiplied by 2^-10 or 2^10.

A net that is robust only because its logits are small, or large, would be a net that these attacks misjudge. The
search for the weight has to cover the range: ten times as much per step from init_const on, then bisection.
"""

from collections.abc import Callable
from functools import cache

import pytest
from attacks.cases import CASES, NORMS
from digit_nets import held_out, trained
from test_edges import Wrapped

from touchstone.attacks import ATTACKS
from touchstone.attacks.primal_dual import pdgd
from touchstone.registry import load
from touchstone.types import MinNorm

LONG = {name: case.scaled[1] for name, case in CASES.items() if case.scaled[0] == NORMS}


@cache
def found(name: str, norm: str, power: int) -> MinNorm:
    x, y = held_out(6)
    model = Wrapped(trained(), lambda _, z: z * 2.0**power)
    return load(ATTACKS[name].fn)(model, x, y, norm=norm, rng=0, **LONG[name])


def test_there_are_such_attacks() -> None:
    assert {"cw", "ead"} <= set(LONG)


@pytest.mark.slow
@pytest.mark.parametrize("power", [-10, 10])
@pytest.mark.parametrize(("name", "norm"), [(name, norm) for name in LONG for norm in ATTACKS[name].norms])
def test_norms_hardly_depend_on_the_scale_of_the_logits(name: str, norm: str, power: int) -> None:
    plain, other = found(name, norm, 0), found(name, norm, power)
    assert plain.found.all()
    assert other.found.all()
    assert other.dist.mean().item() == pytest.approx(plain.dist.mean().item(), rel=0.02)


@pytest.mark.parametrize("name", ["cw", "ead"])
def test_too_few_constants_do_not_reach_a_small_scale(name: str) -> None:
    """What bounds the search: with logits of a thousandth the constant has to be a thousand times as large."""
    x, y = held_out(6)
    model = Wrapped(trained(), lambda _, z: z * 2.0**-10)
    attack: Callable[..., MinNorm] = load(ATTACKS[name].fn)
    few = attack(model, x, y, norm=ATTACKS[name].norms[0], rng=0, **{**LONG[name], "binary_steps": 3})
    assert not few.found[few.dist != 0].any()


@pytest.mark.slow
def test_as_published_pdgd_depends_on_the_scale_and_its_option_is_the_cure() -> None:
    """Adam's memory of the first gradients outlives the price; in units of the margin at x nothing changes."""
    x, y = held_out(6)
    model, options = Wrapped(trained(), lambda _, z: z * 2.0**10), {"norm": "l2", "rng": 0, "steps": 200}
    coded, cured = (pdgd(model, x, y, relative=relative, **options).dist.mean() for relative in (False, True))
    plain = pdgd(trained(), x, y, **options).dist.mean()
    assert coded > 2 * plain
    assert cured < 1.05 * plain
