"""Training through torch.compile: the same weights up to rounding, and not where a gradient is differentiated."""

import shutil
from typing import Any

import pytest
import torch
from small import EXAMPLES
from torch import Tensor

from touchstone.data import DATASETS
from touchstone.defenses import DEFENSES
from touchstone.models.classifier import build
from touchstone.registry import load
from touchstone.training import Fit, OptimizerSettings, Phase, fit

# PyTorch's compiler itself looks at the .grad of what is no leaf
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")]
ONCE = Phase(epochs=1, batch_size=32, lr=1e-3, groups={"critic": OptimizerSettings(lr=1e-3)})


def trained(name: str, compiled: dict[str, Any] | None) -> tuple[Fit, dict[str, Tensor]]:
    """Train a net in two epochs of two batches; `compiled` are options of Module.compile (None: as it is)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (64, 1, 28, 28), generator=generator, dtype=torch.uint8)
    y = torch.randint(0, 10, (64,), generator=generator)
    kind = {"dropout": "mlp-1000", "weightpen": "smallcnn"}.get(name, "lenet5")
    model = build(kind, DATASETS["mnist"], seed=0)
    if compiled is not None:
        model.net.compile(**compiled)
    result = fit(model, load(DEFENSES[name].fn)(**EXAMPLES[name]), x, y, [ONCE, ONCE], seed=0)
    return result, model.state_dict()


@pytest.mark.parametrize("name", DEFENSES)
def test_what_can_be_compiled_is_what_the_table_says(name: str) -> None:
    """With the graphs of the compiler but PyTorch's kernels, the bits are those of the plain training."""
    torch.compiler.reset()
    if DEFENSES[name].compiles:
        (result, compiled), (other, plain) = trained(name, {"backend": "aot_eager"}), trained(name, None)
        assert [row["loss"] for row in result.history] == [row["loss"] for row in other.history]
        assert all(torch.equal(compiled[key], plain[key]) for key in plain)
    elif name != "mmc":  # which asks for features, so nothing of its training would be compiled
        with pytest.raises(RuntimeError, match=r"double backward|create_graph=False"):
            trained(name, {"backend": "aot_eager"})


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_kernels_train_the_same_net() -> None:
    torch.compiler.reset()
    (result, compiled), (other, plain) = trained("ce", {}), trained("ce", None)
    assert result.history[-1]["loss"] == pytest.approx(other.history[-1]["loss"], rel=1e-4)
    for key in plain:
        torch.testing.assert_close(compiled[key], plain[key], rtol=1e-3, atol=1e-5)
