rule figure:
    input:
        figure_inputs,
    output:
        svg=RESULTS.figure("{study}", "{figure}"),
        png=RESULTS.figure("{study}", "{figure}", "png"),
    log:
        RESULTS.log("figure", "{study}", "{figure}"),
    benchmark:
        RESULTS.benchmark("figure", "{study}", "{figure}")
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        job=lambda w: build.figure_job(PLAN, w.study, w.figure).to_params(),
    script:
        "../workflow/scripts/figure.py"
