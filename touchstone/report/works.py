"""Whose work a run is made of: the source of every dataset, model, defense and attack, as the tables have it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from touchstone.attacks import ATTACKS
from touchstone.cell import ModelId
from touchstone.data import DATASETS
from touchstone.defenses import DEFENSES
from touchstone.findings.markdown import escape, pipe_table
from touchstone.models import MODELS
from touchstone.report.words import few

TABLES: Mapping[str, Mapping[str, Any]] = {  # in the order of the report
    "dataset": DATASETS,
    "model": MODELS,
    "defense": DEFENSES,
    "attack": ATTACKS,
}
OWN = "the user's own"
_NUMBER = re.compile(r"arXiv:(?P<arxiv>\d{4}\.\d{4,5})|doi:(?P<doi>10\.\d{4,9}/[^\s,;]*[^\s,;.])")


class Part(NamedTuple):
    """Something that a run used: a key of TABLES, its name in that table, and what the study calls it."""

    kind: str
    name: str
    slug: str


def parts(study: str, jobs: Mapping[str, Mapping[str, Any]]) -> tuple[Part, ...]:
    """Return what the jobs of a study used, each once.

    Args:
        study: its slug.
        jobs: as the run's resolved config has them: model -> `training` and `attacks`, batch by batch.
    """
    return tuple(dict.fromkeys(part for job in jobs.values() for part in _of_job(study, job)))


def _of_job(study: str, job: Mapping[str, Any]) -> Iterator[Part]:
    training = job["training"]
    model = ModelId(*training["subject"]["model"])
    if model.study != study:
        return
    yield Part("dataset", training["subject"]["stand_in"] or model.dataset, model.dataset)
    yield Part("model", training["net"]["fn"], model.model)
    if training["phases"]:  # none where others' weights are taken as they are
        yield Part("defense", training["objective"]["fn"], model.defense)
    for member in (one for batch in job["attacks"] for attack in batch["attacks"] for one in attack["members"]):
        yield Part("attack", member["fn"], member["slug"])
        if wraps := _wraps(member["fn"]):
            yield Part("attack", member["options"].get("attack", wraps[0]), member["slug"])


def _wraps(attack: str) -> tuple[str, ...]:
    return ATTACKS[attack].wraps if attack in ATTACKS else ()


def sources(used: Sequence[Part]) -> str:
    """Return a table of what was used with its sources, in the order of the tables; empty without any."""
    rows = []
    for kind, table in TABLES.items():
        slugs: dict[str, list[str]] = {}
        for part in used:
            if part.kind == kind:
                slugs.setdefault(part.name, []).append(part.slug)
        for name in sorted(slugs, key=[*table, *slugs].index):
            source = table[name].source if name in table else OWN
            rows.append([kind, escape(name), escape(few(slugs[name], 4)), linked(escape(source))])
    return pipe_table(pd.DataFrame(rows, columns=["what", "name", "in the study", "source"])) if rows else ""


def linked(text: str) -> str:
    """Return Markdown in which each arXiv number and DOI leads to the work."""
    return _NUMBER.sub(_link, text)


def _link(found: re.Match[str]) -> str:
    number, doi = found["arxiv"], found["doi"]
    return f"[{found[0]}](https://{f'arxiv.org/abs/{number}' if number else f'doi.org/{doi}'})"
