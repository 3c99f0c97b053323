"""What a number is about: which trained model, and what an attacker may do. Plain values, without torch."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple


class ModelId(NamedTuple):
    """One trained model. `dataset` is the one that the study names, whatever stands in for it."""

    study: str
    dataset: str
    model: str
    defense: str
    seed: int


@dataclass(frozen=True)
class ThreatSpec:
    """Norm, radii, space and box of an attack, as a study gives them; `touchstone.threat.Threat` is what runs.

    Attributes:
        norm: linf, l2, l1 or l0.
        space: in which points and radii are measured: pixel or normalized.
        bounds: "data" for the box of valid pixels [0, 1], "none" for no box.
        epsilons: radii in units of the space, ascending; empty where nothing is read at a radius.
    """

    norm: str
    space: str = "pixel"
    bounds: Literal["data", "none"] = "data"
    epsilons: tuple[float, ...] = ()

    @property
    def makes_images(self) -> bool:
        """Whether its points are images: pixels inside [0, 1]."""
        return self.space == "pixel" and self.bounds == "data"


def same_radius(a: float, b: float) -> bool:
    """Say whether two radii are one; the only way in which radii are compared. Two missing ones (nan) are one."""
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)


def radius_index(grid: Iterable[float], eps: float) -> int | None:
    """Return the place of a radius in a grid, None if it is not there."""
    return next((i for i, radius in enumerate(grid) if same_radius(radius, eps)), None)
