"""A dataset, a model, a defense and an attack are each one function or class, anywhere on PYTHONPATH, and one row.

An attack has one row of test cases besides. The functions are in plugin/toy_plugin.py, the rows in plugin/toy_rows.py.
"""

import contextlib
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from touchstone import provenance, registry
from touchstone.attacks import ATTACKS
from touchstone.cell import ModelId
from touchstone.data import DATASETS
from touchstone.data.prepare import Dataset, load, prepare, spread, to_float
from touchstone.data.sources import FetchError, fetch
from touchstone.defenses import DEFENSES
from touchstone.evaluation.judge import judge
from touchstone.models.classifier import Classifier, build
from touchstone.norms import distance
from touchstone.paths import prepared
from touchstone.plan.build import batch_job, fetch_job, train_job
from touchstone.plan.plan import make_plan
from touchstone.query import Query
from touchstone.rng import SampleRng
from touchstone.study.config import ConfigError
from touchstone.threat import Threat, in_space
from touchstone.training import Fit, Phase, fit

PLUGIN = Path(__file__).parent / "plugin"  # as it might lie anywhere
MODULE = "toy_plugin"
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
    """A coarse pattern with two brighter rows, which say the class."""
    made = Published(tmp_path_factory.mktemp("published"), {}, {})
    (made.folder / "stripes").mkdir()
    for part, count in COUNTS.items():
        made.y[part] = y = (np.arange(count) % CLASSES).astype(np.uint8)
        numbers = np.arange(count * 3 * 64) + len(part)
        made.x[part] = x = (numbers * numbers % 127).astype(np.uint8).reshape(count, 3, 8, 8)
        for label in range(CLASSES):
            x[y == label, :, 2 * label : 2 * label + 2] += 120
        samples = np.concatenate([y[:, None], x.transpose(0, 2, 3, 1).reshape(count, -1)], axis=1)
        (made.folder / "stripes" / f"{part}.samples").write_bytes(f"{count}\n".encode() + samples.tobytes())
    return made


