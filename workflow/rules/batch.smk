# Batch size: the critical batch, where the study trains a schedule without a horizon at three batches; what batch
# paths save, where it trains one beside the schedule that is equal but for it.
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
            sweeps=" ".join(f"{model}:{schedule}" for model, schedule in batch_sweeps(STUDY)),
            losses=" ".join(str(loss) for loss in STUDY.analysis.critical_batch_target_losses or ()),
            level=STUDY.analysis.ci_level,
            code=code("critical_batch"),
        shell:
            "glidepath critical-batch --runs {input.runs} --evaluations {input.evaluations} --averages {input.averages}"
            " --noise-scale {input.noise_scale} --reference-batch {params.reference} --sweeps {params.sweeps}"
            " --target-losses {params.losses} --ci-level {params.level} --steps {output.steps} --output {output.critical}"
            " > {log} 2>&1"


if batch_pairs(STUDY):

    rule batch_saving:
        input:
            runs=f"{LAYOUT.results}/runs.parquet",
            updates=f"{LAYOUT.results}/updates.parquet",
            evaluations=f"{LAYOUT.results}/evaluations.parquet",
            block_losses=f"{LAYOUT.results}/block_losses.parquet",
        output:
            f"{LAYOUT.results}/batch_saving.parquet",
        log:
            f"logs/batch_saving/{STUDY.study}.log",
        params:
            pairs=" ".join(f"{pair.schedule}={pair.fixed_schedule}" for pair in batch_pairs(STUDY)),
            level=STUDY.analysis.ci_level,
            code=code("batch_saving"),
        shell:
            "glidepath batch-saving --runs {input.runs} --updates {input.updates} --evaluations {input.evaluations}"
            " --block-losses {input.block_losses} --pairs {params.pairs} --ci-level {params.level} --output {output}"
            " > {log} 2>&1"
