"""Evaluate a net of your own: its accuracy in the worst case of a suite of attacks, and a report.

It writes a study and a config under studies-own/, which can be kept, edited and run again, and runs them through
Snakemake. The net maps images (B, C, H, W) of pixels in [0, 1] to logits; where it wants others, --mean and --std are
its first layer. Nothing in a file of weights is executed. Without --samples, 1,000 test images of all classes. More in
docs/own-model.md.

example: touchstone evaluate --model nets.py:Net --weights ckpt.pt --dataset mnist --norm linf --eps 0.1 0.2 0.3
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import get_args

from touchstone import paths
from touchstone.commands import own
from touchstone.commands.own import Data, Net, Question, Weights
from touchstone.commands.text import columns, one_of
from touchstone.data import DATASETS
from touchstone.files import RunError
from touchstone.findings.cells import rows
from touchstone.findings.results import load_run
from touchstone.paths import Results
from touchstone.plan.plan import Plan, make_plan
from touchstone.registry import load, meant, nearest
from touchstone.report.model import lines, looks_wrong
from touchstone.study.config import ConfigError
from touchstone.study.schema import Norm
from touchstone.study.suites import PLAIN, load_suites

SAMPLES = 1000
# keys of the files that are written -> what of the command line they are made of; the first that a key begins with
MADE_OF = {
    f"models.{own.NET}.normalize": "--mean, --std",
    f"models.{own.NET}": "--model",
    "code": "--model",
    "weights": "--weights",
    "datasets": "--data",
    "data": "--data",
    "threats": "--eps",
    "suite": "--suite",
    "caps": "--samples",
    "threads": "--threads",
}
NORMS = get_args(Norm)
DEVICES = ("cpu", "cuda")


def options(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    add = parser.add_argument
    add("--model", required=True, help="FILE.py:NAME or module:NAME (a class, or a function that makes the net), "
        "torchvision:NAME, timm:NAME, or one of `touchstone ls models`")  # fmt: skip
    add("--weights", required=True, type=Path, help="of the net: safetensors, or a state_dict of torch.save")
    add(
        "--key",
        default="",
        help="entry of that file which holds the state_dict, where it holds several: ema, or ema.model",
    )
    add("--unsafe-unpickle", action="store_true", help="run what a file of whole pickled objects says to run; the "
        "weights are taken out of it once, and kept beside the study")  # fmt: skip
    add("--dataset", help=f"{', '.join(DATASETS)}; or a name for data of your own")
    add("--data", type=Path, help="an .npz file (x, y), a folder of images per class, or the folder of a known "
        "dataset's files, which are downloaded if it is left out")  # fmt: skip
    add("--classes", type=_number, metavar="N", help="of data of your own (default: as its labels say)")
    add("--norm", required=True, type=one_of(NORMS), help=", ".join(NORMS))
    add("--eps", required=True, nargs="+", type=_radius, metavar="E", help="radii in pixels of [0, 1]: 0.3, 8/255; in "
        "l0 numbers of pixels")  # fmt: skip
    add("--samples", type=_count, default=SAMPLES, metavar="N", help="test images, or all (default: %(default)s)")
    add("--suite", default="quick", help="of attacks: quick; or full, which has standard AutoAttack in it, and first "
        "trains a plain net to transfer from")  # fmt: skip
    add("--mean", nargs="+", type=_value, help="of a first layer of normalisation, one value or one per channel")
    add("--std", nargs="+", type=_value, help="likewise")
    add("--name", help="of the study (default: that of the file of weights)")
    add("--replace", action="store_true", help="write a study of that name anew")
    add("--device", type=one_of(DEVICES), help="cpu or cuda (default: cuda where torch sees one)")
    add("--threads", type=_count, default="all", metavar="N", help="of the CPU (default: %(default)s)")
    add("--write-only", action="store_true", help="write study and config, and run nothing")


def run(arguments: argparse.Namespace) -> str:
    """Write the study, run it, and return what came out, and where the report is.

    Raises:
        ConfigError: with every problem of what was asked.
        RunError: if the run failed.
    """
    question = asked(arguments)
    with own.written(question, replace=arguments.replace) as config:
        plan = _planned(config)  # whatever is wrong is said before Snakemake starts
        _rehearse(plan, question)
    results = Results.of(question.run)
    report = results.report(question.name)
    command = ["--cores", str(question.threads), "--configfile", str(config), "--", str(report.pdf)]
    said = f"{paths.own_study(question.name).definition} and {config} say how; as a command:\n"
    said += f"  {shlex.join(['snakemake', *command])}"
    if arguments.write_only:
        return said
    if _waited_for([sys.executable, "-m", "snakemake", *command]):
        raise RunError(f"the run failed, see above; its logs are in {results.root / 'logs'}\n{said}")
    found = columns(lines(rows(load_run(results.root).cells), own.NET))
    wrong = looks_wrong(results.table(question.name, "flags"), own.NET)
    return "\n\n".join(filter(None, [found, wrong, f"report: {report.pdf} ({report.html.name} beside it)\n{said}"]))


def _planned(config: Path) -> Plan:
    """Return the plan; what is wrong with files that are gone then is said of the words that they were made of.

    Raises:
        ConfigError: with every problem.
    """
    try:
        return make_plan(Path(), config)
    except ConfigError as error:
        raise ConfigError([_of_words(problem) for problem in error.problems]) from error


def _of_words(problem: str) -> str:
    found = re.match(rf"{re.escape(str(paths.OWN_STUDIES))}\S*?:\d+: (\S+): (.*)", problem)
    option = next((word for key, word in MADE_OF.items() if found and f"{found[1]}.".startswith(f"{key}.")), None)
    return f"{option}: {found[2]}" if found and option else problem


def _rehearse(plan: Plan, question: Question) -> None:
    """Do in small what the jobs will do with the user's own files, and print what looks wrong.

    Raises:
        ConfigError: if one of them cannot be used.
    """
    try:
        for doubt in load("touchstone.jobs.rehearsal:rehearse")(plan):
            print(f"--model {question.net.words}: {doubt}", file=sys.stderr)
    except SystemExit as error:
        raise ConfigError([f"--model {question.net.words}: it ends Python (exit status {error.code})"]) from error
    except ImportError as error:
        package = "; a folder is a package with an __init__.py in it"
        hint = package if "relative import" in str(error) else ""
        raise ConfigError([f"--model {question.net.words}: {error}{hint}"]) from error
    except ValueError as error:
        images = question.data.images
        hint = images.hint(getattr(error, "logits", None)) if images else ""
        raise ConfigError([f"{error}{hint}"]) from error


def _waited_for(command: Sequence[str]) -> int:
    """Run a program and return its exit status; an interrupt is for it to obey, and to tidy up after."""
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def asked(arguments: argparse.Namespace) -> Question:
    """Return the question that words of a command line ask.

    Raises:
        ConfigError: if they name what is not there, or do not go together.
    """
    if not paths.suites().is_file():
        where = "it runs in a checkout of the project; from Python alone: touchstone.worst_case"
        raise ConfigError([f"{paths.suites()}: there are no suites here: {where}"])
    said = arguments.name or arguments.weights.stem
    name = own.slug(said)
    taken = {study for study, files in paths.studies().items() if files != paths.own_study(study)}
    if not name:
        raise ConfigError([f"--name: expected a name with letters a to z or digits, got {said!r}"])
    if name == paths.suites().stem:
        raise ConfigError([f"--name {name}: a name of its own is needed; {paths.suites().name} is the file of suites"])
    if name in taken:
        raise ConfigError([f"--name {name}: a name of its own is needed; {name} is a study of a paper"])
    data = Data.named(arguments.dataset, arguments.data, arguments.classes)
    suites = load_suites(paths.suites())
    if arguments.suite not in suites.by_name:
        raise ConfigError([f"--suite {arguments.suite}: no such suite; {nearest(arguments.suite, suites.by_name)}"])
    transfers = any(one.substitute == PLAIN for one in suites.members(arguments.suite, arguments.norm).values())
    if transfers and not data.trains:
        text = (
            f"--suite {arguments.suite}: its transfer starts from a plain net, and {data.slug} has no training images"
        )
        raise ConfigError([f"{text}: give x_train and y_train, or a folder train/, or take --suite quick"])
    net = Net.named(arguments.model)
    return Question(
        name=name,
        net=net,
        weights=_weights(arguments, net),
        data=data,
        norm=arguments.norm,
        epsilons=_radii(arguments.norm, arguments.eps),
        samples=arguments.samples,
        suite=arguments.suite,
        transfers=transfers,
        constants=_constants(arguments.mean, arguments.std),
        device=_device(arguments.device),
        threads=arguments.threads or len(os.sched_getaffinity(0)),
    )


def _weights(arguments: argparse.Namespace, net: Net) -> Weights:
    """Return the file of weights; of whole pickled objects they are taken out, at the user's word."""
    file: Path = arguments.weights.expanduser()
    if file.is_dir():
        raise ConfigError([f"--weights: {file} is a folder; expected a file of weights"])
    if not file.is_file():
        raise ConfigError([f"--weights: there is no file {file}{meant(file.name, paths.beside(file))}"])
    if not arguments.unsafe_unpickle:
        return Weights(file, arguments.key)
    try:
        return Weights(file, taken=load("touchstone.models.given:taken_out")(file, key=arguments.key, code=net.code))
    except ValueError as error:
        raise ConfigError([f"--weights: {error}"]) from error


