"""Measure how fast this machine does what a study asks for: a few real training jobs of each shape, side by side as the
study's own jobs will run, on random tokens.

The jobs go the way of every job, through the command line and the warm server, so that what is measured is what is
predicted: nothing here knows how the engine trains.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import glidepath
from glidepath.corpus import store
from glidepath.science import schedules
from glidepath.study import journal
from glidepath.study.cells import flops_per_token
from glidepath.study.specs import ModelSpec, PathSpec, Recording, SegmentSpec, Trajectory
from glidepath.study.speed import Speed, Workload

SERVER_VARIABLE = "GLIDEPATH_SERVER"
SECONDS, ROUNDS = 0.4, 3
"""Time of the updates of one measurement, and measurements per workload: their median counts, so that a moment of other
work on the machine does not."""
MOST_UPDATES = 200
TRIAL_FLOPS, MOST_TRIAL_UPDATES = 2e9, 8
"""The trial that finds how many updates fill these seconds. Nothing else is kept of it: it waits for the server's
imports."""
LR = 1e-6
"""Too small to diverge on random tokens."""
LARGEST_UPDATE_FLOPS, LARGEST_UPDATE_FLOPS_GPU = 1e11, 1e14
"""Some seconds of work. A larger update is measured with fewer sequences and counted in proportion; a model of which
not even one sequence fits is not measured."""
PROBED_EVERY = 8
TRAIN_TOKENS = 200_000
EVALUATED_TOKENS = 16_384
DOMAIN = "calibration"
JOURNAL = "journal.jsonl"


def measure(wanted: Sequence[Workload]) -> dict[str, Speed]:
    """Speeds by digest of their workload. Workloads that are too large to be measured are left out, and so, with a
    warning, are those whose jobs fail: a study must not wait for a number that only its budget needs.
    """
    found: dict[str, Speed] = {}
    if not wanted:
        return found
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glidepath-calibration-")))
        environment = stack.enter_context(service(wanted[0].warm, folder))
        for workload in wanted:
            if (sequences := _affordable_sequences(workload)) is None:
                continue
            try:
                found[workload.digest] = Jobs(workload, sequences, folder, environment).speed()
            except (RuntimeError, OSError) as error:
                shape = f"{workload.model.n_layer} layers of width {workload.model.d_model}"
                print(f"warning: the speed of {shape} stays unknown: {error}", file=sys.stderr)
    return found


def _affordable_sequences(workload: Workload) -> int | None:
    """Sequences per update that are affordable; None if not even one is."""
    one = flops_per_token(workload.model) * workload.model.context_length
    affordable = int((LARGEST_UPDATE_FLOPS_GPU if workload.gpu_share else LARGEST_UPDATE_FLOPS) / one)
    return min(workload.batch_sequences, affordable) or None


@dataclass(frozen=True)
class Jobs:
    """Jobs of one workload."""

    workload: Workload
    sequences: int
    """Of one update."""
    folder: Path
    environment: dict[str, str]

    def speed(self) -> Speed:
        """A trial, then medians of a few measurements."""
        tokens = self.sequences * self.workload.model.context_length
        update_flops = flops_per_token(self.workload.model) * tokens
        updates = min(max(1, int(TRIAL_FLOPS / update_flops)), MOST_TRIAL_UPDATES)
        seconds = self.run(updates)["update_seconds"]
        rounds = ROUNDS if seconds * updates < SECONDS else 1
        updates = min(max(updates, round(SECONDS / seconds)), MOST_UPDATES)
        parts = _combined([self.run(updates) for _ in range(rounds)], np.median)
        scale = self.workload.batch_sequences / self.sequences
        for name in ("update_seconds", "probed_update_seconds"):
            parts[name] *= scale
        return Speed.model_validate(parts)

    def run(self, updates: int) -> dict[str, Any]:
        """Run the jobs at once; the parts of one, as `Speed` has them.

        Raises RuntimeError with the end of its log if one fails.
        """
        spec = self._spec(updates)
        tokens = _token_store(self.folder, self.workload.model)
        # A folder of their own: what a job that failed has left must not be continued.
        folder = Path(tempfile.mkdtemp(prefix="jobs-", dir=self.folder))
        places = [folder / f"job-{i}" for i in range(self.workload.processes)]
        began = time.perf_counter()
        running = [self._start(spec, tokens, place) for place in places]
        ended = [(process.communicate()[0], time.perf_counter() - began, process.returncode) for process in running]
        if failed := [log for log, _, returncode in ended if returncode]:
            raise RuntimeError(f"a training job of the calibration failed:\n{failed[0].decode()[-2000:]}")
        parts = []
        for place, (_, wall, _) in zip(places, ended, strict=True):
            record = json.loads((place / "segment.json").read_text(encoding="utf-8"))
            parts.append(_parts(spec, record["timing"], wall, self._undisturbed(place)) | {"device": record["device"]})
        shutil.rmtree(folder)
        return _combined(parts, np.mean)

    def _undisturbed(self, place: Path) -> float:
        """Share of its time that a job on the cores got to work. What is kept must not depend on what else ran."""
        if self.workload.gpu_share or self.workload.threads > 1:
            return 1.0  # A process that waits for the device, or for its own threads, is not disturbed.
        (entry,) = (e for e in journal.read(self.folder / JOURNAL) if e.output == str(place))
        return min(1.0, entry.cpu_seconds / entry.seconds)

    def _start(self, spec: SegmentSpec, tokens: Path, place: Path) -> subprocess.Popen[bytes]:
        client = Path(glidepath.__file__).parent / "service/client.py"
        arguments = ["--spec", spec.to_json(), "--corpus", str(tokens), "--parent-state", "--output", str(place)]
        arguments += ["--state", str(place / "state.safetensors"), "--scratch", str(place / "scratch")]
        arguments += ["--threads", str(self.workload.threads), "--gpu-share", str(self.workload.gpu_share)]
        return subprocess.Popen(
            [sys.executable, "-S", "-E", str(client), "train", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _spec(self, updates: int) -> SegmentSpec:
        """A few updates of this model and batch."""
        length = updates * self.sequences
        path = PathSpec(
            batch_sequences=(schedules.Stage(self.sequences, updates),),
            lr=schedules.constant(LR, length),
            weight_decay=schedules.constant(0.1, length),
            adam_beta1=schedules.constant(0.9, length),
            adam_beta2=schedules.constant(0.95, length),
        )
        trajectory = Trajectory(
            engine_version=self.workload.engine_version,
            corpus_id=DOMAIN,
            model=self.workload.model,
            optimizer=self.workload.optimizer,
            plateau=None,
            init_seed=0,
            data_seed=0,
            path=path,
        )
        probed = self.workload.probed and self.sequences > 1 and updates > 1
        recording = Recording(
            norms_every=self.workload.norms_every,
            evaluate_subset_at=(),
            evaluate_full_at=(updates,),
            snapshot_at=(updates,),
            probe_every=min(PROBED_EVERY, updates) if probed else 0,
            probe_norm_layers_every=int(probed),
            subset_blocks=1,
        )
        return SegmentSpec(trajectory=trajectory, start=0, recording=recording)


def _parts(spec: SegmentSpec, timing: dict[str, float], wall_seconds: float, undisturbed: float) -> dict[str, Any]:
    """What a job says about itself, per unit of work, as if nothing else had run beside the study's own jobs."""
    context_length = spec.trajectory.model.context_length
    probed = spec.stop // spec.recording.probe_every if spec.recording.probe_every else 0
    update_seconds = timing["updates"] / (spec.stop - probed)
    known = sum(timing[part] for part in ("updates", "probes", "evaluation", "snapshots"))
    parts = {
        "update_seconds": update_seconds,
        "probed_update_seconds": timing["probes"] / probed if probed else update_seconds,
        "evaluation_token_seconds": timing["evaluation"] / _evaluated_tokens(context_length),
        "save_seconds": timing["snapshots"] / 2,
        "job_seconds": wall_seconds - known,
    }
    return {name: undisturbed * seconds for name, seconds in parts.items()}


