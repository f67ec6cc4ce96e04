"""How fast this machine does what a study asks for: measured once (`stages.calibrate`), kept, and read here without
anything heavy."""

from __future__ import annotations

import json
import os
import socket
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glidepath.science import schedules
from glidepath.study.cells import ENGINE_VERSION
from glidepath.study.identity import digest
from glidepath.study.segments import Plan, Segment
from glidepath.study.specs import ModelSpec, OptimizerSpec, Spec

KEPT = Path("scratch/calibration")
MOST_BATCHES = 3
"""Batches measured per model; between them the time of an update is interpolated."""
GPU_FROM_PARAMS = 5e6
"""Smaller models are trained faster by the cores than a GPU can be started for them [non-embedding parameters]."""


def needs_gpu(n_params: int) -> bool:
    """Whether a model is trained on a GPU where there is one."""
    return n_params >= GPU_FROM_PARAMS


def gpu_share(n_params: float) -> int:
    """Percent of a GPU that training a model of so many non-embedding parameters takes; 0 keeps it on the cores.

    A guess until it is measured (benchmarks/gpu.py): what a kernel of a small model leaves idle, another cell can use.
    Quarters and halves fit beside each other on a device.
    """
    if not needs_gpu(int(n_params)):
        return 0
    return next((share for below, share in ((2e7, 25), (8e7, 50)) if n_params < below), 100)


def gpu_here() -> bool:
    """Whether this machine has a GPU; found without importing anything heavy."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def runs_warm() -> bool:
    """Whether jobs on this machine are forked from a warm server, as they are unless the user asks for plain ones."""
    return not os.environ.get("GLIDEPATH_PLAIN")


@dataclass(frozen=True)
class Conditions:
    """How training jobs will run on this machine."""

    cores: int
    threads: int
    """Per training job."""
    warm: bool
    """Jobs are forked from the warm server instead of starting Python anew."""

    gpu: bool
    """There is one; jobs that fit onto it together train on it together."""

    @property
    def processes(self) -> int:
        """Training jobs that run side by side on the cores."""
        return max(1, self.cores // self.threads)


class Workload(Spec):
    """What decides how fast a training job runs; its digest is the key under which the speed is kept."""

    engine_version: int
    torch_version: str
    model: ModelSpec
    optimizer: OptimizerSpec
    batch_sequences: int
    norms_every: int
    probed: bool
    gpu_share: int
    """Percent of a GPU that a job takes; 0 is the cores."""
    threads: int
    processes: int
    """Jobs beside each other while it was measured: they share caches and memory."""
    warm: bool

    @property
    def digest(self) -> str:
        return digest(self.model_dump(mode="json"))


class Speed(Spec):
    """Seconds of one job's parts, as a job of the real kind took them."""

    device: str
    update_seconds: float
    """One update without a probe, or with one of the norm layers alone."""
    probed_update_seconds: float
    """One update with a probe of all layers; that of a plain one where the study probes none."""
    evaluation_token_seconds: float
    """One token evaluated."""
    save_seconds: float
    """Writing one state or snapshot."""
    job_seconds: float
    """Everything else of a job, start-up and tables included."""


def workloads(planned: Plan, conditions: Conditions) -> dict[str, list[Workload]]:
    """What there is to measure, by `shape_digest`: its batches, thinned out to a few if they form a ramp."""
    segments: dict[str, list[Segment]] = defaultdict(list)
    for segment in planned.segments.values():
        segments[shape_digest(segment)].append(segment)
    return {key: _workloads(alike, conditions) for key, alike in segments.items()}


def _workloads(alike: list[Segment], conditions: Conditions) -> list[Workload]:
    """The measurements of one model."""
    share = gpu_share(alike[0].n_params) if conditions.gpu else 0
    batches = np.unique(np.concatenate([np.unique(batches_of(segment)) for segment in alike]))
    return [
        Workload(
            engine_version=ENGINE_VERSION,
            torch_version=version("torch"),
            model=alike[0].spec.trajectory.model,
            optimizer=alike[0].spec.trajectory.optimizer,
            batch_sequences=int(batch),
            norms_every=alike[0].spec.recording.norms_every,
            probed=any(segment.spec.recording.probe_every for segment in alike),
            gpu_share=share,
            threads=conditions.threads,
            processes=100 // share if share else conditions.processes,
            warm=conditions.warm,
        )
        for batch in thinned(batches)
    ]


def thinned(batches: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most `MOST_BATCHES` of ascending batches, both ends included, equally spaced in position."""
    if len(batches) <= MOST_BATCHES:
        return batches
    return batches[np.linspace(0, len(batches) - 1, MOST_BATCHES).round().astype(np.int64)]


def batches_of(segment: Segment) -> NDArray[np.int64]:
    """Sequences of each update of a segment, shape [stop - start]."""
    return schedules.batches(segment.spec.trajectory.path.batch_sequences)[segment.spec.start :]


def shape_digest(segment: Segment) -> str:
    """What segments have in common whose updates differ in batch only: model and optimizer."""
    trajectory = segment.spec.trajectory
    return digest([trajectory.model.model_dump(mode="json"), trajectory.optimizer.model_dump(mode="json")])


def kept_file(folder: Path = KEPT) -> Path:
    """Where this machine's speeds are kept."""
    return folder / f"{socket.gethostname()}.json"


def read_speeds(file: Path) -> dict[str, Speed]:
    """Kept speeds by digest of their workload; none if nothing was measured yet."""
    if not file.is_file():
        return {}
    return {key: Speed.model_validate(speed) for key, speed in json.loads(file.read_text(encoding="utf-8")).items()}


def keep_speeds(file: Path, speeds: dict[str, Speed]) -> None:
    """Add speeds to those that are kept."""
    kept = read_speeds(file) | speeds
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    content = {key: speed.model_dump(mode="json") for key, speed in sorted(kept.items())}
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(file)
