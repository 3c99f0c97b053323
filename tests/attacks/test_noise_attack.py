import torch
from torch import Tensor, nn

from touchstone.attacks.noise import noise
from touchstone.evaluation.noise import in_ball
from touchstone.losses import misclassified
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.types import UNIT


def setting() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()
    x = torch.rand(60, 3, 2, 2, dtype=torch.float64)
    model[1].bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


def test_the_first_point_that_breaks_a_row_is_kept_and_the_row_is_asked_no_more() -> None:
    model, x, y = setting()
    query, rng = Query(model), SampleRng(3, torch.arange(60))
    ours = noise(query, x, y, norm="linf", eps=0.1, rng=rng, restarts=5)
    ball = {"norm": "linf", "eps": 0.1, "bounds": UNIT, "rng": rng}
    points = torch.stack([in_ball(x, draw=draw, **ball) for draw in range(5)])
    broken = torch.stack([misclassified(model(z), y) for z in points])
    first = torch.where(broken.any(dim=0), broken.double().argmax(dim=0), 4)
    torch.testing.assert_close(ours, points[first, torch.arange(60)], rtol=0, atol=0)
    assert torch.equal(query.restarts, first)
    assert torch.equal(query.forwards, (first + 1).clamp(max=4))
    assert not query.backwards.any()
    assert 0 < broken[0].sum() < broken.any(dim=0).sum() < 60


def test_both_stops_are_the_same_points() -> None:
    model, x, y = setting()
    points = [noise(model, x, y, norm="l2", eps=0.3, rng=0, stop=stop) for stop in ("never", "first")]
    assert torch.equal(*points)
