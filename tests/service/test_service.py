"""A real server and real clients: whatever a job does arrives as if the client had done it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import glidepath
from glidepath.service import client
from tests.study.studies import GOOD

SERVER = """
import os, sys, time
from pathlib import Path
import glidepath.__main__ as commands
from glidepath.service.server import serve

def job(argv):
    if argv[0] == "tell":
        print(os.getcwd(), os.environ.get("TOLD"), "HOME" in os.environ, sys.stdin.read())
        print("to stderr", file=sys.stderr)
        return int(argv[1])
    if argv[0] == "exit":
        sys.exit(int(argv[1]) if argv[1].isdigit() else argv[1])
    if argv[0] == "raise":
        raise RuntimeError("broken code")
    if argv[0] == "sleep":
        Path(argv[1]).write_text(str(os.getpid()))
        time.sleep(60)
    return plain(argv)

plain, commands.main = commands.main, job
serve(Path(sys.argv[1]), warm_imports=("no_such_module",))
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(glidepath.__file__).parents[1])}
CLIENT = [sys.executable, "-S", "-E", client.__file__]


@dataclass(frozen=True)
class Server:
    path: Path
    process: subprocess.Popen[bytes]

    def start(self, *argv: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        environment = {**os.environ, client.SOCKET_VARIABLE: str(self.path), "TOLD": "by the client"}
        return subprocess.Popen(
            [*CLIENT, *argv],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
        )

    def run(self, *argv: str, given: str = "", cwd: Path | None = None) -> tuple[int, str, str]:
        with self.start(*argv, cwd=cwd) as process:
            out, err = process.communicate(given, timeout=60)
        return process.returncode, out, err


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Not in tmp_path: a UNIX socket's path is limited to about 100 characters.
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "socket"
        with subprocess.Popen([sys.executable, "-c", SERVER, str(path)], env=ENVIRONMENT) as process:
            wait_for(lambda: listens(path))
            yield Server(path, process)
            process.terminate()


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_streams_directory_and_environment_are_the_clients(server: Server, tmp_path: Path) -> None:
    status, out, err = server.run("tell", "0", given="from stdin", cwd=tmp_path)
    assert status == 0
    assert out == f"{tmp_path} by the client {'HOME' in os.environ} from stdin\n"
    assert err == "to stderr\n"


@pytest.mark.parametrize("status", [0, 1, 2, 143])
def test_the_exit_status_passes_through(server: Server, status: int) -> None:
    assert server.run("tell", str(status))[0] == status
    assert server.run("exit", str(status))[0] == status


def test_a_broken_job_leaves_its_traceback_and_the_server_alive(server: Server) -> None:
    status, _, err = server.run("raise")
    assert status == 1
    assert err.rstrip().endswith("RuntimeError: broken code")
    assert server.run("tell", "7")[0] == 7


def test_words_of_sys_exit_go_to_stderr(server: Server) -> None:
    assert server.run("exit", "words") == (1, "", "words\n")


def test_jobs_run_at_the_same_time(server: Server, tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.pid" for i in range(3)]
    clients = [server.start("sleep", str(file)) for file in files]
    wait_for(lambda: all(file.exists() and file.read_text() for file in files))
    assert len({file.read_text() for file in files}) == 3
    for process in clients:
        process.kill()
        process.communicate()


def test_a_killed_child_is_137(server: Server, tmp_path: Path) -> None:
    """As the kernel kills for want of memory."""
    with server.start("sleep", str(tmp_path / "pid")) as process:
        os.kill(pid_in(tmp_path / "pid"), signal.SIGKILL)
        process.communicate(timeout=30)
    assert process.returncode == 137


def test_a_killed_client_takes_its_child_with_it(server: Server, tmp_path: Path) -> None:
    with server.start("sleep", str(tmp_path / "pid")) as process:
        pid = pid_in(tmp_path / "pid")
        assert is_alive(pid)
        process.kill()
        process.communicate(timeout=30)
    wait_for(lambda: not is_alive(pid))
    assert server.run("tell", "0")[0] == 0


def pid_in(file: Path) -> int:
    wait_for(lambda: file.exists() and file.read_text() != "")
    return int(file.read_text())


def is_alive(pid: int) -> bool:
    """Whether it runs; what nobody has waited for has ended too."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return connection.connect_ex(str(path)) == 0


def test_a_client_that_is_killed_while_it_asks_leaves_no_child(server: Server) -> None:
    def children() -> str:
        return Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()

    for sent in (b"", (100).to_bytes(8, "big") + b'{"argv"'):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(server.path))
            connection.sendall(sent)
        wait_for(lambda: children() == "")
    assert server.run("tell", "0")[0] == 0


@pytest.mark.parametrize("good", [True, False])
def test_without_a_server_the_plain_command_says_the_same(server: Server, tmp_path: Path, good: bool) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(GOOD | ({} if good else {"unknown": 1})))
    served = server.run("plan", "study.yaml", "--no-calibration", cwd=tmp_path)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for gone in ({}, {client.SOCKET_VARIABLE: str(tmp_path / "no-socket")}):
        plain = subprocess.run(
            [*CLIENT, "plan", "study.yaml", "--no-calibration"],
            env=environment | gone,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert (plain.returncode, plain.stdout, plain.stderr) == served
    assert served[0] == (0 if good else 2)


def test_the_server_ends_with_whoever_started_it(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "socket"
        program = (
            "import subprocess, sys, time; from pathlib import Path\n"
            "server = subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]])\n"
            "Path(sys.argv[3]).write_text(str(server.pid)); time.sleep(60)\n"
        )
        command = [sys.executable, "-c", program, SERVER, str(path), str(tmp_path / "pid")]
        with subprocess.Popen(command, env=ENVIRONMENT) as starter:
            pid = pid_in(tmp_path / "pid")
            wait_for(lambda: listens(path))
            starter.kill()
        wait_for(lambda: not is_alive(pid))
