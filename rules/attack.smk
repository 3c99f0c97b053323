# One job runs one attack over all its epsilons on one model (`jobs: per_attack`), or all attacks of one model
# (`jobs: per_model`: a job costs seconds to start, which is most of a demo attack's time).


if PLAN.config.jobs == "per_attack":

    rule attack:
        input:
            data="data/prepared/{dataset}.safetensors",
            model=f"{MODEL}/model.safetensors",
            run=f"{MODEL}/run.json",
            substitutes=lambda w: substitutes_of(cell_of(w), [w.attack]),
        output:
            f"{ATTACK}/{{attack}}/records.parquet",
            f"{ATTACK}/{{attack}}/examples.safetensors",
        log:
            f"{RESULTS}/logs/attack/{{study}}/{{dataset}}/{{model}}/{{defense}}/{{seed}}/{{attack}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/attack/{{study}}/{{dataset}}/{{model}}/{{defense}}/{{seed}}/{{attack}}.tsv"
        conda:
            ENV
        threads: PLAN.config.threads
        resources:
            mem_mb=6000,
            runtime=720,
            gpu=GPU,
        params:
            jobs=lambda w: [attack_params(cell_of(w), w.attack)],
            cell=lambda w: identity(cell_of(w)),
        script:
            "../workflow/scripts/attack.py"

else:
    for cell in PLAN.cells:

        rule:
            name:
                f"attack_{cell.study}_{cell.dataset}_{cell.model}_{cell.defense}_{cell.seed}"
            input:
                data=f"data/prepared/{cell.dataset}.safetensors",
                model=f"{model_dir(cell)}/model.safetensors",
                run=f"{model_dir(cell)}/run.json",
                substitutes=substitutes_of(cell, PLAN.attacks(cell)),
            output:
                records_of(cell),
                [
                    r.replace("records.parquet", "examples.safetensors")
                    for r in records_of(cell)
                ],
            log:
                f"{RESULTS}/logs/attack/{cell.study}/{cell.path}.log",
            benchmark:
                f"{RESULTS}/benchmarks/attack/{cell.study}/{cell.path}.tsv"
            conda:
                ENV
            threads: PLAN.config.threads
            resources:
                mem_mb=6000,
                runtime=720,
                gpu=GPU,
            params:
                jobs=[attack_params(cell, a) for a in PLAN.attacks(cell)],
                cell=identity(cell),
            script:
                "../workflow/scripts/attack.py"
