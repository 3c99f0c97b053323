"""The numbers of all studies: every one that the works print is there, and runs as it is printed."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from shipped import planned

from touchstone.attacks import ATTACKS
from touchstone.cell import ModelId, same_radius
from touchstone.paths import study_files
from touchstone.plan import build
from touchstone.plan.jobs import AttackJob
from touchstone.plan.plan import Plan
from touchstone.registry import options
from touchstone.study.claims import HEADLINE, PUBLISHED
from touchstone.study.scale import EPSILON_UNITS
from touchstone.study.schema import Study

ROOT = Path(__file__).resolve().parents[2]
SHARED_CLAIMS = ROOT.parent / "shared" / "claims" / "claims.csv"
COUNTS = {"minmax": 67, "margin": 50, "critic": 68, "pdpgd": 670, "pcloss": 410, "weightpen": 61}

# a printed word -> the function behind its cell, after that of a transfer
FUNCTIONS = {
    "l2bia": "bim",
    "linfbia": "bim",
    "mta": "mta-center",
    "bb": "brendel-bethge",
    "pgd-transfer": "transfer of pgd",
    "mim-transfer": "transfer of mim",
}
# study -> a printed model -> the nets behind it
MODELS = {
    "minmax": {"lenet": {"lenet"}},
    "margin": {"mlp": {"mlp-1000", "mlp-1000-bn"}, "lenet5": {"lenet-512"}, "nin": {"nin"}},
    "critic": {"mlp": {"mlp-1200"}, "lenet5": {"lenet-512"}, "unspecified": {"mlp-1200"}},
    "pdpgd": {
        "madry-mnist": {"madry-mnist"},
        "fab-cnn8": {"fab-cnn8-bias", "fab-cnn8-nobias", "fab-cnn8-centred"},
    },
    "pcloss": {"lenet5": {"lenet5"}, "resnet56": {"resnet56"}, "vgg13": {"vgg13"}},
    "weightpen": {
        "smallcnn": {"smallcnn-plain", "smallcnn-bounded"},
        "wrn-34-10": {"wrn-34-10-plain", "wrn-34-10-bounded", "wrn-34-10-bounded-cifar100"},
    },
}
# study -> a printed defense -> what trains its nets; where several do, what is printed of the training tells them apart
DEFENSES = {
    "minmax": {name: {name} for name in ("std", "std+l1", "std+l2", "adv")} | {"minmax": {"minmax-printed"}},
    "margin": {
        "std": {"plain", "plain+aug"},
        "dropout": {"dropout"},
        "at": {"at-fgsm"},
        "vat": {"vat-printed"},
        "margin-l1": {"margin-l1"},
        "margin-l2": {"margin-l2-printed", "margin-ce-c1e-2", "margin-ce-c1e-3", "margin-ce-c5e-3+aug"},
    },
    "critic": {
        "std": {"std"},
        "at": {"at-fgsm"},
        "vat": {"vat"},
        "margin-l2": {"margin-l2-printed"},
        "critic": {"critic-mlp-printed", "critic-lenet-printed"},
    },
    "pdpgd": {name: {name} for name in ("plain", "linf-at", "l2-at")},
    "pcloss": {name: {name} for name in ("ce", "ce+at", "gce", "gce+at")}
    | {"pc": {"pc-printed"}, "pc+at": {"pc+at-printed"}},
    "weightpen": {
        "at": {"at-pgd", "madry-wrn"},
        "mmc": {"mmc-printed"},
        "mart": {"mart"},
        "trades": {"trades"},
        "weightpen": {"weightpen-printed", "weightpen-wrn-printed"},
    },
}
# whose radii nobody says the space of in so many words: "normalized" is what goes into the net, or nobody's unit
SPACES = {"minmax": "normalized", "margin": "whitened", "weightpen": "pixel"}
# what "tuned" is chosen from: the thesis, section 5.4
TUNED = {"lr": [0.01, 0.05, 0.1, 0.5, 1.0], "step_size": [1.0, 0.5, 0.2, 0.1, 0.04, 0.02, 0.01]}

# how cited numbers are measured otherwise than the work that repeats them says of its own: GCE's authors climb GCE's
# loss, by a toolbox whose BIM has another step
CHEN = "Chen et al. (2019)"
CITED = Counter({(CHEN, "loss is own"): 24, (CHEN, "step_size=0.01 is printed, not 0.05"): 6})

ONE = {"steps": 1, "restarts": 1}  # of attacks that have no such option: FGSM, what is not random


class Ran(NamedTuple):
    """An attack as a cell runs it: its options, also with their defaults, what it chooses from, its job, the radius."""

    defaults: Mapping[str, Any]
    options: Mapping[str, Any]
    grid: Mapping[str, Any]
    job: AttackJob
    radius: float


def _number(name: str) -> Callable[[Ran, str], bool]:
    """The option holds the printed number; `tuned`: it is chosen from a grid."""

    def agrees(ran: Ran, printed: str) -> bool:
        if printed == "tuned":
            chooser = ran.job.chosen_by
            return [*(chooser.members[0].grid if chooser else ran.grid)[name]] == TUNED[name]
        ours = ran.options.get(name, ONE.get(name))
        if name == "step_size" and ran.options.get("relative"):
            ours = ours * ran.radius
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
    return planned("configs/paper.yaml")


@cache
def claims(study: str) -> pd.DataFrame:
    return pd.read_csv(study_files(study, ROOT).claims, dtype=str, keep_default_na=False).assign(study=study)


@cache
def uncited(study: str) -> frozenset[str]:
    """The attacks of a study's own numbers."""
    return frozenset(row["cell_attack"] for row in claims(study).to_dict("records") if not row.get("cited"))


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
    rows = rows[rows["cell_model"] != ""].to_dict("records")
    wrong = [(row, text) for row in rows for text in differences(plan, row)]
    assert not [f"{row['id']}: {text}" for row, text in wrong if not row["cited"]]
    assert Counter((row["cited"], text) for row, text in wrong if row["cited"]) == CITED


