rule fetch:
    output:
        "data/raw/{dataset}/fetched.json",
    log:
        f"{RESULTS}/logs/fetch/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch/{{dataset}}.tsv"
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=0,
    params:
        source=lambda w: PLAN.config.data[w.dataset].model_dump()["source"],
        code=code("touchstone.data.sources:fetch"),
    script:
        "../workflow/scripts/fetch.py"


rule prepare:
    input:
        "data/raw/{dataset}/fetched.json",
    output:
        "data/prepared/{dataset}.safetensors",
        "data/prepared/{dataset}.json",
    log:
        f"{RESULTS}/logs/prepare/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare/{{dataset}}.tsv"
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=0,
    params:
        facts=lambda w: facts(DATASETS[w.dataset]),
        code=lambda w: code("touchstone.data.prepare:prepare", DATASETS[w.dataset].fn),
    script:
        "../workflow/scripts/prepare.py"
