"""What an attacker may do, and the space it is measured in.

Epsilon 0.3 means something else on pixels than on normalised inputs. A threat names its space, and `in_space`
gives the attack a model that takes points of that space, so that no attack has to know.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from touchstone.models.classifier import Classifier
from touchstone.registry import NORMS, nearest
from touchstone.types import UNIT, Bounds

UNBOUNDED = Bounds(-math.inf, math.inf)


@dataclass(frozen=True)
class View:
    """A model seen from the space of a threat: z = (x - mean) / std.

    Args:
        model: z (B, *shape) -> logits (B, classes).
        bounds: box of valid z; tensors that broadcast against z where it differs by channel.
        mean: what pixel 0 is measured from, broadcastable to z.
        std: pixels per unit of z, broadcastable to z.
    """

    model: nn.Module
    bounds: Bounds
    mean: Tensor
    std: Tensor

    def from_pixels(self, x: Tensor) -> Tensor:
        """Map pixels (B, *shape) into the space; the identity in pixel space, to the last bit."""
        return (x - self.mean) / self.std

    def to_pixels(self, z: Tensor) -> Tensor:
        """Map points of the space (B, *shape) back to pixels."""
        return z * self.std + self.mean


def _pixel(model: nn.Module, bounds: Bounds) -> View:
    like = next(model.parameters(), torch.zeros(()))
    return View(model, bounds, like.new_zeros(()), like.new_ones(()))


def _normalized(model: nn.Module, bounds: Bounds) -> View:
    if not hasattr(model, "normalize") or not hasattr(model, "net"):
        raise ValueError(
            f"space 'normalized' needs a touchstone.models Classifier (normalize, then net), got "
            f"{type(model).__name__}; use space 'pixel' for a model without a normalisation layer"
        )
    mean, std = model.normalize.mean, model.normalize.std
    lower, upper = ((mean.new_tensor(edge) - mean) / std for edge in bounds)
    behind = Classifier(nn.Identity(), model.net)
    behind.logits = getattr(model, "logits", behind.logits)  # whoever watches the logits sees these too
    return View(behind, Bounds(lower, upper), mean, std)


SPACES: dict[str, Callable[[nn.Module, Bounds], View]] = {"pixel": _pixel, "normalized": _normalized}


@dataclass(frozen=True)
class Threat:
    """Norm, radii, space and box of an attack.

    Args:
        norm: one of NORMS.
        epsilons: radii in units of the space, >= 0; kept in ascending order.
        space: a name in SPACES.
        bounds: box of valid pixels, or None for no box; in another space it is moved along.

    Raises:
        ValueError: for an unknown norm or space, a repeated or negative radius, or an empty box.
    """

    norm: str
    epsilons: tuple[float, ...] = ()
    space: str = "pixel"
    bounds: Bounds | None = UNIT

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"unknown norm {self.norm!r}; {nearest(self.norm, NORMS)}")
        if self.space not in SPACES:
            raise ValueError(f"unknown space {self.space!r}; {nearest(self.space, SPACES)}")
        epsilons = tuple(sorted(float(eps) for eps in self.epsilons))
        if len(set(epsilons)) < len(epsilons) or not all(eps >= 0 for eps in epsilons):
            raise ValueError(f"epsilons must be >= 0 and all different, got {list(self.epsilons)}")
        object.__setattr__(self, "epsilons", epsilons)
        if self.bounds is not None:
            lower, upper = (float(edge) for edge in self.bounds)
            if not lower < upper:
                raise ValueError(f"bounds must be (lower, upper) with lower < upper, got {list(self.bounds)}")
            object.__setattr__(self, "bounds", Bounds(lower, upper))


def in_space(model: nn.Module, threat: Threat) -> View:
    """Return the model as the threat sees it.

    In normalised space that is the part behind the normalisation, so nothing is normalised twice.

    Args:
        model: pixels (B, C, H, W) -> logits; a Classifier unless the space is "pixel".
        threat: its space and box are used.

    Raises:
        ValueError: if the space needs a normalisation layer and the model has none.
    """
    return SPACES[threat.space](model, UNBOUNDED if threat.bounds is None else threat.bounds)
