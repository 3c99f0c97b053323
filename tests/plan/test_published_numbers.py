"""The numbers of all studies: every one that the works print is there, and runs as it is printed."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from touchstone.attacks import ATTACKS
from touchstone.cell import ModelId, same_radius
from touchstone.paths import study_files
from touchstone.plan import build
from touchstone.plan.jobs import AttackJob
from touchstone.plan.plan import Plan, make_plan
from touchstone.registry import options
from touchstone.study.claims import PUBLISHED
from touchstone.study.scale import EPSILON_UNITS

ROOT = Path(__file__).resolve().parents[2]
SHARED_CLAIMS = ROOT.parent / "shared" / "claims" / "claims.csv"
COUNTS = {"minmax": 67, "margin": 50, "critic": 68, "pdpgd": 670, "pcloss": 410, "weightpen": 61}

# a printed word -> the function behind its cell
FUNCTIONS = {
    "l2bia": "bim",
    "linfbia": "bim",
    "mta": "mta-center",
    "bb": "brendel-bethge",
    "pgd-transfer": "transfer",
    "mim-transfer": "transfer",
}


ONE = {"steps": 1, "restarts": 1}  # of attacks that have no such option: FGSM, what is not random


class Ran(NamedTuple):
    """An attack as a cell runs it: its options with their defaults, what it chooses from, and its job."""

    options: Mapping[str, Any]
    grid: Mapping[str, Any]
    job: AttackJob


def _number(name: str) -> Callable[[Ran, str], bool]:
    """The option holds the printed number; `tuned`: it is chosen from a grid."""

    def agrees(ran: Ran, printed: str) -> bool:
        if printed == "tuned":
            chooser = ran.job.chosen_by
            return name in (chooser.members[0].grid if chooser else ran.grid)
        ours = ran.options.get(name, ONE.get(name))
        return ours is not None and any(math.isclose(float(text), ours, rel_tol=1e-3) for text in printed.split("or"))

    return agrees


def _word(name: str, meant: Mapping[str, Any]) -> Callable[[Ran, str], bool]:
    return lambda ran, printed: ran.options[name] == meant[printed]


def _decays(ran: Ran, printed: str) -> bool:
    return int(ran.options["lr_decays"]) == int(ran.options["steps"]) / float(printed)


def _population(ran: Ran, printed: str) -> bool:
    return ran.job.population == {"1000": 1000, "10000": None}[printed]


def _substitute(ran: Ran, printed: str) -> bool:
    return ran.job.members[0].substitute is not None and ran.job.members[0].substitute.model.model == printed


def _anything(_ran: Ran, _printed: str) -> bool:
    return True


# what is printed beside a number -> whether the cell agrees; a word that is not here fails
PRINTED: dict[str, Callable[[Ran, str], bool]] = {
    **{name: _number(name) for name in ("steps", "lr", "confidence", "overshoot", "restarts", "delta")},
    **{name: _number(name) for name in ("init_const", "init_eps", "gamma", "beta")},
    "step_size": lambda ran, printed: _number("step_size" if "step_size" in ran.options else "lr")(ran, printed),
    "binary_search": _number("binary_steps"),
    "clip_norm_per_iter": _number("longest"),
    "popsize": _number("population"),
    "primal_lr": _number("lr"),
    "lambda_init": _number("ratio"),
    "epsilon": _number("overshoot"),  # of SparseFool
    "lambda": _number("reach"),
    "lr_decay_every": _decays,
    "sparsity": _word("sparsity", {"1%": 0.99}),
    "rule": _word("rule", {"l1": "l1"}),
    "targets": _word("targets", {"all": 9}),
    "theta": _word("theta", {"+-1": 1.0}),
    "target_conf": _word("target_confidence", {"clean_conf": None}),
    "target": _word("target_confidence", {"decision_boundary": None, "closest_boundary": None}),
    "substitute": _substitute,
    "n": _population,
    # said by the attack itself, or of how it was printed
    **dict.fromkeys(("toolbox", "printed_on_row", "variant", "optimizer", "dual_lr"), _anything),
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(ROOT, ROOT / "configs" / "paper.yaml")


@cache
def claims(study: str) -> pd.DataFrame:
    return pd.read_csv(study_files(study, ROOT).claims, dtype=str, keep_default_na=False).assign(study=study)


def every_claim() -> pd.DataFrame:
    return pd.concat([claims(study) for study in COUNTS], ignore_index=True).fillna("")


def test_every_published_number_is_in_its_study() -> None:
    assert {study: len(claims(study)) for study in COUNTS} == COUNTS
    assert sum(COUNTS.values()) == 1326
    said = re.findall(r"^\| `(\w+)` \|.*\| (\d+)[^|]*\|$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert {study: int(count) for study, count in said} == COUNTS


def test_every_field_is_as_it_was_read_from_the_work() -> None:
    if not SHARED_CLAIMS.exists():
        pytest.skip(f"the numbers as they were read are not at {Path('../shared/claims/claims.csv')}")
    read = pd.read_csv(SHARED_CLAIMS, dtype=str, keep_default_na=False)
    ours, theirs = (Counter(map(tuple, frame[PUBLISHED].to_numpy())) for frame in (every_claim(), read))
    assert ours == theirs


def test_every_number_has_a_cell_or_a_reason(plan: Plan) -> None:
    rows = every_claim()
    rows = rows[(rows["out_of_scope"] == "") & ~((rows["cited"] != "") & (rows["cell_model"] == ""))]
    planned = {(m[:-1], attack) for m in plan.models for attack in plan.attacks(m)}
    for row in rows.to_dict("records"):
        cell = ModelId(row["study"], row["cell_dataset"], row["cell_model"], row["cell_defense"], 0)[:-1]
        assert (cell, row["cell_attack"]) in planned, row["id"]


def test_every_cell_is_what_is_printed_beside_its_number(plan: Plan) -> None:
    """Attack, constants, norm, radius, space, restarts and images: no number is compared with a cell at will."""
    rows = every_claim()
    # whose number it is says how it was measured; the work that repeats it says its own constants
    rows = rows[(rows["cell_model"] != "") & (rows["cited"] == "")]
    wrong = [f"{row['id']}: {text}" for row in rows.to_dict("records") for text in differences(plan, row)]
    assert not wrong, "\n".join(wrong)


def differences(plan: Plan, row: Mapping[str, str]) -> list[str]:
    model = ModelId(row["study"], row["cell_dataset"], row["cell_model"], row["cell_defense"], 0)
    job = build.attack_job(plan, model, row["cell_attack"])
    (member,) = job.members
    given = {**member.options, **(member.options.get("options") or {})}
    targets = [member.spec.fn, *([ATTACKS[given["attack"]].fn] if "attack" in given else [])]
    defaults = {name: option.default for target in targets for name, option in options(target).items()}
    ran = Ran({**defaults, **given}, member.grid, job)
    found = []
    if member.fn != FUNCTIONS.get(row["attack"], row["attack"]):
        found.append(f"{row['attack']} runs {member.fn}")
    norm = job.threat.norm if job.threat else "none"
    if row["norm"] not in (norm, "unknown"):
        found.append(f"{row['norm']} runs in {norm}")
    if row["epsilon"] and row["cell_epsilon"]:
        unit, radius = EPSILON_UNITS[row["epsilon_unit"]], float(row["cell_epsilon"])
        assert job.threat is not None
        if job.threat.space not in unit.spaces or not same_radius(float(row["epsilon"]) / unit.size, radius):
            found.append(f"{row['epsilon']} in {row['epsilon_unit']} is {radius} in {job.threat.space} space")
        if not any(same_radius(radius, tried) for tried in job.threat.epsilons):
            found.append(f"is not run at {radius}")
    for text in filter(None, row["attack_params"].split(";")):
        name, _, printed = text.partition("=")
        if not PRINTED[name](ran, printed):
            found.append(f"{text} is printed, not {ran.options.get(name)}")
    return found
