# Training: one job per segment. Its identity is its name, so a changed study trains new segments and keeps the others.


rule train_segment:
    input:
        corpus=ancient(f"{LAYOUT.corpus}/manifest.json"),
        parent=parent_of,
    output:
        record=ensure("store/segments/{segment}/segment.json", non_empty=True),
        tables=[f"store/segments/{{segment}}/{table}.parquet" for table in SEGMENT_TABLES],
        snapshots="store/segments/{segment}/snapshots.safetensors",
        state="store/segments/{segment}/state.safetensors",
    log:
        "logs/train_segment/{segment}.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=segment_minutes,
        gpu=segment_gpus,
        gpu_share=segment_gpu_share,
        # Of the machine and no part of a segment's identity, like the threads, which its processes share.
        processes=1,
    params:
        spec=segment_spec,
    shell:
        "glidepath-processes {resources.processes} train --spec {params.spec:q} --corpus $(dirname {input.corpus})"
        " --parent-state {input.parent} --output $(dirname {output.record}) --state {output.state}"
        " --scratch scratch/segments/{wildcards.segment} --threads {threads} --gpu-share {resources.gpu_share}"
        " > {log} 2>&1"


rule train:
    input:
        [f"{segment_directory(segment)}/segment.json" for segment in PLAN.segments],


rule plan:
    input:
        manifest=f"{LAYOUT.corpus}/manifest.json",
    output:
        f"{LAYOUT.results}/plan.parquet",
    log:
        f"logs/plan/{STUDY.study}.log",
    params:
        study=STUDY_JSON,
        code=code("cells"),
    shell:
        "glidepath cells --study {params.study:q} --base . --manifest {input.manifest} --output {output}"
        " 2>&1 | tee {log}"


rule collect:
    input:
        plan=f"{LAYOUT.results}/plan.parquet",
        records=segment_files("segment.json"),
        tables=[file for table in SEGMENT_TABLES for file in segment_files(f"{table}.parquet")],
    output:
        [f"{LAYOUT.results}/{table}.parquet" for table in ("runs", *SEGMENT_TABLES)],
    log:
        f"logs/collect/{STUDY.study}.log",
    resources:
        mem_mb=4000,
    params:
        results=results_folder,
        segments=digest(sorted(PLAN.segments)),
        code=code("collect"),
    shell:
        "glidepath collect --plan {input.plan} --output {params.results} > {log} 2>&1"
