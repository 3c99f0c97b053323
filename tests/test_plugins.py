"""A dataset, a model, a defense and an attack are each one function or class, anywhere on PYTHONPATH, and one row."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from touchstone import provenance, registry
from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS
from touchstone.data.prepare import Dataset, load, prepare, spread, to_float
from touchstone.data.sources import FetchError, fetch
from touchstone.defenses import DEFENSES
from touchstone.evaluation.judge import judge
from touchstone.models import MODELS
from touchstone.models.classifier import Classifier, build
from touchstone.norms import distance
from touchstone.query import Query
from touchstone.registry import AttackSpec, DatasetSpec, DefenseSpec, ModelSpec, RawFile
from touchstone.rng import SampleRng
from touchstone.threat import Threat, in_space
from touchstone.training import Fit, Phase, fit

MODULE = "toy_plugin"
SOURCE = '''
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from touchstone.data.readers import Parts, held_out
from touchstone.defenses.base import Objective
from touchstone.query import as_query
from touchstone.rng import as_rng


def stripes(raw_dir, validation):
    """Read each part: a line with the count, then a byte for the label and 8x8x3 for the image, per sample."""
    parts = []
    for name in ("train", "test"):
        count, _, content = (raw_dir / "stripes" / f"{name}.samples").read_bytes().partition(b"\\n")
        rows = torch.from_numpy(np.frombuffer(content, np.uint8).reshape(int(count), -1).copy())
        parts += [rows[:, 1:].view(-1, 8, 8, 3).permute(0, 3, 1, 2), rows[:, 0].long()]
    return Parts(*parts, held_out(parts[1].numpy(), validation))


def two_layers(shape, classes, *, width: int = 16):
    size = shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, classes))


@dataclass(frozen=True)
class Smoothed(Objective):
    """Cross-entropy to labels that are smoothed by alpha in [0, 1)."""

    alpha: float = 0.1

    def parts(self, logits, y):
        return {"smoothed": F.cross_entropy(logits, y, reduction="none", label_smoothing=self.alpha)}


def jump(model, x, y, *, norm, eps, rng, stop="never", loss: str = "margin", noise: float = 0.5):
    """Take one step of length eps along the sign of the gradient, from a random point of the ball of noise * eps."""
    if norm != "linf":
        raise ValueError(f"norm {norm!r} is not supported here; allowed: linf")
    query = as_query(model, x)
    eps = torch.as_tensor(eps, dtype=x.dtype).expand(len(x)).view(-1, *[1] * (x.ndim - 1))
    draws = as_rng(rng, len(x), x.device).uniform(tuple(x.shape[1:]), dtype=x.dtype)
    start = query.bounds.clip(x + noise * eps * (2 * draws - 1))
    _, _, gradient = query.grad(start, y, query.loss(loss))
    step = (start - x + eps * gradient.sign()).clamp(-eps, eps)
    return query.bounds.clip(x + step)
'''
COUNTS = {"train": 200, "test": 40}
CLASSES = 4
EPS = 0.2


@dataclass(frozen=True)
class Published:
    """What somebody published: a folder, and what it holds, part -> images (N, 3, 8, 8) and labels (N,), uint8."""

    folder: Path
    x: dict[str, np.ndarray]
    y: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Noise with two brighter rows, which say the class."""
    rng, made = np.random.default_rng(0), Published(tmp_path_factory.mktemp("published"), {}, {})
    (made.folder / "stripes").mkdir()
    for part, count in COUNTS.items():
        made.y[part] = y = (np.arange(count) % CLASSES).astype(np.uint8)
        made.x[part] = x = rng.integers(0, 128, (count, 3, 8, 8), dtype=np.uint8)
        for label in range(CLASSES):
            x[y == label, :, 2 * label : 2 * label + 2] += 120
        samples = np.concatenate([y[:, None], x.transpose(0, 2, 3, 1).reshape(count, -1)], axis=1)
        (made.folder / "stripes" / f"{part}.samples").write_bytes(f"{count}\n".encode() + samples.tobytes())
    return made


