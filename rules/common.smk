# Helpers of the rules: the plan, paths, and what every rule declares. No rule is defined here.
import os
import re
from dataclasses import asdict
from pathlib import Path

from snakemake.exceptions import WorkflowError

from touchstone import provenance
from touchstone.plan import plan
from touchstone.attacks import ATTACKS
from touchstone.study.config import ConfigError
from touchstone.data import DATASETS
from touchstone.defenses import DEFENSES
from touchstone.models import model_spec
from touchstone.report.plots import PLOTS, READS
from touchstone.study.schema import RESULT_TABLES

ROOT = Path(workflow.basedir)


def config_file():
    """The one file that describes the run; two would be merged by Snakemake and describe a third."""
    given = workflow.config_settings.configfiles or [ROOT / "config.yaml"]
    if len(given) > 1:
        raise WorkflowError("give one --configfile: each is complete in itself")
    if workflow.config_settings.config:
        raise WorkflowError(
            "--config is not supported: copy the config file and change it, so that the run has a record"
        )
    return Path(given[0])


try:
    PLAN = plan.make_plan(ROOT, config_file())
except ConfigError as error:
    raise WorkflowError(str(error)) from None

CONFIG_FILE = config_file()
# relative, so that the record of a run names no folder of a machine
COMMAND = f"snakemake --cores all --configfile {os.path.relpath(CONFIG_FILE, ROOT)}"
RESULTS = f"results/{PLAN.config.run}"
MODEL = f"{RESULTS}/{{study}}/models/{{dataset}}/{{model}}/{{defense}}/{{seed}}"
ATTACK = f"{RESULTS}/{{study}}/attacks/{{dataset}}/{{model}}/{{defense}}/{{seed}}"
CELLS = {(c.study, c.dataset, c.model, c.defense, str(c.seed)): c for c in PLAN.trained}
GPU = int(PLAN.config.device == "cuda")
ENV = "../envs/touchstone.yaml"


def names(values):
    """A regular expression that matches exactly these names."""
    return "|".join(map(re.escape, sorted({str(v) for v in values}))) or "none"


wildcard_constraints:
    study=names(PLAN.studies),
    dataset=names(c.dataset for c in PLAN.trained),
    model=names(c.model for c in PLAN.trained),
    defense=names(c.defense for c in PLAN.trained),
    seed=names(c.seed for c in PLAN.trained),
    attack=names(a for s in PLAN.studies.values() for a in s.attacks),
    figure=names(f for s in PLAN.studies.values() for f in s.figures),


def code(*targets):
    """What a job recomputes before it starts: the functions it runs and the digest of their code."""
    return {"code": provenance.digest(*targets), "targets": list(targets)}


def facts(spec):
    """What a table says of a dataset, attack or model besides where its function is; a source decides nothing."""
    return {key: value for key, value in asdict(spec).items() if key != "source"}


def model_facts(*models):
    """What the table says of some models."""
    return [facts(model_spec(model["fn"])) for model in models]


def cell_of(wildcards):
    return CELLS[
        (
            wildcards.study,
            wildcards.dataset,
            wildcards.model,
            wildcards.defense,
            wildcards.seed,
        )
    ]


def any_seed(wildcards):
    """The cell of some seed: a selection is made once per dataset, model and defense."""
    wanted = (wildcards.study, wildcards.dataset, wildcards.model, wildcards.defense)
    return next(cell for key, cell in CELLS.items() if key[:-1] == wanted)


def identity(cell, **more):
    keys = ("study", "original", "dataset", "model", "defense", "seed")
    return {"run": PLAN.config.run, **{k: getattr(cell, k) for k in keys}, **more}


def model_dir(cell):
    return f"{RESULTS}/{cell.study}/models/{cell.path}"


def selections_of(study):
    """The selection.json files of a study."""
    selects = {
        d for d, definition in PLAN.studies[study].defenses.items() if definition.select
    }
    chosen = [c for c in cells_in(study) if c.defense in selects]
    return sorted({str(Path(model_dir(c)).parent / "selection.json") for c in chosen})


def records_of(cell):
    return [
        f"{RESULTS}/{cell.study}/attacks/{cell.path}/{a}/records.parquet"
        for a in PLAN.attacks(cell)
    ]


def substitutes_of(cell, attacks):
    """The files of the models that some of these attacks start from."""
    found = [s for a in attacks for s in PLAN.substitutes(cell, a)]
    return [
        f"{model_dir(s)}/{f}"
        for s in dict.fromkeys(found)
        for f in ("model.safetensors", "run.json")
    ]