def _combined(several: list[dict[str, Any]], how: Callable[[list[float]], Any]) -> dict[str, Any]:
    """Parts of several jobs as those of one."""
    return {
        name: value if isinstance(value, str) else float(how([parts[name] for parts in several]))
        for name, value in several[0].items()
    }


def _evaluated_tokens(context_length: int) -> int:
    """Whole blocks, at least one."""
    return max(1, EVALUATED_TOKENS // context_length) * context_length


def _token_store(parent: Path, model: ModelSpec) -> Path:
    """Random tokens as a token store; made once per vocabulary and context."""
    folder = parent / f"tokens-{model.vocab_size}-{model.context_length}"
    if folder.is_dir():
        return folder
    folder.mkdir()
    dtype = store.token_dtype(model.vocab_size)
    n_train = max(TRAIN_TOKENS, 2 * model.context_length)
    tokens = np.random.default_rng(0).integers(0, model.vocab_size, n_train).astype(dtype)
    tokens.tofile(folder / store.TRAIN)
    tokens[: _evaluated_tokens(model.context_length) + 1].tofile(folder / store.validation_name(DOMAIN))
    np.save(folder / store.TRAIN_DOCUMENTS, np.array([0, n_train], dtype=np.int64))
    store.write_manifest(
        folder,
        {},
        {
            "dtype": dtype.str,
            "vocab_size": model.vocab_size,
            "end_of_document": 0,
            "n_train_tokens": n_train,
            "domains": {DOMAIN: {"bytes_per_token": 1.0}},
        },
    )
    return folder


@contextmanager
def service(warm: bool, folder: Path) -> Iterator[dict[str, str]]:
    """Environment in which the client finds a warm server: that of the workflow, or one of our own while this lasts."""
    source = str(Path(glidepath.__file__).parents[1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    }
    environment[journal.VARIABLE] = str(folder / JOURNAL)
    if not warm:
        environment.pop(SERVER_VARIABLE, None)
    if not warm or SERVER_VARIABLE in environment:
        yield environment
        return
    socket = folder / "socket"
    with (folder / "service.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "glidepath.service.server", str(socket), "glidepath.stages.train"],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        while not socket.exists() and server.poll() is None:
            time.sleep(0.02)
        yield {**environment, SERVER_VARIABLE: str(socket)}
    finally:
        server.terminate()
        server.wait()
