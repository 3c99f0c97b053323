"""What the jobs share: a reproducible set-up, and specifications turned into objects."""

import os
from dataclasses import dataclass, replace

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from touchstone import paths
from touchstone.cell import ModelId, ThreatSpec
from touchstone.data import DATASETS
from touchstone.data.prepare import Dataset
from touchstone.data.prepare import load as load_dataset
from touchstone.defenses.base import Defense
from touchstone.files import DamagedError
from touchstone.models.classifier import Classifier, Given, build
from touchstone.models.whitening import Whiten
from touchstone.paths import Results
from touchstone.plan.jobs import Net, Objective, Options
from touchstone.registry import load
from touchstone.runs import Run, read_run
from touchstone.threat import Threat
from touchstone.types import UNIT


def set_up(device: str, threads: int) -> torch.device:
    """Fix what could make two runs differ: threads, TF32, algorithm choice.

    Raises:
        RuntimeError: if cuda is asked for and torch sees no GPU.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # a penalty that empties a layer made a CPU ten times slower without
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a debugging aid that costs time
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("the config says `device: cuda`, but torch sees no GPU here; set `device: cpu`")
    return torch.device(device)


def make_defense(objective: Objective, more: Options | None = None) -> Defense:
    """Build an objective; `more` are a candidate's options."""
    defense: Defense = load(objective.target)(**objective.options, **(more or {}))
    return defense


def make_model(net: Net, data: str, seed: int, given: Given | None = None) -> Classifier:
    """Build an untrained model for the dataset in use, or one that begins with given weights."""
    return build(net.fn, net.data or DATASETS[data], seed=seed, normalize=net.normalize, given=given, **net.options)


def make_fresh(net: Net, data: str, seed: int, images: Tensor, given: Given | None = None) -> Classifier:
    """Build a model that is to be trained, where the images (N, C, H, W) uint8 are; its first layer may learn of them.

    A first layer that comes with given weights is kept.
    """
    model = make_model(net, data, seed, given).to(images.device)
    if isinstance(model.normalize, Whiten) and not (given is not None and given.of_classifier):
        model.normalize.fit(images)
    return model


def make_threat(spec: ThreatSpec) -> Threat:
    """Build what runs of a threat."""
    return Threat(spec.norm, spec.epsilons, spec.space, UNIT if spec.bounds == "data" else None)


@dataclass(frozen=True)
class Trained:
    """A model with its weights, and what run.json says of its training."""

    model: Classifier
    run: Run


def load_trained(results: Results, model: ModelId, net: Net, data: str, device: torch.device) -> Trained:
    """Return a trained model.

    Raises:
        DamagedError: if a file is missing, truncated, changed or of another architecture.
    """
    built = make_model(net, data, model.seed).to(device)
    run = read_run(results.model(model).run)
    load_weights(built, run)
    return Trained(built, run)


def load_weights(model: nn.Module, run: Run) -> None:
    """Load the weights that a training left into `model`.

    Raises:
        DamagedError: if the file is missing, truncated, changed or of another architecture.
    """
    try:
        model.load_state_dict(safetensors.torch.load_file(run.checkpoint()))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise DamagedError(run.files.weights, "train", error) from error


def load_data(name: str, device: torch.device) -> Dataset:
    """Return a prepared dataset with its tensors on a device."""
    data = load_dataset(paths.prepared(name))
    train, test = (replace(part, x=part.x.to(device), y=part.y.to(device)) for part in (data.train, data.test))
    return replace(data, train=train, test=test, validation=data.validation.to(device))
