"""Training jobs of the warm server, killed at random instants, end as jobs that ran through: every table, state and
snapshot, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glidepath
from glidepath.corpus import store
from glidepath.science import schedules
from glidepath.service import client
from glidepath.study.layout import SEGMENT_TABLES
from glidepath.study.provenance import host
from glidepath.study.specs import OptimizerSpec, SegmentSpec
from glidepath.training.lock import is_locked
from glidepath.training.resume import previous_path, progress_path
from tests.service.test_service import listens, wait_for
from tests.training.small import counting_tokens, segment_spec

UPDATES = 40
KILLS_PER_CELL = 6
SEED = int(os.environ.get("GLIDEPATH_KILL_SEED", time.time_ns() % 1_000_000))
"""Another at every run; a failure names it, and the variable repeats it."""


# -- cells: each with probes, evaluations and snapshots, a row at every update

RECORDING: dict[str, Any] = {
    "norms_every": 1,
    "evaluate_subset_at": tuple(range(5, UPDATES + 1, 5)),
    "evaluate_full_at": (11, 29, UPDATES),
    "snapshot_at": (3, 8, 17, 23, 24, 31, UPDATES),
    "probe_every": 14,
    "probe_norm_layers_every": 3,
}


def cell(start: int = 0, **path: Any) -> SegmentSpec:
    """A segment to update `UPDATES`; `path` replaces parts of its path or its optimizer."""
    recording = {k: tuple(u for u in v if u > start) if isinstance(v, tuple) else v for k, v in RECORDING.items()}
    spec = segment_spec(start=start, stop=UPDATES, **recording)
    trajectory = spec.trajectory
    changes: dict[str, Any] = {"optimizer": path.pop("optimizer")} if "optimizer" in path else {}
    changes["path"] = trajectory.path.model_copy(update=path)
    return spec.model_copy(update={"trajectory": trajectory.model_copy(update=changes)})


def sequences(spec: SegmentSpec) -> int:
    return spec.trajectory.path.sequences


DECAY_FROM = 60
CONSTANT = cell()
CELLS = {
    "constant, batch doubled": CONSTANT,
    "decay": cell(
        lr=schedules.join(
            schedules.constant(0.01, DECAY_FROM),
            schedules.decay("linear", 0.01, 0.0, sequences(CONSTANT) - DECAY_FROM),
        )
    ),
    "batch ramp": cell(
        batch_sequences=(
            *(schedules.Stage(n, 6) for n in range(1, 6)),
            schedules.Stage(6, UPDATES - 30),
        ),
        **{
            name: schedules.clip(getattr(CONSTANT.trajectory.path, name), 6 * 15 + 6 * (UPDATES - 30))
            for name in ("lr", "weight_decay", "adam_beta1", "adam_beta2")
        },
    ),
    "schedule-free": cell(optimizer=OptimizerSpec(kind="schedule_free_adamw", adam_eps=1e-8, grad_clip_norm=1.0)),
}


# -- the place: a token store, a server, and jobs in folders of their own


@dataclass(frozen=True)
class Place:
    root: Path
    socket: Path
    server: subprocess.Popen[bytes]

    def start(self, spec: SegmentSpec, folder: Path, parent: Path | None = None, **environment: str) -> Job:
        arguments = ["train", "--spec", spec.to_json(), "--corpus", str(self.root / "corpus")]
        arguments += ["--parent-state", str(parent)] if parent else []
        arguments += ["--output", str(folder), "--state", str(folder / "state.safetensors"), "--gpu-share", "0"]
        arguments += ["--scratch", str(folder / "scratch"), "--resume-every-seconds", "0"]
        before = self.children()
        process = subprocess.Popen(
            [sys.executable, "-S", "-E", client.__file__, *arguments],
            env={**os.environ, client.SOCKET_VARIABLE: str(self.socket), **environment},
            cwd=self.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return Job(process, self, before)

    def run(self, spec: SegmentSpec, folder: Path, parent: Path | None = None) -> str:
        """Train to the end and return what was said."""
        job = self.start(spec, folder, parent)
        said, _ = job.client.communicate(timeout=60)
        assert job.client.returncode == 0, said
        return said

    def children(self) -> set[int]:
        text = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text()
        return {int(pid) for pid in text.split()}


@dataclass(frozen=True)
class Job:
    client: subprocess.Popen[str]
    place: Place
    others: set[int]
    """Children that the server had before."""

    def kill(self, number: signal.Signals, after_seconds: float) -> int:
        """Send a signal to the job itself, not to its client, so long after its start; its exit status."""
        wait_for(lambda: bool(self.place.children() - self.others) or self.client.poll() is not None)
        time.sleep(after_seconds)
        for pid in self.place.children() - self.others:
            os.kill(pid, number)
        self.client.communicate(timeout=60)
        return self.client.returncode


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("place")
    write_corpus(root / "corpus")
    # The machine's speed, which the first job would measure for seconds.
    peak = root / "scratch/matmul_peak" / f"{host()}-cpu-1.json"
    peak.parent.mkdir(parents=True)
    peak.write_text("1e11")
    # Not in root: a UNIX socket's path is limited to about 100 characters.
    with tempfile.TemporaryDirectory() as directory:
        socket = Path(directory) / "socket"
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment = {**os.environ, **one_thread, "PYTHONPATH": str(Path(glidepath.__file__).parents[1])}
        command = [sys.executable, "-m", "glidepath.service.server", str(socket), "glidepath.stages.train"]
        with subprocess.Popen(command, env=environment) as server:
            wait_for(lambda: listens(socket))
            yield Place(root, socket, server)
            server.terminate()


def write_corpus(directory: Path) -> None:
    """The counting text as a token store."""
    tokens = counting_tokens()
    directory.mkdir()
    tokens.train.tofile(directory / store.TRAIN)
    np.save(directory / store.TRAIN_DOCUMENTS, np.array([0, len(tokens.train)]))
    for domain in tokens.domains:
        tokens.validation(domain).tofile(directory / store.validation_name(domain))
    files = [store.TRAIN, store.TRAIN_DOCUMENTS, *map(store.validation_name, tokens.domains)]
    store.write_manifest(
        directory,
        dict.fromkeys(files, ""),
        {
            "dtype": "<u2",
            "vocab_size": tokens.vocab_size,
            "domains": {domain: {"bytes_per_token": tokens.bytes_per_token(domain)} for domain in tokens.domains},
        },
    )


@dataclass(frozen=True)
class Untouched:
    """Jobs that ran through."""

    folders: dict[str, Path]
    seconds: float
    """Duration of the shortest: the first one waits for the server's imports."""


