"""Radii are compared in one way; threats say whether their points are images."""

import math

import pytest

from touchstone.cell import ThreatSpec, distinct_radii, radius_index, same_radius


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (0.3, 0.1 + 0.2, True),
        (8 / 255, 0.031373, True),  # as it is written
        (8 / 255, 0.03137, False),
        (8 / 255, round(8 / 255, 9), True),
        (0.0, 0.0, True),
        (0.0, 1e-6, False),
        (math.nan, math.nan, True),
        (math.nan, 0.3, False),
    ],
)
def test_same_radius(a: float, b: float, same: bool) -> None:
    assert same_radius(a, b) is same is same_radius(b, a)


def test_a_radius_has_a_place_in_its_grid() -> None:
    assert radius_index([0.1, 0.2, 0.3], 0.1 + 0.2) == 2
    assert radius_index([0.1, 0.2], 0.3) is None


def test_radii_that_are_one_stand_once() -> None:
    assert distinct_radii([0.3, 0.031373, 0.1 + 0.2, 8 / 255]) == (8 / 255, 0.3)


@pytest.mark.parametrize(
    ("threat", "images"),
    [
        (ThreatSpec("linf"), True),
        (ThreatSpec("linf", space="normalized"), False),
        (ThreatSpec("linf", bounds="none"), False),
    ],
)
def test_images_are_pixels_in_the_box(threat: ThreatSpec, images: bool) -> None:
    assert threat.makes_images is images
