rule fetch:
    output:
        paths.raw("{dataset}").fetched,
    log:
        RESULTS.log("fetch", "{dataset}"),
    benchmark:
        RESULTS.benchmark("fetch", "{dataset}")
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
        gpu=0,
    params:
        job=lambda w: build.fetch_job(w.dataset, PLAN.own_data(w.dataset)).to_params(),
        source=manner(lambda w: build.source(PLAN, w.dataset)),
    script:
        "../workflow/scripts/fetch.py"


rule prepare:
    input:
        # not ancient(): what a changed param triggers would be missed in a run that also fetches
        lambda w: targets.fetched(PLAN, w.dataset),
    output:
        **paths.prepared("{dataset}")._asdict(),
    log:
        RESULTS.log("prepare", "{dataset}"),
    benchmark:
        RESULTS.benchmark("prepare", "{dataset}")
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        gpu=0,
    params:
        job=lambda w: build.prepare_job(w.dataset, PLAN.own_data(w.dataset)).to_params(),
        raw=manner(lambda w: str(build.raw_place(PLAN, w.dataset))),
    script:
        "../workflow/scripts/prepare.py"