@pytest.fixture(scope="module", autouse=True)
def rows() -> Iterator[None]:
    """The module on the path, and a row in each table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGIN)
        for table, name, spec in importlib.import_module("toy_rows").ROWS:
            patch.setitem(table, name, spec)
        yield
    for module in (MODULE, "toy_rows"):
        sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def data(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder, log = tmp_path_factory.mktemp("data"), list[str]()
    fetch("stripes", {"local": str(published.folder)}, folder / "raw" / "stripes", log=log.append)
    assert log[-1].startswith("stripes: 2 raw files verified")
    prepare("stripes", folder / "raw" / "stripes", prepared("stripes", folder))
    return load(prepared("stripes", folder))


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
    assert known["two_layers"]["width"] == registry.Option(required=False, annotation="Count", default=16)
    assert known["Smoothed"] == {"alpha": registry.Option(required=False, annotation="Share", default=0.1)}
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
        prepare("stripes", tmp_path, prepared("out", tmp_path))
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


@pytest.mark.slow
def test_the_tests_of_the_attacks_take_its_row_of_cases(root: Path) -> None:
    """No test names it: with the rows added before tests are collected, the contract and the rest run on it too."""
    files = [f"tests/attacks/test_{name}.py" for name in ("cases", "contract", "edges", "oracle")]
    options = ["-q", "-p", "toy_rows", "-p", "no:cacheprovider", "-k", "jump or test_every_attack_has_a_row"]
    paths = os.pathsep.join(map(str, (PLUGIN, root, root / "tests")))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=root,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) > 40


STUDY = {
    "study": "tiny",
    "title": "Stripes",
    "citation": "Nobody",
    "headline": "as it stands",
    "seeds": 1,
    "models": {"two-layers": {"fn": "two-layers"}},
    "recipes": {"stripes": {"optimizer": "adam", "lr": 0.01, "batch_size": 20, "epochs": 1}},
    "defenses": {"smoothed": {"fn": "smoothed", "alpha": 0.2}},
    "threats": {"linf": {"norm": "linf", "space": "pixel", "epsilons": {"stripes": [EPS]}}},
    "attacks": {"clean": {"fn": "clean"}, "jump": {"fn": "jump", "threat": "linf", "noise": 0.25}},
    "worst": {"linf": ["linf"]},
    "cells": [{"datasets": ["stripes"], "models": ["two-layers"], "defenses": ["smoothed"], "attacks": ["jump"]}],
    "readings": {"headline": {}},
}


@pytest.fixture
def config(tmp_path: Path, published: Published) -> Path:
    """A run of a study of them."""
    folder = tmp_path / "studies" / "tiny"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    suite = {"quick": {"linf": {"jump-far": {"fn": "jump", "noise": 1.0}}}}
    (tmp_path / "studies" / "worst.yaml").write_text(yaml.safe_dump(suite))
    run = {"run": "tiny", "studies": ["tiny"], "device": "cpu", "threads": 1, "jobs": "per_model", "batch_size": 64}
    run |= {"data": {"stripes": {"source": {"local": str(published.folder)}}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(run))
    return tmp_path / "config.yaml"


def test_a_study_of_them_is_planned(config: Path) -> None:
    plan = make_plan(config.parent, config)
    (model,) = plan.models
    assert model == ModelId("tiny", "stripes", "two-layers", "smoothed", 0)
    train, batch = train_job(plan, model), batch_job(plan, model, "all")
    assert {f"{MODULE}:two_layers", f"{MODULE}:Smoothed"} < {*train.code.targets}
    assert train.objective.options == {"alpha": 0.2}
    published, worst = (next(a for a in batch.attacks if a.attack == name) for name in ("jump", "worst-linf"))
    assert [(m.fn, m.options) for m in (*published.members, *worst.members)] == [
        ("jump", {"noise": 0.25}),
        ("jump", {"noise": 1.0}),
    ]
    assert f"{MODULE}:jump" in published.code.targets
    assert [file.path for file in fetch_job("stripes").files] == [f"stripes/{part}.samples" for part in COUNTS]


def test_what_a_study_says_wrong_of_them_is_named(config: Path) -> None:
    path = config.parent / "studies" / "tiny" / "study.yaml"
    path.write_text(path.read_text().replace("noise: 0.25", "noise: 1.5").replace("alpha:", "alhpa:"))
    with pytest.raises(ConfigError) as caught:
        make_plan(config.parent, config)
    assert len(caught.value.problems) == 2
    assert "defenses.smoothed.alhpa: unknown option 'alhpa'; allowed: alpha; did you mean 'alpha'?" in str(caught.value)
    assert "attacks.jump.noise: expected" in str(caught.value)


# ---- what is named, and nothing else


@pytest.fixture
def marking(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study whose model, defense and attack are functions of ones own, in files that leave a mark when they run."""
    folder = project / "mine"
    folder.mkdir()
    mark = f"with open({str(project / 'ran')!r}, 'a') as file:\n    file.write(__name__ + ' ')\n"
    signature = {
        "a_net": "def made(shape, classes, *, width: int = print('x') or 3): ...",
        "an_attack": "def made(model, x, y, *, norm: __import__('os').abort(), rng, steps: print('x') = 3): ...",
        "unnamed": "",
    }
    for name, text in signature.items():
        (folder / f"{name}.py").write_text(f"{mark}{text}\n")
    study, config = project / "studies/minmax/study.yaml", project / "config.yaml"
    text = study.read_text().replace("lenet: {fn: lenet}", "lenet: {fn: 'a_net:made'}")
    study.write_text(text.replace("{fn: fgsm, threat: linf}", "{fn: 'an_attack:made', threat: linf}"))
    config.write_text(f"{config.read_text()}code: [{folder}]\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    return project


def test_a_plan_runs_nothing_of_ones_own(marking: Path) -> None:
    """Signatures are read as text; one that is no range is not evaluated, whatever it says."""
    with contextlib.suppress(ConfigError):  # figures show a convolution, which nobody knows that the net has
        make_plan(marking, marking / "config.yaml")
    assert not (marking / "ran").exists()


def test_a_target_runs_the_module_that_it_names(marking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "a_net", raising=False)
    with contextlib.suppress(ConfigError):
        make_plan(marking, marking / "config.yaml")
    registry.load("a_net:made")
    assert (marking / "ran").read_text() == "a_net "


@pytest.mark.parametrize("name", ["json.py", "torch.py", "numpy/__init__.py", "touchstone/__init__.py"])
def test_code_of_ones_own_hides_nothing(project: Path, name: str) -> None:
    """It is found before all else, by every job, so a file of a wrong name would run in place of another."""
    (file := project / "mine" / name).parent.mkdir(parents=True)
    file.touch()
    config = project / "config.yaml"
    config.write_text(f"{config.read_text()}code: [{project / 'mine'}]\n")
    hidden = name.partition("/")[0].removesuffix(".py")
    with pytest.raises(ConfigError, match=rf"config\.yaml:\d+: code\.0: .*mine would hide {hidden} of Python"):
        make_plan(project, config)
