"""The only way an attack touches a model: chunked, counted per sample, and leaving the model as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from touchstone.losses import FEWEST_CLASSES, LOSSES, Loss, margin, pick
from touchstone.norms import distance
from touchstone.registry import OWN
from touchstone.types import UNIT, Bounds

_BACKENDS = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,
    torch.backends.mkldnn.matmul,
    torch.backends.mkldnn.conv,
)
MIXED = ContextVar("mixed_precision", default=False)  # whether an autocast is ours, and meant for what attacks ask


class Query:
    """A model that may be asked for logits and input gradients.

    Args:
        model: (B, *shape) -> logits (B, C). It sees 4-d inputs in channels_last memory (twice as fast on CPU), or
            in contiguous memory once it has refused that, as a model does that flattens with `view`.
        samples: how many samples to count for; None grows the counters to the largest block seen.
        bounds: box of valid inputs.
        batch_size: rows per call of the model; halved on out-of-memory.
        own_loss: the loss that the model was trained with, per sample; attacks know it as the loss "own".

    Attributes:
        forwards, backwards: (samples,) int64, passes spent on each sample.
        zero_grads: (samples,) int64, how often a sample's gradient was zero everywhere.
        restarts: (samples,) int64, the restart each sample was last in, which is the one its point comes from.
        classes: C, known after `as_query` or the first call.
        memory_format: in which the model takes 4-d inputs, as far as it has been asked.
        flags: what has to be said beside the result, e.g. "out_of_memory_halved"; touchstone.evaluation.flags.QUERY
            has a sentence for each.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        samples: int | None = None,
        bounds: Bounds = UNIT,
        batch_size: int = 512,
        own_loss: Loss | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        self.model = model
        self.bounds = bounds
        self.batch_size = batch_size
        self.own_loss = own_loss
        self.classes: int | None = None
        self.memory_format = torch.channels_last
        self.flags: set[str] = set()
        self.forwards = torch.zeros(samples or 0, dtype=torch.int64)
        self.backwards = self.forwards.clone()
        self.zero_grads = self.forwards.clone()
        self.restarts = self.forwards.clone()
        # listed once: walking a net of fifteen layers at every call costs a tenth of a forward pass of LeNet
        self._modules, self._parameters = tuple(model.modules()), tuple(model.parameters())

    def loss(self, name: str) -> Loss:
        """Return the loss of that name as an attack on this model should climb it; ask after `as_query`.

        Args:
            name: of LOSSES, or "own" for own_loss. Where the model has too few classes for it the margin is
                returned, and a flag says so.

        Raises:
            ValueError: for another name, or if the model came without a loss of its own.
        """
        if name == OWN and self.own_loss is None:
            raise ValueError(f"loss {OWN!r} is the one that the model was trained with, and none came with it")
        if self.classes is not None and self.classes < FEWEST_CLASSES.get(name, 0):
            self.flags.add(f"margin_instead_of_{name}")
            return margin
        return pick(name, LOSSES | {OWN: self.own_loss})

    def logits(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return logits (B, C) without gradients; rows (B,) are the sample ids of x (None: 0..B-1)."""

        def call(part: slice) -> tuple[Tensor]:
            with torch.no_grad():
                return (self._forward(self._laid_out(x[part])),)

        ids = self._ids(x, rows)
        (logits,) = self._chunked(len(x), call)
        self.forwards.index_add_(0, ids, torch.ones_like(ids))
        return logits

    def grad(self, x: Tensor, y: Tensor, loss: Loss, rows: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, C), loss (B,) and the gradient (B, *shape) of each row's loss in that row of x."""

        def call(part: slice) -> tuple[Tensor, Tensor, Tensor]:
            inputs = self._laid_out(x[part]).requires_grad_()
            with torch.enable_grad():
                logits = self._forward(inputs)
                value = loss(logits, y[part])
                grad = _gradient(value.sum(), inputs)
            return logits.detach(), value.detach(), grad.contiguous()

        ids = self._ids(x, rows)
        logits, value, grad = self._chunked(len(x), call)
        self.forwards.index_add_(0, ids, torch.ones_like(ids))
        self.backwards.index_add_(0, ids, torch.ones_like(ids))
        self.zero_grads.index_add_(0, ids, (distance(grad, "linf") == 0).long())
        return logits, value, grad

    def jacobian(
        self, x: Tensor, classes: Tensor, rows: Tensor | None = None, less: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return logits (B, C) and the gradients (B, K, *shape) of those of classes, (K,) or (B, K) int64.

        With `less` (B,) int64 they are those of the differences to the logit of that class.
        """
        wanted = classes.expand(len(x), -1)

        def call(part: slice) -> tuple[Tensor, Tensor]:
            inputs = self._laid_out(x[part]).requires_grad_()
            jac = x.new_empty(len(inputs), wanted.shape[1], *x.shape[1:])
            with torch.enable_grad():
                logits = self._forward(inputs)
                base = 0.0 if less is None else logits.gather(1, less[part, None])
                for k, column in enumerate(wanted[part].split(1, dim=1)):
                    value = (logits.gather(1, column) - base).sum()
                    jac[:, k] = _gradient(value, inputs, retain_graph=True)
            return logits.detach(), jac

        ids = self._ids(x, rows)
        logits, jac = self._chunked(len(x), call)
        self.forwards.index_add_(0, ids, torch.ones_like(ids))
        self.backwards.index_add_(0, ids, torch.full_like(ids, wanted.shape[1]))
        self.zero_grads.index_add_(0, ids, (distance(jac, "linf") == 0).long())
        return logits, jac

    def attached(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return logits (B, C) through which gradients flow back to x: for foreign code that calls backward itself.

        Forwards are counted at once, backwards whenever a gradient passes. Where x needs no gradient this is
        `logits`. The graphs of all chunks are held until the caller drops the result.
        """
        if not (torch.is_grad_enabled() and x.requires_grad):
            return self.logits(x, rows)

        def call(part: slice) -> tuple[Tensor]:
            memory_format = self.memory_format if x.ndim == 4 else torch.contiguous_format
            return (self._forward(seen[part].clone(memory_format=memory_format)),)

        def count_backward(grad: Tensor) -> None:
            self.backwards.index_add_(0, ids, torch.ones_like(ids))
            self.zero_grads.index_add_(0, ids, (distance(grad, "linf") == 0).long())

        ids, seen = self._ids(x, rows), x.clone()
        seen.register_hook(count_backward)
        (logits,) = self._chunked(len(x), call)
        self.forwards.index_add_(0, ids, torch.ones_like(ids))
        if not logits.requires_grad:  # a model that cuts the graph: see _gradient
            logits = logits + 0 * seen.flatten(1).sum(dim=1, keepdim=True)
        return logits

    def probe(self, x: Tensor) -> int:
        """Return the number of classes, from one uncounted forward pass of one sample the first time."""
        if self.classes is None:
            with torch.no_grad():
                self._chunked(1, lambda _: (self._forward(self._laid_out(x[:1])),))
        return self.classes

    def reserve(self, samples: int, device: torch.device) -> None:
        """Make room for that many samples in the counters."""
        extra = max(0, samples - len(self.forwards))
        if extra or self.forwards.device != device:
            pad = torch.zeros(extra, dtype=torch.int64, device=device)
            for name in ("forwards", "backwards", "zero_grads", "restarts"):
                setattr(self, name, torch.cat([getattr(self, name).to(device), pad]))

    def _laid_out(self, x: Tensor) -> Tensor:
        """Copy x into the memory format that the model takes."""
        return laid_out(x, self.memory_format)

    def _forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, C) of x (B, *shape), in its type.

        Of no rows they are not asked for: a model that flattens with `x.view(len(x), -1)` has none.
        """
        if not len(x) and self.classes is not None:
            return x.new_empty(0, self.classes)
        logits = self.model(x)
        if problem := _no_logits(logits, len(x)):
            wanted = "floating-point, a row for each input, at least 2 classes"
            raise ValueError(f"the model must return logits ({len(x)}, C), got {problem}; wanted: {wanted}")
        self.classes = logits.shape[1]
        return logits.to(x.dtype)

    def _chunked(self, count: int, call: Callable[[slice], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Call on consecutive slices of at most batch_size rows and join what comes back."""
        parts, start = [], 0
        with self._quiet():
            while start < count or not parts:
                stop = min(count, start + self.batch_size)
                try:
                    parts.append(call(slice(start, stop)))
                except RuntimeError as error:
                    if self.memory_format == torch.channels_last and "view size is not compatible" in str(error):
                        self.memory_format = torch.contiguous_format
                        self.flags.add("contiguous_memory")
                    elif stop - start > 1 and out_of_memory(error):
                        self.batch_size = (stop - start) // 2
                        self.flags.add("out_of_memory_halved")
                    else:
                        raise
                else:
                    start = stop
        if len(parts) == 1:
            return parts[0]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Put the model in eval mode with frozen parameters, and restore both afterwards."""
        trainable = [parameter for parameter in self._parameters if parameter.requires_grad]
        try:
            for parameter in trainable:
                parameter.requires_grad_(False)
            with evaluating(self.model, self._modules):
                yield
        finally:
            for parameter in trainable:
                parameter.requires_grad_(True)

    def _ids(self, x: Tensor, rows: Tensor | None) -> Tensor:
        """Return the sample of each row of x (B,), with room for them in the counters."""
        if rows is not None and len(rows) != len(x):
            raise ValueError(f"rows must name the sample of each of the {len(x)} inputs, got {len(rows)}")
        self.reserve(len(x) if rows is None else 0, x.device)
        return torch.arange(len(x), device=x.device) if rows is None else rows


def _no_logits(output: object, rows: int) -> str:
    """Say what a model returned in the place of logits (rows, C), "" if it is those."""
    if not isinstance(output, Tensor):
        keys = f" of {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
        parts = f" of {len(output)}" if isinstance(output, tuple | list) else ""
        return f"a {type(output).__name__}{keys or parts}: return its logits alone"
    if not output.is_floating_point():
        return str(output.dtype)
    fits = output.ndim == 2 and len(output) == rows and output.shape[1] > 1
    return "" if fits else f"shape {tuple(output.shape)}"


def out_of_memory(error: RuntimeError) -> bool:
    """Say whether memory was short: cuDNN says that it found no engine when the room for one to work in was."""
    return isinstance(error, torch.OutOfMemoryError) or "unable to find an engine" in str(error)


def _gradient(value: Tensor, inputs: Tensor, *, retain_graph: bool = False) -> Tensor:
    """Return the gradient of value () in inputs; zeros where none reaches them, as behind a binarised input."""
    if not value.requires_grad:
        return torch.zeros_like(inputs)
    (grad,) = torch.autograd.grad(value, inputs, retain_graph=retain_graph, materialize_grads=True)
    return grad


def as_query(model: nn.Module | Query, x: Tensor) -> Query:
    """Return a Query for the block x (B, *shape): the one given, or a new one with bounds (0, 1)."""
    query = model if isinstance(model, Query) else Query(model, samples=len(x))
    query.reserve(len(x), x.device)
    return query


def tiles(count: int, size: int) -> Iterator[slice]:
    """Yield consecutive slices of at most `size` rows: working by tiles keeps temporaries in the cache."""
    return (slice(start, min(count, start + size)) for start in range(0, count, size))


@contextmanager
def evaluating(model: nn.Module, modules: Iterable[nn.Module] | None = None) -> Iterator[None]:
    """Put the model in eval mode, and each of its modules back afterwards; `modules` are all of them if known."""
    training = [module for module in (model.modules() if modules is None else modules) if module.training]
    try:
        if training:
            model.eval()
        yield
    finally:
        for module in training:
            module.training = True


def channels_last(x: Tensor) -> Tensor:
    """Copy x, 4-d inputs into channels_last strides: with one channel `.to` would leave x as it is."""
    return laid_out(x, torch.channels_last)


def laid_out(x: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Copy x, 4-d inputs into the strides of a memory format, also with one channel."""
    memory_format = memory_format if x.ndim == 4 else torch.contiguous_format
    return torch.empty_like(x, memory_format=memory_format).copy_(x.detach())


@contextmanager
def mixed_precision(device: torch.device, enabled: bool) -> Iterator[None]:
    """Run layers in bfloat16 where autocast does so, also in the attacks of a training."""
    token = MIXED.set(enabled)
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled, cache_enabled=False):
            yield
    finally:
        MIXED.reset(token)


def plain(x: Tensor) -> Tensor:
    """Return x detached, or a copy where x was made in inference mode, since no gradient could pass beside it."""
    return x.detach().clone() if x.is_inference() else x.detach()


@contextmanager
def true_float32() -> Iterator[None]:
    """Multiply float32 as it is, and not as TF32: points of a minimal attack lie closer to the boundary than that."""
    precisions = [(backend, backend.fp32_precision) for backend in _BACKENDS]
    for backend in _BACKENDS:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in precisions:
            backend.fp32_precision = precision


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Compute in no torch context of the caller's: gradients, true float32, no inference mode, no autocast."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    off = torch.autocast(device.type, enabled=False)
    try:
        with torch.inference_mode(False), torch.enable_grad(), off, true_float32():
            yield
    finally:
        torch.set_default_dtype(default)
