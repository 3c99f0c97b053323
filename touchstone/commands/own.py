"""What `touchstone evaluate` is asked, and the study and config that it writes for it: a net of the user's own.

A question becomes files that can be kept, edited and run again; nothing here runs anything.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from touchstone import paths
from touchstone.commands.images import Images, look_at
from touchstone.data import DATASETS
from touchstone.files import sum_of, sum_of_file, write_bytes, yaml_text
from touchstone.models import MODELS
from touchstone.registry import EXAMPLES, SourceError, check_defined, find_code, is_elsewhere, meant, nearest
from touchstone.study.config import ConfigError
from touchstone.study.suites import worst_slug

NET, GIVEN, PLAIN = "net", "given", "plain"  # slugs of what is evaluated, and of the net that transfers start from
LIBRARIES = ("torchvision", "timm")
HOW = "FILE.py:NAME, module:NAME, torchvision:NAME, timm:NAME"
PLAIN_NETS = {1: "lenet", 3: "cnn3"}  # channels -> a small net that learns such images in minutes
RECIPE = {"optimizer": "adam", "lr": 0.001, "batch_size": 128, "epochs": 5}  # of that net
BATCH_SIZE = 256
KEPT = 2**24  # bytes of attacked images
TAKEN = "weights.safetensors"  # beside the study: what was taken out of a file of pickled objects
HEAD = "# Written by `touchstone evaluate`; edit it, and run it again: snakemake --cores all --configfile {}\n"


@dataclass(frozen=True)
class Net:
    """A net as a study names it.

    Attributes:
        fn: row of the table of models, or "module:function".
        options: of that function.
        code: folder with the user's own file; None where it is none.
        words: as the user named it.
    """

    fn: str
    options: Mapping[str, Any]
    code: Path | None
    words: str

    @classmethod
    def named(cls, words: str) -> "Net":
        """Read what a user writes: FILE.py:Net, module:function, torchvision:NAME, timm:NAME, or a name of MODELS.

        Raises:
            ConfigError: if there is no such net, or none was named.
        """
        place, colon, name = words.rpartition(":") if ":" in words else (words, "", "")
        if place in LIBRARIES:
            if not name:
                raise ConfigError([f"--model {words}: say which: {place}:NAME"])
            return cls(place, {"name": name}, None, words)
        if place.endswith(".py"):
            target, folder = _in_file(Path(place).expanduser(), name)
            find_code(folder)
            return cls(_defined(words, target), {}, folder, words)
        if colon and place and name:
            home = _home(place)
            if home is not None:
                find_code(home)
            return cls(_defined(words, words), {}, home, words)
        if words not in MODELS or colon:
            raise ConfigError([f"--model {words}: expected {HOW}, or one of touchstone's; {nearest(words, MODELS)}"])
        return cls(words, {}, None, words)


def _defined(words: str, target: str) -> str:
    """Return a target if there is such a function or class.

    Raises:
        ConfigError: if there is none.
    """
    try:
        check_defined(target)
    except SourceError as error:
        library = meant(target.partition(":")[0], LIBRARIES)
        raise ConfigError([f"--model {words}: {error}{library}"]) from error
    return target


def _home(module: str) -> Path | None:
    """Return the folder, of those that only this shell knows, in which a module lies; None if it is installed."""
    top = module.partition(".")[0]
    known = [Path(), *map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))]
    there = (place.resolve() for place in known if (place / f"{top}.py").is_file() or (place / top).is_dir())
    return next((place for place in there if not is_elsewhere(top, place)), None)


def _in_file(file: Path, name: str) -> tuple[str, Path]:
    """Return what a file makes a net with, as "module:name", and the folder that Python has to know.

    A file in a package may import from its neighbours: that folder is the one above the package.

    Raises:
        ConfigError: if there is no such file, or Python would import another.
    """
    if not file.is_file():
        raise ConfigError([f"--model: there is no file {file}{meant(file.name, paths.beside(file))}"])
    if not name:
        raise ConfigError([f"--model {file}: say which function or class makes the net: {file}:NAME"])
    parts, folder = [file.stem], file.resolve().parent
    while (folder / "__init__.py").is_file():
        parts, folder = [folder.name, *parts], folder.parent
    module = ".".join(parts)
    if not all(part.isidentifier() for part in parts) or is_elsewhere(parts[0], folder):
        raise ConfigError([f"--model {file}: Python cannot import it by that name, or has another {module}: rename it"])
    return f"{module}:{name}", folder


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Attributes:
        file: the user's.
        key: entry of it which holds them; "" for the only one.
        taken: what was taken out of it, as safetensors; None where the file itself can be read.
    """

    file: Path
    key: str = ""
    taken: bytes | None = None

    @property
    def sha256(self) -> str:
        """Of what is read."""
        return sum_of_file(self.file) if self.taken is None else sum_of(self.taken)

    def definition(self) -> dict[str, Any]:
        """Return what study.yaml says of them."""
        if self.taken is not None:
            return {"file": TAKEN, "sha256": self.sha256}
        key = {"key": self.key} if self.key else {}
        return {"file": str(self.file.resolve()), "sha256": self.sha256, **key}


