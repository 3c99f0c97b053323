# One job runs one attack over all its epsilons on one model (`jobs: per_attack`), or all attacks of one model
# (`jobs: per_model`: a job costs seconds to start, which is most of a demo attack's time).


def attack_params(cell, attack):
    """Every value that decides one attack's records."""
    job = PLAN.attack(cell, attack)
    job["model"] = PLAN.training(cell)["model"]
    job["dataset"] = cell.dataset
    return job | code("touchstone.jobs.attack:attack", *attack_targets(cell, job))


if PLAN.config.jobs == "per_attack":

    rule attack:
        input:
            data="data/prepared/{dataset}.safetensors",
            model=f"{MODEL}/model.safetensors",
            run=f"{MODEL}/run.json",
        output:
            f"{ATTACK}/{{attack}}/records.parquet",
            f"{ATTACK}/{{attack}}/examples.safetensors",
        params:
            jobs=lambda w: [attack_params(cell_of(w), w.attack)],
            cell=lambda w: identity(cell_of(w)),
        log:
            f"{RESULTS}/logs/attack/{{study}}/{{dataset}}/{{model}}/{{defense}}/{{seed}}/{{attack}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/attack/{{study}}/{{dataset}}/{{model}}/{{defense}}/{{seed}}/{{attack}}.tsv"
        threads: PLAN.config.threads
        resources:
            mem_mb=6000,
            runtime=720,
            gpu=GPU,
        conda:
            ENV
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
            output:
                records_of(cell),
                [r.replace("records.parquet", "examples.safetensors") for r in records_of(cell)],
            params:
                jobs=[attack_params(cell, a) for a in PLAN.attacks(cell)],
                cell=identity(cell),
            log:
                f"{RESULTS}/logs/attack/{cell.study}/{cell.path}.log",
            benchmark:
                f"{RESULTS}/benchmarks/attack/{cell.study}/{cell.path}.tsv"
            threads: PLAN.config.threads
            resources:
                mem_mb=6000,
                runtime=720,
                gpu=GPU,
            conda:
                ENV
            script:
                "../workflow/scripts/attack.py"
