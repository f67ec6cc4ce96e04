"""The warm server: listen on a UNIX socket, fork a child per command (see the package's docstring).

Everything heavy is imported before the first fork and nothing is computed, so that the children start without
threads of their parent's: thread counts are theirs to set, and results equal those of the plain command bit
for bit.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

from glidepath.study.provenance import source_digest, versions

WARM_IMPORTS = (
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "scipy.optimize",
    "scipy.signal",
    "scipy.stats",
    "matplotlib.figure",
    "matplotlib.backends.backend_svg",
    "matplotlib.backends.backend_pdf",
    "glidepath.stages.fit",
    "glidepath.stages.recommend",
)
"""What every workflow's jobs need; those that train need PyTorch besides, which the stages that use it bring."""
PR_SET_PDEATHSIG = 1


def serve(socket_path: Path, warm_imports: Sequence[str]) -> None:
    """Serve until the process that started this one ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    socket_path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(socket_path))
    listener.listen(128)
    for name in warm_imports:
        # A module that cannot be imported is the business of the job that needs it, whose log then says so.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if "glidepath.stages.train" in sys.modules:
        # Every training job records these; reading them is slower than the smallest job's start.
        source_digest("glidepath.stages.train")
        versions()
    # What is here stays: a child's collector need not visit it, which would copy its pages.
    gc.collect()
    gc.freeze()
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os._exit(_serve_one(connection))
        connection.close()


def _serve_one(connection: socket.socket) -> int:
    """In the child: become the client as far as streams, directory and environment go, run, report."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    header, streams, _, _ = socket.recv_fds(connection, 8, 3)
    request = b""
    while len(request) < int.from_bytes(header, "big") and (more := connection.recv(1 << 20)):
        request += more
    if not request.endswith(b"}"):
        return 1  # The client was killed while it asked.
    asked = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environ"])
    threading.Thread(target=_end_with_client, args=(connection,), daemon=True).start()
    status = _run(asked["argv"])
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(str(status).encode())
    return status


def _end_with_client(connection: socket.socket) -> None:
    """The client never sends a second byte: end of file means that it is gone, so this job must go too."""
    if not connection.recv(1):
        os.kill(os.getpid(), signal.SIGTERM)


def _run(argv: list[str]) -> int:
    from glidepath.__main__ import main

    try:
        return main(argv)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    serve(Path(sys.argv[1]), (*WARM_IMPORTS, *sys.argv[2:]))
