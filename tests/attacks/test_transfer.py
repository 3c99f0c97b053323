import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from touchstone.attacks import ATTACKS
from touchstone.attacks.mim import mim
from touchstone.attacks.pgd import pgd
from touchstone.attacks.transfer import CRAFTS, transfer
from touchstone.losses import margin
from touchstone.query import Query
from touchstone.types import Bounds


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).double()


def images() -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    return torch.rand(9, 3, 2, 2, dtype=torch.float64), torch.arange(9) % 4


@pytest.mark.parametrize(
    ("attack", "options"), [("pgd", {"steps": 3, "restarts": 2}), ("mim", {"steps": 3}), ("fgsm", {})]
)
@pytest.mark.parametrize("stop", ["never", "first"])
def test_points_are_those_of_the_attack_on_the_substitute(attack: str, options: dict[str, Any], stop: str) -> None:
    (x, y), query, proxy = images(), Query(net(0)), Query(net(1))
    common = {"norm": "linf", "eps": 0.2, "rng": 3}
    ours = transfer(query, x, y, substitute=net(1), attack=attack, options=options, stop=stop, **common)
    theirs = CRAFTS[attack](proxy, x, y, **common, **options)
    assert torch.equal(ours, theirs)
    assert torch.equal(query.restarts, proxy.restarts)
    assert not query.forwards.any()
    assert not query.backwards.any()


def test_the_default_is_pgd_and_the_box_is_the_targets() -> None:
    (x, y), wide = images(), Bounds(-1.0, 2.0)
    ours = transfer(Query(net(0), bounds=wide), x, y, norm="l2", eps=2.0, rng=0, substitute=net(1))
    assert torch.equal(ours, pgd(Query(net(1), bounds=wide), x, y, norm="l2", eps=2.0, rng=0))
    assert ours.max() > 1


def test_the_substitute_comes_back_as_it_was() -> None:
    (x, y), substitute = images(), net(1).train()
    transfer(net(0), x, y, norm="linf", eps=0.1, rng=0, substitute=substitute, options={"steps": 2})
    assert substitute.training
    assert all(p.requires_grad and p.grad is None for p in substitute.parameters())


def test_what_has_to_be_said_of_the_substitutes_queries_is_said_of_the_targets() -> None:
    two = nn.Sequential(net(1), nn.Linear(4, 2, dtype=torch.float64))
    (x, y), query = images(), Query(two)
    transfer(query, x, y % 2, norm="linf", eps=0.1, rng=0, substitute=two, options={"loss": "dlr", "steps": 2})
    assert query.flags == {"margin_instead_of_dlr"}


def test_options_are_those_of_the_attack() -> None:
    (x, y), common = images(), {"norm": "linf", "eps": 0.1, "rng": 0, "substitute": net(1)}
    for name in ("decay", "norm", "stop"):
        with pytest.raises(ValueError, match=f"option '{name}' is not supported here"):
            transfer(net(0), x, y, options={name: 1.0}, **common)
    mimicked = transfer(net(0), x, y, attack="mim", options={"decay": 0.5, "steps": 2}, **common)
    assert torch.equal(mimicked, mim(net(1), x, y, norm="linf", eps=0.1, rng=0, decay=0.5, steps=2))


def test_the_table_says_which_attacks_may_be_wrapped_the_default_first() -> None:
    assert set(ATTACKS["transfer"].wraps) == set(CRAFTS)
    assert inspect.signature(transfer).parameters["attack"].default == ATTACKS["transfer"].wraps[0]


def test_the_targets_own_loss_is_not_climbed_on_the_substitute() -> None:
    (x, y), query = images(), Query(net(0), own_loss=margin)
    with pytest.raises(ValueError, match="'own' is the one that the model was trained with, and none came with it"):
        transfer(query, x, y, norm="linf", eps=0.1, rng=0, substitute=net(1), options={"loss": "own"})
