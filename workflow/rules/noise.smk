# Gradient noise scale over training, from the squared gradient norms that training recorded.


rule noise_scale:
    input:
        statistics=f"{LAYOUT.results}/gradient_statistics.parquet",
    output:
        f"{LAYOUT.results}/noise_scale.parquet",
    log:
        f"logs/noise_scale/{STUDY.study}.log",
    params:
        windows=STUDY.noise_scale.windows if STUDY.noise_scale else 1,
        level=STUDY.analysis.ci_level,
        code=code("noise_scale"),
    shell:
        "glidepath noise-scale --statistics {input.statistics} --windows {params.windows}"
        " --ci-level {params.level} --output {output} > {log} 2>&1"


rule noise_scale_regression:
    input:
        statistics=f"{LAYOUT.results}/gradient_statistics.parquet",
        runs=f"{LAYOUT.results}/runs.parquet",
    output:
        f"{LAYOUT.results}/noise_scale_regression.parquet",
    log:
        f"logs/noise_scale_regression/{STUDY.study}.log",
    params:
        windows=STUDY.noise_scale.windows if STUDY.noise_scale else 1,
        decays=canonical_json(list(STUDY.noise_scale.smoothing_decays) if STUDY.noise_scale else []),
        level=STUDY.analysis.ci_level,
        samples=STUDY.analysis.bootstrap_samples,
        seed=STUDY.analysis.seed,
        code=code("noise_scale_regression"),
    shell:
        "glidepath noise-scale-regression --statistics {input.statistics} --runs {input.runs}"
        " --windows {params.windows} --smoothing-decays {params.decays:q} --ci-level {params.level}"
        " --bootstrap-samples {params.samples} --seed {params.seed} --output {output} > {log} 2>&1"
