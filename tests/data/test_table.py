"""The rows of DATASETS: well-formed, and, where torchvision knows the dataset too, what torchvision knows."""

import re
from pathlib import PurePosixPath

import pytest
from torchvision.datasets import CIFAR10, MNIST

from touchstone.data import DATASETS, dataset_spec
from touchstone.registry import DatasetSpec, RawFile


@pytest.mark.parametrize("spec", DATASETS.values(), ids=DATASETS)
def test_rows_are_well_formed(spec: DatasetSpec) -> None:
    assert len(spec.mean) == len(spec.std) == spec.shape[0]
    everything = [*spec.files, *([spec.archive] if spec.archive else [])]
    for file in everything:
        assert re.fullmatch(r"[0-9a-f]{32}", file.md5)
        path = PurePosixPath(file.path)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert file.name == path.name
    assert len({file.path for file in everything}) == len(everything)
    assert all(re.fullmatch(r"https?://.+/", mirror) for mirror in spec.mirrors)
    assert spec.embedded == (not spec.files)
    assert spec.files or not (spec.archive or spec.mirrors)


def test_mnist_is_as_torchvision_lists_it() -> None:
    spec = DATASETS["mnist"]
    assert spec.files == tuple(RawFile(f"MNIST/raw/{file}", md5) for file, md5 in MNIST.resources)
    assert spec.archive is None
    assert list(spec.mirrors) == MNIST.mirrors


def test_cifar10_is_as_torchvision_lists_it() -> None:
    spec = DATASETS["cifar10"]
    listed = [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]
    assert spec.files == tuple(RawFile(f"{CIFAR10.base_folder}/{file}", md5) for file, md5 in listed)
    assert spec.archive == RawFile(CIFAR10.filename, CIFAR10.tgz_md5)
    assert [mirror + spec.archive.name for mirror in spec.mirrors] == [CIFAR10.url]


def test_an_unknown_dataset_gets_the_nearest_name() -> None:
    assert dataset_spec("digits") is DATASETS["digits"]
    with pytest.raises(ValueError, match=r"unknown dataset 'cifar'; allowed: .*; did you mean 'cifar10'\?"):
        dataset_spec("cifar")
