"""Check a config or a study: all that is wrong with it.

A study is named by its folder or by a file in it: study.yaml, claims.csv, qualitative.csv, figures.csv and
captions.yaml are checked together, and the suites of worst.yaml with them. A config is checked with every study that
it runs, worst.yaml itself with every study beside it.

example: touchstone validate studies/minmax
"""

import argparse
from pathlib import Path

from touchstone import paths
from touchstone.paths import StudyFiles
from touchstone.plan.asked import asked
from touchstone.plan.plan import make_plan
from touchstone.registry import counted, find_code, meant
from touchstone.study import claims
from touchstone.study.checks import checked_study
from touchstone.study.config import ConfigError, load
from touchstone.study.suites import load_suites


def options(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    parser.add_argument(
        "file", metavar="F", type=Path, help="a config, a study (its folder or a file in it), or worst.yaml"
    )


def run(arguments: argparse.Namespace) -> str:
    """Return what was checked, if nothing is wrong.

    Raises:
        ConfigError: with every problem, each with file, line, key, value and what is allowed.
    """
    file: Path = arguments.file
    if not file.exists():
        raise ConfigError([f"{file}: there is no such file or folder{meant(file.name, paths.beside(file))}"])
    if (study := paths.study_of(file)) is not None:
        if file.is_dir() and not study.definition.is_file():
            there = paths.studies_beside(file / paths.suites().name)
            hint = f"; these in it have one: {', '.join(there)}" if there else ""
            raise ConfigError([f"{file}: a folder without {study.definition.name}{hint}"])
        return check_study(study)
    if file.name == paths.suites().name:
        return check_suites(file)
    plan = make_plan(Path(), file)
    return f"{file}: nothing is wrong with run {plan.config.run} and its studies {', '.join(plan.studies)}"


def check_study(files: StudyFiles) -> str:
    """Check a study, and return what it holds.

    Raises:
        ConfigError: as `run` does.
    """
    printed = claims.read(files.claims)
    run, own = paths.own_config(files.study), paths.own_study(files.study)
    if files.definition.resolve() == own.definition.resolve() and run.is_file():  # it says where own code lies
        for folder in paths.code(load(run)[0].code):
            find_code(folder)
    study = checked_study(files, printed, load_suites(paths.suites_beside(files)))
    cells = asked(files, study, printed)
    numbers = counted(len(printed.rows) if printed else 0, "published number")
    return f"{files.definition}: nothing is wrong; {numbers}, {counted(len(cells), 'attack')} on models"


def check_suites(file: Path) -> str:
    """Check the suites of worst.yaml, and return for which studies.

    Raises:
        ConfigError: as `run` does.
    """
    suites, studies = load_suites(file), paths.studies_beside(file)
    problems: list[str] = []
    for study in studies.values():
        try:
            checked_study(study, claims.read(study.claims), suites)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    names = ", ".join(studies) or "none"
    return f"{file}: nothing is wrong with its suites {', '.join(suites.by_name)}; studies beside it: {names}"
