# Figures, each from its tables, and the report.


rule figure:
    input:
        figure_tables,
    output:
        svg=report(
            f"{LAYOUT.results}/figures/{{figure}}.svg",
            caption="../report/figure.rst",
            category=figure_category,
            labels={"figure": "{figure}"},
        ),
        pdf=f"{LAYOUT.results}/figures/{{figure}}.pdf",
        drawn=f"{LAYOUT.results}/figures/{{figure}}.parquet",
    log:
        f"logs/figure/{STUDY.study}-{{figure}}.log",
    params:
        results=results_folder,
        caption=figure_caption,
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
        [f"{LAYOUT.results}/{table}.parquet" for table in RESULT_TABLES],
        recommendation=f"{LAYOUT.results}/recommendation.json",
        manifest=f"{LAYOUT.corpus}/manifest.json",
    output:
        report(f"{LAYOUT.results}/report.html", category="Report", labels={"report": "answers"}),
    log:
        f"logs/report/{STUDY.study}.log",
    params:
        results=results_folder,
        study=STUDY_JSON,
        code=code("report"),
    shell:
        "glidepath report --results {params.results} --manifest {input.manifest} --config {params.study:q}"
        " --output {output} > {log} 2>&1"
