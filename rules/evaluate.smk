rule tables:
    input:
        records=lambda w: [r for c in cells_in(w.study) for r in records_of(c)],
        models=lambda w: [
            f"{model_dir(c)}/model.safetensors" for c in cells_in(w.study)
        ],
        runs=lambda w: [f"{model_dir(c)}/run.json" for c in cells_in(w.study)],
        selections=lambda w: selections_of(w.study),
        prepared=lambda w: sorted(
            {f"data/prepared/{c.dataset}.json" for c in cells_in(w.study)}
        ),
        study="studies/{study}/study.yaml",
        claims=lambda w: claim_files(w.study),
    output:
        [f"{RESULTS}/{{study}}/tables/{t}.csv" for t in RESULT_TABLES],
        paper=directory(f"{RESULTS}/{{study}}/tables/paper"),
    log:
        f"{RESULTS}/logs/tables/{{study}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables/{{study}}.tsv"
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=0,
    params:
        job=lambda w: PLAN.evaluation(w.study) | code("touchstone.jobs.tables:tables"),
    script:
        "../workflow/scripts/tables.py"
