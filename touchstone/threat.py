"""What an attacker may do, and the space it is measured in.

Epsilon 0.3 means something else on pixels than on normalised inputs. A threat names its space, and `in_space`
gives the attack a model that takes points of that space, so that no attack has to know.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor, nn

from touchstone.models.classifier import Classifier, Normalize
from touchstone.models.whitening import Whiten
from touchstone.registry import NORMS, nearest
from touchstone.types import UNIT, Bounds

UNBOUNDED = Bounds(-math.inf, math.inf)
First = TypeVar("First", Normalize, Whiten)


class Layer(Protocol):
    """What maps pixels into a space: the first layer of a model."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """Map pixels x (B, *shape) into the space."""

    def inverse(self, z: Tensor, x: Tensor | None, /) -> Tensor:
        """Return the pixels (B, *shape) of points z that images x (B, *shape) were moved to."""


class Pixels:
    """The space of the pixels themselves."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """Return x."""
        return x

    def inverse(self, z: Tensor, _x: Tensor | None, /) -> Tensor:
        """Return z."""
        return z


PIXELS = Pixels()


@dataclass(frozen=True)
class View:
    """A model seen from the space of a threat.

    Args:
        model: z (B, *shape) -> logits (B, classes).
        bounds: box of valid z; tensors that broadcast against z where it differs by channel.
        layer: from pixels to z and back.
    """

    model: nn.Module
    bounds: Bounds
    layer: Layer = PIXELS

    def from_pixels(self, x: Tensor) -> Tensor:
        """Map pixels (B, *shape) into the space; the identity in pixel space, to the last bit."""
        return self.layer(x)

    def to_pixels(self, z: Tensor, x: Tensor | None = None) -> Tensor:
        """Map points of the space (B, *shape) back to pixels.

        Args:
            z: points.
            x: pixels (B, *shape) of the images that were moved there, for whitened space: there an image is seen
                without its mean and contrast, and gets those back. So is the image that is shown and measured; the
                model was asked about the point itself, as where images are whitened before they are attacked.

        Raises:
            ValueError: if the space needs the images.
        """
        return self.layer.inverse(z, x)


def _pixel(model: nn.Module, bounds: Bounds) -> View:
    return View(model, bounds)


def _normalized(model: nn.Module, bounds: Bounds) -> View:
    layer = _first_layer(model, "normalized", Normalize)
    lower, upper = ((layer.mean.new_tensor(edge) - layer.mean) / layer.std for edge in bounds)
    return View(_behind(model), Bounds(lower, upper), layer)


def _whitened(model: nn.Module, bounds: Bounds) -> View:
    layer = _first_layer(model, "whitened", Whiten)
    if bounds != UNBOUNDED:
        raise ValueError(f"a box of pixels is none in whitened space, got the bounds {list(bounds)}; give none")
    return View(_behind(model), bounds, layer)


def _first_layer(model: nn.Module, space: str, kind: type[First]) -> First:
    """Return what a model's space begins with."""
    layer = getattr(model, "normalize", None)
    if not isinstance(layer, kind) or not hasattr(model, "net"):
        raise ValueError(
            f"space {space!r} needs a touchstone.models Classifier that begins with {kind.__name__}, got "
            f"{type(model).__name__}; use space 'pixel' for a model without such a layer"
        )
    return layer


def _behind(model: nn.Module) -> Classifier:
    """Return the part of a Classifier behind its first layer."""
    behind = Classifier(nn.Identity(), model.net)
    behind.logits = getattr(model, "logits", behind.logits)  # whoever watches the logits sees these too
    return behind


SPACES: dict[str, Callable[[nn.Module, Bounds], View]] = {
    "pixel": _pixel,
    "normalized": _normalized,
    "whitened": _whitened,
}


@dataclass(frozen=True)
class Threat:
    """Norm, radii, space and box of an attack.

    Args:
        norm: one of NORMS.
        epsilons: radii in units of the space, >= 0; kept in ascending order.
        space: a name in SPACES.
        bounds: box of valid pixels, or None for no box, as it has to be in whitened space; in normalised space it is
            moved along.

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

    In another space that is the part behind the first layer, so nothing is normalised twice.

    Args:
        model: pixels (B, C, H, W) -> logits; a Classifier unless the space is "pixel".
        threat: its space and box are used.

    Raises:
        ValueError: if the space needs a first layer that the model has not, or no box.
    """
    return SPACES[threat.space](model, UNBOUNDED if threat.bounds is None else threat.bounds)
