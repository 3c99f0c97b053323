# One job draws all figures of a study: a process costs more than a figure. Each study has figures of its own, so each
# has a rule; a wildcard could not say which files it leaves.
for study in (s for s in PLAN.studies if PLAN.studies[s].figures):

    rule:
        name:
            f"figures_{study}"
        input:
            lambda _, study=study: targets.drawn(PLAN, study),
        output:
            shown_figures(study),
        log:
            RESULTS.log("figures", study),
        benchmark:
            RESULTS.benchmark("figures", study)
        localrule: True
        conda:
            ENV
        threads: 1
        resources:
            mem_mb=4000,
            runtime=30,
            gpu=0,
        params:
            job=lambda _, study=study: build.figures_job(PLAN, study).to_params(),
        script:
            "../workflow/scripts/figures.py"
