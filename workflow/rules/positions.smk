# Loss by position in the sequence along training, a job per segment, from the snapshots that averaging keeps.
if STUDY.temporal:

    rule position_losses_segment:
        input:
            corpus=ancient(f"{LAYOUT.corpus}/manifest.json"),
            snapshots=position_snapshots,
            # Not named in the command: it has the model and the path.
            record=position_record,
        output:
            losses=ensure("store/position_losses/{positions}/losses.parquet", non_empty=True),
            spec="store/position_losses/{positions}/spec.json",
        log:
            "logs/position_losses_segment/{positions}.log",
        threads: 1
        resources:
            mem_mb=position_mem_mb,
            gpu=position_gpus,
            gpu_share=position_gpu_share,
            runtime=position_minutes,
        params:
            # What is measured carries its version, as training does; no digest of sources.
            spec=position_spec,
        shell:
            "glidepath position-losses --spec {params.spec:q} --snapshots {input.snapshots}"
            " --corpus $(dirname {input.corpus}) --output $(dirname {output.losses}) --threads {threads}"
            " --gpu-share {resources.gpu_share} > {log} 2>&1"

    rule position_losses:
        input:
            plan=f"{LAYOUT.results}/plan.parquet",
            losses=[f"{position_directory(name)}/losses.parquet" for name in POSITIONS],
        output:
            f"{LAYOUT.results}/position_losses.parquet",
        log:
            f"logs/position_losses/{STUDY.study}.log",
        params:
            positions=digest(sorted(POSITIONS)),
            temporal=canonical_json(STUDY.temporal.model_dump(mode="json")),
            snapshots=canonical_json(STUDY.averaging.snapshots.model_dump(mode="json")),
            code=code("collect_positions"),
        shell:
            "glidepath collect-positions --plan {input.plan} --temporal {params.temporal:q}"
            " --snapshots {params.snapshots:q} --output {output} > {log} 2>&1"
