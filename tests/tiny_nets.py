"""Models of a few weights and attacks that misbehave, for the tests of the evaluation."""

# ruff: noqa: ARG001  attacks that do not look at what they are given

import torch
from torch import Tensor, nn

from touchstone.attacks.high_confidence import high_confidence
from touchstone.models.classifier import Classifier, Normalize
from touchstone.models.whitening import Whiten
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.types import MinNorm

MEAN, STD = (0.3, 0.5, 0.6), (0.2, 0.25, 0.4)
CLASSES = 4


class Lambda(nn.Module):
    """A net made of a function of the logits of another."""

    def __init__(self, net: nn.Module, change: object) -> None:
        super().__init__()
        self.net, self.change = net, change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.net(x))


def classifier(net: nn.Module) -> Classifier:
    return Classifier(Normalize(MEAN, STD), net)


def linear(scale: float = 1.0, seed: int = 0) -> Classifier:
    """Random weights on (3, 4, 4); `scale` multiplies the logits."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, CLASSES))
    return classifier(Lambda(net, lambda z: scale * z))


def conv(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    layers = (nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, CLASSES))
    return classifier(nn.Sequential(*layers))


def whitened(seed: int = 0) -> Classifier:
    """`conv` behind a whitening of random images."""
    layer = Whiten((3, 4, 4))
    layer.fit(torch.randint(0, 256, (500, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8))
    return Classifier(layer, conv(seed).net)


def samples(model: nn.Module, count: int = 40, wrong: int = 4, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Random images and the model's own answers, except that the first `wrong` labels are wrong."""
    x = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        y = model(x).argmax(1)
    y[:wrong] = (y[:wrong] + 1) % CLASSES
    return x, y


def outside_ball(
    model: Query, x: Tensor, y: Tensor, *, norm: str, eps: float, rng: object, stop: str = "never"
) -> Tensor:
    """Answer with a point twice as far as allowed."""
    return x + 2 * eps * torch.where(x < 0.5, 1.0, -1.0)


def outside_box(
    model: Query, x: Tensor, y: Tensor, *, norm: str, eps: float, rng: object, stop: str = "never"
) -> Tensor:
    """Answer with a point of the ball that is no image."""
    return x + eps * torch.where(x < 0.5, -1.0, 1.0)


def random_point(
    model: Query, x: Tensor, y: Tensor, *, norm: str, eps: float, rng: object, stop: str = "never"
) -> Tensor:
    """Answer with a point of the ball that torch's global generator draws."""
    return (x + eps * (2 * torch.rand_like(x) - 1)).clamp(0, 1)


def complains(
    model: Query, x: Tensor, y: Tensor, *, norm: str, eps: float, rng: SampleRng, stop: str = "never"
) -> Tensor:
    """Do nothing, and say so of the second dozen of samples."""
    if ((rng.index >= 12) & (rng.index < 24)).any():
        model.flags.add("solver_failed")
    return x


def not_a_number(
    model: Query, x: Tensor, y: Tensor, *, norm: str, eps: float, rng: object, stop: str = "never"
) -> Tensor:
    return torch.full_like(x, torch.nan)


def inverse(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, rng: object) -> MinNorm:
    """Finds the negative of every image."""
    return MinNorm(1 - x, distance(1 - 2 * x, norm), torch.ones(len(x), dtype=torch.bool))


def boastful(model: Query, x: Tensor, y: Tensor, *, norm: str, rng: object) -> MinNorm:
    """Return x itself and claim a find at distance 0."""
    return MinNorm(x.clone(), torch.zeros(len(x)), torch.ones(len(x), dtype=torch.bool))


def crowd(model: Query, x: Tensor, y: Tensor, *, norm: str, eps: float, rng: object, stop: str = "never") -> Tensor:
    """Move every sample by what the size of its batch says."""
    return (x + 1e-3 * len(x)).clamp(0, 1)


def modest(
    model: Query, x: Tensor, y: Tensor, *, norm: str, rng: object, target_confidence: float | None = None
) -> MinNorm:
    """Be content with a confidence of a half, whatever is asked for."""
    return high_confidence(model, x, y, norm=norm, rng=rng, target_confidence=0.5)
