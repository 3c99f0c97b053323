"""MTA: projected ascent towards each wrong class in turn, by logits or by the centres of the classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from touchstone.attacks.climb import climb, lengths, random_points, sweep
from touchstone.attacks.contract import Problem, between, prepare
from touchstone.losses import margin_targeted
from touchstone.query import Query
from touchstone.ranges import Count, NotNegative
from touchstone.rng import SampleRng

NORMS = ("linf", "l2")
Gain = Callable[[Tensor, Tensor, Tensor], Tensor]  # (logits (B, C), y (B,), target (B,)) -> (B,), maximised


def mta(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    steps: Count = 100,
    step_size: NotNegative = 0.1,
    relative: bool = True,
) -> Tensor:
    """Return adversarial candidates by PGD on the logit of each wrong class less that of the true one.

    Source: Gowal et al. (2019), MultiTargeted; number of steps and step size (on CIFAR) of Xu et al. (2021),
    table 1. Whoever attacks a net whose logits hardly differ should take this form, not the one by centres.
    Each target has a random start. The query's restarts count the targets, which are the wrong classes in ascending
    order.

    Options:
        steps: gradient steps per target, >= 1.
        step_size: length of a step in the norm, >= 0: in units of eps, or of x if not `relative`.
        relative: read step_size as a multiple of eps.
    """
    task = prepare(model, x, y, norm=norm, norms=NORMS, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps)
    return towards(task, margin_targeted, norm, stop, steps, step_size, relative)


def mta_center(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    steps: Count = 100,
    step_size: NotNegative = 0.1,
    relative: bool = True,
) -> Tensor:
    """Return adversarial candidates by PGD that brings the features near the centre of each wrong class.

    The centre of a class is its row in the weight of the last layer; the squared l2 distance to it is minimised.

    Source: Tramer et al. (2020), the attack on the Max-Mahalanobis centre loss, as Xu et al. (2021), section 2.2,
    describe it.

    A model whose `classifier` is not its last linear layer is a ValueError.

    Options: those of `mta`.
    """
    task = prepare(model, x, y, norm=norm, norms=NORMS, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps)
    with features(task.query.model) as away:
        return towards(task, lambda _, __, target: -away(target), norm, stop, steps, step_size, relative)


def mta_coded(
    model: nn.Module | Query,
    x: Tensor,
    y: Tensor,
    *,
    norm: str,
    eps: float | Tensor,
    rng: int | SampleRng,
    stop: str = "never",
    steps: Count = 50,
    step_size: NotNegative = 0.1,
    relative: bool = True,
) -> Tensor:
    """Return the first misclassified iterate of ascents away from the centre of each wrong class.

    Source: the code of Xu et al. (2021), for comparison only: the paper says the opposite, to go near the centres. The
    code looks at the random start and at every iterate but the last, and goes on with the next class, or stops at a
    misclassified one. So the last step, at whose end nobody looks, is not taken here; and `stop` changes nothing. A row
    that is never seen misclassified ends at the iterate that was looked at last.

    Options: those of `mta`.
    """
    task = prepare(model, x, y, norm=norm, norms=NORMS, rng=rng, eps=eps, stop=stop)
    between(1, steps=steps)
    with features(task.query.model) as away:
        return towards(task, lambda _, __, target: away(target), norm, "first", steps - 1, step_size, relative)


def towards(task: Problem, gain: Gain, norm: str, stop: str, steps: int, step_size: float, relative: bool) -> Tensor:
    """Climb the gain for each wrong class, from a random start, on the rows that are left."""
    between(0, step_size=step_size)
    if not len(task.x):
        return task.x.clone()
    options = {"norm": norm, "stop": stop, "steps": steps, "step_size": lengths(task, step_size, relative)}

    def attempt(number: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        def loss(logits: Tensor, y: Tensor) -> Tensor:
            return gain(logits, y, number + (y <= number).long())

        task.query.restarts[rows] = number
        return climb(task, random_points(task, rows, norm, number), rows, loss=loss, **options)

    return sweep(task, task.query.classes - 1, attempt)


@contextmanager
def features(model: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """Watch what enters the last layer; yields target (B,) -> squared distance (B,) from it to those centres.

    The distance is that of the rows which the model saw last, so it belongs inside a loss.

    Raises:
        ValueError: if model.classifier is not a linear layer.
    """
    layer, seen = getattr(model, "classifier", None), {}
    if not isinstance(layer, nn.Linear):
        raise ValueError(
            f"attacks on centres need a model whose `classifier` is its last linear layer, got {type(model).__name__}"
            f" with {type(layer).__name__}; use mta"
        )

    def watch(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen["features"] = inputs[0]

    def away(target: Tensor) -> Tensor:
        return (seen["features"] - layer.weight.detach()[target]).square().sum(dim=1)

    handle = layer.register_forward_pre_hook(watch)
    try:
        yield away
    finally:
        handle.remove()
