def start_of(wildcards):
    """The trained weights that this training starts from, if any."""
    cell = cell_of(wildcards)
    inits = [p["init"] for p in PLAN.phases(cell)[0] if p["init"] not in ("fresh", "continue")]
    return [f"{RESULTS}/{cell.study}/models/{cell.dataset}/{cell.model}/{d}/{cell.seed}/model.safetensors" for d in inits]


def selection_of(wildcards):
    """The choice of unstated constants, where the defense has any."""
    cell = cell_of(wildcards)
    selects = PLAN.studies[cell.study].defenses[cell.defense].select
    return [str(Path(model_dir(cell)).parent / "selection.json")] if selects else []


def select_params(wildcards):
    params = PLAN.selection(any_seed(wildcards))
    probe = attack_targets(any_seed(wildcards), params["probe"])
    reference = DEFENSES[params["reference"]["fn"]].fn
    return params | code("touchstone.jobs.select:select", reference, *defense_targets(params), *probe)


def train_params(wildcards):
    params = PLAN.training(cell_of(wildcards))
    return params | code("touchstone.jobs.train:train", *defense_targets(params))


rule select:
    input:
        data="data/prepared/{dataset}.safetensors",
    output:
        f"{RESULTS}/{{study}}/models/{{dataset}}/{{model}}/{{defense}}/selection.json",
    params:
        job=select_params,
    log:
        f"{RESULTS}/logs/select/{{study}}/{{dataset}}/{{model}}/{{defense}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/select/{{study}}/{{dataset}}/{{model}}/{{defense}}.tsv"
    threads: PLAN.config.threads
    resources:
        mem_mb=6000,
        runtime=240,
        gpu=GPU,
    conda:
        ENV
    script:
        "../workflow/scripts/select.py"


rule train:
    input:
        data="data/prepared/{dataset}.safetensors",
        selection=selection_of,
        init=start_of,
    output:
        f"{MODEL}/model.safetensors",
        f"{MODEL}/history.csv",
        f"{MODEL}/run.json",
    params:
        job=train_params,
        cell=lambda w: identity(cell_of(w)),
    log:
        f"{RESULTS}/logs/train/{{study}}/{{dataset}}/{{model}}/{{defense}}/{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{study}}/{{dataset}}/{{model}}/{{defense}}/{{seed}}.tsv"
    threads: PLAN.config.threads
    resources:
        mem_mb=6000,
        runtime=720,
        gpu=GPU,
    conda:
        ENV
    script:
        "../workflow/scripts/train.py"
