"""Folders of images: their parts, their classes, and what in them does not count."""

import subprocess
from pathlib import Path

import pytest

from touchstone import image_folder
from touchstone.files import sum_of_folder

LITTER = (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", ".ipynb_checkpoints/0.png", "dog/.ipynb_checkpoints/1.png")


def written(home: Path, *names: str) -> Path:
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    return home


def test_what_desktops_and_editors_leave_does_not_count(tmp_path: Path) -> None:
    home = written(tmp_path, "dog/b.png", "dog/a.png", "cat/0.png")
    before = image_folder.sum_of_images(home)
    assert before == sum_of_folder(home)
    written(home, *LITTER)
    assert [folder.name for folder in image_folder.classes(home)] == ["cat", "dog"]
    assert [file.name for file in image_folder.entries(home / "dog")] == ["a.png", "b.png"]
    assert image_folder.sum_of_images(home) == before != sum_of_folder(home)


def test_the_sum_is_what_the_documented_command_says(tmp_path: Path) -> None:
    home = written(tmp_path, "dog/b.png", "cat/0.png", *LITTER)
    text = (Path(__file__).parents[1] / "studies" / "README.md").read_text()
    (command,) = (line.strip(" `") for line in text.splitlines() if "sha256sum | sha256sum" in line)
    done = subprocess.run(command, shell=True, cwd=home, capture_output=True, text=True, check=True)
    assert image_folder.sum_of_images(home) == done.stdout.split()[0]


@pytest.mark.parametrize(
    ("folders", "wanted"),
    [
        (["cat", "dog"], {"test": ""}),
        (["bus", "train"], {"test": ""}),
        (["test", "train", "val"], {"test": "test", "train": "train"}),
        (["test"], {"test": "test"}),
    ],
)
def test_parts(tmp_path: Path, folders: list[str], wanted: dict[str, str]) -> None:
    written(tmp_path, *(f"{name}/0.png" for name in folders))
    assert image_folder.parts(tmp_path) == {part: tmp_path / name for part, name in wanted.items()}


@pytest.mark.parametrize(
    ("folders", "said"), [(["train"], "train/"), (["val", "train"], "train/, val/"), (["validation"], "validation/")]
)
def test_a_folder_to_test_on_is_missing(tmp_path: Path, folders: list[str], said: str) -> None:
    written(tmp_path, *(f"{name}/cat/0.png" for name in folders))
    with pytest.raises(image_folder.NoTestPartError, match=f"^found {said}; the images to test on must lie in test/$"):
        image_folder.parts(tmp_path)
