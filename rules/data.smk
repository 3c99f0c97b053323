rule fetch:
    output:
        "data/raw/{dataset}/fetched.json",
    params:
        source=lambda w: PLAN.config.data[w.dataset].model_dump()["source"],
        code=code("touchstone.data.sources:fetch"),
    log:
        f"{RESULTS}/logs/fetch/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch/{{dataset}}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=0,
    conda:
        ENV
    script:
        "../workflow/scripts/fetch.py"


rule prepare:
    input:
        "data/raw/{dataset}/fetched.json",
    output:
        "data/prepared/{dataset}.safetensors",
        "data/prepared/{dataset}.json",
    params:
        code=lambda w: code("touchstone.data.prepare:prepare", DATASETS[w.dataset].fn),
    log:
        f"{RESULTS}/logs/prepare/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare/{{dataset}}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=0,
    conda:
        ENV
    script:
        "../workflow/scripts/prepare.py"
