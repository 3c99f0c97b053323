"""What the jobs share."""

import hashlib
from pathlib import Path

import pytest
import torch
from toy_records import save_run

from touchstone.cell import ThreatSpec
from touchstone.jobs.common import load_weights, make_model, make_threat, set_up
from touchstone.plan.jobs import Net
from touchstone.runs import read_run
from touchstone.types import UNIT


@pytest.mark.parametrize("content", [None, b"", b"half a checkpoint"])
def test_a_broken_checkpoint_is_named_with_its_rule(tmp_path: Path, content: bytes | None) -> None:
    run = read_run(save_run(tmp_path, model_sha256=hashlib.sha256(content or b"").hexdigest()))
    run.files.weights.unlink()
    if content is not None:
        run.files.weights.write_bytes(content)
    model = make_model(Net("lenet", "dataset", {}), "digits", seed=0)
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be used: .*rule train"):
        load_weights(model, run)


def test_threats() -> None:
    threat = make_threat(ThreatSpec("l2", "pixel", "data", (0.5, 1.0)))
    assert (threat.norm, threat.epsilons, threat.space, threat.bounds) == ("l2", (0.5, 1.0), "pixel", UNIT)
    assert make_threat(ThreatSpec("l2", bounds="none")).bounds is None


def test_cuda_without_a_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="set `device: cpu`"):
        set_up("cuda", 1)
