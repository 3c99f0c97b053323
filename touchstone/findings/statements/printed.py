"""The numbers that a paper prints, in the place of ours: whether they support what it says in words."""

import math
from collections import defaultdict
from collections.abc import Iterable

import pandas as pd

from touchstone.cell import ModelId
from touchstone.findings import cells
from touchstone.findings.cells import Cell
from touchstone.findings.statements.measured import DISTANCE, DISTANCE_VALUES, LEFT, REACHED, Samples, Values, What
from touchstone.study.claim import Claim
from touchstone.study.scale import COMPARED, ERRORS, LEAST_SEEDS

OF_SAMPLES = {"accuracy": LEFT, "success_rate": REACHED, "mean_norm": DISTANCE, "mean_norm_values": DISTANCE_VALUES}


def table(claims: Iterable[Claim]) -> pd.DataFrame:
    """Return cells with the printed numbers, each as that of three nets that agree, so that it is taken as it is.

    What follows from others (COMPARED) is left to follow from them. Of a number that is printed twice the first counts.
    """
    return cells.table(cell for claim in _each_once(claims) for cell in _cells(claim))


def samples(claims: Iterable[Claim]) -> Samples:
    """Return printed means, as if each were of one sample: what attacks find is compared by them alone."""
    found: dict[ModelId, dict[What, Values]] = defaultdict(dict)
    for cell in (cell for claim in _each_once(claims) for cell in _cells(claim)):
        if cell.metric in OF_SAMPLES and cell.norm != "none":
            found[cell.model_id][What(cell.attack, OF_SAMPLES[cell.metric], cell.epsilon)] = pd.Series([cell.value])
    return Samples(found)


def _each_once(claims: Iterable[Claim]) -> Iterable[Claim]:
    once: dict[tuple[str, ...], Claim] = {}
    for claim in claims:
        if claim.place.metric not in COMPARED:
            once.setdefault((*claim.place[:4], _metric(claim), f"{claim.epsilon:g}"), claim)
    return once.values()


def _metric(claim: Claim) -> str:
    return "accuracy" if claim.place.metric in ERRORS else claim.place.metric


def _cells(claim: Claim) -> Iterable[Cell]:
    value, norm = claim.measured[0], "none" if claim.clean else "any"
    value = 1.0 - value if claim.place.metric in ERRORS else value
    about, number = (claim.place.attack, "published", "", norm), (claim.epsilon, _metric(claim), value)
    for seed in range(LEAST_SEEDS):
        yield Cell("", *claim.place[:3], seed, "", *about, *number, n=1, status="ok", reason="", met=1, half=math.nan)
