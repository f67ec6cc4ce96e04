# Averages of a cell's snapshots, and their table beside the raw weights and the real cooldowns.


def average_spec(wildcards):
    return canonical_json(AVERAGES[wildcards.average].model_dump(mode="json"))


def snapshot_files(wildcards):
    """Snapshots of the cell's segments. The segments' names say what is in them, so their times do not matter."""
    segments = AVERAGES[wildcards.average].segments
    return [ancient(f"{segment_directory(segment)}/snapshots.safetensors") for segment in segments]


rule average_cell:
    input:
        corpus=ancient(f"{LAYOUT.corpus}/manifest.json"),
        snapshots=snapshot_files,
    output:
        losses=ensure("store/averages/{average}/losses.parquet", non_empty=True),
        blocks="store/averages/{average}/block_losses.parquet",
    log:
        "logs/average_cell/{average}.log",
    threads: 1
    resources:
        mem_mb=2000,
    params:
        spec=average_spec,
        code=code("average"),
    shell:
        "{GLIDEPATH} average --spec {params.spec:q} --corpus $(dirname {input.corpus})"
        " --output $(dirname {output.losses}) --threads {threads} > {log} 2>&1"


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
        "{GLIDEPATH} collect-averages --runs {input.runs} --block-losses {input.block_losses}"
        " --output {output} > {log} 2>&1"
