# Laws: of a study, and of runs that were imported.


rule fit_law:
    input:
        law_tables,
    output:
        [LAYOUT.law_table("{law}", name) for name in LAW_TABLE_NAMES if name != "parameters"],
        parameters=LAYOUT.law_table("{law}", "parameters"),
    log:
        f"logs/fit_law/{LAYOUT.study}-{{law}}.log",
    resources:
        mem_mb=3000,
    params:
        results=results_folder,
        reference=ANALYSIS.reference_schedule or "",
        level=ANALYSIS.ci_level,
        samples=ANALYSIS.bootstrap_samples,
        seed=ANALYSIS.seed,
        code=law_code,
    shell:
        "glidepath fit --law {wildcards.law} --results {params.results} --reference-schedule={params.reference:q}"
        " --ci-level {params.level} --bootstrap-samples {params.samples} --seed {params.seed}"
        " --output-directory $(dirname {output.parameters}) > {log} 2>&1"


# Laws of loss curves also say what they predicted of hidden curves.
use rule fit_law as fit_curve_law with:
    output:
        [LAYOUT.law_table("{law}", name) for name in ("predictions", "scores", "curve_predictions", "curve_scores")],
        parameters=LAYOUT.law_table("{law}", "parameters"),
    wildcard_constraints:
        law="(annealing|multi_power)(_over_sizes)?|convex_bound",


ruleorder: fit_curve_law > fit_law


rule compare_laws:
    input:
        [LAYOUT.law_table(law, "scores") for law in LAWS],
    output:
        LAYOUT.table("law_comparison"),
    log:
        f"logs/compare_laws/{LAYOUT.study}.log",
    params:
        code=code("compare_laws"),
    shell:
        "glidepath compare-laws --scores {input} --output {output} > {log} 2>&1"


rule run_predictions:
    input:
        runs=LAYOUT.table("runs"),
        block_losses=LAYOUT.table("block_losses"),
    output:
        LAYOUT.table("run_predictions"),
    log:
        f"logs/run_predictions/{LAYOUT.study}.log",
    params:
        results=results_folder,
        samples=ANALYSIS.bootstrap_samples,
        seed=ANALYSIS.seed,
        code=code("predict"),
    shell:
        "glidepath predict --results {params.results} --hidden --bootstrap-samples {params.samples}"
        " --seed {params.seed} --output {output} > {log} 2>&1"
