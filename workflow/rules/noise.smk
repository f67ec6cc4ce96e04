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
        code=code("noise_scale"),
    shell:
        "glidepath noise-scale --statistics {input.statistics} --windows {params.windows}"
        " --output {output} > {log} 2>&1"
