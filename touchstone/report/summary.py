"""What reports/summary.ipynb shows between its text: all studies of a run beside each other."""

from collections.abc import Sequence

import pandas as pd

from touchstone.findings.markdown import escape, pipe_table
from touchstone.findings.tables import counts
from touchstone.findings.vocabulary import VERDICTS
from touchstone.paths import link
from touchstone.report import words
from touchstone.report.material import Material, stand_ins
from touchstone.report.render import Values
from touchstone.report.sections import run_table, run_values


def values(materials: Sequence[Material]) -> Values:
    """Return what the text names."""
    shown = ["verdicts"] if _with_claims(materials) else []
    labels = {f"table_{name}": f"Table A{number}" for number, name in enumerate([*shown, "run"], 1)}
    said = run_values(materials[0].config, _used(materials))
    return Values({"table_verdicts": ""} | labels | said, studies=[_study(material) for material in materials])


def _study(material: Material) -> dict[str, str]:
    """Return what was found in a study, and where its report is."""
    study, results = material.study, material.results
    home, reports = results.report().ipynb, results.report(study.study)._asdict()
    files = {form: link(home, path) for form, path in reports.items()}
    found = words.result(material.tables["claims"]) | words.pairs(material.tables["paired"])
    return {"title": escape(study.title)} | found | files


def _with_claims(materials: Sequence[Material]) -> list[Material]:
    return [material for material in materials if len(material.tables["claims"])]


def _used(materials: Sequence[Material]) -> dict[str, str]:
    return stand_ins(run for material in materials for run in material.runs)


def verdicts(materials: Sequence[Material]) -> str:
    """Return the counts of verdicts, a row per study that names published numbers; empty without any."""
    materials = _with_claims(materials)
    if not materials:
        return ""
    claims = {material.study.study: material.tables["claims"] for material in materials}
    found = {study: counts(words.own(table)) for study, table in claims.items()}
    kinds = {(count.word, count.only): count.name for counted in found.values() for count in counted}
    columns = [kinds[kind] for kind in sorted(kinds, key=lambda kind: (list(VERDICTS).index(kind[0]), kind[1]))]
    rows = []
    for material in materials:
        by_name = {count.name: count.all for count in found[material.study.study]}
        table = claims[material.study.study]
        second = words.second_verdicts(table)
        stand = f"{second.get('stands', 0)} of {sum(second.values())}"
        numbers = [str(by_name.get(name, 0)) for name in columns]
        cited = str(words.cited(table)["id"].nunique())
        rows.append([material.study.study, str(sum(by_name.values())), *numbers, cited, stand])
    header = ["study", "numbers", *map(escape, columns), "cited numbers, apart", "numbers under attack that stand"]
    table = pd.DataFrame(rows, columns=header)
    return pipe_table(table, right=table.columns[1:])


def machine(materials: Sequence[Material]) -> str:
    """Return facts about the run."""
    return run_table(materials[0].config, materials[0].provenance, _used(materials))
