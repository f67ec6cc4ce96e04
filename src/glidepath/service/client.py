"""Run a glidepath command in the warm server, or directly when there is none.

Called as `python -S -E client.py COMMAND …`, with nothing but the standard library's light modules. The
server forks a child that takes over this process' standard streams, directory and environment; this process
waits for its exit status. When this process is killed, the connection closes and the child ends too.
"""

# ruff: noqa: PTH100, PTH109, PTH120  (pathlib would take longer to import than all the rest)

import array
import json
import os
import socket
import sys

SOCKET_VARIABLE = "GLIDEPATH_SERVER"
CONNECT_SECONDS = 60.0


def run_in_server(path: str, argv: list[str]) -> int | None:
    """Exit status of the command in the server, or None when there is no server to talk to."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_SECONDS)
    try:
        connection.connect(path)
    except OSError:
        return None
    connection.settimeout(None)
    request = json.dumps({"argv": argv, "cwd": os.getcwd(), "environ": dict(os.environ)}).encode()
    streams = array.array("i", [0, 1, 2])
    header = len(request).to_bytes(8, "big")
    try:
        connection.sendmsg([header], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        connection.sendall(request)
        answer = connection.recv(8)
    except ConnectionError:
        answer = b""
    # No answer: the child was killed before it could report, as by the kernel for want of memory.
    return int(answer) if answer else 137


def main() -> None:
    argv = sys.argv[1:]
    path = os.environ.get(SOCKET_VARIABLE)
    status = run_in_server(path, argv) if path else None
    if status is None:
        source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        known = [source, os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(part for part in known if part)
        os.execv(sys.executable, [sys.executable, "-m", "glidepath", *argv])
    sys.exit(status)


if __name__ == "__main__":
    main()
