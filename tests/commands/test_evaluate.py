"""`touchstone evaluate`: what it is asked, and the study that it writes; tests/test_evaluate_runs.py runs it."""

import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from touchstone import paths
from touchstone.commands import evaluate, own, validate
from touchstone.commands.images import look_at
from touchstone.commands.own import Data, Net
from touchstone.models.given import WeightsError, taken_out
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

def nothing():
    return 0

def three(shape, classes, more):
    return Flat()

def sized(inputs, classes):
    return nn.Linear(inputs, classes)

def ends():
    raise SystemExit(3)

class Broken(Flat):
    def forward(self, x):
        return {}["logits"]

class Empty(Flat):
    def forward(self, x):
        return super().forward(x) / 0 * 0

class Probabilities(Flat):
    def forward(self, x):
        return super().forward(x).softmax(1)

class Cut(Flat):
    def forward(self, x):
        return super().forward(x).detach()

made = Flat()
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
    with own.written(asked(**changes), replace=True) as config:
        return make_plan(Path(), config)


def run(**changes: Any) -> str:
    """What the command says where it runs nothing."""
    parser = ArgumentParser()
    evaluate.options(parser)
    return evaluate.run(parser.parse_args([*words(**changes), "--write-only"]))


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


def test_arrays_to_test_on_alone_are_data(here: Path) -> None:
    np.savez(here / "some.npz", x_test=np.zeros((10, 28, 28), "u1"), y_test=np.arange(10))
    assert "say how" in run(dataset=None, data="some.npz")
    np.savez(here / "some.npz", x_test=np.zeros((10, 28, 28), "u1"), y_test=np.arange(10), names=np.arange(10))
    with pytest.raises(ConfigError, match=r"some\.npz: expected arrays x and y, or .*; too many: names"):
        run(dataset=None, data="some.npz", replace=[])


