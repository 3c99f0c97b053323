rule resolved_config:
    output:
        f"{RESULTS}/config.yaml",
    log:
        f"{RESULTS}/logs/resolved_config.log",
    benchmark:
        f"{RESULTS}/benchmarks/resolved_config.tsv"
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
        gpu=0,
    params:
        config=PLAN.resolved(),
        code=code("touchstone.files:write_yaml"),
    script:
        "../workflow/scripts/resolved_config.py"


rule claims:
    input:
        expand(f"{RESULTS}/{{study}}/tables/claims.csv", study=PLAN.studies),
    output:
        f"{RESULTS}/claims.csv",
    log:
        f"{RESULTS}/logs/claims.log",
    benchmark:
        f"{RESULTS}/benchmarks/claims.tsv"
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
        gpu=0,
    params:
        code=code("touchstone.findings.tables:gather"),
    script:
        "../workflow/scripts/claims.py"


rule provenance:
    input:
        f"{RESULTS}/claims.csv",
        config=f"{RESULTS}/config.yaml",
    output:
        f"{RESULTS}/provenance.json",
    log:
        f"{RESULTS}/logs/provenance.log",
    benchmark:
        f"{RESULTS}/benchmarks/provenance.tsv"
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
        gpu=0,
    params:
        command=COMMAND,
        code=code("touchstone.provenance:record"),
    script:
        "../workflow/scripts/provenance.py"


rule study_report:
    input:
        lambda w: [
            f"{RESULTS}/{w.study}/figures/{f}.svg"
            for f in PLAN.studies[w.study].figures
        ],
        lambda w: [f"{RESULTS}/{w.study}/tables/{t}.csv" for t in RESULT_TABLES],
        f"{RESULTS}/provenance.json",
        f"{RESULTS}/config.yaml",
        "studies/{study}/study.yaml",
        "studies/{study}/captions.yaml",
        "reports/head.typ",
        "reports/report.html.j2",
        template="reports/study.ipynb",
    output:
        f"{RESULTS}/{{study}}/report.ipynb",
        f"{RESULTS}/{{study}}/report.html",
        f"{RESULTS}/{{study}}/report.pdf",
    log:
        f"{RESULTS}/logs/study_report/{{study}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/study_report/{{study}}.tsv"
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
        gpu=0,
    params:
        parameters=lambda w: {"results_dir": RESULTS, "study": w.study},
        title=lambda w: PLAN.studies[w.study].title,
        code=code("touchstone.report.sections:gather", "touchstone.report.render:execute"),
    script:
        "../workflow/scripts/report.py"


rule summary_report:
    input:
        expand(f"{RESULTS}/{{study}}/report.pdf", study=PLAN.studies),
        f"{RESULTS}/claims.csv",
        f"{RESULTS}/provenance.json",
        f"{RESULTS}/config.yaml",
        "reports/head.typ",
        "reports/report.html.j2",
        template="reports/summary.ipynb",
    output:
        f"{RESULTS}/report.ipynb",
        f"{RESULTS}/report.html",
        f"{RESULTS}/report.pdf",
    log:
        f"{RESULTS}/logs/summary_report.log",
    benchmark:
        f"{RESULTS}/benchmarks/summary_report.tsv"
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
        gpu=0,
    params:
        parameters={"results_dir": RESULTS, "studies": list(PLAN.studies)},
        title=f"Touchstone: {PLAN.config.run} run",
        code=code("touchstone.report.sections:summary", "touchstone.report.render:execute"),
    script:
        "../workflow/scripts/report.py"
