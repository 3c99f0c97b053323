def sources_of(wildcards):
    """What a figure draws: model folders per defense, or one table."""
    figure = PLAN.studies[wildcards.study].figures[wildcards.figure]
    if figure.table:
        return {figure.table: [f"{RESULTS}/{wildcards.study}/tables/{figure.table}.csv"]}
    chosen = [c for c in cells_in(wildcards.study) if c.original == figure.dataset]
    return {d: [model_dir(c) for c in chosen if c.defense == d] for d in figure.defenses}


def figure_inputs(wildcards):
    paths = [p for group in sources_of(wildcards).values() for p in group]
    return [p if p.endswith(".csv") else f"{p}/{f}" for p in paths for f in ("run.json", "history.csv", "model.safetensors")]


def figure_params(wildcards):
    figure = PLAN.studies[wildcards.study].figures[wildcards.figure]
    return {"plot": figure.fn, "options": figure.options, "sources": sources_of(wildcards)} | code(
        "touchstone.plots.sources:table", PLOTS[figure.fn]
    )


rule figure:
    input:
        figure_inputs,
    output:
        f"{RESULTS}/{{study}}/figures/{{figure}}.svg",
        f"{RESULTS}/{{study}}/figures/{{figure}}.png",
    params:
        job=figure_params,
    log:
        f"{RESULTS}/logs/figure/{{study}}/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figure/{{study}}/{{figure}}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    localrule: True
    conda:
        ENV
    script:
        "../workflow/scripts/figure.py"
