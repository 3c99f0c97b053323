# What rules share: the plan, and functions from wildcards to input files. No rule is defined here.
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from touchstone import paths
from touchstone.cell import ModelId
from touchstone.plan import build, finished, targets
from touchstone.plan.command import config_file, works
from touchstone.plan.plan import make_plan
from touchstone.plan.state import PLANNED, state
from touchstone.study.config import ConfigError

# The checkout, from the working directory, which holds data and results: mostly the same, else what -d names.
ROOT = Path(os.path.relpath(os.path.join(str(workflow.current_basedir), os.pardir)))

try:
    given = workflow.config_settings
    CONFIG = config_file(ROOT, given.configfiles, given.config)
    PLAN = make_plan(ROOT, CONFIG)
except ConfigError as error:
    raise WorkflowError(str(error)) from None

# A job on a cluster reads this file too: while others write, and by a plan of its own, of which Snakemake takes no note.
if workflow.is_main_process:
    if works(sys.argv[1:]) and (damaged := finished.damaged(PLAN)):
        raise WorkflowError("\n".join(map(str, damaged)))
elif os.environ.get(PLANNED) and os.environ[PLANNED] != state(PLAN):
    text = "config, studies or code have changed while the run was going on"
    raise WorkflowError(f"{text}; start snakemake again")

RESULTS = PLAN.results
MODEL = ModelId("{study}", "{dataset}", "{model}", "{defense}", "{seed}")
TEMPLATES = paths.templates(ROOT)
GPU = int(PLAN.config.device == "cuda")
ENV = "../envs/touchstone.yaml"


wildcard_constraints:
    **targets.wildcards(PLAN),


def manner(value):
    """A param that says how a job works and decides no number: Snakemake runs nothing again when it changes.

    It leaves out of the comparison what a function makes of `resources`, as it does threads and memory themselves.
    """
    return lambda wildcards, resources: value(wildcards)


def growing(first):
    """A resource of which a job has more each time it is tried: what ran out of it would do so again."""
    return lambda wildcards, attempt: first * attempt


def model_of(wildcards):
    """The model that wildcards name; a selection is made once for all of its seeds."""
    *named, seed = MODEL._fields
    return ModelId(
        *(wildcards[name] for name in named), seed=int(wildcards.get(seed, 0))
    )


def prepared(wildcards):
    return paths.prepared(PLAN.data(wildcards.dataset))


def trained(*models):
    """What is read of trained models."""
    return [f for m in models for f in (RESULTS.model(m).weights, RESULTS.model(m).run)]


def train_inputs(wildcards):
    model = model_of(wildcards)
    chosen = [RESULTS.selection(model).choice] if PLAN.selects(model) else []
    return {
        "data": prepared(wildcards).data,
        "selection": chosen,
        "start": trained(*PLAN.start(model)),
    }


def attack_inputs(wildcards):
    model = model_of(wildcards)
    attacks = PLAN.batches(model)[wildcards.batch]
    others = [s for attack in attacks for s in PLAN.substitutes(model, attack)]
    return {
        "data": prepared(wildcards).data,
        "model": trained(model),
        "substitutes": trained(*dict.fromkeys(others)),
    }


def existing(*files):
    """What a study may do without."""
    return [file for file in files if file.exists()]


def features_inputs(wildcards):
    job = build.features_job(PLAN, wildcards.study, wildcards.figure)
    data = sorted({paths.prepared(net.subject.data).data for net in job.nets})
    return {"data": data, "models": trained(*job.models)}


def tables_inputs(wildcards):
    models = [m for m in PLAN.models if m.study == wildcards.study]
    written = paths.study_files(wildcards.study, ROOT)
    return {
        "claims": existing(written.claims),
        "statements": existing(written.statements),
        "records": [batch.records for batch in targets.batches(PLAN, models)],
        "weights": [RESULTS.model(m).weights for m in models],
        "runs": [RESULTS.model(m).run for m in models],
        "selections": [s.sensitivity for s in targets.selections(PLAN, models)],
        "prepared": sorted({prepared(m).facts for m in models}),
        "features": targets.measured(PLAN, wildcards.study),
        "answers": targets.answered(PLAN, wildcards.study)[-1:],
    }


def report_inputs(template, *shown):
    """What every report is made with and says of the run, and what it shows."""
    made_with = {"template": template, "head": TEMPLATES.head, "page": TEMPLATES.page}
    read = {"script": TEMPLATES.script}  # by the page
    return {**made_with, **read, "rest": [RESULTS.config, *shown]}


def study_report_inputs(wildcards):
    study = wildcards.study
    written = paths.study_files(study, ROOT)
    shown = [*targets.tables(PLAN, study), *targets.figures(PLAN, study)]
    texts = [written.definition, *existing(written.captions, written.figures)]
    template = getattr(TEMPLATES, PLAN.studies[study].report)
    return report_inputs(template, *shown, *texts)


def summary_report_inputs(wildcards):
    reports = [RESULTS.report(study).pdf for study in PLAN.studies]
    return report_inputs(
        TEMPLATES.summary, RESULTS.provenance(), RESULTS.claims, *reports
    )
