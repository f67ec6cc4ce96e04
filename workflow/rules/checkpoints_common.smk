# What the rules over checkpoints that were trained elsewhere share, and what they ask for.
from glidepath.study.checkpoint_config import parse_checkpoints
from glidepath.study.checkpoints import planned_trajectories, record_path
from glidepath.study.corpus_identity import corpus_id
from glidepath.study.figure_list import CHECKPOINT_FIGURE_NAMES, entry as figure_entry, table_path
from glidepath.study.speed import gpu_share, needs_gpu

try:
    STUDY = parse_checkpoints(dict(config), ", ".join(str(path) for path in workflow.configfiles))
    CORPUS_ID = corpus_id(STUDY.corpus, Path.cwd())
    TRAJECTORIES = planned_trajectories(STUDY, CORPUS_ID, Path.cwd())
except ValueError as refusal:
    raise WorkflowError(str(refusal)) from None

LAYOUT = Layout(STUDY.checkpoints, CORPUS_ID)
CHECKPOINTS = {spec.checkpoint_id: spec for one in TRAJECTORIES.values() for spec in one.checkpoints.values()}
AVERAGES = {name: spec for one in TRAJECTORIES.values() for name, spec in one.averages.items()}
N_PARAMS = {name: one.config.n_params for one in TRAJECTORIES.values() for name in one.averages}
RESULT_TABLES = ("averages", "checkpoint_steps_saved", "checkpoints")
FIGURE_FILES = LAYOUT.figures(CHECKPOINT_FIGURE_NAMES)
FINAL_FILES = [*(LAYOUT.table(table) for table in RESULT_TABLES), *FIGURE_FILES, f"{LAYOUT.results}/summary.md"]

AUTO_CLASSES = ("transformers.modeling_utils", "transformers.models.auto.modeling_auto")
"""What is slow to import of what jobs need."""
READS_PER_POINT = 4
READ_BYTES_PER_SECOND = 2e8


wildcard_constraints:
    checkpoint="[A-Za-z0-9.@+_-]+",
    average="[A-Za-z0-9.+_-]+",
    figure="[a-z0-9_]+",


def checkpoint_spec(wildcards):
    return canonical_json(CHECKPOINTS[wildcards.checkpoint].model_dump(mode="json"))


def records_of(wildcards):
    """The names of the checkpoints say what is in them, so the times of their records do not matter."""
    return [ancient(record_path(name)) for _, name in AVERAGES[wildcards.average].checkpoints]


def average_spec(wildcards):
    return AVERAGES[wildcards.average].to_json()


def average_gpu_share(wildcards):
    return gpu_share(N_PARAMS[wildcards.average])


def average_gpus(wildcards):
    return min(1, average_gpu_share(wildcards))


def average_mem_mb(wildcards):
    """Two copies of the model in float32, and what evaluation needs."""
    return 2000 + 9 * N_PARAMS[wildcards.average] // 1_000_000


def average_minutes(wildcards, attempt):
    """A generous guess, more at each attempt, at most a day: evaluating, and a few reads of the weights at every point."""
    n_params = N_PARAMS[wildcards.average]
    evaluations = len(AVERAGES[wildcards.average].evaluate_at)
    tokens = sum(domain.validation_tokens for domain in STUDY.corpus.domains)
    evaluating = 2 * n_params * tokens * evaluations / (3e13 if needs_gpu(n_params) else 1e10)
    reading = 4 * n_params * READS_PER_POINT * evaluations / READ_BYTES_PER_SECOND
    return min(24 * 60, int(10 + (evaluating + reading) / 60) * attempt)


def fetch_minutes(wildcards, attempt):
    """25 GB take three quarters of an hour at 10 MB/s. What a broken download has fetched is not fetched again."""
    return min(24 * 60, 4 * 60 * attempt)


def checkpoints_json(wildcards):
    """A function, since patterns of paths have braces that the engine would take for its own."""
    return canonical_json(STUDY.model_dump(mode="json"))


def results_folder(wildcards):
    return str(LAYOUT.results)


def figure_tables(wildcards):
    return [str(table_path(table, LAYOUT.results)) for table in figure_entry(wildcards.figure).tables]


def figure_code(wildcards):
    return digest([code("figure"), source_digest(f"glidepath.figures.{wildcards.figure}")])
