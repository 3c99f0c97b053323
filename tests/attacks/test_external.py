"""Attacks of other libraries: called as each library wants it, on draws of their own, judged and counted by us."""

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from tiny_nets import Lambda, conv, samples
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.attacks.external import external, external_fixed
from touchstone.evaluation import published
from touchstone.evaluation.result import Member
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.registry import SourceError, keywords
from touchstone.rng import SampleRng
from touchstone.threat import Threat

EPS = 0.3
TOY = {"target": "toy_attacks:climb", "convention": "call"}
# library, fixed?, norm, how it is named
LIBRARIES: list[tuple[str, bool, str, dict[str, Any]]] = [
    ("adv_lib", False, "linf", {"target": "adv_lib.attacks:fmn", "options": {"norm": math.inf, "steps": 30}}),
    ("adv_lib", False, "l0", {"target": "adv_lib.attacks:sigma_zero", "options": {"num_steps": 30}}),
    ("adv_lib", False, "l2", {"target": "adv_lib.attacks:sdf", "options": {"steps": 20}}),
    ("adv_lib", True, "linf", {"target": "adv_lib.attacks:pgd_linf", "radius": "ε", "options": {"steps": 10}}),
    ("foolbox", False, "l2", {"target": "foolbox.attacks:L2DeepFoolAttack", "options": {"steps": 20}}),
    ("foolbox", True, "linf", {"target": "foolbox.attacks:LinfPGD", "options": {"steps": 10}}),
    ("torchattacks", True, "linf", {"target": "torchattacks:PGD", "options": {"steps": 10, "alpha": 0.05}}),
    ("torchattacks", False, "l2", {"target": "torchattacks:DeepFool", "options": {"steps": 20}}),
]


@pytest.fixture
def block() -> tuple[nn.Module, Tensor, Tensor]:
    model = conv()
    x, _ = samples(model, 8)
    return model, x, model(x).argmax(1).detach()


@pytest.mark.parametrize(("library", "fixed", "norm", "named"), LIBRARIES, ids=[n["target"] for *_, n in LIBRARIES])
def test_each_library_is_called_as_it_wants_it(
    block: tuple[nn.Module, Tensor, Tensor], library: str, fixed: bool, norm: str, named: dict[str, Any]
) -> None:
    pytest.importorskip(library)
    model, x, y = block
    member = Member("foreign", "external-fixed" if fixed else "external", {"convention": library, **named})
    threat = Threat(norm, (4.0 if norm == "l0" else EPS,))
    found = published.run(model, x, y, member, threat=threat, seed=0, batch_size=4, probes=False).records
    assert found["success"].mean() > 0.5
    assert not found["rejected"].any()
    assert (found["forwards"] > 0).all()
    assert (found["backwards"] > 0).all()


def test_draws_are_the_attacks_own_and_leave_the_callers_alone(block: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, x, y = block

    def run(seed: int) -> Tensor:
        return external_fixed(model, x, y, norm="linf", eps=EPS, rng=seed, **TOY, options={"steps": 0})

    torch.manual_seed(3)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first, again, other = run(0), run(0), run(1)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]  # noqa: NPY002
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_only_what_is_misclassified_counts_as_found(block: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, x, y = block
    out = external(model, x, y, norm="linf", rng=0, **TOY, options={"eps": 0.2})
    fooled = model(out.x_adv).argmax(1) != y
    assert fooled.any()
    assert torch.equal(out.found, fooled)
    torch.testing.assert_close(out.dist[fooled], distance(out.x_adv - x, "linf")[fooled])
    still = external(model, x, y, norm="linf", rng=0, **TOY, options={"eps": 1e-9})
    assert not still.found.any()
    assert torch.equal(still.x_adv, x)


def test_passes_are_shared_out_over_the_rows(block: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, x, y = block
    query = Query(model, samples=len(x))
    external_fixed(query, x, y, norm="linf", eps=torch.tensor([0.1, 0.2] * 4), rng=0, **TOY, options={"steps": 3})
    assert query.forwards.tolist() == query.backwards.tolist() == [3] * 8


def test_a_point_outside_the_ball_is_brought_back_and_said(block: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, x, y = block
    query = Query(model, samples=len(x))
    x_adv = external_fixed(query, x, y, norm="l2", eps=0.1, rng=0, **TOY)
    assert distance(x_adv - x, "l2").max() <= 0.1 + 1e-6
    assert query.flags == {"left_the_ball"}


def test_an_answer_that_is_no_block_of_points_is_refused(block: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, x, y = block
    with pytest.raises(ValueError, match=r"must return points \(8, .*\), got NoneType"):
        external(model, x, y, norm="l2", rng=0, target="toy_attacks:nothing", convention="call")
    with pytest.raises(ValueError, match="convention 'cleverhans' is not supported here; allowed: adv_lib, call"):
        external(model, x, y, norm="l2", rng=SampleRng(0, torch.arange(8)), target="a:b", convention="cleverhans")


@pytest.mark.parametrize("randomised", [True, False])
def test_what_a_foreign_attack_raises_is_explained(block: tuple[nn.Module, Tensor, Tensor], randomised: bool) -> None:
    """Foolbox has assertions without a text that a net with dropout runs into."""
    model, x, y = block
    drops = Lambda(model, lambda z: F.dropout(z, 0.5, training=randomised))
    with pytest.raises(AssertionError) as caught:
        external(drops, x, y, norm="l2", rng=0, target="toy_attacks:asserts", convention="call")
    whose, *more = caught.value.__notes__
    assert whose == "raised by toy_attacks:asserts"
    assert ["the model is randomised" in note for note in more] == [True] * randomised


def test_the_radius_is_said_once(block: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, x, y = block
    with pytest.raises(ValueError, match="options: 'eps' takes the radius"):
        external_fixed(model, x, y, norm="linf", eps=EPS, rng=0, **TOY, options={"eps": 0.5})


def test_the_arguments_of_a_foreign_attack_are_read_from_its_source() -> None:
    for library in ("adv_lib", "foolbox", "torchattacks"):
        pytest.importorskip(library)
    assert {"norm", "steps"} <= (keywords("adv_lib.attacks:fmn") or set())
    assert {"eps", "alpha", "steps"} <= (keywords("torchattacks:PGD") or set())
    assert "rel_stepsize" in (keywords("foolbox.attacks:LinfPGD") or set())
    assert "self" not in (keywords("torchattacks:PGD") or set()), "nobody gives it"
    with pytest.raises(SourceError, match=r"no function or class 'fnm' in module 'adv_lib\.attacks'"):
        keywords("adv_lib.attacks:fnm")
