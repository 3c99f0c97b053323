"""The rows of DATASETS: well-formed, and, where torchvision knows the dataset too, what torchvision knows."""

import re
from pathlib import PurePosixPath

import pytest
from torchvision.datasets import CIFAR10, CIFAR100, KMNIST, MNIST, SVHN, FashionMNIST

from touchstone.data import DATASETS, dataset_spec
from touchstone.registry import DatasetSpec, RawFile


@pytest.mark.parametrize("spec", DATASETS.values(), ids=DATASETS)
def test_rows_are_well_formed(spec: DatasetSpec) -> None:
    assert len(spec.mean) == len(spec.std) == spec.shape[0]
    everything = [*spec.files, *([spec.archive] if spec.archive else [])]
    for file in everything:
        assert re.fullmatch(r"[0-9a-f]{32}", file.md5)
        assert re.fullmatch(r"[0-9a-f]{32}|", file.contents)
        assert file.path.endswith(".gz") or not file.contents
        path = PurePosixPath(file.path)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert file.name == path.name
    assert len({file.path for file in everything}) == len(everything)
    assert all(re.fullmatch(r"https?://.+/", mirror) for mirror in spec.mirrors)
    assert spec.embedded == (not spec.files)
    assert spec.files or not (spec.archive or spec.mirrors)


@pytest.mark.parametrize(("name", "listed"), [("mnist", MNIST), ("kmnist", KMNIST), ("fmnist", FashionMNIST)])
def test_the_mnist_family_is_as_torchvision_lists_it(name: str, listed: type[MNIST]) -> None:
    spec = DATASETS[name]
    known = [(f"{listed.__name__}/raw/{file}", md5) for file, md5 in listed.resources]
    assert [(file.path, file.md5) for file in spec.files] == known
    assert spec.archive is None
    assert list(spec.mirrors) == listed.mirrors


@pytest.mark.parametrize(("name", "listed"), [("cifar10", CIFAR10), ("cifar100", CIFAR100)])
def test_cifar_is_as_torchvision_lists_it(name: str, listed: type[CIFAR10]) -> None:
    spec = DATASETS[name]
    known = [*listed.train_list, *listed.test_list, (listed.meta["filename"], listed.meta["md5"])]
    assert spec.files == tuple(RawFile(f"{listed.base_folder}/{file}", md5) for file, md5 in known)
    assert spec.archive == RawFile(listed.filename, listed.tgz_md5)
    assert [mirror + spec.archive.name for mirror in spec.mirrors] == [listed.url]


def test_both_splits_of_svhn_are_as_torchvision_lists_them() -> None:
    spec = DATASETS["svhn"]
    known = [SVHN.split_list[part] for part in ("train", "test")]
    assert [(spec.mirrors[0] + file.path, file.path, file.md5) for file in spec.files] == [tuple(row) for row in known]


def test_an_unknown_dataset_gets_the_nearest_name() -> None:
    assert dataset_spec("digits") is DATASETS["digits"]
    with pytest.raises(ValueError, match=r"unknown dataset 'cifar'; allowed: .*; did you mean 'cifar10'\?"):
        dataset_spec("cifar")
