# The optimised schedule, trained: what the best law of loss curves predicted, against the runs that were made of it.
#
#   snakemake --cores 2 verify
#
# Not part of `all`: it trains more. It needs annealing or multi_power among analysis.laws.
VERIFIED = LAYOUT.table("verification")
VERIFY_LAWS = [law for law in STUDY.analysis.laws if law in ("annealing", "multi_power", "convex_bound")]


rule optimise_schedule:
    input:
        [LAYOUT.table(name) for name in ("runs", "updates", "evaluations")],
        [LAYOUT.law_table(law, "scores") for law in VERIFY_LAWS],
    output:
        prediction=f"{LAYOUT.results}/verify/prediction.json",
        study=f"{LAYOUT.results}/verify/study.yaml",
        schedule=f"{LAYOUT.results}/verify/schedule.csv",
        rates=f"{LAYOUT.results}/verify/optimised_schedule.parquet",
    log:
        f"logs/optimise_schedule/{STUDY.study}.log",
    params:
        results=results_folder,
        study=STUDY_JSON,
        code=code("optimise_schedule"),
    shell:
        "glidepath optimise-schedule --results {params.results} --study {params.study:q}"
        " --output $(dirname {output.prediction}) > {log} 2>&1"


rule verify:
    input:
        prediction=f"{LAYOUT.results}/verify/prediction.json",
        study=f"{LAYOUT.results}/verify/study.yaml",
        figure=LAYOUT.figure("optimised_schedule"),
    output:
        VERIFIED.replace(".parquet", ".json"),
        verified=VERIFIED,
    log:
        f"logs/verify/{STUDY.study}.log",
    # Which cells are trained is known only now, so that a workflow of their own trains them: on this machine, into the
    # same store, in which the other schedule is there already.
    threads: workflow.cores or 1
    params:
        python=sys.executable,
        snakefile=str(Path(workflow.basedir) / "Snakefile"),
        results=f"{LAYOUT.results}_verify",
        code=code("verify"),
    shell:
        "{params.python} -m snakemake --snakefile {params.snakefile} --configfile {input.study} --cores {threads}"
        " --nolock --quiet all -- {params.results}/runs.parquet {params.results}/updates.parquet"
        " {params.results}/evaluations.parquet > {log} 2>&1"
        " && glidepath verify --prediction {input.prediction} --results {params.results} --output {output.verified} >> {log} 2>&1"