@dataclass(frozen=True)
class Data:
    """The images that a net is asked about.

    Attributes:
        slug: of the dataset.
        source: as a config says it.
        images: what they are, of the user's own; None for a dataset that the package knows.
        shape: (C, H, W) of an image.
        trains: whether there are images to train a net on.
    """

    slug: str
    source: str | dict[str, str]
    images: Images | None
    shape: tuple[int, int, int]
    trains: bool

    @classmethod
    def named(cls, dataset: str | None, place: Path | None, classes: int | None = None) -> "Data":
        """Read what a user writes: a dataset of the package, and where its files lie; or data of the user's own.

        Args:
            dataset: its name; of data of one's own that of the file, if it is left out.
            place: where they lie.
            classes: of data of one's own; None to count them.

        Raises:
            ConfigError: if there is no such dataset, or nothing at that place.
        """
        there = {"local": str(place.expanduser().resolve())} if place else "download"
        if dataset in DATASETS:
            return cls._known(dataset, place, there, classes)
        if place is None:
            if dataset is None:
                raise ConfigError(["--dataset or --data: give one, the name of a dataset or a file of your own"])
            known = nearest(dataset, DATASETS)
            raise ConfigError([f"--dataset {dataset}: no such dataset; {known}; data of your own: --data FILE.npz"])
        name = dataset or slug(place.stem)
        if name in DATASETS:
            raise ConfigError([f"--data {place}: {name} is the name of a known dataset; give another as --dataset"])
        if not name or name != slug(name):
            raise ConfigError([f"--dataset {name}: expected small letters, digits and hyphens, as {slug(name) or 'x'}"])
        images = look_at(place.expanduser(), classes)
        return cls(name, there, images, images.shape, images.training > 0)

    @classmethod
    def _known(cls, name: str, place: Path | None, there: str | dict[str, str], classes: int | None) -> "Data":
        spec = DATASETS[name]
        other = "call data of your own by another name (--dataset)"
        if classes not in (None, spec.classes):
            raise ConfigError([f"--classes {classes}: {name} has {spec.classes}; {other}"])
        if place is not None and spec.embedded:
            raise ConfigError([f"--data {place}: {name} is embedded and reads no files; {other}"])
        if place is not None and not place.expanduser().is_dir():
            raise ConfigError([f"--data {place}: no folder, as the files of {name} lie in; {other}"])
        return cls(name, "embedded" if spec.embedded else there, None, spec.shape, True)


@dataclass(frozen=True)
class Question:
    """How robust is this net?

    Attributes:
        name: slug of the study.
        net: that is asked about.
        weights: its weights.
        data: images and their classes.
        norm: of the threat.
        epsilons: rising radii, in pixels.
        samples: test images; None for all.
        suite: of attacks.
        transfers: whether the suite starts from a plain net, which is trained then.
        constants: (mean, std) per channel, of the net's first layer; None where it has its own.
        device: cpu or cuda.
        threads: of the CPU.
    """

    name: str
    net: Net
    weights: Weights
    data: Data
    norm: str
    epsilons: tuple[float, ...]
    samples: int | None
    suite: str
    transfers: bool
    constants: tuple[list[float], list[float]] | None
    device: str
    threads: int

    @property
    def run(self) -> str:
        """Name of the run."""
        return f"own-{self.name}"

    @property
    def worst(self) -> str:
        """Slug of the worst case."""
        return worst_slug(self.norm)


def slug(words: str) -> str:
    """Return a name of which a part of a path can be made: that of a file without its ending, say."""
    return re.sub(r"[^a-z0-9+]+", "-", words.lower()).strip("-+")[:64]