def differences(plan: Plan, row: Mapping[str, str]) -> list[str]:
    model = ModelId(row["study"], row["cell_dataset"], row["cell_model"], row["cell_defense"], 0)
    job = build.attack_job(plan, model, row["cell_attack"])
    (member,) = job.members
    given = {**member.options, **(member.options.get("options") or {})}
    radius = float(row["cell_epsilon"] or "nan")
    targets = [member.spec.fn, *([ATTACKS[given["attack"]].fn] if "attack" in given else [])]
    defaults = {name: option.default for target in targets for name, option in options(target).items()}
    ran = Ran(defaults, {**defaults, **given}, member.grid, job, radius)
    found = [*unlike_nets(plan, row), *unlike_usual(plan.studies[row["study"]], ran, row)]
    fn = f"{member.fn} of {given['attack']}" if "attack" in given else member.fn
    if fn != FUNCTIONS.get(row["attack"], row["attack"]):
        found.append(f"{row['attack']} runs {fn}")
    norm = job.threat.norm if job.threat else "none"
    if row["norm"] not in (norm, "unknown"):
        found.append(f"{row['norm']} runs in {norm}")
    if row["epsilon"] and row["cell_epsilon"]:
        unit, space = EPSILON_UNITS[row["epsilon_unit"]], SPACES.get(row["study"], "pixel")
        assert job.threat is not None
        if job.threat.space != (space if row["epsilon_unit"] == "normalized" else "pixel") or not same_radius(
            float(row["epsilon"]) / unit.size, radius
        ):
            found.append(f"{row['epsilon']} in {row['epsilon_unit']} is {radius} in {job.threat.space} space")
        if not any(same_radius(radius, tried) for tried in job.threat.epsilons):
            found.append(f"is not run at {radius}")
    for text in filter(None, row["attack_params"].split(";")):
        name, _, printed = text.partition("=")
        if not PRINTED[name](ran, printed):
            found.append(f"{text} is printed, not {ran.options.get(name)}")
    return found


def unlike_nets(plan: Plan, row: Mapping[str, str]) -> Iterator[str]:
    """Yield what is not as printed of the net: its kind, what trained it, its C, and whether images were varied."""
    for slot, meant in (("model", MODELS), ("defense", DEFENSES)):
        if row[f"cell_{slot}"] not in meant[row["study"]][row[slot]]:
            yield f"{row[slot]} is {row[f'cell_{slot}']}"
    model = ModelId(row["study"], row["cell_dataset"], row["cell_model"], row["cell_defense"], 0)
    job = build.train_job(plan, model)
    printed = dict(text.split("=", 1) for text in row["train_params"].split(";") if "=" in text)
    strength, varied = printed.get("C"), printed.get("augment")
    if strength and row["study"] == "margin" and job.objective.options.get("c") != float(strength):
        yield f"C={strength} is printed, not {job.objective.options.get('c')}"
    if varied in ("yes", "no") and any(bool(phase.augment) != (varied == "yes") for phase in job.phases):
        yield f"augment={varied} is printed"


def unlike_usual(study: Study, ran: Ran, row: Mapping[str, str]) -> Iterator[str]:
    """Yield what is unusual where nothing is printed: attack, loss, variant, images, searches."""
    swaps = [reading.attack.items() for name, reading in study.readings.items() if name != HEADLINE]
    if row["cell_attack"] in {other for own, other in chain.from_iterable(swaps) if own in uncited(study.study)}:
        yield f"{row['cell_attack']} is of another reading"
    for name, usual in {"loss": ran.defaults.get("loss"), "binary_steps": 9, "variant": "printed"}.items():
        if ran.options.get(name, usual) != usual and name not in row["attack_params"]:
            yield f"{name} is {ran.options[name]}"
    if "n=" not in row["attack_params"] and ran.job.population is not None:
        yield f"runs on the first {ran.job.population} images"


@pytest.mark.parametrize(
    ("study", "id", "changes"),
    [
        ("pcloss", "t1-pc-clean", {"cell_defense": "gce+at"}),
        ("pcloss", "t1-pc-clean", {"cell_model": "vgg13"}),
        ("margin", "t3-1a-std-fgsm-e0-2", {"cell_attack": "fgsm-raw-linf"}),
        ("margin", "t3-1a-std-deepfool-rho", {"cell_attack": "deepfool-l2-coded"}),
        ("margin", "t3-1a-std-fgsm-e0-2", {"epsilon": "0.3"}),
    ],
)
def test_a_cell_of_something_else_is_noticed(plan: Plan, study: str, id: str, changes: dict[str, str]) -> None:
    rows = every_claim()
    (row,) = rows[(rows["study"] == study) & (rows["id"] == id)].to_dict("records")
    assert not differences(plan, row)
    assert differences(plan, row | changes)
