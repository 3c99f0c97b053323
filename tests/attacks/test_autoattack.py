"""AutoAttack: the points are pyautoattack's, the rest is the wrapper's."""

import logging
import sys

import pytest
import torch
from box_oracle import case
from torch import Tensor, nn

from touchstone.attacks.autoattack import NAMES, autoattack, share_out
from touchstone.losses import misclassified
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.types import Bounds

QUICK = {"steps": 8, "queries": 30}
EPS = {"linf": 0.02, "l2": 0.1, "l1": 0.4}

AutoAttack = pytest.importorskip("pyautoattack.autoattack", reason="pyautoattack is in the extra `wrapped`").AutoAttack


def setting(classes: int = 5, side: int = 6) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(side**2, 40), nn.ReLU(), nn.Linear(40, classes))
    model = nn.Sequential(*layers).eval()
    x = torch.rand(40, 1, side, side)
    with torch.no_grad():
        model[3].bias -= model(x).mean(dim=0)
        y = model(x).argmax(dim=1)
    y[:3] = (y[:3] + 1) % classes
    return model, x, y


@pytest.mark.parametrize("norm", ["linf", *(pytest.param(norm, marks=pytest.mark.slow) for norm in ("l2", "l1"))])
def test_the_points_are_those_of_the_package(norm: str) -> None:
    model, x, y = setting()
    eps, rng = EPS[norm], SampleRng(7, torch.arange(40))
    theirs = AutoAttack(model, norm=NAMES[norm], eps=eps, seed=int(rng.integers(1 << 31, ())[0]))
    theirs.verbose = False
    theirs.fab.n_target_classes = theirs.apgd_targeted.n_target_classes = 4
    theirs.square.n_queries = 30
    with torch.random.fork_rng():
        points, _ = theirs.run_standard_evaluation(x, y, batch_size=512)
    ours = autoattack(model, x, y, norm=norm, eps=eps, rng=rng, queries=30)
    broken = misclassified(model(points), y)
    assert torch.equal(misclassified(model(ours), y), broken)
    assert 3 < broken.sum() < 40
    torch.testing.assert_close(ours, points, rtol=0, atol=1e-5)
    assert torch.equal(ours[~broken], x[~broken])
    assert (distance(ours - x, norm) <= eps * (1 + 1e-6)).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_float32_does_not_carry_points_out_of_the_ball(norm: str) -> None:
    model, x, y = setting(side=28)
    x, eps = x.double(), {"linf": 0.123, "l2": 3.0, "l1": 40.0}[norm]
    options = {"norm": norm, "eps": eps, "rng": 0, "version": "custom", "attacks": ["apgd-ce"], "steps": 8}
    x_adv = autoattack(model.double(), x, y, **options)
    size = distance(x_adv - x, norm)
    assert (size <= eps * (1 + 1e-9)).all()
    assert size.max() > 0.99 * eps


def test_each_budget_has_a_run_of_its_own() -> None:
    model, x, y = setting()
    eps = torch.tensor([0.0, 0.02, 0.1, 0.02]).repeat(10)
    options = {"norm": "linf", "rng": SampleRng(0, torch.arange(40)), **QUICK}
    whole = autoattack(model, x, y, eps=eps, **options)
    assert torch.equal(whole[eps == 0], x[eps == 0])
    for radius in (0.02, 0.1):
        rows = torch.nonzero(eps == torch.tensor(radius)).squeeze(1)
        # the seed belongs to the first row of the block, so the first one stands in front, without a budget
        block = torch.cat([torch.zeros(1, dtype=torch.int64), rows])
        alone = {**options, "rng": options["rng"].at(block)}
        budget = torch.tensor([0.0] + [radius] * len(rows))
        assert torch.equal(autoattack(model, x[block], y[block], eps=budget, **alone)[1:], whole[rows])


