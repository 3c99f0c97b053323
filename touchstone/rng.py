"""Random draws that belong to a sample, not to the batch it happens to be in.

A draw is a hash of (seed, sample index, restart, step, stream, element), so leaving out, repeating or
reordering samples changes nothing for the others. Integer arithmetic only, hence the same bits on CPU and CUDA;
`normal` goes through log and cos, whose last bit may differ. The global generator is never touched.

Source: SplitMix64, Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators", Fig. 17.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB
WORD = 1 << 64
TILE = 1 << 16  # elements hashed at a time: stays in the cache of one core, three times faster than in one go
SEED, INDEX, CALL = range(3)  # salts: keep the roles of equal integers apart


@contextmanager
def own_generator(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's global generators for whoever draws from them, and restore them after."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _signed(value: int) -> int:
    """Return value modulo 2^64 as the two's complement integer that torch.int64 holds."""
    value %= WORD
    return value - WORD if value >= WORD // 2 else value


def _hash(value: int) -> int:
    """Mix one Python integer (SplitMix64 finaliser)."""
    value = (value + GAMMA) % WORD
    value = ((value ^ (value >> 30)) * MIX_1) % WORD
    value = ((value ^ (value >> 27)) * MIX_2) % WORD
    return value ^ (value >> 31)


def draw_seed(*parts: int) -> int:
    """Mix integers, such as a run's seed, an epoch and a batch, into one seed below 2^31."""
    state = 0
    for part in parts:
        state = _hash((state + part) % WORD)
    return state >> 33


def _fold(*values: int) -> int:
    """Hash a sequence of integers into one word."""
    word = 0
    for value in values:
        word = _hash(word ^ _hash(value))
    return word


def _xorshift_(word: Tensor, shift: int) -> Tensor:
    """Compute word ^= word >>> shift in place; torch's shift copies the sign bit, so those bits are cleared."""
    return word.bitwise_xor_((word >> shift).bitwise_and_((1 << (64 - shift)) - 1))


def _hash_(word: Tensor) -> Tensor:
    """Mix int64 words in place; products wrap modulo 2^64, as the algorithm wants."""
    word.add_(_signed(GAMMA))
    _xorshift_(word, 30).mul_(_signed(MIX_1))
    _xorshift_(word, 27).mul_(_signed(MIX_2))
    return _xorshift_(word, 31)


class SampleRng:
    """Counter-based random numbers for a block of samples.

    Args:
        seed: any integer.
        index: (B,) int64, the sample's number in its data set (not its place in the batch).
        restart: added to the `restart` of every draw, so that one restart of many can be run alone.
    """

    def __init__(self, seed: int, index: Tensor, restart: int = 0) -> None:
        if index.dtype != torch.int64 or index.ndim != 1:
            raise ValueError(f"index must be (B,) int64, got {tuple(index.shape)} {index.dtype}")
        self.seed = seed
        self.index = index
        self.restart = restart
        self._keys = _hash_(index ^ _signed(_fold(SEED, seed, INDEX)))

    def __len__(self) -> int:
        return len(self.index)

    def at(self, rows: Tensor) -> SampleRng:
        """Return the generator of a subset: rows (K,) are positions in this block (int64) or a (B,) mask."""
        return SampleRng(self.seed, self.index[rows], self.restart)

    def shifted(self, restart: int) -> SampleRng:
        """Return the generator whose restart 0 is this one's restart `restart`."""
        return SampleRng(self.seed, self.index, self.restart + restart)

    def uniform(
        self,
        shape: tuple[int, ...],
        *,
        restart: int = 0,
        step: int = 0,
        stream: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Draw (B, *shape) in [0, 1): multiples of 2^-24, the same numbers in float32 and float64."""
        out = self._empty(shape, dtype)
        for tile, words in self._words(out, restart, step, stream):
            out[tile] = (words >> 40).bitwise_and_((1 << 24) - 1)
        return out.mul_(2.0**-24).view(len(self), *shape)

    def normal(
        self,
        shape: tuple[int, ...],
        *,
        restart: int = 0,
        step: int = 0,
        stream: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Draw (B, *shape) standard normal, |z| < 5.8 (Box-Muller on two 24-bit halves of a word)."""
        out = self._empty(shape, dtype)
        for tile, words in self._words(out, restart, step, stream):
            angle = (words & ((1 << 24) - 1)).to(dtype).mul_(2.0**-24 * 2 * math.pi)
            radius = (words >> 40).bitwise_and_((1 << 24) - 1).add_(1).to(dtype).mul_(2.0**-24)  # in (0, 1]
            out[tile] = radius.log_().mul_(-2).sqrt_().mul_(angle.cos_())
        return out.view(len(self), *shape)

    def integers(
        self, high: int, shape: tuple[int, ...], *, restart: int = 0, step: int = 0, stream: int = 0
    ) -> Tensor:
        """Draw (B, *shape) int64 in [0, high), 1 <= high <= 2^31; the bias is below high / 2^32."""
        if not 1 <= high <= 1 << 31:
            raise ValueError(f"high must be in [1, 2^31], got {high}")
        out = self._empty(shape, torch.int64)
        for tile, words in self._words(out, restart, step, stream):
            out[tile] = (words >> 32).bitwise_and_((1 << 32) - 1).mul_(high) >> 32
        return out.view(len(self), *shape)

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(len(self), math.prod(shape), dtype=dtype, device=self.index.device)

    def _words(self, out: Tensor, restart: int, step: int, stream: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield (slice of rows, random words (rows, n)) that cover out (B, n)."""
        call = _signed(_fold(CALL, self.restart + restart, step, stream))
        keys = _hash_(self._keys ^ call)[:, None]
        count = out.shape[1]
        counter = torch.arange(count, device=out.device).mul_(_signed(GAMMA))
        rows = max(1, TILE // max(1, count)) if out.device.type == "cpu" else len(out)
        starts = range(0, len(out), max(1, rows))
        return ((slice(s, s + rows), _hash_(keys[s : s + rows] + counter)) for s in starts)


def as_rng(rng: int | SampleRng, count: int, device: torch.device | str) -> SampleRng:
    """Return rng for a block of `count` samples; an integer seeds samples 0..count-1."""
    if isinstance(rng, int):
        return SampleRng(rng, torch.arange(count, device=device))
    if len(rng) != count:
        raise ValueError(f"rng is for {len(rng)} samples, got a block of {count}: pass rng.at(rows)")
    return SampleRng(rng.seed, rng.index.to(device), rng.restart)
