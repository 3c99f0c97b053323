"""The nets that are attacked: trained once by the project's own loop, kept under the results folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from touchstone import paths
from touchstone.data import DATASETS
from touchstone.data.prepare import Dataset, load, prepare, spread, to_float
from touchstone.defenses.adv import Alternating
from touchstone.defenses.base import Defense
from touchstone.defenses.ce import CrossEntropy
from touchstone.files import alone
from touchstone.models.classifier import Classifier, Normalize, build
from touchstone.training import Phase, fit


class Subject(NamedTuple):
    """A trained net and the test samples it gets right: x (n, *shape) in [0, 1], y (n,)."""

    name: str
    model: nn.Module
    x: Tensor
    y: Tensor

    def first(self, count: int) -> Subject:
        """Return the same net with its first `count` samples."""
        return self._replace(x=self.x[:count], y=self.y[:count])


@dataclass(frozen=True)
class Recipe:
    """How a net is made: its dataset, its architecture, and what it is trained by, one after the other."""

    dataset: str
    build: Callable[[], Classifier]
    training: tuple[tuple[Defense, Phase], ...]


def _lenet() -> Classifier:
    return build("lenet", DATASETS["mnist"], seed=0)


def _vgg() -> Classifier:
    """Return a VGG-like net on 3 x 32 x 32: pairs of 3x3 convolutions with batch norm, 0.3 million weights."""

    def pair(before: int, after: int) -> list[nn.Module]:
        widths = ((before, after), (after, after))
        layers = [(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()) for i, o in widths]
        return [layer for group in layers for layer in group] + [nn.MaxPool2d(2)]

    spec = DATASETS["digits-rgb"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(*pair(3, 32), *pair(32, 64), *pair(64, 128), nn.Flatten(), nn.Linear(2048, spec.classes))
    return Classifier(Normalize(spec.mean, spec.std), net)


_ADAM = Phase(epochs=5, batch_size=128, lr=1e-3)
_PGD = Alternating("linf", eps=0.3, attack_steps=10, step_size=0.075)
RECIPES = {
    "lenet-std": Recipe("mnist", _lenet, ((CrossEntropy(), _ADAM),)),
    "lenet-adv": Recipe("mnist", _lenet, ((CrossEntropy(), Phase(1, 128, lr=1e-3)), (_PGD, _ADAM))),
    "vgg-std": Recipe("digits-rgb", _vgg, ((CrossEntropy(), _ADAM),)),
}


def dataset(name: str) -> Dataset:
    """Return a prepared dataset; an embedded one is prepared here, another by `make bench` before it starts."""
    files = paths.prepared(name)
    if DATASETS[name].embedded:
        with alone(paths.raw(name).lock):
            if not files.facts.is_file():  # written last: where it is, the data is whole
                prepare(name, paths.raw(name).folder, files)
    return load(files)


def subject(
    name: str, folder: Path, count: int, *, channels_last: bool = False, say: Callable[[str], None] = print
) -> Subject:
    """Return a net with `count` test samples that it classifies correctly, training it if it is not there yet.

    Its weights are in PyTorch's ordinary memory format, as a user's model would be, or in `channels_last`: on a CPU
    that makes the passes of the peers up to 1.6 times faster, while ours feed a model in that format either way.

    Raises:
        RuntimeError: if the training failed, or fewer samples are classified correctly.
    """
    recipe, path = RECIPES[name], folder / f"{name}.safetensors"
    data = dataset(recipe.dataset)
    model = recipe.build()
    if path.is_file():
        model.load_state_dict(safetensors.torch.load_file(path))
    else:
        for defense, phase in recipe.training:
            result = fit(model, defense, data.train.x, data.train.y, (phase,), seed=0, on_epoch=say)
            if result.status != "ok":
                raise RuntimeError(f"{name}: {result.reason}")
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model.eval().requires_grad_(False).to(memory_format=memory_format)
    order = spread(data.test.y)
    x, y = to_float(data.test.x[order]), data.test.y[order]
    right = torch.cat([model(part).argmax(dim=1) for part in x.split(512)]) == y
    if int(right.sum()) < count:
        raise RuntimeError(f"{name}: {int(right.sum())} test samples are classified correctly, {count} are needed")
    return Subject(name, model, x[right][:count], y[right][:count])
