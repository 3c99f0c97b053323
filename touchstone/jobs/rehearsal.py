"""What a run will do with the user's own files, in small: what is wrong with them is said before a job starts."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from touchstone.data import DATASETS
from touchstone.data.prepare import read as read_data
from touchstone.evaluation.preflight import are_probabilities
from touchstone.jobs.common import make_model
from touchstone.models.classifier import Given
from touchstone.models.given import read as read_weights
from touchstone.plan.build import raw_place, train_job
from touchstone.plan.plan import Plan


def rehearse(plan: Plan) -> list[str]:
    """Read data and weights of the user's own, build the nets that have them, and run each on two images.

    Returns:
        What looks wrong with the nets; the attacks run all the same.

    Raises:
        ValueError: if one of the files cannot be used, or does not fit.
        ImportError: if a net needs what is not there.
    """
    doubts: list[str] = []
    for name in plan.config.data:
        if (spec := plan.own_data(name)) is not None:
            read_data(name, raw_place(plan, name), spec)
    for model in plan.models:
        job = train_job(plan, model)
        if job.weights is not None:
            (file,) = plan.weights_files(model)
            given = read_weights(file, job.weights.sha256, job.weights.form, job.weights.key, says="--key")
            spec = job.net.data or DATASETS[plan.data(model.dataset)]
            made = make_model(job.net, plan.data(model.dataset), model.seed, Given(given, str(file)))
            doubts += _doubts(made.eval(), spec.shape)
    return doubts


def _doubts(model: nn.Module, shape: Sequence[int]) -> Iterator[str]:
    """Yield what looks wrong with a net, by two images of noise.

    Raises:
        ValueError: if its logits are not finite.
    """
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    z = model(x)
    if not z.isfinite().all():
        raise ValueError("the net gives logits that are not finite, on two images of noise")
    if are_probabilities(z.detach()):
        yield "it seems to return probabilities, not logits: remove its softmax or sigmoid"
    (gradient,) = torch.autograd.grad(z.sum(), x, allow_unused=True) if z.requires_grad else (None,)
    if gradient is None or not gradient.any():
        yield "its logits have no gradient in the images: attacks that follow it find nothing"
