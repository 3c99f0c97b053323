"""`touchstone evaluate`: what it is asked, and the study that it writes; tests/test_evaluate_runs.py runs it."""

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from touchstone import paths
from touchstone.commands import evaluate, own
from touchstone.commands.images import look_at
from touchstone.commands.own import Data, Net
from touchstone.models.given import WeightsError, take_out
from touchstone.models.given import read as read_weights
from touchstone.plan.build import batch_job, train_job
from touchstone.plan.plan import Plan, make_plan
from touchstone.registry import options
from touchstone.study.config import ConfigError

NETS = """
from torch import nn

class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)

    def forward(self, x):
        return self.fc(x.view(x.size(0), -1))
"""


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a user's files in it, in which the command starts."""
    (project / "flat_nets.py").write_text(NETS)
    torch.manual_seed(0)
    net = nn.Sequential()
    net.fc = nn.Linear(784, 10)
    torch.save(net.state_dict(), project / "My Net_v1.pt")
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.delitem(sys.modules, "flat_nets", raising=False)
    options.cache_clear()
    return project


def words(**changes: Any) -> list[str]:
    """The command's words, some of them changed; None leaves one out."""
    given: dict[str, Any] = {"model": "flat_nets.py:Flat", "weights": "My Net_v1.pt", "dataset": "digits"}
    given |= {"norm": "linf", "eps": ["0.1", "8/255"], "samples": "50", "device": "cpu", **changes}
    said = [[f"--{name.replace('_', '-')}", *([value] if isinstance(value, str) else value)]
            for name, value in given.items() if value is not None]  # fmt: skip
    return [word for part in said for word in part]


def asked(**changes: Any) -> own.Question:
    parser = ArgumentParser()
    evaluate.options(parser)
    return evaluate.asked(parser.parse_args(words(**changes)))


def planned(**changes: Any) -> Plan:
    return make_plan(Path(), own.write(asked(**changes), replace=True))


def test_the_study_that_is_written_is_planned(here: Path) -> None:
    plan = planned()
    (model,) = plan.models
    assert (model.study, plan.config.run, plan.config.suite) == ("my-net-v1", "own-my-net-v1", "quick")
    assert train_job(plan, model).phases == ()  # nothing is trained
    worst = next(one for one in batch_job(plan, model, "all").attacks if one.attack == "worst-linf")
    assert worst.threat is not None
    assert worst.threat.epsilons == (8 / 255, 0.1)
    assert worst.samples == 50
    assert paths.own_study("my-net-v1").definition.is_file()
    assert plan.config.code == [str(here)]
    assert os.environ["PYTHONPATH"].split(os.pathsep)[0] == str(here)
    assert plan.studies["my-net-v1"].report == "model"


def test_the_full_suite_trains_the_net_that_transfers_start_from(here: Path) -> None:  # noqa: ARG001
    plan = planned(suite="full")
    (model,) = plan.models
    (start,) = plan.substitutes(model, "worst-linf")
    assert (start.model, start.defense) == ("plain", "plain")
    assert train_job(plan, start).phases[0].epochs == 5


def test_a_known_dataset_may_lie_in_a_folder(here: Path) -> None:
    assert Data.named("mnist", here).source == {"local": str(here)}
    assert Data.named("mnist", None).source == "download"
    assert Data.named("digits", None).source == "embedded"


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "grey"])
def test_arrays_are_data(here: Path, layout: str) -> None:
    shape = {"NCHW": (6, 1, 28, 28), "NHWC": (6, 28, 28, 1), "grey": (6, 28, 28)}[layout]
    np.savez(here / "my_data.npz", x=np.zeros(shape, "uint8"), y=np.arange(6) + 4)
    plan = planned(dataset=None, data="my_data.npz")
    (model,) = plan.models
    spec = plan.own_data("my-data")
    assert model.dataset == "my-data"
    assert spec is not None
    assert (spec.shape, spec.classes) == ((1, 28, 28), 10)
    with pytest.raises(ConfigError, match="has no training images: give x_train"):
        asked(dataset=None, data="my_data.npz", suite="full")


