"""Many cases times many variants: each case meets one variant in the fast suite, all of them in the slow one."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest


def crossed(
    names: Sequence[str],
    cases: Sequence[tuple[Any, ...]],
    *,
    label: Callable[..., str] = lambda *case: "-".join(map(str, case)),
    slow: Callable[..., bool] = lambda *_: False,
    **axes: Sequence[Any],
) -> pytest.MarkDecorator:
    """Parametrize over the product of cases and axes; neighbouring cases take their variants in turn.

    Args:
        names: of a case's arguments.
        cases: their values.
        label: the id of a case, of its values.
        slow: whether a case belongs into the slow suite with every variant, of its values.
        axes: argument -> its values.
    """
    variants = list(product(*axes.values()))
    params = [
        pytest.param(
            *case,
            *variant,
            id="-".join([label(*case), *map(str, variant)]),
            marks=[pytest.mark.slow] if slow(*case) or at != turn % len(variants) else [],
        )
        for turn, case in enumerate(cases)
        for at, variant in enumerate(variants)
    ]
    return pytest.mark.parametrize((*names, *axes), params)
