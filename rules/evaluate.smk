rule features:
    input:
        unpack(features_inputs),
    output:
        **RESULTS.features("{study}", "{figure}")._asdict(),
    log:
        RESULTS.log("features", "{study}", "{figure}"),
    benchmark:
        RESULTS.benchmark("features", "{study}", "{figure}")
    conda:
        ENV
    threads: PLAN.config.threads
    resources:
        mem_mb=growing(6000),
        runtime=growing(120),
        gpu=GPU,
    params:
        job=lambda w: build.features_job(PLAN, w.study, w.figure).to_params(),
        share=manner(lambda w: PLAN.config.jobs_per_card),
    script:
        "../workflow/scripts/features.py"


rule tables:
    input:
        unpack(tables_inputs),
    output:
        shown_tables("{study}"),
    log:
        RESULTS.log("tables", "{study}"),
    benchmark:
        RESULTS.benchmark("tables", "{study}")
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=0,
    params:
        job=lambda w: build.tables_job(PLAN, w.study).to_params(),
        command=manner(lambda w: command(ROOT, CONFIG, sys.argv[1:])),
    script:
        "../workflow/scripts/tables.py"
