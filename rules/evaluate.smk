rule tables:
    input:
        unpack(tables_inputs),
    output:
        targets.tables(PLAN, "{study}"),
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
    script:
        "../workflow/scripts/tables.py"
