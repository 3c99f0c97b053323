rule select:
    input:
        data="data/prepared/{dataset}.safetensors",
    output:
        f"{RESULTS}/{{study}}/models/{{dataset}}/{{model}}/{{defense}}/selection.json",
    log:
        f"{RESULTS}/logs/select/{{study}}/{{dataset}}/{{model}}/{{defense}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/select/{{study}}/{{dataset}}/{{model}}/{{defense}}.tsv"
    conda:
        ENV
    threads: PLAN.config.threads
    resources:
        mem_mb=6000,
        runtime=240,
        gpu=GPU,
    params:
        job=select_params,
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
    log:
        f"{RESULTS}/logs/train/{{study}}/{{dataset}}/{{model}}/{{defense}}/{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{study}}/{{dataset}}/{{model}}/{{defense}}/{{seed}}.tsv"
    conda:
        ENV
    threads: PLAN.config.threads
    resources:
        mem_mb=6000,
        runtime=720,
        gpu=GPU,
    params:
        job=train_params,
        cell=lambda w: identity(cell_of(w)),
    script:
        "../workflow/scripts/train.py"
