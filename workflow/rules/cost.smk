# What the study will cost, before anything runs, and what it did cost.


rule budget:
    output:
        f"{LAYOUT.results}/budget.parquet",
    log:
        f"logs/budget/{STUDY.study}.log",
    # It measures this machine, so it comes first and alone. Training does not wait for it otherwise. Its code is no
    # param: a prediction that was made is not made again.
    priority: 100
    threads: workflow.cores or 1
    params:
        study=STUDY_JSON,
    shell:
        "glidepath plan {params.study:q} --cores {threads} --output {output} 2>&1 | tee {log}"


rule spending:
    input:
        # After everything, but not anew because a figure was drawn anew.
        ancient([file for file in FINAL_FILES if Path(file).name not in ("spending.parquet", "report.html")]),
        plan=f"{LAYOUT.results}/plan.parquet",
        budget=f"{LAYOUT.results}/budget.parquet",
        manifest=f"{LAYOUT.corpus}/manifest.json",
    output:
        f"{LAYOUT.results}/spending.parquet",
    log:
        f"logs/spending/{STUDY.study}.log",
    params:
        results=results_folder,
        code=code("spending"),
    shell:
        "glidepath spending --plan {input.plan} --budget {input.budget} --corpus $(dirname {input.manifest})"
        " --results {params.results} --journal $GLIDEPATH_JOURNAL --output {output} > {log} 2>&1"
