# What the rules over imported runs share, and what they ask for.
from glidepath.study.figure_list import entry as figure_entry, import_figures_of, table_path
from glidepath.study.import_config import parse_imports
from glidepath.study.import_files import log_files
from glidepath.study.law_list import DEFAULT_IMPORT_LAWS
from glidepath.study.target import target_of_imports

try:
    STUDY = parse_imports(dict(config), ", ".join(str(path) for path in workflow.configfiles))
    LOGS = log_files(STUDY, Path.cwd())
except ValueError as refusal:
    raise WorkflowError(str(refusal)) from None

LAYOUT = Layout(STUDY.imports)
STUDY_JSON = canonical_json(STUDY.model_dump(mode="json", exclude_unset=True))
ANALYSIS = STUDY.analysis
LAWS = ANALYSIS.laws or DEFAULT_IMPORT_LAWS
LAW_FILES = [file for law in LAWS for file in LAYOUT.law_tables(law)]
IMPORTED_TABLES = ("runs", "updates", "evaluations", "block_losses", "imported_rows", "findings")
FIGURE_FILES = LAYOUT.figures(import_figures_of(LAWS))
RECOMMENDATION = [f"{LAYOUT.results}/recommendation.json"] if STUDY.target else []
FINAL_FILES = [
    *(LAYOUT.table(table) for table in IMPORTED_TABLES),
    *LAW_FILES,
    LAYOUT.table("law_comparison"),
    LAYOUT.table("run_predictions"),
    *FIGURE_FILES,
    *RECOMMENDATION,
    f"{LAYOUT.results}/report.html",
]


wildcard_constraints:
    figure="[a-z0-9_]+",
    law="[a-z_]+",


def results_folder(wildcards):
    return str(LAYOUT.results)


def imports_json(wildcards):
    """A function, since patterns have braces that the engine would take for its own."""
    return STUDY_JSON


def figure_tables(wildcards):
    return [str(table_path(table, LAYOUT.results)) for table in figure_entry(wildcards.figure).tables]


def figure_code(wildcards):
    return digest([code("figure"), source_digest(f"glidepath.figures.{wildcards.figure}")])
