# Checkpoints that were trained elsewhere: fetch or look through them, average, evaluate, conclude.


rule fetch_checkpoint:
    output:
        # Downloads lie beside it and stay there when it is made anew.
        "store/checkpoints/{checkpoint}.json",
    log:
        "logs/fetch_checkpoint/{checkpoint}.log",
    retries: 2
    threads: 1
    resources:
        mem_mb=2000,
        runtime=fetch_minutes,
    params:
        spec=checkpoint_spec,
    shell:
        "glidepath fetch-checkpoint --spec {params.spec:q} --output {output} > {log} 2>&1"


rule fetch:
    input:
        [record_path(name) for name in CHECKPOINTS],


rule average_checkpoints:
    input:
        corpus=ancient(f"{LAYOUT.corpus}/manifest.json"),
        records=records_of,
    output:
        losses=ensure("store/averages/{average}/losses.parquet", non_empty=True),
        blocks="store/averages/{average}/block_losses.parquet",
        evaluated="store/averages/{average}/spec.json",
    log:
        "logs/average_checkpoints/{average}.log",
    threads: 1
    resources:
        mem_mb=average_mem_mb,
        gpu=average_gpus,
        gpu_share=average_gpu_share,
        runtime=average_minutes,
    params:
        # What is measured carries its version.
        spec=average_spec,
    shell:
        "glidepath average-checkpoints --spec {params.spec:q} --corpus $(dirname {input.corpus})"
        " --output $(dirname {output.losses}) --threads {threads} --gpu-share {resources.gpu_share}"
        " > {log} 2>&1"


rule average:
    input:
        losses=[f"store/averages/{average}/losses.parquet" for average in AVERAGES],
        blocks=[f"store/averages/{average}/block_losses.parquet" for average in AVERAGES],
        evaluated=[f"store/averages/{average}/spec.json" for average in AVERAGES],
        records=[ancient(record_path(name)) for name in CHECKPOINTS],
    output:
        [LAYOUT.table(table) for table in RESULT_TABLES],
        f"{LAYOUT.results}/summary.md",
    log:
        f"logs/collect_checkpoints/{STUDY.checkpoints}.log",
    params:
        config=checkpoints_json,
        corpus=CORPUS_ID,
        results=results_folder,
        code=code("collect_checkpoints"),
    shell:
        "glidepath collect-checkpoints --config {params.config:q} --corpus-id {params.corpus}"
        " --output {params.results} > {log} 2>&1"


rule figure:
    input:
        figure_tables,
    output:
        [f"{LAYOUT.results}/figures/{{figure}}.{ending}" for ending in ("svg", "pdf", "parquet")],
    log:
        f"logs/figure/{STUDY.checkpoints}-{{figure}}.log",
    params:
        results=results_folder,
        code=figure_code,
    shell:
        "glidepath figure --name {wildcards.figure} --results {params.results}"
        " --output-prefix {params.results}/figures/{wildcards.figure} > {log} 2>&1"


rule figures:
    input:
        FIGURE_FILES,


localrules:
    fetch,
    figures,


onstart:
    start_server("glidepath.stages.average_checkpoints", *AUTO_CLASSES)