@pytest.fixture(scope="module")
def untouched(place: Place) -> Untouched:
    folders, seconds = {}, []
    for name, spec in CELLS.items():
        folders[name] = place.root / f"{name} untouched"
        began = time.monotonic()
        place.run(spec, folders[name])
        seconds.append(time.monotonic() - began)
    return Untouched(folders, min(seconds))


def assert_same(killed: Path, untouched: Path, why: str) -> None:
    """Same files, same bytes; what was measured about time is no result."""
    names = sorted(path.name for path in untouched.iterdir())
    assert sorted(path.name for path in killed.iterdir()) == names, why
    assert {f"{table}.parquet" for table in SEGMENT_TABLES} < set(names)
    for name in names:
        if name == "segment.json":
            records = [json.loads((folder / name).read_text()) for folder in (killed, untouched)]
            for record in records:
                del record["timing"]
            assert records[0] == records[1], why
        else:
            assert (killed / name).read_bytes() == (untouched / name).read_bytes(), f"{name}: {why}"


def killed_often(
    place: Place, spec: SegmentSpec, folder: Path, seconds: float, signals: Callable[[], signal.Signals], seed: int
) -> list[int]:
    """Start a job again and again, kill it at random instants, and let the last one end; exit statuses of those that
    were hit before they ended."""
    chance = random.Random(seed)
    statuses = []
    for _ in range(KILLS_PER_CELL):
        # Lives are short, so that many are needed.
        status = place.start(spec, folder).kill(signals(), chance.uniform(0.0, 0.4 * seconds))
        if status == 0:
            return statuses
        statuses.append(status)
    # Even if all files are there: it may have been killed while it tidied up, and its caller counts it as failed.
    place.run(spec, folder)
    return statuses


