"""The job that keeps what models make of images before their last layer, for one figure."""

import math
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from touchstone.cell import ModelId
from touchstone.evaluation.judge import exact
from touchstone.files import sum_of, write_bytes, write_sealed
from touchstone.findings.clusters import embed, silhouette
from touchstone.jobs import attack
from touchstone.models.classifier import Classifier
from touchstone.paths import Results
from touchstone.plan.jobs import FeaturesJob


class Points(NamedTuple):
    """Features of one net.

    Attributes:
        features: (n, D), of the clean images and then of what an attack made of some.
        label: (n,), classes of the images.
        sample: (n,), their places in the test set.
        adversarial: (n,), whether an attack made it.
    """

    features: Tensor
    label: Tensor
    sample: Tensor
    adversarial: Tensor


def features(job: FeaturesJob, results: Results) -> None:
    """Write features of every net of a figure, and what is measured of them.

    Of adversarial points those are kept that are newly wrong: the image is taken for what it is and the point, within
    the threat, is not. <figure>.safetensors has the tensors of `Points` of each net, named <net>/<tensor>, and of the
    first trained net of each kind <net>/plane (n, 2), where t-SNE puts them. <figure>.json says of each net whose it is
    and has the silhouettes, by classes of the images, of the clean points and of all.

    Raises:
        ValueError: if a net has no layer of features.
    """
    tensors: dict[str, Tensor] = {}
    nets: dict[str, dict[str, Any]] = {}
    embedded = set[ModelId]()
    for batch in job.nets:
        model, cell = batch.subject.model, batch.subject.words()
        scene = attack.make_scene(batch, results)
        if scene.target.run.status != "ok":
            nets[model.label] = {"cell": cell, "status": "failed", "reason": scene.target.run.reason}
            continue
        points = measure(scene)
        nets[model.label] = {"cell": cell, "status": "ok", "reason": "", **summary(points)}
        tensors |= {f"{model.label}/{name}": values for name, values in points._asdict().items()}
        if model._replace(seed=0) not in embedded:
            embedded.add(model._replace(seed=0))
            tensors[f"{model.label}/plane"] = torch.from_numpy(np.ascontiguousarray(embed(points.features.numpy())))
    files = results.features(job.study, job.figure)
    content = safetensors.torch.save(tensors)
    write_bytes(files.points, content)
    write_sealed(files.measured, {"nets": nets, "points_sha256": sum_of(content)})


def measure(scene: attack.Scene) -> Points:
    """Run the one attack of a batch on a trained model, and return what the model makes of its points.

    Raises:
        ValueError: if the model has no layer of features.
    """
    (job,) = scene.job.attacks
    x, y, index = scene.images(job.population, job.samples)
    found = attack.attacked(job, scene, x, y, index, {})
    (points,), rows = found.examples.values(), found.records
    wrong = torch.tensor((rows["success"] & (rows["clean_pred"] == rows["label"])).tolist())
    every = torch.cat([x, points[wrong].to(x.device)])
    return Points(
        features=_features(scene.target.model, every, scene.job.batch_size),
        label=torch.cat([y.cpu(), y.cpu()[wrong]]),
        sample=torch.cat([index.cpu(), index.cpu()[wrong]]),
        adversarial=torch.cat([torch.zeros(len(x), dtype=torch.bool), torch.ones(int(wrong.sum()), dtype=torch.bool)]),
    )


def summary(points: Points) -> dict[str, Any]:
    """Return how many points there are of each kind, and their silhouettes, None where there is none."""
    features, label, clean = points.features.numpy(), points.label.numpy(), ~points.adversarial.numpy()
    apart = {"clean": silhouette(features[clean], label[clean]), "all": silhouette(features, label)}
    return {
        "clean": int(clean.sum()),
        "adversarial": int((~clean).sum()),
        "silhouette": {kind: value if math.isfinite(value) else None for kind, value in apart.items()},
    }


def _features(model: Classifier, x: Tensor, batch_size: int) -> Tensor:
    """Return the features (n, D) of images (n, C, H, W) in pixels, float32 on the CPU."""
    with exact(model, x.device):
        return torch.cat([model.features(chunk).float().flatten(1).cpu() for chunk in torch.split(x, batch_size)])