class Tally(nn.Module):
    """A model that counts the rows of its forward and backward passes itself."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.forwards, self.backwards = net, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        if x.requires_grad:
            x.register_hook(self.count)
        return self.net(x)

    def count(self, grad: Tensor) -> None:
        self.backwards += len(grad)


@pytest.mark.parametrize("version", ["standard", "plus"])
def test_sums_of_passes_are_exact(version: str) -> None:
    model, x, y = setting()
    tally = Tally(model)
    query = Query(tally, samples=40)
    autoattack(query, x, y, norm="linf", eps=0.02, rng=0, version=version, **QUICK)
    assert int(query.forwards.sum()) == tally.forwards - 1  # that of the probe
    assert int(query.backwards.sum()) == tally.backwards > 0


def test_passes_are_charged_to_the_rows_that_entered_an_attack() -> None:
    model, x, y = setting()
    first, both = Query(model, samples=40), Query(model, samples=40)
    options = {"norm": "linf", "eps": 0.02, "rng": 0, "version": "custom", **QUICK}
    x_adv = autoattack(first, x, y, attacks=["apgd-ce"], **options)
    solved = misclassified(model(x_adv), y)
    autoattack(both, x, y, attacks=["apgd-ce", "square"], **options)
    assert 3 < solved.sum() < 40
    assert torch.equal(both.forwards[solved], first.forwards[solved])
    assert (both.forwards[~solved] > first.forwards[~solved] + 7).all()
    assert torch.equal(both.backwards, first.backwards)


def test_a_remainder_goes_to_the_first_rows() -> None:
    total, counter = torch.tensor([11]), torch.arange(5)
    share_out(total, counter, torch.tensor([4, 0, 2]))
    assert counter.tolist() == [4, 1, 5, 3, 8]
    assert total.item() == 0


def test_a_flat_model_is_seen_in_the_count_of_zero_gradients() -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x.flatten(1)[:, :4] + torch.tensor([1.0, 0.0, 0.0, 0.0])

    query = Query(Flat(), samples=2)
    options = {"norm": "linf", "eps": 0.1, "rng": 0, "version": "custom", "attacks": ["apgd-t"]}
    autoattack(query, torch.rand(2, 1, 5, 5), torch.zeros(2, dtype=torch.int64), **options)
    assert torch.equal(query.zero_grads, query.backwards)
    assert query.backwards.all()


def test_the_same_seed_gives_the_same_points_and_another_gives_others() -> None:
    model, x, y = setting()
    options = {"norm": "linf", "eps": 0.05, "version": "custom", "attacks": ["square"], "queries": 30}
    one, again, other = (autoattack(model, x, y, rng=seed, **options) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_it_is_silent_and_leaves_logging_and_tracing_alone(
    capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    model, x, y = setting(classes=4)

    def trace(*_: object) -> None:
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with caplog.at_level(logging.DEBUG):
            autoattack(model, x, y, norm="linf", eps=0.02, rng=0, **QUICK)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert not logging.getLogger("auto-attack").disabled
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 3}, "apgd-t of autoattack needs 4 classes, got 3"),
        ({"classes": 2, "version": "custom", "attacks": ["apgd-dlr"]}, "apgd-dlr of autoattack needs 3 classes, got 2"),
        ({"side": 4, "norm": "l2"}, "square of autoattack needs 5 x 5 pixels, got 4"),
        ({"attacks": ["square"]}, r"version 'custom', and no other, needs attacks; got 'standard' and \['square'\]"),
        ({"version": "custom"}, r"needs attacks; got 'custom' and \[\]"),
        ({"bounds": Bounds(0.0, 2.0)}, r"works in pixels with bounds only"),
    ],
)
def test_what_it_cannot_do_is_refused(changes: dict, message: str) -> None:
    net = {key: changes.pop(key) for key in ("classes", "side") if key in changes}
    model, x, y = setting(**net)
    query = Query(model, bounds=changes.pop("bounds", Bounds(0.0, 1.0)))
    with pytest.raises(ValueError, match=message):
        autoattack(query, x, y, **{"norm": "linf", "eps": 0.1, "rng": 0, **QUICK, **changes})


def test_square_alone_does_with_two_classes() -> None:
    model, x, y, best = case((1, 5, 5), 2, "linf", walls=False)
    options = {"norm": "linf", "rng": 0, "version": "custom", "attacks": ["square"], "queries": 300}
    x_adv = autoattack(model, x, y, eps=3 * best.amin(dim=1).max().item(), **options)
    assert misclassified(model(x_adv), y).sum() >= 7  # of 8; its squares leave out the last row and column


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = setting()
    monkeypatch.setitem(sys.modules, "pyautoattack.autoattack", None)
    with pytest.raises(ModuleNotFoundError, match=r"pyautoattack.*pip install 'touchstone-robustness\[wrapped\]'"):
        autoattack(model, x, y, norm="linf", eps=0.1, rng=0)
