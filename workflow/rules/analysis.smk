# From tables to conclusions: comparisons, laws, the recommendation.


rule compare:
    input:
        runs=f"{LAYOUT.results}/runs.parquet",
        block_losses=f"{LAYOUT.results}/block_losses.parquet",
    output:
        f"{LAYOUT.results}/comparisons.parquet",
    log:
        f"logs/compare/{STUDY.study}.log",
    params:
        reference=STUDY.analysis.reference_schedule,
        level=STUDY.analysis.ci_level,
        code=code("compare"),
    shell:
        "glidepath compare --runs {input.runs} --block-losses {input.block_losses}"
        " --reference-schedule {params.reference} --ci-level {params.level} --output {output} > {log} 2>&1"


rule large_lr:
    input:
        runs=f"{LAYOUT.results}/runs.parquet",
        updates=f"{LAYOUT.results}/updates.parquet",
        averages=f"{LAYOUT.results}/averages.parquet",
    output:
        regimes=f"{LAYOUT.results}/regimes.parquet",
        large_lr=f"{LAYOUT.results}/large_lr.parquet",
    log:
        f"logs/large_lr/{STUDY.study}.log",
    params:
        level=STUDY.analysis.ci_level,
        samples=STUDY.analysis.bootstrap_samples,
        seed=STUDY.analysis.seed,
        code=code("large_lr"),
    shell:
        "glidepath large-lr --runs {input.runs} --updates {input.updates} --averages {input.averages}"
        " --ci-level {params.level} --bootstrap-samples {params.samples} --seed {params.seed}"
        " --regimes {output.regimes} --output {output.large_lr} > {log} 2>&1"


if STUDY.spikes:

    rule spike_removal:
        input:
            runs=f"{LAYOUT.results}/runs.parquet",
            updates=f"{LAYOUT.results}/updates.parquet",
            averages=f"{LAYOUT.results}/averages.parquet",
        output:
            excess=f"{LAYOUT.results}/spike_excess.parquet",
            removal=f"{LAYOUT.results}/spike_removal.parquet",
        log:
            f"logs/spike_removal/{STUDY.study}.log",
        params:
            spikes=canonical_json(STUDY.spikes.model_dump(mode="json")),
            level=STUDY.analysis.ci_level,
            code=code("spike_removal"),
        shell:
            "glidepath spike-removal --runs {input.runs} --updates {input.updates} --averages {input.averages}"
            " --spikes {params.spikes:q} --ci-level {params.level} --excess {output.excess} --output {output.removal}"
            " > {log} 2>&1"


rule fit:
    input:
        LAW_FILES,
        LAYOUT.table("law_comparison"),
        LAYOUT.table("comparisons"),


rule recommend:
    input:
        runs=f"{LAYOUT.results}/runs.parquet",
        block_losses=f"{LAYOUT.results}/block_losses.parquet",
        averages=f"{LAYOUT.results}/averages.parquet",
        noise_scale=f"{LAYOUT.results}/noise_scale.parquet",
        batches=BATCH_TABLES.values(),
        # Not read: the rows that the recommendation names must be there.
        laws=LAW_FILES,
    output:
        f"{LAYOUT.results}/recommendation.json",
    log:
        f"logs/recommend/{STUDY.study}.log",
    params:
        study=STUDY.study,
        target=canonical_json(TARGET),
        optimizer=canonical_json(STUDY.optimizer.model_dump(mode="json")),
        config=STUDY_JSON,
        reference=STUDY.analysis.reference_schedule,
        level=STUDY.analysis.ci_level,
        samples=STUDY.analysis.bootstrap_samples,
        seed=STUDY.analysis.seed,
        batches=" ".join(f"--{name} {path}" for name, path in BATCH_TABLES.items()),
        code=code("recommend"),
    shell:
        "glidepath recommend --study-name {params.study} --runs {input.runs} --block-losses {input.block_losses}"
        " --averages {input.averages} --noise-scale {input.noise_scale} {params.batches} --target {params.target:q}"
        " --optimizer {params.optimizer:q} --config {params.config:q} --reference-schedule {params.reference}"
        " --ci-level {params.level} --bootstrap-samples {params.samples} --seed {params.seed} --output {output}"
        " > {log} 2>&1"
