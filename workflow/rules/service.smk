# The warm server that jobs are forked from.
import atexit
import subprocess
import tempfile

from snakemake.logging import logger

from glidepath.study.speed import runs_warm

# Two lines of the scheduler per job would drown the progress display.
logger.addFilter(lambda record: not record.getMessage().startswith(("Select jobs to execute", "Execute ")))

SERVICE = []


def start_server(*imports):
    """The warm server, for as long as this workflow runs on this machine; `imports` are modules that its jobs need besides those of every workflow.

    Jobs of a cluster run where the cluster puts them. GLIDEPATH_PLAIN=1 in the environment runs every job as a process of its own: same results, more seconds.
    """
    if SERVICE or workflow.remote_exec:
        return
    Path("scratch").mkdir(exist_ok=True)
    if workflow.local_exec and runs_warm():
        # A UNIX socket's path is limited to about 100 characters, so it cannot live below the working directory.
        socket = f"{tempfile.gettempdir()}/glidepath-{os.getuid()}-{os.getpid()}.socket"
        with open("scratch/service.log", "w") as log:
            launch(["-m", "glidepath.service.server", socket, *imports], stdout=log, stderr=log)
        os.environ.update(GLIDEPATH_SERVER=socket)
    atexit.register(stop_service)


def launch(arguments, **options):
    """Start a helper process that Ctrl-C does not reach; it ends with the workflow."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")])),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    }
    SERVICE.append(subprocess.Popen([sys.executable, *arguments], env=environment, start_new_session=True, **options))


def stop_service():
    """End the helpers; safe to call again."""
    while SERVICE:
        process = SERVICE.pop()
        process.terminate()
        process.wait()
    socket = os.environ.pop("GLIDEPATH_SERVER", None)
    if socket:
        Path(socket).unlink(missing_ok=True)


onsuccess:
    stop_service()


onerror:
    stop_service()
