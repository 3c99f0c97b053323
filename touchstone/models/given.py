"""Weights that somebody else trained: read from a file without running anything in it, and fitted into a net."""

import hashlib
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeGuard

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from touchstone.files import came_instead
from touchstone.registry import find_code, readable

State = dict[str, Tensor]  # name -> tensor
COUNTED = "num_batches_tracked"  # by a batch norm since PyTorch 0.4.1; read where it averages over all batches alone
Form = Literal["safetensors", "torch"]

OF_TORCH = (b"PK\x03\x04", b"\x80")  # what torch.save begins with: a zip, and earlier a pickle
SHOWN = 5  # names of a list that may be long


class WeightsError(ValueError):
    """A file of weights cannot be used; says which, why, and what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(readable(text))  # names in it are whatever its maker has written


def read(path: Path, sha256: str, form: Form, key: str = "", *, says: str = "`key`") -> State:
    """Return the tensors of a file, on the CPU; nothing in it is run.

    Args:
        path: of the file.
        sha256: that it must have.
        form: how it is written: "safetensors", or "torch" by torch.save.
        key: under which entry of the file the state_dict is, "outer.inner" for one in another; "" if it is the whole of
            it, or its only mapping of tensors, or the only one that is in no other.
        says: what the user calls `key`.

    Raises:
        WeightsError: if it is missing, has another sum, is cut off, holds more than tensors and plain values, or no
            single mapping of finite tensors.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    start = content[:64]
    if other := came_instead(path):
        raise WeightsError(f"{path} is {other}")
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise WeightsError(f"{path} ({len(content)} bytes): expected sha256 {sha256}, got {found}")
    written = _form(start, len(content))
    if written is not None and written != form:
        raise WeightsError(f"{path} is {_AS[written]}, or say `format: {written}` in the study")
    state = _state(path, _READERS[form](path), key, says)
    if broken := [name for name, value in state.items() if not bool(value.isfinite().all())]:
        raise WeightsError(f"{path}: not finite: {', '.join(broken)}")
    return state


def taken_out(path: Path, *, key: str = "", code: Path | None = None) -> bytes:
    """Return the weights of a file of whole pickled objects as safetensors. To read it is to run what it says.

    Args:
        path: of the file of torch.save: a module, or mappings with one or with tensors in them.
        key: under which entry of the file they are, `--key`; "" if it has one alone.
        code: folder of the code that the objects need.

    Raises:
        WeightsError: if it cannot be read, or holds no single mapping of tensors.
    """
    if code is not None:
        find_code(code)
    if path.is_file() and _form(_start(path), path.stat().st_size) == "safetensors":
        raise WeightsError(f"{path} is {_AS['safetensors']}, and nothing in it has to be run")
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # whatever the code in it does
        raise WeightsError(f"{path} cannot be unpickled: {type(error).__name__}: {_first_line(error)}") from error
    state = _state(path, _plain(content), key, "--key")
    tensors = {name: value.detach().contiguous().clone() for name, value in state.items()}  # cloned: they may be tied
    return safetensors.torch.save(tensors)


def _form(start: bytes, size: int) -> Form | None:
    """Return how a file of that size is written, by its first bytes; None if they are neither's."""
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size:  # length of a header, which may read as 0x80
        return "safetensors"
    return "torch" if start.startswith(OF_TORCH) else None


