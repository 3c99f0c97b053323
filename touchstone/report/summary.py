"""What reports/summary.ipynb shows between its text: all studies of a run beside each other."""

from collections.abc import Mapping, Sequence

import pandas as pd

from touchstone.findings.markdown import escape
from touchstone.findings.tables import legend
from touchstone.paths import link
from touchstone.report import glance, words
from touchstone.report.material import Material, provenance, stand_ins
from touchstone.report.render import Values
from touchstone.report.sections import run_table, run_values


def values(materials: Sequence[Material], unfinished: Sequence[Mapping[str, str]] = ()) -> Values:
    """Return what the text names; `unfinished` are the studies that jobs have failed of (`unfinished.py`)."""
    shown = {"verdicts": verdicts(materials), "gaps": gaps(materials), "signs": signs(materials)}
    there = [*(name for name, table in shown.items() if table), "run"]
    labels = {f"table_{name}": f"Table A{number}" for number, name in enumerate(there, 1)}
    said = run_values(materials[0].config, _used(materials)) | words.result(_all_claims(materials))
    absent = {f"table_{name}": "" for name in shown}
    studies, lacking = [_study(material) for material in materials], [dict(one) for one in unfinished]
    return Values(absent | labels | said, marks=legend(), studies=studies, unfinished=lacking)


def _study(material: Material) -> dict[str, str]:
    """Return what was found in a study, and where its report is."""
    study, results = material.study, material.results
    home, reports = results.report().ipynb, results.report(study.study)._asdict()
    files = {form: link(home, path) for form, path in reports.items()}
    found = words.result(material.tables["claims"]) | words.pairs(material.tables["paired"])
    return {"title": escape(study.title)} | found | files


def _all_claims(materials: Sequence[Material]) -> pd.DataFrame:
    """Return the claims of all studies, each under an id of its own."""
    claims = [one.tables["claims"] for one in materials]
    return pd.concat([c.assign(id=one.study.study + "/" + c["id"]) for one, c in zip(materials, claims, strict=True)])


def _used(materials: Sequence[Material]) -> dict[str, str]:
    return stand_ins(run for material in materials for run in material.runs)


def verdicts(materials: Sequence[Material]) -> str:
    """Count the verdicts, a row per study and kind of number; empty without any."""
    return glance.by_study({one.study.study: one.tables["claims"] for one in materials})


def gaps(materials: Sequence[Material]) -> str:
    """List the largest gaps of all studies; empty without any."""
    return glance.gaps(materials, of_run=True)


def signs(materials: Sequence[Material]) -> str:
    """List the flags that say of an attack or a net that a number may be wrong; empty without any."""
    return glance.flags(materials)


def machine(materials: Sequence[Material]) -> str:
    """Return facts about the run."""
    made = provenance(materials[0].results.provenance(), "claims")
    return run_table(materials[0].config, made, _used(materials))