def study(question: Question) -> dict[str, Any]:
    """Return the content of study.yaml."""
    q, dataset, images = question, question.data.slug, question.data.images
    name, file = q.weights.file.name, q.weights.definition()
    models: dict[str, Any] = {NET: {"fn": q.net.fn, "normalize": _first_layer(q), **q.net.options}}
    defenses: dict[str, Any] = {GIVEN: {"fn": "ce"}}
    if q.transfers:
        models[PLAIN], defenses[PLAIN] = {"fn": PLAIN_NETS[q.data.shape[0]]}, {"fn": "ce"}

    def net() -> dict[str, Any]:  # anew each time: YAML would write a second mention of a list as an alias
        return {"datasets": [dataset], "models": [NET], "defenses": [GIVEN]}

    return {
        "study": q.name,
        "title": f"{name} on {dataset}",
        "citation": f"{Path(q.net.words).name} with the weights of {name}, sha256 {file['sha256'][:16]}...",
        "headline": "the net as its files are",
        "report": "model",
        "seeds": 1,
        **({"datasets": {dataset: images.definition()}} if images else {}),
        "models": models,
        "recipes": {dataset: dict(RECIPE)},
        "defenses": defenses,
        "weights": [{"dataset": dataset, "model": NET, "defense": GIVEN, "files": [file]}],
        "threats": {q.norm: {"norm": q.norm, "space": "pixel", "epsilons": {dataset: list(q.epsilons)}}},
        "attacks": {"clean": {"fn": "clean"}},
        "worst": {q.norm: [q.norm]},
        **({"plain": f"{PLAIN}/{PLAIN}"} if q.transfers else {}),
        "cells": [net()],
        "figures": {
            "curve": {"fn": "worst-case", **net()},
            "gallery": {"fn": "gallery-of-broken", **net(), "attacks": [q.worst], "samples": _kept(q.data.shape)},
        },
    }


def _kept(shape: tuple[int, int, int]) -> int:
    """Return how many attacked images, float32, are kept at each radius: one of each class may be broken."""
    return max(EXAMPLES, KEPT // (4 * math.prod(shape)))


def captions(question: Question) -> dict[str, str]:
    """Return the content of captions.yaml."""
    return {
        "claim": "How robust this net is.",
        "curve": f"Accuracy in the worst case of the suite {question.suite}, by radius, with 95 % intervals.",
        "gallery": "A test image per class, one that was broken if there is any, what the worst case made of it at the "
        "largest radius, and the change.",
    }


def config(question: Question) -> dict[str, Any]:
    """Return the content of the config that runs the study."""
    q = question
    return {
        "run": q.run,
        "studies": [q.name],
        "device": q.device,
        "threads": q.threads,
        "jobs": "per_model",
        "batch_size": BATCH_SIZE,
        **({"code": [str(q.net.code)]} if q.net.code else {}),
        "suite": q.suite,
        "data": {q.data.slug: {"source": q.data.source}},
        **({"caps": [{"samples": q.samples}]} if q.samples else {}),
    }


@contextmanager
def written(question: Question, *, replace: bool) -> Iterator[Path]:
    """Write the study and its config, and give the config's path; where anything is raised there, all is as before.

    Raises:
        ConfigError: if a file of that name says something else, and may not be replaced.
    """
    files, run = paths.own_study(question.name), paths.own_config(question.name)
    said = {files.definition: study(question), files.captions: captions(question), run: config(question)}
    head = HEAD.format(run)
    contents = {path: (head + yaml_text(content)).encode() for path, content in said.items()}
    if question.weights.taken is not None:
        contents[files.beside(TAKEN)] = question.weights.taken
    before = {path: path.read_bytes() if path.is_file() else None for path in contents}
    changed = [path for path, content in contents.items() if before[path] not in (None, content)]
    if changed and not replace:
        other = "--replace writes it anew, --name calls this one something else"
        raise ConfigError([f"{path} is there already, and says something else: {other}" for path in changed])
    for path, content in contents.items():
        write_bytes(path, content)
    try:
        yield run
    except BaseException:
        for path, former in before.items():
            if former is None:
                path.unlink()
            else:
                write_bytes(path, former)
        if not any(files.definition.parent.iterdir()):
            files.definition.parent.rmdir()
        raise


def _first_layer(question: Question) -> Any:
    if question.constants is None:
        return "none"
    mean, std = question.constants
    return {"mean": mean, "std": std}
