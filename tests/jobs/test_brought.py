"""A study that brings one of each from outside the package: data, net, weights, defense, attack, foreign attack."""

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from small_study import NEEDED
from toy_jobs import trained

from touchstone import provenance, records, registry
from touchstone.cell import ModelId
from touchstone.data.prepare import prepare
from touchstone.jobs import attack
from touchstone.paths import Results, prepared
from touchstone.plan import build
from touchstone.plan.jobs import PrepareJob
from touchstone.plan.plan import Plan, make_plan
from touchstone.study.config import ConfigError

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
MODULE = "brought"
SOURCE = '''
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from touchstone.defenses.base import Objective
from touchstone.query import as_query
from touchstone.ranges import Share


def net(shape, classes, *, width: int = 16):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], width), nn.ReLU(),
                         nn.Linear(width, classes))


@dataclass(frozen=True)
class Smoothed(Objective):
    """Cross-entropy to smoothed labels."""

    alpha: Share = 0.1

    def parts(self, logits, y):
        return {"smoothed": F.cross_entropy(logits, y, reduction="none", label_smoothing=self.alpha)}


def jump(model, x, y, *, norm: Literal["linf"], eps, rng, stop="never", share: Share = 1.0):
    """Take one step."""
    query = as_query(model, x)
    _, _, gradient = query.grad(x, y, query.loss("ce"))
    return query.bounds.clip(x + share * eps * gradient.sign())


def wander(model, x, y, steps=3):
    """A foreign attack."""
    z = x
    for _ in range(steps):
        z = z.detach().requires_grad_()
        F.cross_entropy(model(z), y, reduction="sum").backward()
        z = (z + 0.1 * z.grad.sign()).clamp(0, 1)
    return z
'''
FOREIGN = {"target": f"{MODULE}:wander", "convention": "call"}
STUDY: dict[str, Any] = NEEDED | {
    "models": {"mine": {"fn": f"{MODULE}:net", "normalize": "none", "width": 12}},
    "recipes": {"stripes": {"optimizer": "adam", "lr": 0.01, "batch_size": 20, "epochs": 2}},
    "defenses": {"smoothed": {"fn": f"{MODULE}:Smoothed", "alpha": 0.2}, "theirs": {"fn": "ce"}},
    "threats": {"linf": {"norm": "linf", "space": "pixel", "epsilons": {"stripes": [0.1, 0.2]}}},
    "attacks": {
        "clean": {"fn": "clean"},
        "jump": {"fn": f"{MODULE}:jump", "threat": "linf", "share": 0.9},
        "wander": {"fn": "external", "threat": "linf", **FOREIGN, "options": {"steps": 4}},
    },
    "cells": [
        {"datasets": ["stripes"], "models": ["mine"], "defenses": ["smoothed", "theirs"], "attacks": ["jump", "wander"]}
    ],
}
CONFIG: dict[str, Any] = {
    **{"run": "tiny", "studies": ["small"], "device": "cpu", "threads": 1, "jobs": "per_model", "batch_size": 16},
}


