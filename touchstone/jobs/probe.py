"""A net under a probe: beside a selection, and every few epochs of a training."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import nn

from touchstone.data.prepare import Split, spread, to_float
from touchstone.evaluation import published
from touchstone.evaluation.result import Member
from touchstone.jobs.common import make_threat
from touchstone.plan.jobs import Probe, Watched
from touchstone.training import Monitor


class Accuracy(NamedTuple):
    """Shares in [0, 1] of the images that are right, clean and under a probe (the mean over its radii)."""

    clean: float
    robust: float


def under(probe: Probe, model: nn.Module, split: Split, seed: int) -> Accuracy:
    """Return the accuracy on the first images of a split under a probe; the model is left as it was.

    Its draws are a function of the seed and the place of an image among them.
    """
    x, y = to_float(split.x[: probe.samples]), split.y[: probe.samples]
    member = Member(probe.member.slug, probe.member.fn, probe.member.options)
    threat = make_threat(probe.threat)
    found = published.run(
        model, x, y, member, threat=threat, seed=seed, batch_size=probe.batch_size, examples=0, probes=False
    ).records
    return Accuracy(float((found["clean_pred"] == found["label"]).mean()), float(1 - found["success"].mean()))


def monitor(watched: Watched, rows: Split, test: Split, seed: int) -> Monitor:
    """Return what is measured of a net while it is trained, in columns of the history.

    Columns: train_clean, train_robust, test_clean, test_robust: accuracies on the same images each time, of which the
    classes have their share. Nothing is chosen by them.

    Args:
        watched: what is measured, and how often.
        rows: that are trained on.
        test: images of the test set.
        seed: of the draws.
    """
    parts = {"train": _some(rows, watched.probe.samples), "test": _some(test, watched.probe.samples)}

    def measure(model: nn.Module) -> Mapping[str, float]:
        found = {name: under(watched.probe, model, split, seed)._asdict() for name, split in parts.items()}
        return {f"{name}_{kind}": value for name, both in found.items() for kind, value in both.items()}

    return Monitor(measure, watched.every)


def _some(split: Split, count: int) -> Split:
    places = spread(split.y.cpu())[:count].to(split.y.device)
    return Split(split.x[places], split.y[places])
