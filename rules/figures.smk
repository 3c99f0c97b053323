rule figure:
    input:
        figure_inputs,
    output:
        f"{RESULTS}/{{study}}/figures/{{figure}}.svg",
        f"{RESULTS}/{{study}}/figures/{{figure}}.png",
    log:
        f"{RESULTS}/logs/figure/{{study}}/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figure/{{study}}/{{figure}}.tsv"
    localrule: True
    conda:
        ENV
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        job=figure_params,
    script:
        "../workflow/scripts/figure.py"