def mine(defense: str) -> ModelId:
    return ModelId("small", "stripes", "mine", defense, 0)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The module of the user's own on the path; what is read of it is read anew."""
    home = tmp_path / "home"
    home.mkdir()
    (home / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(home)
    forget()
    yield home / f"{MODULE}.py"
    sys.modules.pop(MODULE, None)
    forget()


def forget() -> None:
    for read in (registry.options, registry.constants, registry.keywords):
        read.cache_clear()
    for read in (provenance._tree, provenance._fingerprint, provenance._imports, build._code):
        read.cache_clear()


@pytest.fixture
def brought(project: Path, module: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The study and its files in a folder of its own, and the working directory there; returned as plain data."""
    assert module.is_file()
    monkeypatch.chdir(project)
    rng, y = np.random.default_rng(0), np.arange(60) % 4
    x = rng.integers(0, 128, (60, 8, 8, 3), dtype=np.uint8)
    for label in range(4):
        x[y == label, 2 * label : 2 * label + 2] += 120
    np.savez(project / "stripes.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    weights = {"1.weight": torch.randn(12, 192), "1.bias": torch.zeros(12)}
    weights |= {"3.weight": torch.randn(4, 12), "3.bias": torch.zeros(4)}
    (project / "studies" / "small").mkdir()
    torch.save(weights, project / "studies" / "small" / "theirs.pt")
    sums = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (project / "stripes.npz", project / "studies" / "small" / "theirs.pt")
    }
    row = {"fn": "npz", "shape": [3, 8, 8], "classes": 4, "mean": [0.4] * 3, "std": [0.2] * 3, "validation": 8}
    given = {"dataset": "stripes", "model": "mine", "defense": "theirs"}
    given["files"] = [{"file": "theirs.pt", "sha256": sums["theirs.pt"]}]
    row |= {"layout": "NHWC", "sha256": sums["stripes.npz"]}
    return STUDY | {"datasets": {"stripes": row}, "weights": [given]}


def plan_of(study: dict[str, Any], **config: Any) -> Plan:
    run = CONFIG | {"data": {"stripes": {"source": {"local": "stripes.npz"}}}} | config
    Path("studies/small/study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    Path("own.yaml").write_text(yaml.safe_dump(run))
    return make_plan(Path(), Path("own.yaml"))


def test_a_study_brings_one_of_each(brought: dict[str, Any]) -> None:
    plan = plan_of(brought)
    assert MODULE not in sys.modules  # a plan imports nothing of it
    results = Results.of("tiny")
    job = PrepareJob.from_params(build.prepare_job("stripes", plan.own_data("stripes")).to_params())
    prepare(job.dataset, build.raw_place(plan, "stripes"), prepared("stripes"), job.own)
    for model in (mine("smoothed"), mine("theirs")):
        training, batch = build.train_job(plan, model), build.batch_job(plan, model, "all")
        training = type(training).from_params(training.to_params())
        assert FOREIGN["target"] in batch.attacks[-1].code.targets
        run = trained(training, results, given_file=next(iter(plan.weights_files(model)), None))
        assert run["status"] == "ok"
        attack.run(type(batch).from_params(batch.to_params()), results)
        attacked = {one.header.attack: one for one in records.read(results.attack(model, "all").records).attacks}
        assert {name: one.header.status for name, one in attacked.items()} == dict.fromkeys(attacked, "ok")
        assert attacked.keys() == {"clean", "jump", "wander"}
        assert set(attacked["jump"].frame["epsilon"]) == {0.1, 0.2}
        assert (attacked["wander"].header.kind, len(attacked["wander"].frame)) == ("minimal", 20)
        assert attacked["wander"].frame["success"].mean() >= attacked["clean"].frame["success"].mean()
    assert [run["flag"] for run in run["flags"]] == ["given_weights"]


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("return query.bounds.clip(x + share", "return query.bounds.clip(x - share", {"attack jump"}),
        ("label_smoothing=self.alpha", "label_smoothing=0.0", {"training", "attack jump"}),
        ("z + 0.1", "z + 0.2", {"attack jump", "attack wander"}),
    ],
    ids=["attack", "defense", "foreign"],
)
def test_what_they_do_decides_the_jobs(
    brought: dict[str, Any], module: Path, old: str, new: str, changed: set[str]
) -> None:
    """They stand in one file, so a change to it is one to all that stands there."""

    def digests() -> dict[str, str]:
        forget()
        plan = plan_of(brought)
        batch = build.batch_job(plan, mine("smoothed"), "all")
        attacks = {f"attack {one.attack}": one.code.digest for one in batch.attacks}
        return {"training": build.train_job(plan, mine("smoothed")).code.digest, **attacks}

    before = digests()
    assert old in SOURCE
    module.write_text(SOURCE.replace(old, new))
    after = digests()
    assert changed <= {name for name in before if before[name] != after[name]}


WRONG: list[tuple[str, tuple[str, ...], Any, str]] = [
    ("option", ("attacks", "jump", "share"), 2.0, r"attacks\.jump\.share: expected float >= 0 and <= 1, got 2\.0"),
    ("misspelt", ("attacks", "jump", "shar"), 0.1, "unknown option 'shar'.*did you mean 'share'"),
    ("function", ("attacks", "jump", "fn"), f"{MODULE}:jmp", r"attacks\.jump\.fn: .*no function or class 'jmp'"),
    ("no attack", ("attacks", "jump"), {"fn": f"{MODULE}:net", "threat": "linf"}, "takes keyword-only norm, rng"),
    ("norm", ("threats", "linf", "norm"), "l2", "does not work in norm 'l2'; allowed: linf"),
    ("defense", ("defenses", "smoothed", "alpha"), -1, r"defenses\.smoothed\.alpha: expected"),
    ("target", ("attacks", "wander", "target"), f"{MODULE}:wonder", r"attacks\.wander\.target: .*'wonder'"),
    ("library", ("attacks", "wander", "target"), "no_such_lib:f", "no source file for module 'no_such_lib'"),
    ("argument", ("attacks", "wander", "options"), {"step": 1}, r"options\.step: unknown option 'step'.*'steps'"),
    (
        "radius",
        ("attacks", "wander", "fn"),
        "external-fixed",
        r"radius: unknown argument for the radius 'eps'; allowed: model, steps, x, y",
    ),
    (
        "radius twice",
        ("attacks", "wander"),
        {"fn": "external-fixed", "threat": "linf", **FOREIGN, "radius": "steps", "options": {"steps": 4}},
        r"wander\.options\.steps: 'steps' takes the radius",
    ),
    ("box", ("threats", "linf", "bounds"), "none", r"wander\.threat: 'external' works in pixels in \[0, 1\] alone"),
    (
        "space",
        ("threats", "linf", "space"),
        "normalized",
        r"wander\.threat: 'external' works in pixels in \[0, 1\] alone",
    ),
    ("convention", ("attacks", "wander", "convention"), "calls", "did you mean 'call'"),
    ("reader", ("datasets", "stripes", "fn"), "npy", "unknown reader 'npy'; allowed: folder, npz; did you mean 'npz'"),
    ("layout", ("datasets", "stripes", "layout"), "NHCW", r"datasets\.stripes\.layout: expected one of"),
    ("scale", ("datasets", "stripes", "mean"), [102.0] * 3, r"datasets\.stripes\.mean\.0: .*less than or equal to 1"),
    ("spread", ("datasets", "stripes", "std"), [51.0] * 3, r"datasets\.stripes\.std\.0: .*less than or equal to 1"),
    ("mean", ("datasets", "stripes", "mean"), [0.5], r"datasets\.stripes\.mean: needs 3 values, got 1"),
    ("radius", ("threats", "linf", "epsilons", "stripes"), [2.0], "no linf distance in pixel space exceeds 1"),
]


@pytest.mark.parametrize(("place", "value", "said"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_said_before_a_job(
    brought: dict[str, Any], place: tuple[str, ...], value: Any, said: str
) -> None:
    study = yaml.safe_load(yaml.safe_dump(brought))
    inside = study
    for part in place[:-1]:
        inside = inside[part]
    inside[place[-1]] = value
    with pytest.raises(ConfigError, match=said):
        plan_of(study)


def test_what_a_reader_does_decides_what_is_prepared(brought: dict[str, Any], module: Path) -> None:
    """What it reads it has to know by an option of its own, as `npz` by `sha256`."""
    read = "def read(place, validation, *, sha256: str = ''):\n    return {count}\n"
    row = brought["datasets"]["stripes"] | {"fn": f"{MODULE}:read"}
    del row["layout"]

    def job(count: int, sha256: str) -> PrepareJob:
        module.write_text(SOURCE + read.format(count=count))
        forget()
        plan = plan_of(brought | {"datasets": {"stripes": row | {"sha256": sha256}}})
        return build.prepare_job("stripes", plan.own_data("stripes"))

    first = job(1, total := row["sha256"])
    assert job(1, total) == first
    assert job(2, total).code != first.code
    with pytest.raises(ConfigError, match="is not the file that the study means"):
        job(1, "0" * 64)


@pytest.mark.parametrize("file", ["studies/small/theirs.pt", "stripes.npz"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n<!DOCTYPE html><html>", "an HTML page, and not the file: download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer, and not the file: run `git"),
    ],
)
def test_a_text_in_the_place_of_a_file_is_told_from_it(
    brought: dict[str, Any], file: str, content: bytes, said: str
) -> None:
    Path(file).write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(f"{file} is {said}")):
        plan_of(brought)


def test_weights_of_the_authors_give_a_paired_study_absolute_numbers(brought: dict[str, Any]) -> None:
    cut = {
        cut.defense: cut
        for cut in build.tables_job(plan_of(brought | {"paired": {"match": ["clean"]}}), "small").cut_short
    }
    assert (cut["theirs"].given, cut["theirs"].cut_model) == (True, ())
    assert (cut["smoothed"].given, cut["smoothed"].cut_model[-1]) == (False, "other weights")


def test_an_option_that_an_attack_needs_may_be_one_to_choose(brought: dict[str, Any], module: Path) -> None:
    module.write_text(SOURCE.replace("share: Share = 1.0", "share: Share"))
    forget()
    jump = {"fn": f"{MODULE}:jump", "threat": "linf"}
    chooses, takes = jump | {"grid": {"share": [0.5, 1.0]}}, jump | {"grid_from": "jump"}
    cells = [brought["cells"][0] | {"attacks": ["jump", "again"]}]
    plan = plan_of(brought | {"attacks": {"clean": {"fn": "clean"}, "jump": chooses, "again": takes}, "cells": cells})
    assert build.attack_job(plan, mine("theirs"), "again").chosen_by is not None
    with pytest.raises(ConfigError, match=r"attacks\.jump: option 'share' is required"):
        plan_of(brought | {"attacks": {"clean": {"fn": "clean"}, "jump": jump}, "cells": cells[:0]})


def test_own_data_lie_where_the_config_says(brought: dict[str, Any]) -> None:
    for source, said in (
        ("download", r"the source of 'stripes' must be \{local: PATH\}"),
        ({"local": "nowhere.npz"}, "there is no file or folder 'nowhere.npz'"),
    ):
        with pytest.raises(ConfigError, match=said):
            plan_of(brought, data={"stripes": {"source": source}})
    with Path("stripes.npz").open("ab") as file:
        file.write(b"0")
    with pytest.raises(
        ConfigError, match=r"source\.local: stripes\.npz is not the file that the study means: expected"
    ):
        plan_of(brought)
    renamed = yaml.safe_load(yaml.safe_dump(brought).replace("stripes:", "mnist:"))
    with pytest.raises(ConfigError, match="'mnist' is a dataset of the package; give it another name"):
        plan_of(renamed)


# defense -> share of all test images that the net classifies correctly, and the sum of its file
NETS = {
    "trades": (0.9948, "5b99888064f692047d5592b38df2dde126aa1b991a26c6aad683ce709634bea0"),
    "ddn": (0.9902, "9569512d635778cccfa07bf1f31b921af43789bc3cc84e109bc822febd933126"),
}


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED_DATA / "checkpoints").is_dir(), reason="no shared data beside this checkout")
def test_the_public_robust_nets_come_out_as_published(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On all test images of MNIST, through the jobs; 99.48 % is what the authors of TRADES give."""
    monkeypatch.chdir(project)
    (project / "studies" / "small").mkdir()
    about = {"dataset": "mnist", "model": "cnn"}
    weights = [
        about | {"defense": name, "files": [{"file": str(checkpoint(name)), "sha256": total}]}
        for name, (_, total) in NETS.items()
    ]
    cells = [{"datasets": ["mnist"], "models": ["cnn"], "defenses": list(NETS)}]
    models = {"cnn": {"fn": "toy_nets:small_cnn", "normalize": "none"}}
    study = NEEDED | {"models": models, "defenses": {name: {"fn": "ce"} for name in NETS}}
    plan = plan_of(
        study | {"weights": weights, "cells": cells}, data={"mnist": {"source": {"local": str(SHARED_DATA)}}}
    )
    prepare("mnist", SHARED_DATA, prepared("mnist"))
    results = Results.of("tiny")
    for model in plan.models:
        trained(build.train_job(plan, model), results, given_file=plan.weights_files(model)[0])
        attack.run(build.batch_job(plan, model, "all"), results)
        (clean,) = records.read(results.attack(model, "all").records).attacks
        assert len(clean.frame) == 10_000
        assert 1 - clean.frame["success"].mean() == pytest.approx(NETS[model.defense][0], abs=1e-9)


def checkpoint(name: str) -> Path:
    return SHARED_DATA / "checkpoints" / f"mnist_smallcnn_robust_{name}.pth"
