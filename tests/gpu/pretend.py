"""A CUDA device that is not there: its tensors are computed on the CPU, and nothing else may touch them.

What breaks first on a GPU is not arithmetic. It is a tensor made on the CPU that meets one of the GPU, a conversion
that only the CPU knows, or an operation that refuses to run since it has no deterministic form there. All of that is
seen here without a GPU. A storage is on the device or not, as in truth, so views and autograd need no care.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("cuda", 0)
CPU = torch.device("cpu")
MOST = 20_000  # storages that are remembered before those that were freed are dropped
ATEN = torch.ops.aten
COPIES = {ATEN.copy_, ATEN._to_copy}
INDEXING = {ATEN.index, ATEN.index_put, ATEN.index_put_, ATEN._index_put_impl_}  # an index may stay on the CPU
# which do not even take a tensor of the CPU that has no dimensions
STRICT = {
    *(ATEN.gather, ATEN.scatter, ATEN.scatter_, ATEN.index_select, ATEN.index_add, ATEN.index_add_, ATEN.cat),
    *(ATEN.mm, ATEN.addmm, ATEN.bmm, ATEN.searchsorted, ATEN.convolution, ATEN._fused_adam_, ATEN._fused_sgd_),
}
# those that PyTorch's documentation of use_deterministic_algorithms lists, but for cumsum, which torch 2.11 accepts
REFUSED = {
    *(ATEN.histc, ATEN.put_, ATEN.median.dim, ATEN._adaptive_avg_pool2d_backward, ATEN.adaptive_max_pool2d_backward),
    *(ATEN.grid_sampler_2d_backward, ATEN.reflection_pad2d_backward, ATEN.upsample_bilinear2d_backward),
}


class Storages:
    """The storages that are said to be on the device. One that was freed keeps its address, so none is mistaken."""

    def __init__(self) -> None:
        self.held: dict[int, StorageWeakRef] = {}
        self.inside = False  # a function of the device's tensors: what it makes of nothing is there too

    def __contains__(self, x: Tensor) -> bool:
        with torch._C.DisableTorchFunction():
            while torch._C._functorch.is_functorch_wrapped_tensor(x):  # within vmap
                x = torch._C._functorch.get_unwrapped(x)
            return x.untyped_storage()._cdata in self.held

    def add(self, nest: Any) -> None:
        """Put all tensors of a nest there."""
        with torch._C.DisableTorchFunction():
            for storage in (tensor.untyped_storage() for tensor in tensors(nest)):
                self.held.setdefault(storage._cdata, StorageWeakRef(storage))
        if len(self.held) > MOST:
            self.held = {key: reference for key, reference in self.held.items() if not reference.expired()}

    def of(self, x: Tensor) -> torch.device:
        """Return where a tensor is said to be."""
        return DEVICE if x in self else CPU

    def moved(self, x: Tensor, wanted: torch.device) -> Tensor:
        """Return a tensor that is there, itself if it is."""
        if (x in self) == (wanted.type == "cuda"):
            return x
        out = x.clone()
        if wanted.type == "cuda":
            self.add(out)
        else:
            del self.held[out.untyped_storage()._cdata]
        return out


def tensors(nest: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(nest) if isinstance(leaf, Tensor)]


def is_cuda(device: torch.device | str | None) -> bool:
    return device is not None and torch.device(device).type == "cuda"


class Draws(torch.Generator):
    """A generator that says where it draws."""

    there = False

    def __new__(cls, device: torch.device | str = "cpu") -> Draws:
        made = super().__new__(cls)
        made.there = torch.device(device).type == "cuda"
        return made


class Places(TorchDispatchMode):
    """Lets no operation mix devices, and puts what comes out of the device's tensors there too."""

    def __init__(self, storages: Storages) -> None:
        super().__init__()
        self.storages = storages

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given, operation = tensors((args, kwargs)), func.overloadpacket
        there = any(x in self.storages for x in given) or (not given and self.storages.inside)
        if there and operation not in COPIES:
            self._check(func, args, given)
        out = func(*args, **(kwargs or {}))
        if there and (operation is not ATEN.copy_ or args[0] in self.storages):
            self.storages.add(out)
        return out

    def _check(self, func: Any, args: Sequence[Any], given: list[Tensor]) -> None:
        operation = func.overloadpacket
        if {func, operation} & REFUSED:
            raise RuntimeError(f"{func} does not have a deterministic implementation on CUDA")
        strangers = [x for x in given if x not in self.storages]
        if operation in INDEXING and args[0] in self.storages:
            strangers = [x for x in strangers if x.dim() and all(x is not index for index in args[1])]
        elif operation not in STRICT and operation not in INDEXING:
            strangers = [x for x in strangers if x.dim()]
        if strangers:
            shapes = ", ".join(str(tuple(x.shape)) for x in strangers)
            raise RuntimeError(f"{func}: tensors on the GPU meet some on the CPU, of shape {shapes}")


