rule select:
    input:
        data=data_of,
    output:
        RESULTS.selection(MODEL),
    log:
        RESULTS.log("select", *MODEL[:-1]),
    benchmark:
        RESULTS.benchmark("select", *MODEL[:-1])
    conda:
        ENV
    threads: PLAN.config.threads
    resources:
        mem_mb=6000,
        runtime=240,
        gpu=GPU,
    params:
        job=lambda w: build.select_job(PLAN, model_of(w)).to_params(),
    script:
        "../workflow/scripts/select.py"


rule train:
    input:
        unpack(train_inputs),
    output:
        **RESULTS.model(MODEL)._asdict(),
    log:
        RESULTS.log("train", *MODEL),
    benchmark:
        RESULTS.benchmark("train", *MODEL)
    conda:
        ENV
    threads: PLAN.config.threads
    resources:
        mem_mb=6000,
        runtime=720,
        gpu=GPU,
    params:
        job=lambda w: build.train_job(PLAN, model_of(w)).to_params(),
    script:
        "../workflow/scripts/train.py"
