# What all rules share: the validated study, its plan, and how a command is called.
import atexit
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = str(Path(workflow.basedir) / "src")
sys.path.insert(0, SOURCE)

from glidepath.study.averages import average_specs
from glidepath.study.budget import summary
from glidepath.study.config import parse_study
from glidepath.study.corpus import corpus_id, vocab_size_of
from glidepath.study.figure_list import entry as figure_entry, table_path
from glidepath.study.identity import canonical_json, digest
from glidepath.study.layout import SEGMENT_TABLES, Layout, segment_directory
from glidepath.study.provenance import source_digest
from glidepath.study.segments import plan as plan_study
from glidepath.study.target import target_of

try:
    STUDY = parse_study(dict(config), ", ".join(str(path) for path in workflow.configfiles))
    CORPUS_ID = corpus_id(STUDY.corpus, Path.cwd())
    PLAN = plan_study(STUDY, CORPUS_ID, vocab_size_of(STUDY.corpus, Path.cwd()))
except ValueError as refusal:
    raise WorkflowError(str(refusal)) from None

LAYOUT = Layout(STUDY.study, CORPUS_ID)
STUDY_JSON = canonical_json(STUDY.model_dump(mode="json"))
AVERAGES = {spec.average_id: spec for spec in average_specs(PLAN, STUDY.averaging).values()}

LAW_FILES = [file for law in STUDY.analysis.laws for file in LAYOUT.law_tables(law)]
RESULT_TABLES = ("plan", "runs", *SEGMENT_TABLES, "averages", "noise_scale", "comparisons")
FINAL_FILES = [
    *(LAYOUT.table(table) for table in RESULT_TABLES),
    *LAW_FILES,
    *LAYOUT.figures(),
    f"{LAYOUT.results}/recommendation.json",
    f"{LAYOUT.results}/report.html",
]
TARGET = target_of(STUDY, vocab_size_of(STUDY.corpus, Path.cwd()))

# A thin client of the warm server (see glidepath.service); without a server it becomes `python -m glidepath`.
# The full path of the interpreter: `python` alone is another one when snakemake runs from an inactive environment.
GLIDEPATH = f"{shlex.quote(sys.executable)} -S -E {shlex.quote(SOURCE)}/glidepath/service/client.py"
SERVICE = []


wildcard_constraints:
    segment="[A-Za-z0-9.+_-]+",
    average="[A-Za-z0-9.+_-]+",
    figure="[a-z0-9_]+",
    law="[a-z_]+",


def code(stage):
    """Digest of a stage's sources: editing them runs the stage again, editing their comments does not."""
    return source_digest(f"glidepath.stages.{stage}")


def start_service():
    """The warm server and the progress display, for as long as this workflow runs on this machine.

    GLIDEPATH_PLAIN=1 in the environment runs every job as a process of its own: same results, more seconds.
    """
    if SERVICE or workflow.remote_exec:
        return
    print(summary(STUDY, PLAN), file=sys.stderr)
    Path("scratch").mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")])),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    }
    if not os.environ.get("GLIDEPATH_PLAIN"):
        # A UNIX socket's path is limited to about 100 characters, so it cannot live below the working directory.
        socket = f"{tempfile.gettempdir()}/glidepath-{os.getuid()}-{os.getpid()}.socket"
        with open("scratch/service.log", "w") as log:
            launch(["-m", "glidepath.service.server", socket], env=environment, stdout=log, stderr=log)
        os.environ.update(GLIDEPATH_SERVER=socket)
    watched = Path("scratch") / f"progress-{STUDY.study}.json"
    watched.write_text(canonical_json(watch_list()))
    launch(["-m", "glidepath", "progress", "--watch", str(watched), "--parent", str(os.getpid())], env=environment)
    atexit.register(stop_service)


def launch(arguments, **options):
    """Start a helper process that Ctrl-C does not reach; it ends with the workflow."""
    SERVICE.append(subprocess.Popen([sys.executable, *arguments], start_new_session=True, **options))


def stop_service():
    """End the helpers; safe to call again."""
    while SERVICE:
        process = SERVICE.pop()
        process.terminate()
        process.wait()
    socket = os.environ.pop("GLIDEPATH_SERVER", None)
    if socket:
        Path(socket).unlink(missing_ok=True)


def watch_list():
    """What the progress display needs: each training job with its FLOPs, and all other deliverables."""
    return {
        "study": STUDY.study,
        "cores": workflow.cores or 1,
        "segments": {
            name: {"flops": segment.train_flops_exact, "updates": segment.spec.stop - segment.spec.start}
            for name, segment in PLAN.segments.items()
        },
        "averages": [f"store/averages/{average}/block_losses.parquet" for average in AVERAGES],
        "results": [str(path) for path in FINAL_FILES],
    }


def segment_files(name):
    """That file of every segment."""
    return [f"{segment_directory(segment)}/{name}" for segment in PLAN.segments]
