# Runs that were trained and logged elsewhere: map their logs to tables, audit them, and conclude as from a study.


onstart:
    start_server()


rule import_runs:
    input:
        LOGS,
    output:
        [LAYOUT.table(table) for table in IMPORTED_TABLES],
        f"{LAYOUT.results}/provenance.json",
    log:
        f"logs/import_runs/{LAYOUT.study}.log",
    resources:
        mem_mb=4000,
    params:
        config=imports_json,
        results=results_folder,
        code=code("import_runs"),
    shell:
        "glidepath import-runs --config {params.config:q} --base . --output {params.results} 2>&1 | tee {log}"


rule fit:
    input:
        LAW_FILES,
        LAYOUT.table("law_comparison"),
        LAYOUT.table("run_predictions"),


if STUDY.target:

    rule recommend:
        input:
            runs=LAYOUT.table("runs"),
            block_losses=LAYOUT.table("block_losses"),
            # Not read: the rows that the recommendation names must be there.
            laws=LAW_FILES,
        output:
            RECOMMENDATION,
        log:
            f"logs/recommend/{LAYOUT.study}.log",
        params:
            study=LAYOUT.study,
            target=canonical_json(target_of_imports(STUDY)),
            level=ANALYSIS.ci_level,
            samples=ANALYSIS.bootstrap_samples,
            seed=ANALYSIS.seed,
            code=code("recommend"),
        shell:
            "glidepath recommend --study-name {params.study} --runs {input.runs} --block-losses {input.block_losses}"
            " --target {params.target:q} --ci-level {params.level} --bootstrap-samples {params.samples}"
            " --seed {params.seed} --output {output} > {log} 2>&1"


if STUDY.schedules:

    # On request: how the schedules of the configuration would have gone.
    rule predict_curves:
        input:
            [LAYOUT.table(table) for table in ("runs", "updates", "evaluations")],
            # The law that predicts is the one with the smallest error on hidden curves.
            LAW_FILES,
        output:
            LAYOUT.table("curve_predictions"),
        log:
            f"logs/predict_curves/{LAYOUT.study}.log",
        params:
            config=imports_json,
            results=results_folder,
            code=code("predict_curves"),
        shell:
            "glidepath predict-curves --results {params.results} --study {params.config:q} --output {output} 2>&1 | tee {log}"


rule figure:
    input:
        figure_tables,
    output:
        [f"{LAYOUT.results}/figures/{{figure}}.{ending}" for ending in ("svg", "pdf", "parquet")],
    log:
        f"logs/figure/{LAYOUT.study}-{{figure}}.log",
    params:
        results=results_folder,
        code=figure_code,
    shell:
        "glidepath figure --name {wildcards.figure} --results {params.results}"
        " --output-prefix {params.results}/figures/{wildcards.figure} > {log} 2>&1"


rule figures:
    input:
        FIGURE_FILES,


rule report:
    input:
        FIGURE_FILES,
        LAW_FILES,
        [LAYOUT.table(table) for table in IMPORTED_TABLES],
        RECOMMENDATION,
        comparison=LAYOUT.table("law_comparison"),
        predictions=LAYOUT.table("run_predictions"),
        provenance=f"{LAYOUT.results}/provenance.json",
    output:
        f"{LAYOUT.results}/report.html",
    log:
        f"logs/report/{LAYOUT.study}.log",
    params:
        config=imports_json,
        results=results_folder,
        code=code("report_imports"),
    shell:
        "glidepath report-imports --results {params.results} --config {params.config:q} --output {output} > {log} 2>&1"


localrules:
    fit,
    figures,
