rule select:
    input:
        data=lambda w: prepared(w).data,
    output:
        choice=RESULTS.selection(MODEL).choice,
        weights=RESULTS.selection(MODEL).weights,
    log:
        RESULTS.log("select", *MODEL[:-1]),
    benchmark:
        RESULTS.benchmark("select", *MODEL[:-1])
    conda:
        ENV
    threads: PLAN.config.threads
    resources:
        mem_mb=growing(6000),
        runtime=growing(240),
        gpu=GPU,
    params:
        job=lambda w: build.select_job(PLAN, model_of(w)).to_params(),
        share=manner(lambda w: PLAN.config.jobs_per_card),
    script:
        "../workflow/scripts/select.py"


# apart from `select`, or another probe would train again what waits for the choice
rule sensitivity:
    input:
        data=lambda w: prepared(w).data,
        choice=RESULTS.selection(MODEL).choice,
        weights=RESULTS.selection(MODEL).weights,
    output:
        RESULTS.selection(MODEL).sensitivity,
    log:
        RESULTS.log("sensitivity", *MODEL[:-1]),
    benchmark:
        RESULTS.benchmark("sensitivity", *MODEL[:-1])
    conda:
        ENV
    threads: PLAN.config.threads
    resources:
        mem_mb=growing(6000),
        runtime=growing(60),
        gpu=GPU,
    params:
        job=lambda w: build.sensitivity_job(PLAN, model_of(w)).to_params(),
        share=manner(lambda w: PLAN.config.jobs_per_card),
    script:
        "../workflow/scripts/sensitivity.py"


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
        mem_mb=growing(6000),
        runtime=growing(720),
        gpu=GPU,
    params:
        job=lambda w: build.train_job(PLAN, model_of(w)).to_params(),
        share=manner(lambda w: PLAN.config.jobs_per_card),
        checkpoint=manner(lambda w: PLAN.config.checkpoint.model_dump()),
        # no input: the job has their sums, and where they lie decides nothing
        weights=manner(lambda w: list(map(str, PLAN.weights_files(model_of(w))))),
    script:
        "../workflow/scripts/train.py"
