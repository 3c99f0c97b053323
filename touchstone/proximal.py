"""Proximal operators: argmin over u of weight * f(u) + |u - v|^2 / 2, for one weight per row of v (B, *shape).

With a box around the origin, clip what they return. That is the constrained minimum for l1, since its terms are
convex and separate, and what Matyasko (2020, alg. 3) does for all of them.

Source: Parikh and Boyd (2014), "Proximal algorithms", sections 2.5 and 6.5, unless said below.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from touchstone.norms import rowwise

Prox = Callable[[Tensor, Tensor], Tensor]

# For |u|^(2/3): below the first multiple of weight^(3/4) zero is the minimum, below the second the only stationary
# point. In between there is a local minimum that is worse than zero.
GLOBAL_CUT = 4 / 3 / (2 / 3) ** 0.25
LOCAL_CUT = (2048 / 729) ** 0.25
FAR = 1e9  # multiple of weight^(3/4) from which on |u|^(2/3) moves nothing that a float64 could show


def soft(v: Tensor, weight: Tensor) -> Tensor:
    """Return the operator of the l1 norm: every value weight (B,) nearer to zero, at most to zero."""
    return v.abs().sub_(rowwise(weight, v)).clamp_min_(0).copysign_(v)


def hard(v: Tensor, weight: Tensor) -> Tensor:
    """Return the operator of the number of non-zero values: what is not above sqrt(2 weight) becomes zero."""
    return torch.where(v.abs() > rowwise((2 * weight).sqrt(), v), v, 0.0)


def hard_pixels(v: Tensor, weight: Tensor) -> Tensor:
    """Zero the pixels whose largest channel is not above sqrt(2 weight); inputs without channels are `hard`.

    Source: Matyasko (2020), eq. 5.16. With one channel it is the operator of the number of non-zero pixels. With
    several, that operator compares the l2 norm of the pixel with the threshold, and so zeroes fewer of them.
    """
    peak = v.abs().amax(dim=1, keepdim=True) if v.ndim == 4 else v.abs()
    return torch.where(peak > rowwise((2 * weight).sqrt(), v), v, 0.0)


def two_thirds(v: Tensor, weight: Tensor, cut: float = GLOBAL_CUT) -> Tensor:
    """Return the operator of the sum of |u|^(2/3); values not above cut * weight^(3/4) become zero.

    Source: Cao, Sun, Xu (2013), "Fast image deconvolution using closed-form thresholding formulas of Lq
    regularization", for cut=GLOBAL_CUT. The formula goes on, through minima that are only local, to LOCAL_CUT.

    With u = sign(v) weight^(3/4) t^3 and s = |v| / weight^(3/4), t is the largest root of t^4 - s t + 2/3 = 0.
    """
    scale = rowwise(weight**0.75, v)
    s = v.abs().div_(scale)
    near = s.clamp(LOCAL_CUT, FAR)
    a = (near.square() * (27 / 32 / 2**0.5)).clamp_min_(1).acosh().div_(3).cosh_().sqrt_().mul_(2**1.25 / 3**0.5)
    root = (2 * near / a - a.square()).clamp_min_(0).sqrt_().add_(a).div_(2)
    moved = root.pow_(3).mul_(scale).copysign_(v)
    return torch.where(s > cut, torch.where(s < FAR, moved, v), 0.0)


def two_thirds_pixels(v: Tensor, weight: Tensor, cut: float = LOCAL_CUT) -> Tensor:
    """Apply `two_thirds` to the largest channel of each pixel, and zero the pixel where that leaves nothing.

    The other channels of the pixels that are kept stay as they are.

    Source: the code of Matyasko (2020), which uses it instead of eq. 5.16, up to LOCAL_CUT. It is no proximal
    operator with more than one channel.
    """
    if v.ndim != 4 or v.shape[1] == 1:
        return two_thirds(v, weight, cut)
    place = v.abs().argmax(dim=1, keepdim=True)
    peak = two_thirds(v.gather(1, place), weight, cut)
    return torch.where(peak != 0, v.scatter(1, place, peak), 0.0)


def level(v: Tensor, weight: Tensor) -> Tensor:
    """Return the operator of the linf norm: values cut off at +-t such that weight (B,) is cut off in total.

    It is v minus its projection onto the l1 ball of radius weight (Moreau). t solves
    sum max(|v_i| - t, 0) = weight, or is zero if there is less to cut. Newton's steps from below end there after
    as many steps as values change side, mostly fewer than ten; a sort would cost more.
    """
    magnitude = v.flatten(1).abs()
    total, largest = magnitude.sum(dim=1), magnitude.amax(dim=1)
    t = torch.maximum(largest - weight, (total - weight) / magnitude.shape[1]).clamp_min_(0)
    while True:
        above = (magnitude - t[:, None]).clamp_min_(0)  # no mask: `where` on this many values is ten times slower
        excess = above.sum(dim=1) - weight
        further = t + (excess / above.sign_().sum(dim=1).clamp_min_(1)).clamp_min_(0)
        if not bool((further > t).any()):  # nothing above t changed side: t is exact
            break
        t = further
    bound = rowwise(t, v)
    return torch.minimum(torch.maximum(v, -bound), bound)
