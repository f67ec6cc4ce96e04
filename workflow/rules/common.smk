# What the rules of a study share: the validated study and its plan.
from glidepath.study.averages import average_specs
from glidepath.study.batch_pairs import batch_pairs
from glidepath.study.batch_sweeps import batch_sweeps
from glidepath.study.budget import budget
from glidepath.study.budget_words import described
from glidepath.study.cells import param_counts
from glidepath.study.config import parse_study
from glidepath.study.coordinates import coordinate_check_spec
from glidepath.study.corpus_identity import corpus_id, vocab_size_of
from glidepath.study.figure_list import entry as figure_entry, figures_of, table_path
from glidepath.study.layout import SEGMENT_TABLES, position_directory, segment_directory
from glidepath.study.positions import position_specs
from glidepath.study.segments import plan as plan_study
from glidepath.study.speed import Conditions, gpu_here, gpu_share, kept_file, needs_gpu, read_speeds
from glidepath.study.spikes import check_spikes
from glidepath.study.target import target_of

try:
    STUDY = parse_study(dict(config), ", ".join(str(path) for path in workflow.configfiles))
    CORPUS_ID = corpus_id(STUDY.corpus, Path.cwd())
    PLAN = plan_study(STUDY, CORPUS_ID, vocab_size_of(STUDY.corpus, Path.cwd()))
    check_spikes(STUDY, PLAN)
    TARGET = target_of(STUDY, vocab_size_of(STUDY.corpus, Path.cwd()))
    AVERAGES = {spec.average_id: spec for spec in average_specs(PLAN, STUDY.averaging).values()}
    POSITIONS = {spec.position_id: spec for spec in position_specs(PLAN, STUDY).values()}
    COORDINATES = coordinate_check_spec(STUDY, vocab_size_of(STUDY.corpus, Path.cwd()))
except ValueError as refusal:
    raise WorkflowError(str(refusal)) from None

LAYOUT = Layout(STUDY.study, CORPUS_ID)
STUDY_JSON = canonical_json(STUDY.model_dump(mode="json"))

FIGURE_FILES = LAYOUT.figures(figures_of(STUDY))
ANALYSIS = STUDY.analysis
LAWS = ANALYSIS.laws
LAW_FILES = [file for law in LAWS for file in LAYOUT.law_tables(law)]
RESULT_TABLES = (
    "plan",
    "budget",
    "runs",
    *SEGMENT_TABLES,
    "averages",
    "steps_saved",
    "cooldown_oracle",
    "cooldown_oracle_scores",
    "noise_scale",
    "noise_scale_regression",
    "ema_view",
    "comparisons",
    "law_comparison",
    "run_predictions",
    "regimes",
    "large_lr",
    "spending",
)
if COORDINATES:
    RESULT_TABLES += ("coordinate_check", "coordinate_slopes")
if STUDY.temporal:
    RESULT_TABLES += ("position_losses",)
if STUDY.spikes:
    RESULT_TABLES += ("spike_excess", "spike_removal")
if batch_sweeps(STUDY):
    RESULT_TABLES += ("steps_to_loss", "critical_batch")
if batch_pairs(STUDY):
    RESULT_TABLES += ("batch_saving",)
# What the recommendation reads of batches, by the option that takes it.
BATCH_TABLES = {
    name.replace("_", "-"): str(LAYOUT.table(name))
    for name in ("critical_batch", "batch_saving")
    if name in RESULT_TABLES
}
FINAL_FILES = [
    *(LAYOUT.table(table) for table in RESULT_TABLES),
    *LAW_FILES,
    *FIGURE_FILES,
    f"{LAYOUT.results}/recommendation.json",
    f"{LAYOUT.results}/report.html",
]


wildcard_constraints:
    segment="[A-Za-z0-9.+_-]+",
    average="[A-Za-z0-9.+_-]+",
    positions="[A-Za-z0-9.+_-]+",
    figure="[a-z0-9_]+",
    law="[a-z_]+",