def cells_in(study):
    return [c for c in PLAN.cells if c.study == study]


def claim_files(study):
    """What a study's verdicts are about; a study that lists its cells may have no claims."""
    paths = (f"studies/{study}/{name}.csv" for name in ("claims", "qualitative"))
    return [path for path in paths if (ROOT / path).exists()]


def defense_targets(params):
    return [model_spec(params["model"]["fn"]).fn, DEFENSES[params["defense"]["fn"]].fn]


def parts_of(attack):
    """An attack, then its members if it is a suite."""
    return [attack, *attack["options"].get("members", [])]


def specs_of(attack):
    """What the table of attacks says of an attack, then of its members if it is a suite."""
    return [ATTACKS[part["fn"]] for part in parts_of(attack)]


def substitute_models(attack):
    """The models that an attack, or its members, start from."""
    return [p["substitute"]["model"] for p in parts_of(attack) if "substitute" in p]


def attack_targets(cell, attack):
    models = [PLAN.training(cell)["model"], *substitute_models(attack)]
    return [
        *(model_spec(model["fn"]).fn for model in models),
        *(spec.fn for spec in specs_of(attack)),
        *([DEFENSES[attack["defense"]["fn"]].fn] if "defense" in attack else []),
    ]


def attack_params(cell, attack):
    """Every value that decides one attack's records."""
    job = PLAN.attack(cell, attack)
    job["model"] = PLAN.training(cell)["model"]
    job["dataset"] = cell.dataset
    models = [job["model"], *substitute_models(job)]
    job["facts"] = [facts(spec) for spec in [DATASETS[cell.dataset], *specs_of(job)]]
    job["facts"] += model_facts(*models)
    return job | code("touchstone.jobs.attack:attack", *attack_targets(cell, job))


def start_of(wildcards):
    """The trained weights that this training starts from, if any."""
    cell = cell_of(wildcards)
    inits = [
        p["init"]
        for p in PLAN.phases(cell)[0]
        if p["init"] not in ("fresh", "continue")
    ]
    return [
        f"{RESULTS}/{cell.study}/models/{cell.dataset}/{cell.model}/{d}/{cell.seed}/model.safetensors"
        for d in inits
    ]


def selection_of(wildcards):
    """The choice of unstated constants, where the defense has any."""
    cell = cell_of(wildcards)
    selects = PLAN.studies[cell.study].defenses[cell.defense].select
    return [str(Path(model_dir(cell)).parent / "selection.json")] if selects else []


def select_params(wildcards):
    params = PLAN.selection(any_seed(wildcards))
    probe = attack_targets(any_seed(wildcards), params["probe"])
    reference = DEFENSES[params["reference"]["fn"]].fn
    tables = [DATASETS[params["dataset"]], *specs_of(params["probe"])]
    params["facts"] = [facts(spec) for spec in tables] + model_facts(params["model"])
    return params | code(
        "touchstone.jobs.select:select", reference, *defense_targets(params), *probe
    )


def train_params(wildcards):
    params = PLAN.training(cell_of(wildcards))
    params["facts"] = [facts(DATASETS[params["dataset"]])] + model_facts(
        params["model"]
    )
    return params | code("touchstone.jobs.train:train", *defense_targets(params))


def sources_of(wildcards):
    """What a figure draws: model folders per defense, or one table."""
    figure = PLAN.studies[wildcards.study].figures[wildcards.figure]
    if figure.table:
        return {
            figure.table: [f"{RESULTS}/{wildcards.study}/tables/{figure.table}.csv"]
        }
    chosen = [c for c in cells_in(wildcards.study) if c.original == figure.dataset]
    return {
        d: [model_dir(c) for c in chosen if c.defense == d] for d in figure.defenses
    }


def figure_inputs(wildcards):
    paths = [p for group in sources_of(wildcards).values() for p in group]
    return [
        p if p.endswith(".csv") else f"{p}/{f}"
        for p in paths
        for f in ("run.json", "history.csv", "model.safetensors")
    ]


def figure_params(wildcards):
    figure = PLAN.studies[wildcards.study].figures[wildcards.figure]
    return {
        "plot": figure.fn,
        "options": figure.options,
        "sources": sources_of(wildcards),
    } | code("touchstone.report.plots.output:save", READS[figure.fn], PLOTS[figure.fn])
