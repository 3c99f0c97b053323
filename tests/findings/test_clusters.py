"""Silhouettes against their definition; t-SNE for what is promised of it."""

import numpy as np
import pytest

from touchstone.findings.clusters import embed, silhouette

APART = np.array([[0, 0], [0, 1], [5, 0], [5, 1]], "f4")


def test_a_silhouette_is_that_of_its_definition() -> None:
    other = (5 + np.sqrt(26)) / 2  # mean distance to the other class
    assert silhouette(APART, np.array([0, 0, 1, 1])) == pytest.approx((other - 1) / other)
    assert silhouette(APART, np.array([0, 1, 0, 1])) < 0


@pytest.mark.parametrize("classes", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_one_class_or_a_class_for_each_point_has_none(classes: list[int]) -> None:
    assert np.isnan(silhouette(APART, np.array(classes)))


def test_the_plane_is_the_same_each_time_and_keeps_clusters_together() -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1], 12)
    features = (rng.normal(size=(24, 5)) + 20 * classes[:, None]).astype("f4")
    plane = embed(features)
    assert plane.shape == (24, 2)
    assert np.array_equal(plane, embed(features))
    assert silhouette(plane, classes) > 0.5