class Moves(TorchFunctionMode):
    """Understands what names the device: `to`, `cuda`, `cpu`, and factories with `device=`."""

    def __init__(self, storages: Storages) -> None:
        super().__init__()
        self.storages = storages

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in (Tensor.numpy, Tensor.__array__) and args[0] in self.storages:
            raise TypeError("can't convert a tensor on cuda:0 to numpy")
        if func in (Tensor.cpu, Tensor.cuda):
            return self.storages.moved(args[0], DEVICE if func is Tensor.cuda else CPU)
        if func is Tensor.to:
            return self._to(args, kwargs)
        wanted = kwargs.get("device")
        generator = kwargs.get("generator")
        if generator is not None:
            there = is_cuda(wanted) or any(x in self.storages for x in tensors(args))
            if there != getattr(generator, "there", False):
                raise RuntimeError(f"{func.__name__}: a tensor and its generator are on two devices")
        if wanted is None or torch.device(wanted).type == "meta":
            with mock.patch.object(self.storages, "inside", any(x in self.storages for x in tensors((args, kwargs)))):
                return func(*args, **kwargs)
        out = func(*args, **{**kwargs, "device": CPU})
        if is_cuda(wanted):
            self.storages.add(out)
        return out

    def _to(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        x, *rest = args
        like = [self.storages.of(value) for value in rest if isinstance(value, Tensor)]
        named = [torch.device(value) for value in rest if isinstance(value, str | torch.device)]
        asked = [torch.device(value) for value in [kwargs.pop("device", None)] if value is not None]
        wanted = [*like, *named, *asked]
        dtypes = [value.dtype for value in rest if isinstance(value, Tensor)]
        dtypes += [value for value in rest if isinstance(value, torch.dtype)]
        if wanted and wanted[0].type == "meta":
            return Tensor.to(x, "meta", *dtypes, **kwargs)
        moved = self.storages.moved(x, wanted[0]) if wanted else x
        return Tensor.to(moved, *dtypes, **kwargs) if dtypes or kwargs else moved


@contextmanager
def pretended() -> Iterator[torch.device]:
    """Have the device for a while."""
    storages, generator = Storages(), Draws(DEVICE)
    device, parse = torch._C.TensorBase.device, torch._C._nn._parse_to  # the latter is of Module.to

    def parsed(*args: Any, **kwargs: Any) -> Any:
        wanted, *more = parse(*args, **kwargs)
        return DEVICE if any(x in storages for x in tensors(args)) else wanted, *more

    there = property(lambda x: DEVICE if x in storages else device.__get__(x))
    cuda: dict[str, Any] = {
        "is_available": lambda: True,
        "is_bf16_supported": lambda: True,
        "current_device": lambda: 0,
        "get_device_name": lambda *_: "a card that is not there",
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "get_rng_state": lambda *_: generator.get_state(),
        "set_rng_state": lambda state, *_: generator.set_state(state),
        "default_generators": (generator,),
    }
    with (
        mock.patch.multiple(torch.cuda, **cuda),
        mock.patch.multiple(torch._C._nn, _parse_to=parsed),
        mock.patch.multiple(Optimizer, _accelerator_graph_capture_health_check=lambda _: None),  # it asks the driver
        mock.patch.multiple(torch, Generator=Draws),
        mock.patch.object(Tensor, "device", there, create=True),
        Places(storages),
        Moves(storages),
    ):
        yield DEVICE