@pytest.mark.parametrize("name", CELLS)
def test_killed_jobs_end_as_if_they_had_not_been(place: Place, untouched: Untouched, name: str) -> None:
    """SIGKILL, until the job has been hit `KILLS_PER_CELL` times: a job that ends before is done over."""
    hits, seed = 0, SEED
    while hits < KILLS_PER_CELL:
        folder = place.root / f"{name} killed {seed}"
        statuses = killed_often(place, CELLS[name], folder, untouched.seconds, lambda: signal.SIGKILL, seed)
        assert set(statuses) <= {137}, f"seed {seed}"
        assert_same(folder, untouched.folders[name], f"seed {seed}, {len(statuses)} kills")
        hits += len(statuses)
        seed += 1


@pytest.mark.parametrize("name", ["constant, batch doubled", "schedule-free"])
def test_a_mixture_of_terminations_and_kills(place: Place, untouched: Untouched, name: str) -> None:
    """A job that is asked to end saves and exits with 143, or is so early that it had nothing to save."""
    chance = random.Random(SEED)
    folder = place.root / f"{name} terminated"
    either = (signal.SIGTERM, signal.SIGKILL)
    statuses = killed_often(place, CELLS[name], folder, untouched.seconds, lambda: chance.choice(either), SEED)
    assert set(statuses) <= {137, 143}, f"seed {SEED}"
    assert_same(folder, untouched.folders[name], f"seed {SEED}, statuses {statuses}")


def test_a_job_that_is_asked_to_end_saves_first(place: Place, untouched: Untouched) -> None:
    name = "constant, batch doubled"
    folder = place.root / "asked to end"
    job = place.start(CELLS[name], folder)
    wait_for(lambda: (folder / "scratch/progress").exists())
    assert is_locked(folder / "scratch")
    assert job.kill(signal.SIGTERM, 0.0) == 143
    assert not is_locked(folder / "scratch")
    assert progress_path(folder / "scratch").is_file()
    said = place.run(CELLS[name], folder)
    assert said == ""
    assert_same(folder, untouched.folders[name], "terminated once")


def test_a_second_job_is_told_who_has_the_scratch(place: Place, untouched: Untouched) -> None:
    name = "decay"
    folder = place.root / "two at once"
    first = place.start(CELLS[name], folder)
    wait_for(lambda: is_locked(folder / "scratch") and (folder / "scratch/progress").exists())
    (pid,) = place.children() - first.others
    os.kill(pid, signal.SIGSTOP)
    second = place.start(CELLS[name], folder)
    said, _ = second.client.communicate(timeout=60)
    os.kill(pid, signal.SIGCONT)
    assert second.client.returncode == 1
    assert f"scratch is in use by another process (pid {pid}): wait for it or stop it" in said
    first.client.communicate(timeout=60)
    assert first.client.returncode == 0
    assert_same(folder, untouched.folders[name], "beside a second one")


