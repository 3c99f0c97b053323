"""A folder of images: <class>/, or test/<class>/ and train/<class>/.

What desktops and editors leave there does not count.
"""

from pathlib import Path

from touchstone.files import sum_of_files

LITTER = ("Thumbs.db",)  # besides what begins with a dot, as .DS_Store and .ipynb_checkpoints
PARTS = ("test", "train")
UNREAD = ("val", "valid", "validation")  # nobody calls a class so


class NoTestPartError(ValueError):
    """There is something to train on, and nothing to test on."""


def counts(name: str) -> bool:
    """Say whether a file or folder of this name is part of the data."""
    return not name.startswith(".") and name not in LITTER


def entries(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, in the order of their names."""
    return sorted(entry for entry in folder.iterdir() if counts(entry.name))


def classes(folder: Path) -> list[Path]:
    """Return the folders in a folder, in the order of their names."""
    return [entry for entry in entries(folder) if entry.is_dir()]


def parts(home: Path) -> dict[str, Path]:
    """Return the folders of the test part and, if there is one, of the training part.

    Raises:
        NoTestPartError: if there are others alone; says which.
    """
    found = {part: home / part for part in PARTS if (home / part).is_dir()}
    if "test" in found:
        return found
    names = [folder.name for folder in classes(home)]
    if names and {*names} <= {"train", *UNREAD}:  # among others, trains are a class
        said = ", ".join(f"{name}/" for name in names)
        raise NoTestPartError(f"found {said}; the images to test on must lie in test/")
    return {"test": home}


def sum_of_images(home: Path) -> str:
    """Return the sha256 that `touchstone.files.sum_of_folder` has of a folder without what is no part of the data."""
    files = (path for path in home.rglob("*") if all(map(counts, path.relative_to(home).parts)))
    return sum_of_files(home, (path for path in files if path.is_file()))
