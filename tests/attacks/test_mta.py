import pytest
import torch
from torch import Tensor, nn

from touchstone.attacks.mta import mta, mta_center, mta_coded
from touchstone.attacks.pgd import pgd
from touchstone.losses import misclassified
from touchstone.query import Query
from touchstone.rng import SampleRng


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.classifier = nn.Linear(12, 6), nn.Linear(6, 4)

    def features(self, x: Tensor) -> Tensor:
        return self.hidden(x.flatten(1)).tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def setting(count: int = 30) -> tuple[Net, Tensor, Tensor]:
    torch.manual_seed(0)
    model = Net().double()
    x = torch.rand(count, 3, 2, 2, dtype=torch.float64)
    model.classifier.bias.data -= model(x).mean(dim=0)
    return model, x, model(x).argmax(dim=1)


def objective(name: str, model: Net, z: Tensor, y: int, target: int) -> Tensor:
    if name == "mta":
        logits = model(z)[0]
        return logits[target] - logits[y]
    away = (model.features(z)[0] - model.classifier.weight[target]).square().sum()
    return away if name == "mta-coded" else -away


@pytest.mark.parametrize("attack", [mta, mta_center, mta_coded])
def test_the_wrong_classes_are_climbed_to_one_after_the_other(attack: object) -> None:
    model, x, y = setting(12)
    name, rng = attack.__name__.replace("_", "-"), SampleRng(4, torch.arange(12))
    query = Query(model)
    ours = attack(query, x, y, norm="linf", eps=0.05, rng=rng, steps=4, step_size=0.3)
    start = {"norm": "linf", "eps": 0.05, "steps": 1, "step_size": 0.0}
    used = set()
    for row in range(12):
        one, label = x[row : row + 1], int(y[row])
        for number, target in enumerate(t for t in range(4) if t != label):
            part = rng.at(torch.tensor([row])).shifted(number)
            z = pgd(model, one, y[row : row + 1], rng=part, **start)
            for _ in range(3 if attack is mta_coded else 4):
                if attack is mta_coded and misclassified(model(z), y[row : row + 1]):
                    break
                z = z.detach().requires_grad_()
                (grad,) = torch.autograd.grad(objective(name, model, z, label, target), z)
                z = (one + (z + 0.3 * 0.05 * grad.sign() - one).clamp(-0.05, 0.05)).clamp(0, 1)
            if misclassified(model(z), y[row : row + 1]):
                break
        torch.testing.assert_close(ours[row : row + 1], z.detach(), rtol=0, atol=1e-12)
        assert query.restarts[row] == number
        used.add(number)
    assert used == {0, 1, 2} or name == "mta-coded"


class Cup(nn.Module):
    """Two classes of one pixel: class 1 is inside (0.4, 0.6), and its feature is the pixel less 1/2."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(1, 2)
        self.classifier.weight.data = torch.tensor([[0.5], [0.0]])

    def forward(self, x: Tensor) -> Tensor:
        feature = x.flatten(1) - 0.5
        self.classifier(feature)
        return torch.cat([torch.zeros_like(feature), 0.1 - feature.abs()], dim=1)


@pytest.mark.parametrize("stop", ["never", "first"])
def test_as_coded_a_misclassified_start_counts_though_the_climb_leaves_it(stop: str) -> None:
    """From anywhere in (0.4, 0.6) the ascent away from the centre, here zero, leads out again."""
    x, y = torch.full((64, 1, 1, 1), 0.39), torch.zeros(64, dtype=torch.int64)
    options = {"norm": "linf", "eps": 0.3, "rng": 0, "stop": stop, "steps": 30}
    model = Cup()
    found = mta_coded(model, x, y, **options)
    inside = (found > 0.4) & (found < 0.6)
    started = mta_coded(model, x, y, **{**options, "steps": 1})
    assert ((started > 0.4) & (started < 0.6)).sum() > 10
    assert inside[(started > 0.4) & (started < 0.6)].all()


def test_as_coded_the_last_iterate_is_never_looked_at() -> None:
    """One step is the start alone: a step that would break it is not taken."""
    x, y = torch.full((8, 1, 1, 1), 0.3), torch.zeros(8, dtype=torch.int64)
    query = Query(Cup(), samples=8)
    found = mta_coded(query, x, y, norm="linf", eps=0.05, rng=0, steps=1, step_size=3.0)
    assert ((found - x).abs() < 0.05).all()
    assert len(found.unique()) == 8
    assert not query.backwards.any()


def test_a_saturated_softmax_does_not_hide_the_classes() -> None:
    """Cross-entropy in float32 has no gradient left there."""
    model, x, y = setting()
    model, x = model.float(), x.float()
    model.classifier.weight.data *= 1e4
    model.classifier.bias.data *= 1e4
    y = model(x).argmax(dim=1)
    options = {"norm": "linf", "eps": 0.1, "rng": 0, "steps": 20, "step_size": 0.1, "relative": True}
    blind, seeing = (misclassified(model(attack(model, x, y, **options)), y).sum() for attack in (pgd, mta))
    assert seeing > 2 * blind


def test_the_model_is_left_without_a_hook() -> None:
    model, x, y = setting(3)
    mta_center(model, x, y, norm="linf", eps=0.1, rng=0, steps=1)
    assert not model.classifier._forward_pre_hooks
    with pytest.raises(ValueError, match="steps must be >= 1"):
        mta_center(model, x, y, norm="linf", eps=0.1, rng=0, steps=0)
    assert not model.classifier._forward_pre_hooks


def test_a_model_without_a_linear_classifier_is_refused() -> None:
    _, x, y = setting(3)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()
    with pytest.raises(
        ValueError, match=r"`classifier` is its last linear layer, got Sequential with NoneType; use mta"
    ):
        mta_center(plain, x, y, norm="linf", eps=0.1, rng=0)
