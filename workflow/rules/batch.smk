# Batch size: the critical batch, where the study trains a schedule without a horizon at three batches.
if batch_sweeps(STUDY):

    rule critical_batch:
        input:
            runs=f"{LAYOUT.results}/runs.parquet",
            evaluations=f"{LAYOUT.results}/evaluations.parquet",
            averages=f"{LAYOUT.results}/averages.parquet",
            noise_scale=f"{LAYOUT.results}/noise_scale.parquet",
        output:
            steps=f"{LAYOUT.results}/steps_to_loss.parquet",
            critical=f"{LAYOUT.results}/critical_batch.parquet",
        log:
            f"logs/critical_batch/{STUDY.study}.log",
        params:
            reference=STUDY.target.batch_sequences,
            losses=" ".join(str(loss) for loss in STUDY.analysis.critical_batch_target_losses or ()),
            level=STUDY.analysis.ci_level,
            code=code("critical_batch"),
        shell:
            "glidepath critical-batch --runs {input.runs} --evaluations {input.evaluations} --averages {input.averages}"
            " --noise-scale {input.noise_scale} --reference-batch {params.reference} --target-losses {params.losses}"
            " --ci-level {params.level} --steps {output.steps} --output {output.critical} > {log} 2>&1"
