"""Images to show things on: a prepared dataset if it was brought along, else scikit-learn's digits; and synthetic ones.

As a program it cuts prepared datasets down to what can be carried: `python -m benchmarks.gpu.images mnist cifar10`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch

from benchmarks import nets
from touchstone.data.prepare import Split, load, spread
from touchstone.files import sum_of, write_bytes, write_sealed
from touchstone.paths import Prepared, prepared

PREFERRED = {1: ("mnist", "digits"), 3: ("cifar10", "digits-rgb")}  # channels -> the one to use if it is there, else


class Images(NamedTuple):
    """A dataset, named as in DATASETS, on a device."""

    name: str
    train: Split
    test: Split


def images(channels: int, device: torch.device, folder: Path) -> Images:
    """Return images of 1 or 3 channels on the device; `folder` holds datasets that were brought along."""
    wanted, otherwise = PREFERRED[channels]
    brought = prepared(wanted, folder)
    data = load(brought) if brought.facts.is_file() else nets.dataset(otherwise)
    train, test = (Split(part.x.to(device), part.y.to(device)) for part in (data.train, data.test))
    return Images(data.name, train, test)


def synthetic(shape: tuple[int, int, int], rows: int, device: torch.device) -> Split:
    """Return `rows` images of ten classes that a net learns within an epoch: a pattern per class, and noise."""
    generator = torch.Generator(device).manual_seed(0)
    y = torch.arange(rows, device=device) % 10
    patterns = torch.randint(64, 192, (10, *shape), generator=generator, device=device, dtype=torch.int16)
    noise = torch.randint(-64, 64, (rows, *shape), generator=generator, device=device, dtype=torch.int16)
    return Split((patterns[y] + noise).to(torch.uint8), y)


def cut(name: str, train: int, test: int, folder: Path) -> Prepared:
    """Write a prepared dataset with fewer images, of all classes alike, into a folder; return its files."""
    data, kept = nets.dataset(name), {}
    for part, rows, count in (("train", data.train, train), ("test", data.test, test)):
        order = spread(rows.y)[:count]
        kept |= {f"{part}_x": rows.x[order], f"{part}_y": rows.y[order]}
    kept["validation"] = torch.arange(min(train, 100))
    out = prepared(name, folder)
    content = safetensors.torch.save({key: value.contiguous() for key, value in kept.items()})
    write_bytes(out.data, content)
    write_sealed(out.facts, {"name": name, "sha256": sum_of(content)})
    return out


def main() -> None:
    """Cut the datasets that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.images", description=__doc__)
    parser.add_argument("datasets", nargs="+", help="prepared ones: mnist, cifar10")
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--test", type=int, default=1_000)
    parser.add_argument("--out", type=Path, required=True, help="a folder, to be named by --data on the other machine")
    args = parser.parse_args()
    for name in args.datasets:
        data = cut(name, args.train, args.test, args.out).data
        print(f"{data}: {data.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
