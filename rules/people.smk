# What people are asked is written when `human_study` or the config asks for it; `answers` runs where the config says what came back.
rule pages:
    input:
        template=TEMPLATES.people,
        attacks=lambda w: targets.shown(PLAN, w.study),
    output:
        # a folder: how many pages there are differs by study, and nothing reads them
        pages=directory(RESULTS.people("{study}").pages),
        key=RESULTS.people("{study}").key,
    log:
        RESULTS.log("pages", "{study}"),
    benchmark:
        RESULTS.benchmark("pages", "{study}")
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=0,
    params:
        job=lambda w: build.pages_job(PLAN, w.study).to_params(),
    script:
        "../workflow/scripts/pages.py"


rule answers:
    input:
        key=RESULTS.people("{study}").key,
        returned=lambda w: targets.returned(PLAN, w.study),
    output:
        RESULTS.people("{study}").answers,
    log:
        RESULTS.log("answers", "{study}"),
    benchmark:
        RESULTS.benchmark("answers", "{study}")
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        job=build.answers_job().to_params(),
    script:
        "../workflow/scripts/answers.py"