def test_a_folder_of_images_is_data(here: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b", "c"):
            (here / "pictures" / part / name).mkdir(parents=True)
            Image.new("RGB", (5, 4)).save(here / "pictures" / part / name / "1.png")
    found = look_at(here / "pictures")
    assert (found.fn, found.shape, found.classes, found.training) == ("folder", (3, 4, 5), 3, 3)
    assert Data.named(None, here / "pictures").slug == "pictures"


def test_nets_are_named_in_many_ways(here: Path) -> None:
    assert Net.named("flat_nets.py:Flat") == Net("flat_nets:Flat", {}, here, "flat_nets.py:Flat")
    assert Net.named("torchvision:resnet18") == Net("torchvision", {"name": "resnet18"}, None, "torchvision:resnet18")
    assert Net.named("smallcnn").fn == "smallcnn"
    assert Net.named("package.module:build").fn == "package.module:build"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "nets.py:Net"}, "there is no file nets.py"),
        ({"model": "flat_nets.py"}, "say which function or class makes the net: flat_nets.py:NAME"),
        ({"model": "smalcnn"}, "did you mean 'smallcnn'"),
        ({"model": "random.py:Net"}, "Python cannot import it by that name, or has another random: rename it"),
        ({"weights": "none.pt"}, "--weights: there is no file none.pt"),
        ({"dataset": "mnits"}, "--dataset mnits: no such dataset; .*did you mean 'mnist'"),
        ({"dataset": None, "data": "none.npz"}, "--data: there is no file or folder none.npz"),
        ({"dataset": None, "data": "My Net_v1.pt"}, "--data My Net_v1.pt: .*expected arrays x|no .npz file"),
        ({"suite": "ful"}, "--suite ful: no such suite; .*did you mean 'full'"),
        ({"mean": "0.5"}, "--mean and --std go together"),
        ({"name": "minmax"}, "--name minmax: a name of its own is needed"),
        ({"name": "!!"}, "a name of its own is needed"),
    ],
)
def test_what_is_not_there_is_named(here: Path, changes: dict[str, Any], message: str) -> None:
    (here / "random.py").touch()
    with pytest.raises(ConfigError, match=message):
        asked(**changes)


def test_a_function_that_a_file_lacks_is_named_by_the_plan(here: Path) -> None:  # noqa: ARG001
    with pytest.raises(ConfigError, match=r"study.yaml:\d+: models.net.fn: .*no function or class 'Flta'"):
        planned(model="flat_nets.py:Flta")


@pytest.mark.parametrize(
    ("words", "value"), [("0.3", 0.3), ("8/255", 8 / 255), ("0", None), ("-1", None), ("1/0", None), ("x", None)]
)
def test_radii_are_numbers_or_fractions(words: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(evaluate.argparse.ArgumentTypeError):
            evaluate._radius(words)
    else:
        assert evaluate._radius(words) == value


def test_a_study_that_was_edited_is_kept(here: Path) -> None:  # noqa: ARG001
    question = asked()
    own.write(question, replace=False)
    own.write(question, replace=False)  # the same again
    definition = paths.own_study(question.name).definition
    definition.write_text(definition.read_text() + "# mine\n")
    with pytest.raises(ConfigError, match=r"is there already, and says something else: --replace"):
        own.write(question, replace=False)
    own.write(question, replace=True)
    assert "# mine" not in definition.read_text()


def test_a_first_layer_may_normalise(here: Path) -> None:  # noqa: ARG001
    assert own.study(asked(mean="0.5", std="0.25"))["models"]["net"]["normalize"] == {"mean": [0.5], "std": [0.25]}
    assert own.study(asked())["models"]["net"]["normalize"] == "none"


def test_whole_pickled_objects_are_read_at_the_users_word_alone(here: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    torch.save({"net": net, "epoch": 3}, here / "whole.pt")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        read_weights(here / "whole.pt", own.sum_of_file(here / "whole.pt"), "torch")
    question = asked(weights="whole.pt", unsafe_unpickle=[])
    assert question.weights == paths.own_study("whole").beside("weights.safetensors")
    state = read_weights(question.weights, own.sum_of_file(question.weights), "safetensors")
    assert torch.equal(state["1.weight"], net[1].weight)
    (here / "text.pt").write_text("no pickle")
    with pytest.raises(ConfigError, match=r"--weights: text.pt cannot be unpickled"):
        asked(weights="text.pt", unsafe_unpickle=[])


def test_a_checkout_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="there are no suites here; start it in a checkout"):
        asked()
    with pytest.raises(WeightsError, match="cannot be unpickled"):
        take_out(tmp_path / "none", tmp_path / "out")
