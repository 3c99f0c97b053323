rule resolved_config:
    output:
        RESULTS.config,
    log:
        RESULTS.log("resolved_config"),
    benchmark:
        RESULTS.benchmark("resolved_config")
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
        gpu=0,
    params:
        job=lambda w: build.config_job(PLAN).to_params(),
    script:
        "../workflow/scripts/resolved_config.py"


rule claims:
    input:
        RESULTS.config,
        claims=[RESULTS.table(study, "claims") for study in PLAN.studies],
        paper=[RESULTS.table(study, "paper") for study in PLAN.studies],
        sums=[paths.sums_beside(RESULTS.table(s, "claims")) for s in PLAN.studies],
    output:
        shown_claims(),
    log:
        RESULTS.log("claims"),
    benchmark:
        RESULTS.benchmark("claims")
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
        gpu=0,
    params:
        job=build.claims_job(PLAN).to_params(),
        command=manner(lambda w: command(ROOT, CONFIG, sys.argv[1:])),
    script:
        "../workflow/scripts/claims.py"


rule study_report:
    input:
        unpack(study_report_inputs),
    output:
        **shown_report("{study}"),
    log:
        RESULTS.log("study_report", "{study}"),
    benchmark:
        RESULTS.benchmark("study_report", "{study}")
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
        gpu=0,
    params:
        job=lambda w: build.report_job(PLAN, w.study).to_params(),
    script:
        "../workflow/scripts/report.py"


rule summary_report:
    input:
        unpack(summary_report_inputs),
    output:
        **shown_report(),
    log:
        RESULTS.log("summary_report"),
    benchmark:
        RESULTS.benchmark("summary_report")
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
        gpu=0,
    params:
        job=build.report_job(PLAN).to_params(),
    script:
        "../workflow/scripts/report.py"
