"""Weights that somebody else trained: read from a file without running anything in it, and fitted into a net."""

import hashlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from touchstone.registry import find_code, readable

State = dict[str, Tensor]  # name -> tensor
PREFIXES = ("module.", "_orig_mod.")  # of all names, where a DataParallel or a compiled net was saved
Form = Literal["safetensors", "torch"]

HEADS = {  # what a text begins with that came in the place of weights -> what it is
    b"<": "an HTML page, not weights: download the file itself",
    b"version https://git-lfs": "a Git LFS pointer, not weights: run `git lfs pull`, or download the file itself",
}


class WeightsError(ValueError):
    """A file of weights cannot be used; says which, why, and what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(readable(text))  # names in it are whatever its maker has written


def read(path: Path, sha256: str, form: Form, key: str = "") -> State:
    """Return the tensors of a file, on the CPU; nothing in it is run.

    Args:
        path: of the file.
        sha256: that it must have.
        form: how it is written: "safetensors", or "torch" by torch.save.
        key: under which entry of the file the state_dict is; "" if it is the whole of it, or its only mapping of
            tensors.

    Raises:
        WeightsError: if it is missing, has another sum, is cut off, holds more than tensors and plain values, or no
            single mapping of finite tensors.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    start = content[:64]
    for head, what in HEADS.items():
        if start.lstrip().startswith(head) and b"\0" not in start:  # as in the length that safetensors begin with
            raise WeightsError(f"{path} is {what}")
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise WeightsError(f"{path} ({len(content)} bytes): expected sha256 {sha256}, got {found}")
    state = _state(path, _READERS[form](path), key)
    if broken := [name for name, value in state.items() if not bool(value.isfinite().all())]:
        raise WeightsError(f"{path}: not finite: {', '.join(broken)}")
    return state


def taken_out(path: Path, *, key: str = "", code: Path | None = None) -> bytes:
    """Return the weights of a file of whole pickled objects as safetensors. To read it is to run what it says.

    Args:
        path: of the file of torch.save: a module, or mappings with one or with tensors in them.
        key: under which entry of the file they are; "" if it has one alone.
        code: folder of the code that the objects need.

    Raises:
        WeightsError: if it cannot be read, or holds no single mapping of tensors.
    """
    if code is not None:
        find_code(code)
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # whatever the code in it does
        raise WeightsError(f"{path} cannot be unpickled: {type(error).__name__}: {_first_line(error)}") from error
    state = _state(path, _plain(content), key)
    tensors = {name: value.detach().contiguous().clone() for name, value in state.items()}  # cloned: they may be tied
    return safetensors.torch.save(tensors)


def _plain(content: object) -> object:
    """Return what a file holds with modules as their weights."""
    if isinstance(content, nn.Module):
        return content.state_dict()
    if isinstance(content, Mapping):
        return {name: _plain(value) for name, value in content.items()}
    return content


def _safetensors(path: Path) -> object:
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is no whole safetensors file: {error}") from error


def _torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors and plain values, and to read it would be to run it: save the weights "
            "alone, torch.save(model.state_dict(), file), or as safetensors; `touchstone evaluate --unsafe-unpickle` "
            "runs it once, if you trust it"
        ) from error
    except Exception as error:  # whatever a damaged file does to an unpickler
        raise WeightsError(f"{path} is no whole file of torch.save: {_first_line(error)}") from error


_READERS: dict[str, Callable[[Path], object]] = {"safetensors": _safetensors, "torch": _torch}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _state(path: Path, content: object, key: str) -> State:
    """Return the mapping of tensors in what a file holds."""
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a mapping of names to tensors")
    inside = {str(name): value for name, value in content.items() if _is_state(value)}
    if key:
        if key not in inside:
            raise WeightsError(f"{path} has no mapping of tensors under {key!r}; it has: {', '.join(inside) or 'none'}")
        return dict(inside[key])
    if _is_state(content):
        return dict(content)
    if len(inside) != 1:
        raise WeightsError(f"{path} holds {len(inside)} mappings of tensors ({', '.join(inside)}): say which by `key`")
    return dict(*inside.values())


def _is_state(value: object) -> bool:
    """Say whether something maps names to tensors."""
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and isinstance(one, Tensor) for name, one in value.items())


def fit_into(net: nn.Module, state: Mapping[str, Tensor], whose: str) -> None:
    """Copy tensors into a net of the same names and shapes; a prefix that all names have and the net has not, goes.

    Raises:
        WeightsError: listing the names that are missing, not expected, or of another shape; `whose` they are.
    """
    wanted = net.state_dict()
    state = _without_prefixes(state, wanted)
    shapes = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & state.keys())
        if wanted[name].shape != state[name].shape
    ]
    problems = {
        "missing": sorted(wanted.keys() - state.keys()),
        "not expected": sorted(state.keys() - wanted.keys()),
        "of another shape": shapes,
    }
    if any(problems.values()):
        text = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
        raise WeightsError(f"{whose} does not fit {type(net).__name__}: {text}")
    net.load_state_dict(dict(state))


def _without_prefixes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state) and not all(name.startswith(prefix) for name in wanted):
            return _without_prefixes({name.removeprefix(prefix): value for name, value in state.items()}, wanted)
    return state
