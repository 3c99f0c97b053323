"""How far apart the classes are in a space of features; torch is not needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from touchstone.cell import ModelId
from touchstone.files import read_sealed

Points = NDArray[np.float32]  # (n, D)
PERPLEXITY = 30.0  # the number of neighbours that t-SNE keeps near; of scikit-learn and of most of the field


def silhouette(features: Points, classes: NDArray[np.int64]) -> float:
    """Return the mean silhouette of points in [-1, 1]: 1 where classes are tight and far apart, 0 where they touch.

    Source: Rousseeuw (1987), with Euclidean distances.

    Args:
        features: (n, D).
        classes: (n,).

    Returns:
        The mean over all points; NaN where there are fewer than two classes, or a class for each point.
    """
    from sklearn.metrics import silhouette_score  # a second to import

    if not 2 <= len(np.unique(classes)) < len(classes):
        return float("nan")
    return float(silhouette_score(features, classes))


def embed(features: Points, *, seed: int = 0) -> Points:
    """Return points (n, 2) of the plane by t-SNE, the same ones for the same features and seed.

    Source: van der Maaten and Hinton (2008), as scikit-learn has it: Barnes-Hut, begun at the principal components.

    Args:
        features: (n, D), n >= 2.
        seed: of its draws.
    """
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)  # it has to be below the number of points
    tsne = TSNE(n_components=2, init="pca", perplexity=perplexity, random_state=seed)
    # one thread: the points depend on their number, and threads that wait for one another take ten times as long
    with threadpool_limits(limits=1):
        return cast(Points, tsne.fit_transform(features))


class Apart(NamedTuple):
    """How far apart the classes of clean images are in the features of one net.

    Attributes:
        points: clean images.
        silhouette: of these; None where they are of one class, or the training failed.
        failed: why it did, "" if it did not.
    """

    model: ModelId
    stand_in: str
    points: int
    silhouette: float | None
    failed: str


def read(measured: Path) -> list[Apart]:
    """Return what the job of features measured of the nets of one figure.

    Raises:
        DamagedError: if the file is not as the job left it.
    """
    return [_apart(net) for net in read_sealed(measured, "features")["nets"].values()]


def _apart(net: Mapping[str, Any]) -> Apart:
    about = ModelId(*(net["cell"][name] for name in ModelId._fields)), net["cell"]["stand_in"]
    if net["status"] == "failed":
        return Apart(*about, 0, None, net["reason"])
    return Apart(*about, net["clean"], net["silhouette"]["clean"], "")
