# Training: one job per segment. Its identity is its name, so a changed study trains new segments and keeps the others.


def parent_of(wildcards):
    """Records of the segment it continues from, none for a segment that starts from initialisation."""
    parent = PLAN.segments[wildcards.segment].parent
    return ancient(f"{segment_directory(parent)}/state.safetensors") if parent else []


def segment_spec(wildcards):
    return PLAN.segments[wildcards.segment].spec.to_json()


def segment_minutes(wildcards, attempt):
    """A generous guess: 10 GFLOP/s, twice as long at each attempt. A job that runs out of time continues."""
    return int(10 + PLAN.segments[wildcards.segment].train_flops_exact / 1e10 / 60) * attempt


def segment_gpus(wildcards):
    """Models from 5 million parameters on ask for a GPU where the profile has any."""
    return int(PLAN.segments[wildcards.segment].n_params >= 5e6)


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
    params:
        spec=segment_spec,
    shell:
        "{GLIDEPATH} train --spec {params.spec:q} --corpus $(dirname {input.corpus})"
        " --parent-state {input.parent} --output $(dirname {output.record}) --state {output.state}"
        " --scratch scratch/segments/{wildcards.segment} --threads {threads} > {log} 2>&1"


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
        code=code("plan"),
    shell:
        "{GLIDEPATH} plan --study {params.study:q} --base . --manifest {input.manifest} --output {output}"
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
        results=str(LAYOUT.results),
        segments=digest(sorted(PLAN.segments)),
        code=code("collect"),
    shell:
        "{GLIDEPATH} collect --plan {input.plan} --output {params.results} > {log} 2>&1"