def test_a_killed_branch_continues_from_its_parent(place: Place, untouched: Untouched) -> None:
    """The second segment of a trajectory, and what becomes of it when its parent's state goes bad."""
    trunk, branch = place.root / "trunk", cell(start=20)
    stem = segment_spec(stop=20)
    place.run(stem.model_copy(update={"trajectory": branch.trajectory.clip(20)}), trunk)
    state = trunk / "state.safetensors"
    place.run(branch, place.root / "branch untouched", state)
    chance = random.Random(SEED)
    for _ in range(4):
        after_seconds = chance.uniform(0.0, 0.3 * untouched.seconds)
        if place.start(branch, place.root / "branch", state).kill(signal.SIGKILL, after_seconds) == 0:
            break
    else:
        place.run(branch, place.root / "branch", state)
    assert_same(place.root / "branch", place.root / "branch untouched", f"seed {SEED}")

    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    job = place.start(branch, place.root / "orphan", state)
    said, _ = job.client.communicate(timeout=60)
    assert job.client.returncode == 1
    assert f"{state} is damaged" in said
    assert f"delete {trunk} and run again; only that segment is trained anew" in said
    assert state.stat().st_size == len(whole) // 2


def test_damage_between_two_lives_is_said_and_costs_time_only(place: Place, untouched: Untouched) -> None:
    name = "batch ramp"
    folder = place.root / "damaged"
    job = place.start(CELLS[name], folder)
    wait_for(lambda: previous_path(folder / "scratch").exists() and progress_path(folder / "scratch").exists())
    assert job.kill(signal.SIGKILL, 0.0) == 137
    newest = progress_path(folder / "scratch")
    if newest.exists():
        newest.write_bytes(newest.read_bytes()[:-10])
        assert f"{newest} is damaged" in place.run(CELLS[name], folder)
    else:
        place.run(CELLS[name], folder)
    assert_same(folder, untouched.folders[name], "damaged")


SMALL_DISK = """
import shutil, subprocess, sys
from glidepath.__main__ import main

def train(output, state, scratch):
    arguments = ["--output", output, "--state", state, "--scratch", scratch, "--resume-every-seconds", "0"]
    try:
        print(main(["train", "--spec", sys.argv[1], "--corpus", "corpus", "--gpu-share", "0", *arguments]))
    except OSError as error:
        print(error)
    sys.stdout.flush()

train("full scratch", "full scratch/state.safetensors", "/mnt/scratch")
shutil.rmtree("/mnt/scratch", ignore_errors=True)
print("--")
train("/mnt/output", "full output/state.safetensors", "full output/scratch")
subprocess.run(["mount", "-o", "remount,size=1m", "/mnt"], check=True)
train("/mnt/output", "full output/state.safetensors", "full output/scratch")
shutil.copytree("/mnt/output", "full output", dirs_exist_ok=True)
"""


def test_a_full_disk_costs_no_training(place: Place, untouched: Untouched) -> None:
    """First nothing of progress can be written, nor the heartbeat: the job ends all the same. Then the end state can,
    but the tables cannot: the job fails, and with room the next continues. In a file system of two pages."""
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = "mount -t tmpfs -o size=8k tmpfs /mnt"
    if subprocess.run([*mounted, mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    # Without snapshots, which a job must be able to write.
    spec = CONSTANT.model_copy(update={"recording": CONSTANT.recording.model_copy(update={"snapshot_at": ()})})
    done = subprocess.run(
        [*mounted, f'{mount} && exec "$@"', "sh", sys.executable, "-c", SMALL_DISK, spec.to_json()],
        env={**os.environ, "PYTHONPATH": str(Path(glidepath.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        cwd=place.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    first, second = (said.splitlines() for said in done.stdout.split("--\n"))
    assert len([line for line in first if "could not be saved" in line]) == UPDATES - 1
    assert first[-1] == "0"
    assert "No space left on device" in second[0]
    assert "the tables of /mnt/output could not be written; make room and run again, which continues from" in second[0]
    assert second[1:] == ["0"]
    for folder in ("full scratch", "full output"):
        for name in ("state.safetensors", *(f"{table}.parquet" for table in SEGMENT_TABLES)):
            expected = untouched.folders["constant, batch doubled"] / name
            assert (place.root / folder / name).read_bytes() == expected.read_bytes(), (folder, name)
