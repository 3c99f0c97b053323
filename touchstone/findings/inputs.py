"""What jobs left on disk, as values; tables are left there here."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from touchstone import records
from touchstone.cell import ModelId, ThreatSpec
from touchstone.files import DamagedError, read_sealed, sum_of, verified, write_bytes, write_sealed
from touchstone.paths import sums_beside
from touchstone.records import Attacked, Batch, Preflight


def write_tables(tables: Mapping[Path, pd.DataFrame]) -> None:
    """Write the tables of a folder as CSV, and their sums beside them, for `read_table`."""
    (beside,) = {sums_beside(path) for path in tables}
    sums = {}
    for path, table in tables.items():
        content = table.to_csv(index=False).encode()
        write_bytes(path, content)
        sums[path.name] = sum_of(content)
    write_sealed(beside, sums)


def read_table(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table that `write_tables` was given; by default every value as text, digits as written.

    Args:
        path: of the CSV file.
        options: of pandas.read_csv, instead.

    Raises:
        DamagedError: if the table or its sum is missing or was changed.
    """
    beside = sums_beside(path)
    sums = read_sealed(beside, "tables")
    if path.name not in sums:
        raise DamagedError(beside, "tables", f"expected the sum of {path.name}")
    as_text = {"dtype": str, "keep_default_na": False}
    table: pd.DataFrame = pd.read_csv(verified(path, sums[path.name], "tables"), **(options or as_text))
    return table


def read_points(file: Path, attack: str, name: str) -> dict[int, NDArray[np.float32]]:
    """Read the points of an attack that are kept, by their sample.

    Args:
        file: of examples.
        attack: whose points.
        name: at which radius, or of which kind.

    Raises:
        DamagedError: if the file or these points are not there.
    """
    try:
        with safe_open(file, framework="np") as kept:
            samples, points = (kept.get_tensor(f"{attack}/{one}") for one in (records.SAMPLE, name))
    except (SafetensorError, OSError) as error:
        raise DamagedError(file, "attack", error) from error
    return dict(zip(samples.tolist(), points, strict=True))


def places(files: Iterable[Path]) -> dict[tuple[ModelId, str], Path]:
    """Say in which file of records each attack on each model is."""
    return {(header.model, header.attack): file for file in files for header in records.read_headers(file)}


def by_model(files: Iterable[Path]) -> Iterator[Batch]:
    """Read files of records, all of one model together and no other model at the same time.

    Yields:
        All attacks on a model, and the preflights of their threats, each once.
    """
    groups: dict[ModelId, list[Path]] = defaultdict(list)
    for (model, _), file in places(files).items():
        if file not in groups[model]:
            groups[model].append(file)
    for model in sorted(groups):
        attacks: list[Attacked] = []
        preflights: dict[ThreatSpec, Preflight] = {}
        for file in groups[model]:
            batch = records.read(file)
            attacks += batch.attacks
            preflights |= {one.threat: one for one in batch.preflights}
        yield Batch(attacks, list(preflights.values()))
