"""What the jobs share: a reproducible set-up, and definitions turned into objects."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from touchstone.data import DATASETS
from touchstone.data.prepare import Dataset
from touchstone.defenses import DEFENSES
from touchstone.defenses.base import Defense
from touchstone.models.classifier import Classifier, build
from touchstone.registry import load
from touchstone.threat import Threat
from touchstone.training import Phase, Rule
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
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs time
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("the config says `device: cuda`, but torch sees no GPU here; set `device: cpu`")
    return torch.device(device)


def make_defense(definition: Mapping[str, Any], **more: Any) -> Defense:
    """Build the objective of {fn, options}; `more` are a candidate's options."""
    return load(DEFENSES[definition["fn"]].fn)(**definition["options"], **more)


def make_model(definition: Mapping[str, Any], dataset: str, seed: int) -> Classifier:
    """Build the untrained model of {fn, options, normalize} for a dataset."""
    kept = {"normalize": definition["normalize"], **definition["options"]}
    return build(definition["fn"], DATASETS[dataset], seed=seed, **kept)


def make_phases(phases: list[dict[str, Any]]) -> list[Phase]:
    """Turn the plan's phases into those of the training loop."""
    return [_made(Phase, {k: v for k, v in phase.items() if k != "init"}) for phase in phases]


def _made(kind: type[Rule], given: Mapping[str, Any]) -> Any:
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    if "groups" in values:
        values["groups"] = {name: _made(Rule, group) for name, group in given["groups"].items()}
    return kind(**values)


def load_weights(model: nn.Module, path: Path) -> str:
    """Load a checkpoint into `model`; return the file's sha256.

    Raises:
        ValueError: if the file is missing, truncated or of another architecture; names it and the rule.
    """
    try:
        content = path.read_bytes()
        model.load_state_dict(safetensors.torch.load(content))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} cannot be used ({error}); delete it and run snakemake again (rule train)") from error
    return hashlib.sha256(content).hexdigest()


def run_json(path: Path) -> dict[str, Any]:
    """Read a model's run.json; raises ValueError naming the file and the rule."""
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it and run snakemake again (rule train)") from error


def to_device(data: Dataset, device: torch.device) -> Dataset:
    """Put a dataset's tensors on a device."""
    train, test = (replace(part, x=part.x.to(device), y=part.y.to(device)) for part in (data.train, data.test))
    return replace(data, train=train, test=test, validation=data.validation.to(device))


def threat_of(definition: Mapping[str, Any] | None) -> Threat | None:
    """Build the threat of {norm, space, bounds, epsilons}; None for the clean pass."""
    if definition is None:
        return None
    bounds = UNIT if definition["bounds"] == "data" else None
    return Threat(definition["norm"], tuple(definition["epsilons"]), definition["space"], bounds)
