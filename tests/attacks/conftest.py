"""What the tests of attacks share."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest


def plain(spec: object) -> Callable[[type], type]:  # noqa: ARG001  the signature is numba's
    """Do what numba's jitclass does, but for compiling."""

    def leave(solver: type) -> type:
        solver.class_type, solver._ctor = SimpleNamespace(instance_type=None), SimpleNamespace(signatures=[None])
        return solver

    return leave


@pytest.fixture(scope="session", autouse=True)
def plain_solvers() -> Iterator[None]:
    """Let Foolbox' solvers run as plain Python: numba takes half a minute to compile each norm.

    A slow test holds the compiled ones to them.
    """
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("numba"):
            patch.setattr(importlib.import_module("numba.experimental"), "jitclass", plain)
        yield
