# ruff: noqa: E501
"""Numbers far out of range, and parts of a config or a study that do not fit one another, are refused before any job."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from touchstone.attacks import ATTACKS
from touchstone.plan.plan import make_plan
from touchstone.study.config import ConfigError, Key, read

CONFIG = "config.yaml"
LAPTOP = "configs/laptop.yaml"
STUDY = "studies/minmax/study.yaml"
WORDY = "x" * 300
STD = {"datasets": ["mnist"], "models": ["lenet"], "defenses": ["std"]}
FIGURE: Key = ("figures", "figure2")
SHOWN = {"datasets": ["mnist"], "defenses": ["std"], "attacks": ["pgd40-linf"]}
MONITOR = {"defenses": ["std"], "attack": "pgd40-linf", "every": 1, "samples": 10}
SWEEP = {"fn": "sweep", "datasets": ["mnist"], "defenses": ["std"], "attacks": ["clean"], "metrics": ["error"]}

# file, key, value that is put there, what the message must contain beside file and line
BAD: list[tuple[str, Key, Any, list[str]]] = [
    # one number or list by itself
    (CONFIG, ("run",), WORDY, ["run: ", "at most 64 characters"]),
    (CONFIG, ("threads",), 10**9, ["threads: ", "less than or equal to 1024", "got 1000000000"]),
    (CONFIG, ("batch_size",), 10**30, ["batch_size: ", "less than or equal to 1000000"]),
    (CONFIG, ("checkpoint",), {"minutes": float("inf")}, ["checkpoint.minutes: ", "finite number"]),
    (CONFIG, ("checkpoint",), {"epochs": 10**30}, ["checkpoint.epochs: ", "less than or equal to 1000000000"]),
    (CONFIG, ("caps", 0, "samples"), 10**30, ["caps.0.samples: ", "less than or equal to 1000000000"]),
    (CONFIG, ("studies",), ["minmax", "minmax"], ["studies: ", "'minmax' is there twice"]),
    (CONFIG, ("only",), {"defenses": ["std", "std"]}, ["only.defenses: ", "'std' is there twice"]),
    (STUDY, ("seeds",), 10**8, ["seeds: ", "less than or equal to 1000"]),
    (STUDY, ("redraws",), 10**9, ["redraws: ", "less than or equal to 100"]),
    (STUDY, ("recipes",), {}, ["recipes: ", "at least 1 item"]),
    (STUDY, ("models",), {}, ["models: ", "at least 1 item"]),
    (STUDY, ("defenses",), {}, ["defenses: ", "at least 1 item"]),
    (STUDY, ("attacks",), {}, ["attacks: ", "at least 1 item"]),
    (STUDY, ("models", "lenet", "normalize"), {"mean": [float("nan")], "std": [1]}, ["normalize.mean.0: ", "finite"]),
    (STUDY, ("recipes", "mnist", "lr"), float("inf"), ["recipes.mnist.lr: ", "finite number"]),
    (STUDY, ("recipes", "mnist", "lr"), 1e6, ["recipes.mnist.lr: ", "less than or equal to 10", "got 1000000.0"]),
    (STUDY, ("recipes", "mnist", "weight_decay"), 2.0, ["recipes.mnist.weight_decay: ", "less than or equal to 1"]),
    (STUDY, ("recipes", "mnist", "batch_size"), 10**30, ["recipes.mnist.batch_size: ", "less than or equal to 1000000"]),
    (STUDY, ("recipes", "mnist", "epochs"), 10**30, ["recipes.mnist.epochs: ", "less than or equal to 100000"]),
    (STUDY, ("recipes", "cifar10", "gamma"), 5.0, ["recipes.cifar10.gamma: ", "less than or equal to 1", "got 5.0"]),
    (STUDY, ("recipes", "mnist", "validation_share"), 0.999999, ["validation_share: ", "less than or equal to 0.5"]),
    (STUDY, ("recipes", "mnist", "augment"), {"translate": float("inf")}, ["augment.translate: ", "finite"]),
    (STUDY, ("selection", "seed"), 10**30, ["selection.seed: ", "less than 9223372036854775808"]),
    (STUDY, ("selection", "seed"), -1, ["selection.seed: ", "greater than or equal to 0"]),
    (STUDY, ("selection", "probe_samples"), 10**30, ["selection.probe_samples: ", "less than or equal to"]),
    (STUDY, ("selection", "tolerance", "mnist"), 2.0, ["selection.tolerance.mnist: ", "less than or equal to 1"]),
    (STUDY, ("worst", "linf"), [], ["worst.linf: ", "at least 1 item"]),
    (STUDY, ("worst", "linf"), ["linf", "linf"], ["worst.linf: ", "'linf' is there twice"]),
    (STUDY, ("near_zero", "thresholds"), [0.01, 0.01], ["near_zero.thresholds: ", "0.01 is there twice"]),
    (STUDY, ("near_zero", "headline"), float("inf"), ["near_zero.headline: ", "finite"]),
    (STUDY, (*FIGURE, "defenses"), ["std", "std"], ["figures.figure2.defenses: ", "'std' is there twice"]),
    (STUDY, ("defenses", "std+l1", "select"), [{"l1": 0.1}, {"l1": 0.1}], ["std+l1.select: ", "{'l1': 0.1} is there twice"]),
    # what has to fit something else in the file
    (STUDY, ("recipes", "cifar10", "milestones"), [60, 30], ["recipes.cifar10.milestones: ", "must rise", "[60, 30]"]),
    (STUDY, ("recipes", "cifar10", "milestones"), [30, 30], ["recipes.cifar10.milestones: ", "must rise"]),
    (STUDY, ("recipes", "cifar10", "milestones"), [30, 90], ["milestones: ", "90 is never reached in 90 epochs"]),
    (STUDY, ("defenses", "std", "phases"), [{"schedule": "multistep", "milestones": [3, 9], "gamma": 0.5, "epochs": 9}], ["defenses.std.phases.0.milestones: ", "9 is never reached in 9"]),
    (STUDY, ("defenses", "std", "phases"), [{"optimizer": "sgd", "momentum": 20.0}], ["phases.0.momentum: ", "than 1"]),
    (STUDY, ("recipes", "mnist", "validation_share"), 1e-9, ["validation_share: ", "0, or 0.001 to 0.5", "1e-09"]),
    (STUDY, ("recipes", "mnist", "augment"), {"crop": 100000}, ["augment.crop: ", "smaller than the image, 28 pixels"]),
    (STUDY, ("recipes", "mnist", "augment"), {}, ["recipes.mnist.augment: ", "nothing to take away"]),
    (STUDY, ("recipes", "mnist", "augment"), {"probability": 0.5}, ["augment: ", "varies nothing", "crop, translate"]),
    (STUDY, ("recipes", "mnist", "augment"), {"flip": True, "fill": "edge"}, ["augment.fill: ", "crop or translate"]),
    (STUDY, ("recipes", "mnist", "augment"), {"flip": False}, ["recipes.mnist.augment: ", "varies nothing"]),
    (STUDY, ("defenses", "std", "phases"), [{"augment": {}}], ["std.phases.0.augment: ", "nothing to take away"]),
    (STUDY, ("selection", "epochs", "mnist"), 21, ["selection.epochs.mnist: ", "at most the 10 epochs of 'std+l1', got 21"]),
    (STUDY, ("selection", "reference"), "std+l1", ["selection.reference: ", "'std+l1' is chosen itself"]),
    (STUDY, ("readings", "headline", "defense"), {"std": "adv"}, ["readings.headline: ", "swaps nothing"]),
    (STUDY, ("readings", "headline", "mark"), "as printed", ["readings.headline: ", "no mark"]),
    (STUDY, ("readings", "coded", "mark"), "", ["readings.coded: ", "mark", "words of its verdict"]),
    (STUDY, ("readings", "coded", "defense"), {}, ["readings.coded: ", "swaps nothing"]),
    (STUDY, ("readings", "coded", "defense", "minmax-printed"), "minmax-printed", ["with itself"]),
    (STUDY, ("labels", "fgms"), "FGSM", ["labels.fgms: ", "unknown word 'fgms'", "did you mean 'fgsm'"]),
    (STUDY, ("tables", "table1", "source_table"), "Tabel 1", ["tables.table1.source_table: ", "did you mean 'Table 1'"]),
    (STUDY, ("tables", "table1", "dataset"), "cifar10", ["tables.table1.dataset: ", "no claim of 'Table 1' on 'cifar10'"]),
    (STUDY, ("tables", "table1", "lost"), {"number": "1", "metric": "accuracy"}, ["tables.table1: ", "expected either source_table or lost"]),
    (STUDY, ("tables", "table1"), {"title": "one"}, ["tables.table1: ", "expected either source_table or lost"]),
    (STUDY, ("tables", "table1"), {"title": "one", "lost": {"number": "1", "metric": "accuracy"}}, ["tables.table1.lost: ", "needs a shape"]),
    (STUDY, ("tables", "table1"), {"title": "one", "lost": {"number": "1", "metric": "accuracy", "defense": "st"}}, ["tables.table1.lost.defense: ", "did you mean 'std'"]),
    (STUDY, ("tables", "table1"), {"title": "one", "lost": {"number": "1", "metric": "fuzziness"}}, ["tables.table1.lost.metric: ", "accuracy"]),
    (STUDY, ("tables", "table1", "shape"), {"rows": "attack", "columns": "defense", "blocks": "attack"}, ["tables.table1.shape: ", "must differ"]),
    (STUDY, ("tables", "table1", "shape"), {"rows": "attack", "columns": "defence"}, ["tables.table1.shape.columns: ", "defense"]),
    (STUDY, ("readings", "coded", "defense"), {"minmax-coded": "std"}, ["readings.coded: ", "changes no claim"]),
    (STUDY, ("cells",), [STD, STD], ["cells.1: ", "every combination", "stands above"]),
    (STUDY, ("cells",), [{**STD, "models": ["lenet", "lenet"]}], ["cells.0.models: ", "'lenet' is there twice"]),
    (STUDY, ("monitor",), MONITOR | {"defenses": ["stdd"]}, ["monitor.defenses.0: ", "did you mean 'std'"]),
    (STUDY, ("monitor",), MONITOR | {"attack": {"mnist": "clean"}}, ["monitor.attack: ", "needs a value for dataset 'cifar10'"]),
    (STUDY, ("monitor",), MONITOR | {"attack": "clean"}, ["monitor.attack: ", "a fixed budget, got one of kind 'none'"]),
    (STUDY, FIGURE, SWEEP | {"along": ["l1"]}, ["figures.figure2.along.0: ", "'std' has no number 'l1', got None"]),
    (STUDY, FIGURE, SWEEP | {"along": []}, ["figures.figure2: ", "'sweep' needs 'along'"]),
    (STUDY, FIGURE, SWEEP | {"metrics": "error"}, ["figures.figure2.metrics: ", "expected "]),
    (STUDY, FIGURE, SWEEP | {"attacks": ["worst-l1"]}, ["figures.figure2.attacks.0: ", "unknown attack 'worst-l1'"]),
    (STUDY, FIGURE, {"fn": "rho-grid", "datasets": ["mnist"]}, ["figures.figure2: ", "'rho-grid' needs 'defenses'"]),
    (STUDY, FIGURE, {**SHOWN, "fn": "gallery", "datasets": ["mnist", "cifar10"]}, ["figures.figure2.datasets: ", "shows the images of one dataset"]),
    (STUDY, FIGURE, {**SHOWN, "fn": "features", "samples": 9, "attacks": ["clean", "pgd40-linf"]}, ["figures.figure2.attacks: ", "shows the points of one attack"]),
    (STUDY, FIGURE, {**SHOWN, "fn": "features", "samples": 9, "attacks": ["worst-linf"]}, ["figures.figure2.attacks: ", "shows the points of one attack of the study"]),
    (STUDY, FIGURE, {**SHOWN, "fn": "gallery", "epsilon": 0.2}, ["figures.figure2.epsilon: must be a radius on mnist, one of [0.3], got 0.2"]),
    (STUDY, FIGURE, {**SHOWN, "fn": "gallery", "epsilon": 0}, ["figures.figure2.epsilon: "]),
    (STUDY, FIGURE, {"fn": "selection", "attacks": ["clean"]}, ["figures.figure2.attacks: ", "unknown key of 'selection' 'attacks'"]),
    (STUDY, FIGURE, {"fn": "worst-case", "table": "cells"}, ["figures.figure2.table: ", "unknown option 'table'"]),
    (STUDY, ("models", "lenet", "fn"), "..x:y", ["models.lenet.fn: ", "no source file for module '..x'"]),
    (STUDY, ("models", "lenet", "fn"), "x..z:y", ["models.lenet.fn: ", "no source file for module 'x..z'"]),
    # the config against its studies
    (LAPTOP, ("data", "mnist"), {"source": {"local": "no/such/folder"}}, ["data.mnist.source.local", "no/such/folder"]),
    (LAPTOP, ("only",), {"datasets": ["mnist"], "models": ["mlp-1000"], "defenses": ["ce"]}, ["only: ", "leaves no model"]),
    (CONFIG, ("only",), {"attacks": ["worst-linf", "pgd40-linf-px"], "defenses": ["adv"]}, ["only.attacks.1: ", "reaches nothing"]),
    (LAPTOP, ("caps", 1, "where"), {"model": "mlp-1000", "defense": "pc-printed"}, ["caps.1.where: ", "no study trains"]),
    (LAPTOP, ("caps", 1, "where"), {"study": "margin", "model": "lenet5"}, ["caps.1.where: ", "no study trains"]),
    (LAPTOP, ("caps", 1, "where"), {"study": "minmac"}, ["caps.1.where.study: ", "unknown study 'minmac'", "did you mean 'minmax'"]),
    (LAPTOP, ("caps", 1), {"where": {"study": "margin", "attack": "fgsm-linf"}, "restarts": 1}, ["caps.1.restarts: ", "'fgsm-linf' has none"]),
    (CONFIG, ("caps", 3), {"where": {"defense": "adv", "attack": "mim40-linf"}, "samples": 9}, ["caps.3.where: ", "no study runs 'mim40-linf'"]),
    (CONFIG, ("caps", 3, "epochs"), 4, ["caps.3.epochs: ", "leave where.attack out"]),
    (CONFIG, ("caps", 3, "attack_steps"), 4, ["caps.3.attack_steps: ", "leave where.attack out"]),
    (CONFIG, ("caps", 3, "queries"), 4, ["caps.3.queries: ", "'cw-l2' has none"]),
]  # fmt: skip


def put(path: Path, key: Key, value: Any) -> None:
    document, _ = read(path)
    inside: Any = document
    for part in key[:-1]:
        inside = inside[part]
    inside[key[-1]] = value
    YAML(typ="safe", pure=True).dump(document, path)


@pytest.mark.parametrize(
    ("file", "key", "value", "needles"), BAD, ids=[f"{'.'.join(map(str, k))}={str(v)[:40]}" for _, k, v, _ in BAD]
)
def test_a_bad_value_is_named(project: Path, file: str, key: Key, value: Any, needles: list[str]) -> None:
    path = project / file
    put(path, key, value)
    with pytest.raises(ConfigError) as caught:
        make_plan(project, project / CONFIG if file == STUDY else path)
    said = [problem for problem in caught.value.problems if all(needle in problem for needle in needles)]
    assert said, caught.value
    assert said[0].startswith(f"{path}:")


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A function in a file that is not Python."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken.py").write_text("import torch\ndef f(:\n")
    return "broken:f"


def test_a_syntax_error_in_a_model_of_ones_own_is_named(project: Path, broken: str) -> None:
    put(project / STUDY, ("models", "lenet", "fn"), broken)
    with pytest.raises(ConfigError, match=r"models\.lenet\.fn: 'broken:f' cannot be used: .*broken\.py:2: not valid"):
        make_plan(project, project / CONFIG)


def test_a_syntax_error_in_an_attack_is_named(project: Path, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTACKS, "fgsm", replace(ATTACKS["fgsm"], fn=broken))
    with pytest.raises(ConfigError, match=r"broken\.py:2: not valid Python: invalid syntax"):
        make_plan(project, project / CONFIG)