@pytest.fixture(scope="module", autouse=True)
def rows(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The module on the path, and a row in each table."""
    home = tmp_path_factory.mktemp("plugin")
    (home / f"{MODULE}.py").write_text(SOURCE)
    files = [f"stripes/{part}.samples" for part in COUNTS]
    sums = [hashlib.md5((published.folder / file).read_bytes()).hexdigest() for file in files]
    dataset = DatasetSpec(
        fn=f"{MODULE}:stripes",
        shape=(3, 8, 8),
        classes=CLASSES,
        mean=(0.37,) * 3,
        std=(0.25,) * 3,
        source="made up",
        validation=20,
        files=tuple(map(RawFile, files, sums)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(home)
        patch.setitem(DATASETS, "stripes", dataset)
        patch.setitem(MODELS, "two-layers", ModelSpec(f"{MODULE}:two_layers", "made up", {"width": 12}))
        patch.setitem(DEFENSES, "smoothed", DefenseSpec(f"{MODULE}:Smoothed", "made up"))
        patch.setitem(ATTACKS, "jump", AttackSpec(f"{MODULE}:jump", "fixed", ("linf",), "made up"))
        yield
    sys.modules.pop(MODULE, None)


@pytest.fixture(scope="module")
def data(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder, log = tmp_path_factory.mktemp("data"), list[str]()
    fetch("stripes", {"local": str(published.folder)}, folder / "raw" / "stripes", log=log.append)
    assert log[-1].startswith("stripes: 2 raw files verified")
    prepare("stripes", folder / "raw" / "stripes", folder / "prepared" / "stripes")
    return load(folder / "prepared" / "stripes.safetensors")


@pytest.fixture(scope="module")
def trained(data: Dataset) -> tuple[Classifier, Fit]:
    model = build("two-layers", DATASETS["stripes"], seed=0)
    train, validation = data.held_out()
    defense = registry.load(DEFENSES["smoothed"].fn)(alpha=0.2)
    return model, fit(model, defense, train.x, train.y, [Phase(1, 10, lr=0.01)], seed=0, validation=validation)


@pytest.fixture
def block(data: Dataset) -> tuple[Tensor, Tensor]:
    """Ten test images in [0, 1] and their labels."""
    some = spread(data.test.y)[:10]
    return to_float(data.test.x[some]), data.test.y[some]


def test_what_a_study_may_say_of_them_is_read_from_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module is not imported for that: a study is checked before any job starts, and without torch."""
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    known = {name: registry.options(f"{MODULE}:{name}") for name in ("two_layers", "Smoothed", "jump")}
    assert MODULE not in sys.modules
    assert known["two_layers"]["width"] == registry.Option(required=False, annotation="int", default=16)
    assert known["Smoothed"] == {"alpha": registry.Option(required=False, annotation="float", default=0.1)}
    assert known["jump"]["loss"].default == "margin"
    assert {MODULE, "touchstone.query", "touchstone.defenses.base"} <= set(provenance.reached([MODULE]))


def test_the_dataset_is_the_published_one(data: Dataset, published: Published) -> None:
    for part, split in (("train", data.train), ("test", data.test)):
        assert np.array_equal(split.x.numpy(), published.x[part])
        assert np.array_equal(split.y.numpy(), published.y[part])
    assert data.train.y[data.validation].bincount().tolist() == [5] * CLASSES


def test_the_sums_of_the_row_are_held_to(tmp_path: Path) -> None:
    (tmp_path / "stripes").mkdir()
    for part in COUNTS:
        (tmp_path / "stripes" / f"{part}.samples").write_bytes(b"0\n")
    with pytest.raises(FetchError, match=f"expected md5 {DATASETS['stripes'].files[0].md5}"):
        fetch("stripes", {"local": str(tmp_path)}, tmp_path / "raw", log=lambda _: None)
    with pytest.raises(ValueError, match="expected md5"):
        prepare("stripes", tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match=r"no source 'download'; allowed: \{mirror: URL\}, \{local: DIR\}"):
        fetch("stripes", "download", tmp_path / "raw", log=lambda _: None)


def test_the_model_is_built_for_the_dataset(block: tuple[Tensor, Tensor]) -> None:
    model = build("two-layers", DATASETS["stripes"], seed=0)
    x, _ = block
    assert model.features(x).shape == (10, 12)  # as wide as its row says
    torch.testing.assert_close(model(x), model.net((x - 0.37) / 0.25))
    assert model.classifier.out_features == CLASSES


def test_the_defense_trains_it(trained: tuple[Classifier, Fit]) -> None:
    _, result = trained
    assert result.status == "ok"
    (row,) = result.history
    assert row["smoothed"] == row["loss"]
    assert row["validation_accuracy"] > 2 / CLASSES


def snapshot(model: Classifier, *tensors: Tensor) -> list[Tensor]:
    """Return all that an attack must leave alone: its inputs, weights, gradients, the mode, the global generator."""
    gradients = [torch.zeros(0) if p.grad is None else p.grad for p in model.parameters()]
    flags = [p.requires_grad for p in model.parameters()] + [module.training for module in model.modules()]
    kept = [*tensors, *model.state_dict().values(), *gradients, torch.tensor(flags), torch.get_rng_state()]
    return [tensor.clone() for tensor in kept]


def test_the_attack_keeps_the_contract(trained: tuple[Classifier, Fit], block: tuple[Tensor, Tensor]) -> None:
    (model, _), (x, y), attack = trained, block, registry.load(ATTACKS["jump"].fn)
    before, draws = snapshot(model, x, y), SampleRng(0, torch.arange(len(x)))
    query = Query(model, samples=len(x))
    x_adv = attack(query, x, y, norm="linf", eps=EPS, rng=draws)
    assert (x_adv.shape, x_adv.dtype, x_adv.requires_grad) == (x.shape, x.dtype, False)
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    assert distance(x_adv - x, "linf").max() <= EPS + 1e-6
    assert query.forwards.tolist() == query.backwards.tolist() == [1] * len(x)
    assert torch.equal(attack(model, x, y, norm="linf", eps=0.0, rng=draws), x)
    alone = attack(model, x[3:4], y[3:4], norm="linf", eps=EPS, rng=draws.at(torch.tensor([3])))
    torch.testing.assert_close(alone[0], x_adv[3])
    for was, now in zip(before, snapshot(model, x, y), strict=True):
        assert torch.equal(was, now)
    with pytest.raises(ValueError, match="allowed: linf"):
        attack(model, x, y, norm="l2", eps=EPS, rng=0)


def test_the_judge_counts_its_points(trained: tuple[Classifier, Fit], block: tuple[Tensor, Tensor]) -> None:
    (model, _), (x, y), threat = trained, block, Threat("linf", (EPS,))
    view, attack = in_space(model, threat), registry.load(ATTACKS["jump"].fn)
    found = {
        eps: judge(view, x, y, attack(model, x, y, norm="linf", eps=eps, rng=0), threat, EPS) for eps in (0.0, EPS, 0.5)
    }
    assert found[0.0]["success"].sum() < found[EPS]["success"].sum()
    assert not found[EPS]["rejected"].any()
    assert found[0.5]["rejected"].all()
