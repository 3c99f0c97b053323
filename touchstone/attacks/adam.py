"""Adam on tensors in place, for attacks whose variables live as long as one run of the attack.

Source: Kingma and Ba (2015), "Adam: a method for stochastic optimization", alg. 1.
"""

from __future__ import annotations

from torch import Tensor

BETA1, BETA2, TINY = 0.9, 0.999, 1e-8


def adam_(w: Tensor, m: Tensor, v: Tensor, grad: Tensor, lr: float, step: int) -> Tensor:
    """Take step number `step` (from 0) downhill on every row of w, in place, m and v with it; all are (K, *shape).

    Returns: what the mean gradient was divided by, shaped as w.
    """
    m.lerp_(grad, 1 - BETA1)
    v.mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
    spread = v.sqrt().div_((1 - BETA2 ** (step + 1)) ** 0.5).add_(TINY)
    w.addcdiv_(m, spread, value=-lr / (1 - BETA1 ** (step + 1)))
    return spread
