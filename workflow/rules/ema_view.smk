# What the final weights of every cell are an average of, from the learning rates and decays that were applied.


rule ema_view:
    input:
        runs=f"{LAYOUT.results}/runs.parquet",
        updates=f"{LAYOUT.results}/updates.parquet",
    output:
        f"{LAYOUT.results}/ema_view.parquet",
    log:
        f"logs/ema_view/{STUDY.study}.log",
    params:
        models=canonical_json({cell.model_name: cell.trajectory.model.model_dump(mode="json") for cell in PLAN.cells}),
        code=code("ema_view"),
    shell:
        "glidepath ema-view --runs {input.runs} --updates {input.updates} --models {params.models:q}"
        " --output {output} > {log} 2>&1"
