# The warm server that jobs are forked from, and the progress display.
import atexit
import subprocess
import sys
import tempfile

from snakemake.logging import logger

# Two lines of the scheduler per job would drown the progress display.
logger.addFilter(lambda record: not record.getMessage().startswith(("Select jobs to execute", "Execute ")))

SERVICE = []


def start_service():
    """The warm server and the progress display, for as long as this workflow runs on this machine.

    Jobs of a cluster run where the cluster puts them. GLIDEPATH_PLAIN=1 in the environment runs every job as a process of its own: same results, more seconds.
    """
    if SERVICE or workflow.remote_exec:
        return
    conditions = Conditions(cores=workflow.cores or 1, threads=1, warm=runs_warm(), gpu=gpu_here())
    print(described(budget(STUDY, PLAN, conditions, read_speeds(kept_file()), Path.cwd())), file=sys.stderr)
    Path("scratch").mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")])),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    }
    if workflow.local_exec and runs_warm():
        # A UNIX socket's path is limited to about 100 characters, so it cannot live below the working directory.
        socket = f"{tempfile.gettempdir()}/glidepath-{os.getuid()}-{os.getpid()}.socket"
        with open("scratch/service.log", "w") as log:
            launch(["-m", "glidepath.service.server", socket], env=environment, stdout=log, stderr=log)
        os.environ.update(GLIDEPATH_SERVER=socket)
    watched = Path("scratch") / f"progress-{STUDY.study}.json"
    watched.write_text(canonical_json(watch_list()))
    launch(
        ["-m", "glidepath", "progress", "--watch", str(watched), "--parent", str(os.getpid())],
        env=environment,
    )
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
