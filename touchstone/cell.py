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

    @property
    def label(self) -> str:
        """Its name for people, study/dataset/model/defense/seed."""
        return "/".join(map(str, self))


@dataclass(frozen=True)
class ThreatSpec:
    """Norm, radii, space and box of an attack, as a study gives them; `touchstone.threat.Threat` is what runs.

    Attributes:
        norm: linf, l2, l1 or l0.
        space: in which points and radii are measured: pixel, normalized or whitened.
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
    """Say whether two radii are one; the only way in which radii are compared. Two missing ones (nan) are one.

    A radius may be written with six decimals, 8/255 as 0.031373; the judge allows more than the difference.
    """
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-6, abs_tol=5e-7)


def distinct_radii(radii: Iterable[float]) -> tuple[float, ...]:
    """Return radii in ascending order, each once: of those that are one the smallest."""
    found: list[float] = []
    for radius in sorted(radii):
        if not found or not same_radius(found[-1], radius):
            found.append(radius)
    return tuple(found)


def radius_index(grid: Iterable[float], eps: float) -> int | None:
    """Return the place of a radius in a grid, None if it is not there."""
    return next((i for i, radius in enumerate(grid) if same_radius(radius, eps)), None)
