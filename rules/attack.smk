# One job runs a batch of attacks on one model: all of them (`jobs: per_model`; a job costs seconds to start, which is
# most of a demo attack's time), those in a norm (`per_norm`), or one (`per_attack`). What an attack found is kept beside
# the batches, so that only what is new runs when a batch runs again.
rule attack:
    input:
        unpack(attack_inputs),
    output:
        **RESULTS.attack(MODEL, "{batch}")._asdict(),
    log:
        RESULTS.log("attack", *MODEL, "{batch}"),
    benchmark:
        RESULTS.benchmark("attack", *MODEL, "{batch}")
    conda:
        ENV
    threads: PLAN.config.threads
    resources:
        mem_mb=growing(6000),
        runtime=growing(720),
        gpu=GPU,
    params:
        job=lambda w: build.batch_job(PLAN, model_of(w), w.batch).to_params(),
        share=manner(lambda w: PLAN.config.jobs_per_card),
    script:
        "../workflow/scripts/attack.py"
