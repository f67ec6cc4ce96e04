# The coordinate check: what a few updates do to activations and weights at every width and depth asked for.
if COORDINATES:

    rule coordinate_check:
        input:
            corpus=ancient(f"{LAYOUT.corpus}/manifest.json"),
        output:
            found=f"{LAYOUT.results}/coordinate_check.parquet",
            slopes=f"{LAYOUT.results}/coordinate_slopes.parquet",
        log:
            f"logs/coordinate_check/{STUDY.study}.log",
        threads: 1
        resources:
            mem_mb=2000,
            gpu=coordinate_check_gpus,
            gpu_share=coordinate_check_gpu_share,
        params:
            spec=COORDINATES.to_json(),
            code=code("coordinate_check"),
        shell:
            "glidepath coordinate-check --spec {params.spec:q} --corpus $(dirname {input.corpus})"
            " --threads {threads} --gpu-share {resources.gpu_share} --output {output.found} --slopes {output.slopes}"
            " > {log} 2>&1"