def _radii(norm: str, radii: Sequence[float]) -> tuple[float, ...]:
    """Return radii rising; in l0 they count pixels."""
    if norm == "linf" and max(radii) > 1:
        raise ConfigError(
            [f"--eps {max(radii):g}: radii are of pixels in [0, 1]; of 0 to 255 write {max(radii):g}/255"]
        )
    if norm == "l0" and any(radius != round(radius) for radius in radii):
        raise ConfigError(
            [f"--eps {' '.join(f'{radius:g}' for radius in radii)}: in l0 a radius is a number of pixels"]
        )
    return tuple(sorted(set(radii)))


def _device(asked: str | None) -> str:
    """Return the device that was asked for, or cuda where torch sees one."""
    there = load("torch.cuda:is_available")()
    if asked == "cuda" and not there:
        raise ConfigError(["--device cuda: torch sees no GPU here"])
    return asked or ("cuda" if there else "cpu")


def _constants(mean: Sequence[float] | None, std: Sequence[float] | None) -> tuple[list[float], list[float]] | None:
    if (mean is None) != (std is None):
        raise ConfigError(["--mean and --std go together: a first layer subtracts one and divides by the other"])
    if mean is None or std is None:
        return None
    if not all(0 <= value <= 1 for value in (*mean, *std)) or min(std) == 0:
        raise ConfigError(["--mean and --std are of pixels in [0, 1], std above 0: divide those of 0 to 255 by 255"])
    return [*mean], [*std]


def _radius(words: str) -> float:
    """Read 0.3 or 8/255."""
    try:
        value = float(Fraction(words))
    except (ValueError, ZeroDivisionError) as error:
        hint = "; separate radii by spaces" if "," in words else ""
        raise argparse.ArgumentTypeError(f"expected a number, such as 0.3 or 8/255, got {words!r}{hint}") from error
    if value <= 0:
        raise argparse.ArgumentTypeError(f"expected a radius above 0, got {words!r}")
    return value


def _value(words: str) -> float:
    """Read a value of a channel."""
    try:
        return float(words)
    except ValueError as error:
        hint = "; separate values by spaces" if "," in words else ""
        raise argparse.ArgumentTypeError(f"expected a number, got {words!r}{hint}") from error


def _number(words: str, more: str = "") -> int:
    """Read a count above 0; `more` is what else would have been taken."""
    if not words.isdecimal() or int(words) < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0{more}, got {words!r}")
    return int(words)


def _count(words: str) -> int | None:
    """Read a count; None for all."""
    return None if words == "all" else _number(words, ", or all")
