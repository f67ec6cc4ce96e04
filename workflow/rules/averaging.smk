# Averages of snapshots, a job per segment, and their table beside the raw weights and the real cooldowns.


rule average_segment:
    input:
        corpus=ancient(f"{LAYOUT.corpus}/manifest.json"),
        snapshots=snapshot_files,
        # Not named in the command: it has the model and what was applied.
        record=segment_record,
    output:
        losses=ensure("store/averages/{average}/losses.parquet", non_empty=True),
        blocks="store/averages/{average}/block_losses.parquet",
        spec="store/averages/{average}/spec.json",
    log:
        "logs/average_segment/{average}.log",
    threads: 1
    resources:
        mem_mb=average_mem_mb,
        gpu=average_gpus,
        gpu_share=average_gpu_share,
        runtime=average_minutes,
    params:
        # What is measured carries its version, as training does; no digest of sources.
        spec=average_spec,
    shell:
        "glidepath average --spec {params.spec:q} --snapshots {input.snapshots} --corpus $(dirname {input.corpus})"
        " --output $(dirname {output.losses}) --threads {threads} --gpu-share {resources.gpu_share}"
        " > {log} 2>&1"


rule average:
    input:
        runs=f"{LAYOUT.results}/runs.parquet",
        block_losses=f"{LAYOUT.results}/block_losses.parquet",
        losses=[f"store/averages/{average}/losses.parquet" for average in AVERAGES],
        blocks=[f"store/averages/{average}/block_losses.parquet" for average in AVERAGES],
    output:
        f"{LAYOUT.results}/averages.parquet",
    log:
        f"logs/average/{STUDY.study}.log",
    params:
        averages=digest(sorted(AVERAGES)),
        code=code("collect_averages"),
    shell:
        "glidepath collect-averages --runs {input.runs} --block-losses {input.block_losses}"
        " --output {output} > {log} 2>&1"


rule steps_saved:
    input:
        runs=f"{LAYOUT.results}/runs.parquet",
        losses=[f"store/averages/{average}/losses.parquet" for average in AVERAGES],
        blocks=[f"store/averages/{average}/block_losses.parquet" for average in AVERAGES],
    output:
        f"{LAYOUT.results}/steps_saved.parquet",
    log:
        f"logs/steps_saved/{STUDY.study}.log",
    params:
        averages=digest(sorted(AVERAGES)),
        level=STUDY.analysis.ci_level,
        code=code("steps_saved"),
    shell:
        "glidepath steps-saved --runs {input.runs} --ci-level {params.level} --output {output} > {log} 2>&1"


rule cooldown_oracle:
    input:
        runs=f"{LAYOUT.results}/runs.parquet",
        updates=f"{LAYOUT.results}/updates.parquet",
        losses=[f"store/averages/{average}/losses.parquet" for average in AVERAGES],
        blocks=[f"store/averages/{average}/block_losses.parquet" for average in AVERAGES],
    output:
        oracle=f"{LAYOUT.results}/cooldown_oracle.parquet",
        scores=f"{LAYOUT.results}/cooldown_oracle_scores.parquet",
    log:
        f"logs/cooldown_oracle/{STUDY.study}.log",
    params:
        averages=digest(sorted(AVERAGES)),
        level=STUDY.analysis.ci_level,
        code=code("cooldown_oracle"),
    shell:
        "glidepath cooldown-oracle --runs {input.runs} --updates {input.updates} --ci-level {params.level}"
        " --output {output.oracle} --scores {output.scores} > {log} 2>&1"