_AS: dict[Form, str] = {
    "safetensors": "a safetensors file: give it the ending .safetensors",
    "torch": "a file of torch.save: give it the ending .pt",
}


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
    except Exception as error:  # whatever a damaged file does to an unpickler
        raise WeightsError(f"{path} {_refused(path, error)}") from error


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _is_script(path: Path) -> bool:
    """Say whether a file is what torch.jit.save writes."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _refused(path: Path, error: Exception) -> str:
    start = _start(path)
    if not start:
        return "is empty"
    if not start.startswith(OF_TORCH):
        return f"is no file of torch.save: it begins with {start!r}"
    script = _is_script(path)
    if script or isinstance(error, pickle.UnpicklingError):
        holds = "is a TorchScript program" if script else "holds more than tensors and plain values"
        return (
            f"{holds}, and to read it would be to run it: save the weights alone, torch.save(model.state_dict(), "
            "file), or as safetensors; `touchstone evaluate --unsafe-unpickle` runs it once, if you trust it"
        )
    return f"is no whole file of torch.save: {_first_line(error)}"


_READERS: dict[str, Callable[[Path], object]] = {"safetensors": _safetensors, "torch": _torch}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _state(path: Path, content: object, key: str, says: str) -> State:
    """Return the mapping of tensors in what a file holds; the user calls `key` what `says` says."""
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a mapping of names to tensors")
    inside = _states(content)
    if key:
        if key not in inside:
            there = (
                "it is one itself: leave that out" if _is_state(content) else f"it has: {', '.join(inside) or 'none'}"
            )
            raise WeightsError(f"{path} has no mapping of tensors under {key!r}; {there}")
        return dict(inside[key])
    if _is_state(content):
        return dict(content)
    if not inside:
        how = "save them alone, torch.save(net.state_dict(), file)"
        raise WeightsError(f"{path} holds no mapping of names to tensors: it has {_entries(content)}; {how}")
    outer = min(name.count(".") for name in inside)
    inside = {name: value for name, value in inside.items() if name.count(".") == outer}
    if len(inside) > 1:
        raise WeightsError(f"{path} holds {len(inside)} mappings of tensors ({', '.join(inside)}): say which by {says}")
    return dict(*inside.values())


def _states(content: Mapping[object, object]) -> dict[str, Mapping[str, Tensor]]:
    """Return every mapping of tensors in the entries of a file, by its names with dots between them."""
    found: dict[str, Mapping[str, Tensor]] = {}
    for name, value in content.items():
        if _is_state(value):
            found[str(name)] = value
        elif isinstance(value, Mapping) and isinstance(name, str):  # an optimizer's are numbered
            found |= {f"{name}.{inner}": state for inner, state in _states(value).items()}
    return found


def _entries(content: Mapping[object, object]) -> str:
    """Name the first entries of a file with their types; those that are no tensors are first."""
    names = sorted(content, key=lambda name: isinstance(content[name], Tensor))
    return _first([f"{name} ({type(content[name]).__name__})" for name in names]) or "nothing"


def _first(texts: Sequence[str]) -> str:
    """List the first of some texts, and how many more there are."""
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return ", ".join([*texts[:SHOWN], *more])


def _is_state(value: object) -> TypeGuard[Mapping[str, Tensor]]:
    """Say whether something maps names to tensors."""
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and isinstance(one, Tensor) for name, one in value.items())


def fit_into(net: nn.Module, state: Mapping[str, Tensor], whose: str) -> None:
    """Copy tensors into a net of the same names and shapes.

    What stands before all of their names goes if the net has no such names: `module.` of a DataParallel, `_orig_mod.`
    of a compiled net, or what a trainer calls its net. The batches that a batch norm has met may be missing.

    Raises:
        WeightsError: listing the names that are missing, not expected, of another shape, or no floating-point numbers
            where the net's are; `whose` they are.
    """
    wanted = net.state_dict()
    counted = {name: value for name, value in wanted.items() if name.rpartition(".")[2] == COUNTED}
    given = _without_prefix(state, wanted)
    state = counted | given
    shared = [(name, state[name], wanted[name]) for name in sorted(wanted.keys() & state.keys())]
    problems = {
        "missing": sorted(wanted.keys() - state.keys()),
        "not expected": sorted(state.keys() - wanted.keys()),
        "of another shape": [
            f"{name} is {tuple(theirs.shape)} instead of {tuple(ours.shape)}"
            for name, theirs, ours in shared
            if theirs.shape != ours.shape
        ],
        "of another type": [  # those of a quantized net, say
            f"{name} is {theirs.dtype} instead of {ours.dtype}"
            for name, theirs, ours in shared
            if ours.is_floating_point() and not theirs.is_floating_point()
        ],
    }
    if any(problems.values()):
        text = "; ".join(f"{what}: {_first(names)}" for what, names in problems.items() if names)
        if not wanted.keys() & given.keys():
            text += "; no name is in both: are these weights of this net?"
        raise WeightsError(f"{whose} does not fit {type(net).__name__}: {text}")
    net.load_state_dict(dict(state))


def _without_prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without what stands before all of their names, if some are the net's then; else as they are."""
    names = {name: name for name in state}
    while not wanted.keys() & names.keys():
        heads = {name.partition(".")[:2] for name in names}
        if len(heads) != 1 or (head := "".join(*heads)) in names:  # several, or nothing would be left of a name
            return dict(state)
        names = {name.removeprefix(head): old for name, old in names.items()}
    return {name: state[old] for name, old in names.items()}