def test_a_folder_of_images_is_data(here: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b", "c"):
            (here / "pictures" / part / name).mkdir(parents=True)
            Image.new("RGB", (5, 4)).save(here / "pictures" / part / name / "1.png")
    found = look_at(here / "pictures")
    assert (found.fn, found.shape, found.classes, found.training) == ("folder", (3, 4, 5), 3, 3)
    assert Data.named(None, here / "pictures").slug == "pictures"


def test_what_desktops_and_editors_leave_in_a_folder_does_not_count(here: Path) -> None:
    for name in ("a", "b", ".ipynb_checkpoints"):
        for part in ("test", "train"):
            (here / "pictures" / part / name).mkdir(parents=True)
            Image.new("L", (5, 4)).save(here / "pictures" / part / name / "1.png")
    before = look_at(here / "pictures")
    assert (before.classes, before.training) == (2, 2)
    for name in (".DS_Store", "test/a/.DS_Store", "train/a/Thumbs.db"):
        (here / "pictures" / name).touch()
    assert look_at(here / "pictures") == before


def test_a_folder_to_test_on_is_needed(here: Path) -> None:
    for part in ("train", "val"):
        for name in ("a", "b"):
            (here / "pictures" / part / name).mkdir(parents=True)
            Image.new("L", (5, 4)).save(here / "pictures" / part / name / "1.png")
    with pytest.raises(ConfigError, match=r"--data .*pictures: found train/, val/; the images to test on must lie in"):
        look_at(here / "pictures")


def test_nets_are_named_in_many_ways(here: Path) -> None:
    assert Net.named("flat_nets.py:Flat") == Net("flat_nets:Flat", {}, here, "flat_nets.py:Flat")
    assert Net.named("torchvision:resnet18") == Net("torchvision", {"name": "resnet18"}, None, "torchvision:resnet18")
    assert Net.named("smallcnn").fn == "smallcnn"
    assert Net.named("touchstone.models.lenet:lenet").fn == "touchstone.models.lenet:lenet"
    assert Net.named("flat_nets:Flat") == Net("flat_nets:Flat", {}, here, "flat_nets:Flat")


def test_a_net_may_lie_in_a_package(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports from its neighbours, however it is named, and its config says where it lies."""
    package = tmp_path / "above" / "package_of_nets"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "base.py").write_text(NETS)
    (package / "rel.py").write_text("from .base import Flat\n\nclass Net(Flat):\n    pass\n")
    target = "package_of_nets.rel:Net"
    assert planned(model=f"{package}/rel.py:Net").config.code == [str(package.parent)]
    assert "say how" in run(model=f"{package}/rel.py:Net")
    monkeypatch.setattr(sys, "path", [str(package.parent), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    assert Net.named(target) == Net(target, {}, package.parent.resolve(), target)
    assert validate.run(Namespace(file=here / paths.own_study("my-net-v1").definition.parent)).endswith("on models")


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
        ({"dataset": None, "data": "My Net_v1.pt"}, "--data My Net_v1.pt: .*expected arrays x"),
        ({"dataset": None, "data": "random.py"}, "--data random.py: no .npz file"),
        ({"dataset": None}, "--dataset or --data: give one"),
        ({"dataset": "MNIST"}, "did you mean 'mnist'"),
        ({"data": "random.py"}, "--data random.py: digits is embedded and reads no files"),
        ({"dataset": "mnist", "data": "random.py"}, "--data random.py: no folder, as the files of mnist lie in"),
        ({"dataset": "My Data", "data": "random.py"}, "--dataset My Data: expected small letters.*as my-data"),
        ({"classes": "12"}, "--classes 12: digits has 10"),
        ({"suite": "ful"}, "--suite ful: no such suite; .*did you mean 'full'"),
        ({"mean": "0.5"}, "--mean and --std go together"),
        ({"mean": "127", "std": "64"}, "are of pixels in .0, 1.*divide those of 0 to 255 by 255"),
        ({"mean": "0.5", "std": "0"}, "std above 0"),
        ({"norm": "l0", "eps": ["0.1", "3"]}, "--eps 0.1 3: in l0 a radius is a number of pixels"),
        ({"name": "minmax"}, "--name minmax: a name of its own is needed; minmax is a study of a paper"),
        ({"model": "flat_nets.py:Flta"}, "--model flat_nets.py:Flta: no function or class 'Flta'.*did you mean 'Flat'"),
        ({"model": "flat_nets.py:made"}, "no function or class 'made' in module 'flat_nets' by `def` or `class`"),
        ({"model": "torchvision:"}, "--model torchvision:: say which: torchvision:NAME"),
        ({"model": "torchvison:resnet18"}, "did you mean 'torchvision'"),
        ({"model": ":Flat"}, "--model :Flat: expected FILE.py:NAME"),
        ({"weights": "My Net_v2.pt"}, "did you mean 'My Net_v1.pt'"),
        ({"name": "!!"}, "--name: expected a name with letters a to z or digits, got '!!'"),
        ({"name": "worst"}, "--name worst: a name of its own is needed; worst.yaml is the file of suites"),
        ({"weights": "folder"}, "--weights: folder is a folder; expected a file"),
        ({"eps": "8"}, r"--eps 8: radii are of pixels in \[0, 1\]; of 0 to 255 write 8/255"),
        ({"mean": "0.5", "std": "nan"}, "are of pixels in"),
    ],
)
def test_what_is_not_there_is_named(here: Path, changes: dict[str, Any], message: str) -> None:
    (here / "random.py").touch()
    (here / "folder").mkdir()
    with pytest.raises(ConfigError, match=message):
        asked(**changes)


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
    for _ in range(2):  # the same again is no change
        with own.written(question, replace=False):
            pass
    definition = paths.own_study(question.name).definition
    definition.write_text(definition.read_text() + "# mine\n")
    with pytest.raises(ConfigError, match=r"is there already, and says something else: --replace"):
        own.written(question, replace=False).__enter__()
    with own.written(question, replace=True):
        assert "# mine" not in definition.read_text()


@pytest.mark.parametrize("before", [False, True])
def test_a_question_that_cannot_be_answered_leaves_all_as_it_was(here: Path, before: bool) -> None:
    home = here / paths.own_study("my-net-v1").definition.parent
    if before:
        run()
        (home / "study.yaml").write_text((home / "study.yaml").read_text() + "# mine\n")
    kept = {path: path.read_bytes() for path in home.glob("*")}
    with pytest.raises(ConfigError, match="does not fit"):
        run(model="lenet", replace=[])
    assert {path: path.read_bytes() for path in home.glob("*")} == kept
    assert home.exists() is before


FITS = {"fc.weight": torch.zeros(10, 784), "fc.bias": torch.zeros(10)}


@pytest.mark.parametrize(
    ("weights", "changes", "message"),
    [
        (b"<!doctype html>", {}, "other.pt is an HTML page, and not the file"),
        (nn.Linear(784, 10), {}, "other.pt holds more than tensors.*--unsafe-unpickle"),
        ({"a": FITS, "b": FITS}, {}, r"other.pt holds 2 mappings of tensors \(a, b\): say which by --key"),
        (b"epoch,loss", {}, "other.pt is no file of torch.save: it begins with b'epoch,loss'$"),
        (
            {**FITS, "fc.weight": FITS["fc.weight"].to(torch.int8)},
            {},
            "fc.weight is torch.int8 instead of torch.float32",
        ),
        ({"a": FITS, "b": FITS}, {"key": "c"}, "has no mapping of tensors under 'c'; it has: a, b"),
        ({**FITS, "more": torch.zeros(1)}, {}, "other.pt does not fit Flat: not expected: more"),
        (FITS, {"model": "flat_nets.py:nothing"}, "flat_nets:nothing must return a torch.nn.Module, got int"),
        (FITS, {"model": "flat_nets.py:three"}, "flat_nets:three must take nothing, or shape and classes"),
        (FITS, {"model": "relative.py:Net"}, "--model relative.py:Net: .*a package with an __init__.py in it"),
        (
            FITS,
            {"model": "flat_nets.py:sized"},
            r"flat_nets:sized, called with inputs = \(1, 28, 28\) and classes = 10: "
            r"TypeError: .* \(flat_nets.py, line \d+\)",
        ),
        (FITS, {"model": "flat_nets.py:ends"}, r"--model flat_nets.py:ends: it ends Python \(exit status 3\)"),
        (FITS, {"model": "flat_nets.py:Broken"}, r"KeyError: 'logits' \(flat_nets.py, line \d+\)"),
        (FITS, {"model": "flat_nets.py:Empty"}, "logits that are not finite"),
        (FITS, {"model": "torchvision:resnet19"}, "--model: unknown classifier of torchvision.models 'resnet19'"),
        (FITS, {"norm": "l0", "eps": "1000"}, "--eps: .*1000"),
        (FITS, {"mean": "0.5", "std": ["0.2", "0.3"]}, "--mean, --std: "),
        (FITS, {"threads": "9999"}, "--threads: input should be less than or equal to 1024"),
        (FITS, {"dataset": "mnist", "data": "."}, "--data: .* must hold the files of 'mnist'; it has no MNIST/raw/"),
    ],
)
def test_files_that_cannot_be_used_are_found_before_anything_starts(
    here: Path, weights: object, changes: dict[str, Any], message: str
) -> None:
    (here / "relative.py").write_text("from .base import Base\n\nclass Net(Base):\n    pass\n")
    if isinstance(weights, bytes):
        (here / "other.pt").write_bytes(weights)
    else:
        torch.save(weights, here / "other.pt")
    with pytest.raises(ConfigError, match=message):
        run(weights="other.pt", **changes)


@pytest.mark.parametrize(
    ("net", "doubt"),
    [
        ("Flat", ""),
        ("Probabilities", "it seems to return probabilities, not logits: remove its softmax or sigmoid"),
        ("Cut", "its logits have no gradient in the images"),
    ],
)
def test_what_looks_wrong_is_said_before_anything_starts(
    here: Path,  # noqa: ARG001
    net: str,
    doubt: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(model=f"flat_nets.py:{net}")
    said = capsys.readouterr().err
    assert said.startswith(f"--model flat_nets.py:{net}: {doubt}") if doubt else said == ""


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.full((4, 28, 28), 0.3001), [0, 1, 2, 3], "multiples of 1/255"),
        (np.zeros((4, 28, 28), "u1"), [0, 1, 2], "a label for each image"),
        (np.zeros((4, 28, 28), "u1"), [0, 1, 2, -1], "from -1"),
        (np.zeros((4, 28, 28), "u1"), np.eye(4, dtype="i8"), "a label for each image"),
        (np.zeros((4, 28, 28), "u1"), np.zeros(4), "y float64 "),
        (np.zeros((4, 28, 28), "u1"), np.zeros(4, "i8"), "it has one class"),
        (np.zeros((4, 4, 28, 28), "u1"), [0, 1, 2, 3], "with 1 or 3 channels; got shape"),
        (np.zeros((4, 28, 28), "u1"), [0, 1, 2, 8], r"got \(2, 10\); --classes says how many"),
    ],
)
def test_arrays_that_cannot_be_used_are_found_before_anything_starts(
    here: Path, x: np.ndarray, y: Any, message: str
) -> None:
    np.savez(here / "some.npz", x=x, y=np.asarray(y))
    with pytest.raises(ConfigError, match=message):
        run(dataset=None, data="some.npz")


PAIR = """
from flat_nets import Flat

class Pair(Flat):
    def forward(self, x):
        return super().forward(x), x
"""


@pytest.mark.parametrize(
    ("model", "labels", "said"),
    [
        ("flat_nets.py:Flat", range(9), r"got \(2, 10\); --classes says how many there are$"),
        ("flat_nets.py:Flat", range(1, 11), r"got \(2, 10\); the labels start at 1, and must start at 0$"),
        ("flat_nets.py:Flat", range(12), r"got \(2, 10\)$"),
        ("pair_nets.py:Pair", range(9), "got tuple$"),
    ],
)
def test_what_to_do_where_a_net_has_other_classes(here: Path, model: str, labels: range, said: str) -> None:
    (here / "pair_nets.py").write_text(PAIR)
    np.savez(here / "some.npz", x=np.zeros((len(labels), 28, 28), "u1"), y=np.array(labels))
    with pytest.raises(ConfigError, match=said):
        run(model=model, dataset=None, data="some.npz")


def test_labels_from_1_on_are_told_of_where_classes_are_too_few(here: Path) -> None:
    np.savez(here / "some.npz", x=np.zeros((10, 28, 28), "u1"), y=np.arange(10) + 1)
    with pytest.raises(ConfigError, match=r"--classes 10: some.npz has 11; the labels start at 1, and must start at 0"):
        run(dataset=None, data="some.npz", classes="10")


def test_there_may_be_more_classes_than_the_labels_name(here: Path) -> None:
    np.savez(here / "some.npz", x=np.zeros((4, 28, 28), "u1"), y=np.array([0, 1, 2, 8]))
    assert "say how" in run(dataset=None, data="some.npz", classes="10")
    with pytest.raises(ConfigError, match=r"--classes 5: some.npz has 9"):
        run(dataset=None, data="some.npz", classes="5")


def test_a_folder_of_images_is_read_before_anything_starts(here: Path) -> None:
    for name, size in (("a", (28, 28)), ("b", (28, 27))):
        (here / "pictures" / name).mkdir(parents=True)
        Image.new("L", size).save(here / "pictures" / name / "1.png")
    with pytest.raises(ConfigError, match="images must have one size"):
        run(dataset=None, data="pictures")


def test_a_gpu_that_is_not_there_is_not_asked_for(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="--device cuda: torch sees no GPU here"):
        asked(device="cuda")


def test_an_interrupt_waits_for_what_was_started_to_tidy_up(tmp_path: Path) -> None:
    """Python's own `run` would kill it after a quarter of a second."""
    child = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(1); open('done', 'w')"
    lines = ["import os, signal, sys, threading", "from touchstone.commands.evaluate import _waited_for"]
    lines += ["threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()"]
    lines += [f"sys.exit(_waited_for([sys.executable, '-c', {child!r}]))"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, check=False, capture_output=True)
    assert (done.returncode, (tmp_path / "done").exists()) == (0, True), done.stderr


def test_a_first_layer_may_normalise(here: Path) -> None:  # noqa: ARG001
    assert own.study(asked(mean="0.5", std="0.25"))["models"]["net"]["normalize"] == {"mean": [0.5], "std": [0.25]}
    assert own.study(asked())["models"]["net"]["normalize"] == "none"


def test_whole_pickled_objects_are_read_at_the_users_word_alone(here: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    torch.save({"net": net, "epoch": 3}, here / "whole.pt")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        read_weights(here / "whole.pt", own.sum_of_file(here / "whole.pt"), "torch")
    question = asked(weights="whole.pt", unsafe_unpickle=[])
    with own.written(question, replace=False):
        kept = paths.own_study("whole").beside("weights.safetensors")
    assert own.study(question)["title"] == "whole.pt on digits"
    state = read_weights(kept, question.weights.sha256, "safetensors")
    assert torch.equal(state["1.weight"], net[1].weight)
    torch.save({"a": net, "b": net}, here / "two.pt")
    with pytest.raises(
        ConfigError, match=r"--weights: two.pt holds 2 mappings of tensors \(a, b\): say which by --key"
    ):
        asked(weights="two.pt", unsafe_unpickle=[])
    (here / "renamed.pt").write_bytes(kept.read_bytes())
    with pytest.raises(ConfigError, match=r"--weights: renamed.pt is a safetensors file: .*ending \.safetensors"):
        asked(weights="renamed.pt", unsafe_unpickle=[])
    (here / "text.pt").write_text("no pickle")
    with pytest.raises(ConfigError, match=r"--weights: text.pt cannot be unpickled"):
        asked(weights="text.pt", unsafe_unpickle=[])


def test_weights_that_were_taken_out_stay_till_they_may_be_replaced(here: Path) -> None:
    kept = paths.own_study("whole").beside("weights.safetensors")
    for value, refused in ((0.0, False), (1.0, True)):
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        nn.init.constant_(net[1].weight, value)
        torch.save(net, here / "whole.pt")
        question = asked(weights="whole.pt", unsafe_unpickle=[])
        if refused:
            before = kept.read_bytes()
            with pytest.raises(ConfigError, match="is there already"):
                own.written(question, replace=False).__enter__()
            assert kept.read_bytes() == before
        else:
            with own.written(question, replace=False):
                pass


def test_a_checkout_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError,
        match=r"no suites here: it runs in a checkout of the project; from Python alone: touchstone.worst_case",
    ):
        asked()
    with pytest.raises(WeightsError, match="cannot be unpickled"):
        taken_out(tmp_path / "none")
