"""The files of a run as it left them: their sums are written down when it ends, and compared when the next one starts.

Snakemake looks at dates alone, and would say "Nothing to be done" over a file that has lost a bit. Data have sums of
their own: other runs share them, and may have made them anew.
"""

import errno
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

from touchstone import paths
from touchstone.data.verify import sum_problem
from touchstone.files import (
    BusyError,
    DamagedError,
    Rule,
    hold,
    read_sealed,
    sum_of_file,
    sum_of_folder,
    verified,
    write_sealed,
)
from touchstone.paths import Results
from touchstone.plan import targets
from touchstone.plan.plan import Plan
from touchstone.registry import RawFile

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class Left(NamedTuple):
    """A file as a run left it: the rule that made it, its sha256, and when it was written, in ns."""

    rule: Rule
    sha256: str
    mtime_ns: int


class Record(NamedTuple):
    """What is known of a run: its files, and whether it is at work on them, or was when it was killed."""

    files: dict[Path, Left]
    working: bool


def damaged(plan: Plan) -> list[DamagedError]:
    """Return what is wrong with what a run has left and with its data. What is not there Snakemake makes again.

    Of a run that was killed those files are compared that have their old date: it may have made the others anew.
    What nobody has noted, of an older version or after its record was deleted, is from now on as it is.
    """
    try:
        record = _read(plan.results)
    except DamagedError as error:
        return [error]
    datasets = sorted({plan.data(model.dataset) for model in plan.trained})
    checks = [
        *(partial(_of_data, dataset) for dataset in datasets),
        *(partial(_of_raw, paths.raw(name).folder, file) for name in datasets for file in plan.dataset(name).files),
        *(partial(_of_file, file, record) for file in record.files),
    ]
    with ThreadPoolExecutor(_threads()) as pool:  # sums are made without the interpreter's lock
        wrong = [*chain.from_iterable(pool.map(lambda check: [*check()], checks))]
    if not wrong and (record.working or not record.files) and all(map(os.path.exists, targets.everything(plan))):
        wrong = [*_finish_idle(plan)]
    return wrong


def _finish_idle(plan: Plan) -> Iterator[DamagedError]:
    """Note what a run has left that ended without a word; not while it works, nor where nothing can be written."""
    try:
        with hold(plan.results.lock):
            finish(plan)
    except BusyError:
        return
    except DamagedError as error:
        yield error
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        logging.warning("%s: no sums are kept of what is there, so that damage to it goes unnoticed", error)


def begin(plan: Plan) -> IO[str]:
    """Note that a run is at work: until it ends, its files need not be as an earlier one left them.

    Returns:
        What keeps others away until it is closed or this process ends: at its end a run removes what is half written,
        whoever writes it. Snakemake lets two work at once that make different files.

    Raises:
        BusyError: if another run is at work on the same results; says which.
    """
    try:
        held = hold(plan.results.lock)
    except BusyError as error:
        text = f"{error} is at work on {plan.results.root}; give the command again when that has ended"
        raise BusyError(text) from None
    if files := _read(plan.results).files:
        _write(plan.results, Record(files, working=True))
    return held


def finish(plan: Plan) -> None:
    """Note what a run leaves at its end, even if some of its jobs failed; and what earlier ones left beside it.

    Raises:
        DamagedError: if a file of it cannot be read.
    """
    root, known = plan.results.root, _read(plan.results).files
    made = {file: rule for file, rule in targets.made(plan).items() if file.is_relative_to(root)}
    rules = {file: left.rule for file, left in known.items()} | made
    there = [file for file in rules if file.exists()]
    with ThreadPoolExecutor(_threads()) as pool:
        left = pool.map(lambda file: _left(file, rules[file], known.get(file)), there)
        _write(plan.results, Record(dict(zip(there, left, strict=True)), working=False))


def _threads() -> int:
    """Return how many files are read at once: a login node is not ours alone."""
    return min(len(os.sched_getaffinity(0)), 8)


def _left(file: Path, rule: Rule, known: Left | None) -> Left:
    """Return what a file is now; one that was compared and not written since keeps its sum."""
    try:
        date = file.stat().st_mtime_ns
        return known if known and known.mtime_ns == date else Left(rule, _sum(file), date)
    except OSError as error:
        raise DamagedError(file, rule, error) from error


def _of_file(file: Path, record: Record) -> Iterator[DamagedError]:
    left = record.files[file]
    try:
        made_anew = record.working and file.stat().st_mtime_ns != left.mtime_ns
        found = left.sha256 if made_anew else _sum(file)
    except FileNotFoundError:
        return
    except OSError as error:
        yield DamagedError(file, left.rule, error)
    else:
        if found != left.sha256:
            yield DamagedError(file, left.rule, f"expected sha256 {left.sha256}, got {found}")


def _of_data(dataset: str) -> Iterator[DamagedError]:
    """Yield what is wrong with a dataset by the names and sums that its files have in themselves."""
    fetched, (data, facts) = paths.raw(dataset).fetched, paths.prepared(dataset)
    try:
        _whose(fetched, "fetch", "dataset", dataset)
        found = _whose(facts, "prepare", "name", dataset)
        if found and data.exists():
            verified(data, found["sha256"], "prepare")
    except DamagedError as error:
        yield error


def _of_raw(folder: Path, file: RawFile) -> Iterator[DamagedError]:
    """Yield what is wrong with a raw file by the sum in its dataset's row; whoever has prepared data needs none."""
    path = folder / file.path
    try:
        problem = sum_problem(path, file)
    except FileNotFoundError:
        return
    except OSError as error:
        problem = str(error)
    if problem:
        yield DamagedError(path, "fetch", problem, folder)


def _whose(file: Path, rule: Rule, key: str, dataset: str) -> dict[str, Any]:
    """Return what a file says of a dataset, nothing if it is not there; raises DamagedError if it is of another one."""
    found = read_sealed(file, rule) if file.exists() else {}
    if found and found.get(key) != dataset:
        raise DamagedError(file, rule, f"expected {key} {dataset}, got {found.get(key)}")
    return found


def _sum(path: Path) -> str:
    return sum_of_folder(path) if path.is_dir() else sum_of_file(path)


def _read(results: Results) -> Record:
    """Return what is known of a run: nothing before it has ended once."""
    if not results.finished.exists():
        return Record({}, working=False)
    content = read_sealed(results.finished, "all")
    try:
        files = {results.root / name: Left(*left) for name, left in content["files"].items()}
        return Record(files, content["working"])
    except (KeyError, TypeError) as error:
        raise DamagedError(results.finished, "all", f"expected what a run leaves, got {error!r}") from error


def _write(results: Results, record: Record) -> None:
    files = {paths.link(results.finished, file): left for file, left in record.files.items()}
    write_sealed(results.finished, {"working": record.working, "files": files})
