# What rules share: the plan, and functions from wildcards to input files. No rule is defined here.
import os
import re
import shlex
from pathlib import Path

from snakemake.exceptions import WorkflowError

from touchstone import paths
from touchstone.cell import ModelId
from touchstone.plan import build
from touchstone.plan.plan import make_plan
from touchstone.study.config import ConfigError
from touchstone.study.schema import RESULT_TABLES

# The checkout, from the working directory, which holds data and results: mostly the same, else what -d names.
ROOT = Path(os.path.relpath(workflow.basedir))


def config_file():
    """The one file that describes the run; two would be merged by Snakemake and describe a third.

    By default that in the working directory, or where there is none the checkout's.
    """
    here = Path("config.yaml")
    given = workflow.config_settings.configfiles or [
        here if here.exists() else ROOT / here
    ]
    if len(given) > 1:
        raise WorkflowError("give one --configfile: each is complete in itself")
    if workflow.config_settings.config:
        raise WorkflowError(
            "--config is not supported: copy the config file and change it, so that the run has a record"
        )
    return Path(given[0])


try:
    PLAN = make_plan(ROOT, config_file())
except ConfigError as error:
    raise WorkflowError(str(error)) from None

RESULTS = PLAN.results
MODEL = ModelId("{study}", "{dataset}", "{model}", "{defense}", "{seed}")
GPU = int(PLAN.config.device == "cuda")
ENV = "../envs/touchstone.yaml"
# relative, so that the record of a run names no folder of a machine
SNAKEFILE = () if ROOT == Path() else ("--snakefile", str(ROOT / "Snakefile"))
CONFIG_FILE = ("--configfile", os.path.relpath(config_file()))
COMMAND = shlex.join(["snakemake", *SNAKEFILE, "--cores", "all", *CONFIG_FILE])


def manner(value):
    """A param that says how a job works and decides no number: Snakemake runs nothing again when it changes.

    It leaves out of the comparison what a function makes of `resources`, as it does threads and memory themselves.
    """
    return lambda wildcards, resources: value(wildcards)


def names(values):
    """A regular expression that matches exactly these names."""
    return "|".join(map(re.escape, sorted({str(v) for v in values}))) or "none"


wildcard_constraints:
    study=names(PLAN.studies),
    dataset=names(d for m in PLAN.trained for d in (m.dataset, PLAN.data(m.dataset))),
    model=names(m.model for m in PLAN.trained),
    defense=names(m.defense for m in PLAN.trained),
    seed=names(m.seed for m in PLAN.trained),
    batch=names(b for m in PLAN.models for b in PLAN.batches(m)),
    figure=names(f for s in PLAN.studies.values() for f in s.figures),


def model_of(wildcards):
    """The model that wildcards name; a selection is made once for all of its seeds."""
    *named, seed = MODEL._fields
    return ModelId(
        *(wildcards[name] for name in named), seed=int(wildcards.get(seed, 0))
    )


def data_of(wildcards):
    return paths.prepared(PLAN.data(wildcards.dataset)).data


def raw_data(wildcards):
    """What a dataset is prepared from: fetched files, or what the user's own data are in."""
    name = wildcards.dataset
    return build.raw(PLAN, name) if PLAN.own_data(name) else paths.fetched(name)


def trained(*models):
    """What is read of trained models."""
    return [f for m in models for f in (RESULTS.model(m).weights, RESULTS.model(m).run)]


def train_inputs(wildcards):
    model = model_of(wildcards)
    chosen = [RESULTS.selection(model).choice] if PLAN.selects(model) else []
    given = PLAN.weights_file(model)
    return {
        "data": data_of(wildcards),
        "selection": chosen,
        "start": trained(*PLAN.start(model)),
        "weights": [given] if given else [],
    }


def attack_inputs(wildcards):
    model = model_of(wildcards)
    others = [
        s
        for a in PLAN.batches(model)[wildcards.batch]
        for s in PLAN.substitutes(model, a)
    ]
    return {
        "data": data_of(wildcards),
        "model": trained(model),
        "substitutes": trained(*dict.fromkeys(others)),
    }


def selections(models):
    """What choices of constants leave, each once for all seeds."""
    found = {RESULTS.selection(m) for m in models if PLAN.selects(m)}
    return sorted(found)


def batches(models):
    return [RESULTS.attack(m, b) for m in models for b in PLAN.batches(m)]


def tables_inputs(wildcards):
    models = [m for m in PLAN.models if m.study == wildcards.study]
    written = paths.study_files(wildcards.study, ROOT)
    return {
        "records": [batch.records for batch in batches(models)],
        "weights": [RESULTS.model(m).weights for m in models],
        "runs": [RESULTS.model(m).run for m in models],
        "selections": [files.sensitivity for files in selections(models)],
        "prepared": sorted(
            {paths.prepared(PLAN.data(m.dataset)).facts for m in models}
        ),
        "study": [f for f in written if f.exists()],
    }


def captions(wildcards):
    path = paths.study_files(wildcards.study, ROOT).captions
    return [path] if path.exists() else []


def figure_inputs(wildcards):
    figure = PLAN.studies[wildcards.study].figures[wildcards.figure]
    if figure.table:
        return [RESULTS.table(wildcards.study, figure.table)]
    drawn = build.figure_sources(PLAN, wildcards.study, figure)
    return [f for models in drawn.values() for m in models for f in RESULTS.model(m)]


def figures(study):
    return [
        RESULTS.figure(study, f, form)
        for f in PLAN.studies[study].figures
        for form in ("svg", "png")
    ]


def everything():
    """All that a run leaves: whatever of it is missing is made again."""
    reports = [RESULTS.report(), *map(RESULTS.report, PLAN.studies)]
    made = [
        *map(RESULTS.model, PLAN.trained),
        *selections(PLAN.trained),
        *batches(PLAN.models),
        *reports,
    ]
    return [
        *(f for files in made for f in files),
        *(RESULTS.table(s, t) for s in PLAN.studies for t in RESULT_TABLES),
        *(f for s in PLAN.studies for f in figures(s)),
        *(RESULTS.claims, RESULTS.config, RESULTS.provenance),
    ]
