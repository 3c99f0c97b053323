"""Controls of the suites: a plain net falls to zero, and robust nets by others stand where others have found them."""

from pathlib import Path

import pytest
import torch
from digit_nets import held_out, large_margin, saturated, trained
from robust_nets import first_images, small_cnn
from torch import Tensor, nn

from touchstone.evaluation import cascade
from touchstone.evaluation.result import Member
from touchstone.losses import margin
from touchstone.study.suites import load_suites
from touchstone.threat import Threat


def members(root: Path, suite: str, norm: str, *slugs: str) -> list[Member]:
    """Return the attacks of a suite, or some of them; a transfer starts from a plain net."""
    found = load_suites(root / "studies" / "worst.yaml").members(suite, norm)
    more = {slug: {"substitute": trained()} if one.substitute else {} for slug, one in found.items()}
    return [Member(slug, found[slug].fn, found[slug].options | more[slug]) for slug in slugs or found]


def left(net: nn.Module, x: Tensor, y: Tensor, attacks: list[Member], norm: str, eps: float) -> float:
    """Return the worst-case accuracy."""
    about = {"threat": Threat(norm, (eps,)), "seed": 0, "batch_size": 128, "full_range": False}
    records = cascade.run(net, x, y, attacks, **about).records
    return 1 - float(records.groupby("sample")["success"].any().mean())


class Binary(nn.Module):
    """A net behind inputs that are rounded to 0 or 1, through which no gradient comes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.detach().round())


RADII = {"linf": 0.3, "l2": 3.0, "l1": 40.0, "l0": 60.0}
CONTROLS = [
    pytest.param(suite, norm, eps, marks=[pytest.mark.slow] if (suite, norm) == ("full", "l0") else [])
    for suite in ("quick", "full")
    for norm, eps in RADII.items()
]


@pytest.mark.parametrize(("suite", "norm", "eps"), CONTROLS)
@pytest.mark.parametrize("net", [trained, large_margin])
def test_a_plain_net_falls_to_zero(root: Path, suite: str, norm: str, eps: float, net: object) -> None:
    x, y = held_out(30)
    assert (net()(x).argmax(1) == y).float().mean() > 0.6
    assert left(net(), x, y, members(root, suite, norm), norm, eps) == 0


SPARSE = [("l1", 20.0), ("l0", 30.0)]
FLOOR = "noise"  # it must gain nothing, and says how little is left to chance


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), SPARSE)
def test_no_member_is_useless(root: Path, norm: str, eps: float) -> None:
    """Alone, on images near another class, at a radius at which the best of them leaves nothing."""
    x, y = held_out(100)
    gap = margin(trained()(x), y)
    near = gap.where(gap < 0, -torch.inf).argsort(descending=True)[:5]
    alone = {one.slug: left(trained(), x[near], y[near], [one], norm, eps) for one in members(root, "full", norm)}
    assert min(alone.values()) == 0
    assert all(share < 1 for slug, share in alone.items() if slug != FLOOR)
    assert alone[FLOOR] == max(alone.values())


@pytest.mark.parametrize(("norm", "eps"), SPARSE)
def test_what_asks_for_logits_only_finds_what_is_there_without_a_gradient(root: Path, norm: str, eps: float) -> None:
    """Binary inputs cut the graph: all that climbs stays at x, and the search does not."""
    x, y = held_out(6)
    x, cut = x.round(), Binary(trained())
    climb, search = {"l1": ("apgd-ce", "square"), "l0": ("sigma-zero", "sparse-rs")}[norm]
    blind, seeing = (left(cut, x, y, members(root, "quick", norm, slug), norm, 2 * eps) for slug in (climb, search))
    assert seeing < blind


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 1.2), ("l1", 10.0)])
def test_each_loss_against_masking_sees_what_cross_entropy_does_not(root: Path, norm: str, eps: float) -> None:
    """Cross-entropy in float32 leaves a sixth of the saturated net and mostly more: how much depends on the CPU."""
    x, y = held_out(100)
    slugs = ("apgd-ce", "apgd-ce64", "apgd-mifpe", "apgd-margin", "apgd-raw")
    blind, *seeing = (left(saturated(), x, y, members(root, "full", norm, slug), norm, eps) for slug in slugs)
    assert blind > 0.15
    assert max(seeing) < 0.6 * blind


@pytest.fixture
def shared(root: Path) -> Path:
    """The folder with MNIST and robust nets by others."""
    folder = root.parent / "shared" / "data"
    if not (folder / "checkpoints").is_dir():
        pytest.skip(f"needs robust nets by others in {folder / 'checkpoints'}")
    return folder


@pytest.mark.slow
def test_the_net_of_trades_stands_where_others_have_found_it(root: Path, shared: Path) -> None:
    """TRADES, 10,000 images at linf 0.3: AutoAttack leaves 92.81 %, Square alone 92.58 %."""
    net = small_cnn(shared / "checkpoints" / "mnist_smallcnn_robust_trades.pth")
    x, y = first_images(shared, 100)
    assert (net(x).argmax(1) == y).all()
    ascent, search = members(root, "full", "linf", "apgd-ce"), members(root, "quick", "linf", "square")
    climbed = left(net, x, y, ascent, "linf", 0.3)
    assert 0.90 <= climbed <= 0.94
    assert 0.88 <= left(net, x, y, ascent + search, "linf", 0.3) <= climbed


@pytest.mark.slow
def test_attacks_on_the_net_of_ddn_agree(root: Path, shared: Path) -> None:
    """Trained in l2 (Rony et al., 2019): three members that go different ways leave the same share, and much."""
    net = small_cnn(shared / "checkpoints" / "mnist_smallcnn_robust_ddn.pth")
    x, y = first_images(shared, 60)
    slugs = ("apgd-ce", "apgd-margin", "ddn")
    alone = [left(net, x, y, members(root, "full", "l2", slug), "l2", 2.0) for slug in slugs]
    assert max(alone) - min(alone) <= 0.035
    assert 0.78 <= min(alone) <= max(alone) <= 0.86
