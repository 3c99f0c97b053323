"""The criterion for unstated constants, and what is measured of each candidate."""

import pytest
import torch

from touchstone.data import DATASETS
from touchstone.data.prepare import Dataset, Split
from touchstone.defenses.ce import CrossEntropy
from touchstone.jobs.selection import choose, try_out
from touchstone.models.classifier import build
from touchstone.training import Phase


def candidates(*accuracies: float | None) -> list[dict]:
    return [
        {"status": "failed" if a is None else "ok", "bounded": True, "validation_accuracy": a or 0.0}
        for a in accuracies
    ]


@pytest.mark.parametrize(
    ("found", "index"),
    [
        ((0.98, 0.975, 0.96), 1),
        ((0.98, 0.96, 0.975), 2),  # the last good one, not the last before the first bad one
        ((0.98, 0.97, None), 1),  # exactly at the tolerance still counts; a failed one never does
        ((0.9, None), None),
        ((), None),
    ],
)
def test_the_last_finite_candidate_within_the_tolerance(found: tuple, index: int | None) -> None:
    assert choose(candidates(*found), 0.98, 0.01) == index


def test_weights_that_the_objective_drives_outwards_are_not_taken() -> None:
    found = candidates(0.98, 0.98)
    found[1]["bounded"] = False
    assert choose(found, 0.98, 0.01) == 0


def test_a_candidate_never_sees_the_validation_rows_or_the_test_set() -> None:
    """The validation rows carry labels that contradict their look; a net that had trained on them would know."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 2
    x = torch.randint(0, 60, (60, 1, 28, 28), generator=generator, dtype=torch.uint8)
    x[y == 1, :, :, :14] = 250
    validation = torch.arange(40, 60)
    labels = y.clone()
    labels[validation] = 1 - labels[validation]
    empty = Split(x[:0], y[:0])
    data = Dataset("toy", Split(x, labels), empty, validation, "")
    found = try_out(
        lambda seed: build("lenet", DATASETS["digits"], seed=seed),
        CrossEntropy(),
        data,
        [Phase(epochs=15, batch_size=8, lr=1e-3)],
        seed=0,
        redraws=0,
        probe=lambda model, x, y: float((model(x).argmax(1) == y).float().mean()),
        probe_samples=10,
        threshold=0.01,
    )
    assert found["status"] == "ok"
    assert found["validation_accuracy"] == 0.0
    assert found["robust_accuracy"] == 0.0
    assert 0 <= found["near_zero"] <= 1
    assert found["max_abs"] > 0
    assert found["epochs"] == 15
