# Glidepath: one YAML file declares a study; this workflow turns it into tables, figures, a report and a recommendation.
#
#   snakemake --cores 2                                          the default study, config/quick.yaml
#   snakemake --cores 2 --configfile config/laptop.yaml          another one
#   snakemake --cores 2 average                                  one stage and what it needs
#   snakemake --cores 2 --configfile config/pythia.yaml          checkpoints that were trained elsewhere
#   snakemake --cores 2 --configfile config/import-example.yaml  runs that were trained and logged elsewhere
#
# Stages: tokenize, plan, train, average, noise_scale, compare, fit, recommend, figures, report; coordinate_check where
# the study has that section.
from snakemake.utils import min_version

min_version("9.20")


report: "workflow/report/workflow.rst"


# Only a promise for `--sdm apptainer`; without that option nothing is put into a container.
container: "docker://python:3.11-slim"


if not workflow.configfiles:

    configfile: "config/quick.yaml"


include: "workflow/rules/environment.smk"
include: "workflow/rules/service.smk"


if "checkpoints" in config:

    include: "workflow/rules/checkpoints_common.smk"
    include: "workflow/rules/corpus.smk"
    include: "workflow/rules/checkpoints.smk"

elif "imports" in config:

    include: "workflow/rules/imports_common.smk"
    include: "workflow/rules/laws_common.smk"
    include: "workflow/rules/laws.smk"
    include: "workflow/rules/imports.smk"

else:

    include: "workflow/rules/common.smk"
    include: "workflow/rules/inputs.smk"
    include: "workflow/rules/progress.smk"
    include: "workflow/rules/cost.smk"
    include: "workflow/rules/corpus.smk"
    include: "workflow/rules/training.smk"
    include: "workflow/rules/parametrization.smk"
    include: "workflow/rules/averaging.smk"
    include: "workflow/rules/positions.smk"
    include: "workflow/rules/noise.smk"
    include: "workflow/rules/batch.smk"
    include: "workflow/rules/ema_view.smk"
    include: "workflow/rules/laws_common.smk"
    include: "workflow/rules/laws.smk"
    include: "workflow/rules/analysis.smk"
    include: "workflow/rules/verify.smk"
    include: "workflow/rules/publication.smk"

    localrules:
        train,
        fit,
        figures,


localrules:
    all,


rule all:
    default_target: True
    input:
        FINAL_FILES,
