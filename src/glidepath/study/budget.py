"""What a study will cost, stage by stage, before anything runs: jobs, FLOPs, time here, disk, and what sharing saves.

Times come from speeds that were measured on this machine (`study.job_times`); without them there are none. Everything
here is cheap: the workflow prints it whenever it starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from glidepath.study.averages import AverageSpec, average_specs
from glidepath.study.cells import param_counts
from glidepath.study.config import StudyConfig
from glidepath.study.coordinates import CoordinateCheckSpec, coordinate_check_spec
from glidepath.study.corpus_config import CorpusConfig, Domain, Files
from glidepath.study.corpus_files import matched_files
from glidepath.study.figure_list import figures_of
from glidepath.study.job_times import JobTimes
from glidepath.study.positions import PositionSpec, position_specs
from glidepath.study.segments import Plan
from glidepath.study.speed import Conditions, Speed, gpu_share

BYTES_PER_PARAMETER = 4
STATE_COPIES = 3
"""A state holds the weights and both moments."""
READ_BYTES_PER_SECOND = 30e6
"""Reading and dividing a source, by one process."""
ENVIRONMENT_BYTES = {"python_environment": 127e6, "c_headers": 45e6}
"""Text that a source of the environment is chosen from: all of it is read, whatever `max_bytes`."""
ENCODED_BYTES_PER_CORE_SECOND = 2e6
"""Training a tokenizer and encoding. These rates were measured once, on two cores."""
TOKEN_BYTES_PER_TEXT_BYTE = 0.9
"""Two bytes per token of 2.2 bytes of text, as of a vocabulary of 512; larger vocabularies need less."""
ANALYSIS_SECONDS = {
    "cells": 0.5,
    "collect": 0.5,
    "collect-averages": 0.5,
    "collect-positions": 0.5,
    "noise-scale": 0.5,
    "ema-view": 0.5,
    "compare": 0.5,
    "compare-laws": 0.5,
    "large-lr": 0.5,
    "spike-removal": 0.5,
    "fit": 0.5,
    "recommend": 1.0,
    "figure": 1.0,
}
"""Guesses for one job [core s], from two cores; and for what grows with the study:"""
COLLECT_SECONDS_PER_CELL = 0.02
FIT_SECONDS_PER_SAMPLE = 1e-3
FIT_SECONDS_PER_CELL = {
    "annealing": 0.03,
    "multi_power": 0.12,
    "convex_bound": 0.08,
    "annealing_over_sizes": 0.03,
    "multi_power_over_sizes": 0.17,
}
"""Laws of loss curves, which hide every schedule in turn."""


@dataclass(frozen=True)
class StageBudget:
    """One stage. A time is None where a speed that it needs is not known."""

    stage: str
    cells: int
    jobs: int
    tokens: int
    train_flops_exact: float
    unshared_train_flops_exact: float
    """If every cell were trained alone."""
    core_seconds: float | None
    unshared_core_seconds: float | None
    wall_seconds: float | None
    """On all cores of this machine, nothing else running."""
    disk_bytes: float

    @property
    def sharing_factor(self) -> float | None:
        """FLOPs without shared prefixes over FLOPs with them; None for a stage that does not train."""
        return self.unshared_train_flops_exact / self.train_flops_exact if self.train_flops_exact else None


@dataclass(frozen=True)
class Budget:
    """The stages of a study and their sum."""

    study: str
    conditions: Conditions
    stages: tuple[StageBudget, ...]
    unmeasured: tuple[str, ...]
    """Models whose speed on this machine is not known."""

    @property
    def total(self) -> StageBudget:
        """The sum of the stages, which follow each other; cells are counted once."""
        return StageBudget(
            stage="total",
            cells=max(stage.cells for stage in self.stages),
            jobs=sum(stage.jobs for stage in self.stages),
            tokens=sum(stage.tokens for stage in self.stages),
            train_flops_exact=sum(stage.train_flops_exact for stage in self.stages),
            unshared_train_flops_exact=sum(stage.unshared_train_flops_exact for stage in self.stages),
            core_seconds=_sum(stage.core_seconds for stage in self.stages),
            unshared_core_seconds=_sum(stage.unshared_core_seconds for stage in self.stages),
            wall_seconds=_sum(stage.wall_seconds for stage in self.stages),
            disk_bytes=sum(stage.disk_bytes for stage in self.stages),
        )


def budget(
    study: StudyConfig, planned: Plan, conditions: Conditions, speeds: Mapping[str, Speed], base: Path
) -> Budget:
    """What a study costs if nothing of it is there yet; `speeds` by digest of their `Workload`, `base` the directory
    that the paths of its text are relative to.

    Training takes the longer of all core-seconds over the cores and the longest chain of segments: a segment cannot
    start before its parent ends. Jobs that a GPU trains wait for their
    share of it.
    """
    job_times = JobTimes.of(study, planned, conditions, speeds)
    return Budget(
        study=study.study,
        conditions=conditions,
        stages=(
            _tokenize(study.corpus, conditions, base),
            _train(planned, job_times),
            _average(planned, average_specs(planned, study.averaging), position_specs(planned, study), job_times),
            _coordinate_check(coordinate_check_spec(study, planned.cells[0].trajectory.model.vocab_size), job_times),
            _analysis(study, len(planned.cells), conditions),
        ),
        unmeasured=tuple(sorted(job_times.unmeasured(planned))),
    )


def _tokenize(corpus: CorpusConfig, conditions: Conditions, base: Path) -> StageBudget:
    """Known where the size of every source is, or its text is bounded."""
    sizes = [_source_bytes(domain, base) for domain in corpus.domains]
    known = [size for size in sizes if size is not None]
    text_bytes = sum(
        min(size, domain.max_bytes or size) for domain, size in zip(corpus.domains, sizes, strict=True) if size
    )
    read_seconds = sum(known) / READ_BYTES_PER_SECOND
    encode_seconds = text_bytes / ENCODED_BYTES_PER_CORE_SECOND
    wall_seconds = read_seconds + encode_seconds / conditions.cores
    return _stage(
        "tokenize",
        jobs=1,
        core_seconds=None if None in sizes else read_seconds + encode_seconds,
        wall_seconds=None if None in sizes else wall_seconds,
        disk_bytes=TOKEN_BYTES_PER_TEXT_BYTE * text_bytes,
    )


def _source_bytes(domain: Domain, base: Path) -> float | None:
    """Text that is read to choose from; that of compressed files is more than their size."""
    if isinstance(domain.source, Files):
        return sum(file.location.stat().st_size for file in matched_files(domain, domain.source, base))
    return ENVIRONMENT_BYTES.get(domain.source.kind, domain.max_bytes)


def _train(planned: Plan, job_times: JobTimes) -> StageBudget:
    threads = job_times.conditions.threads
    seconds = {name: job_times.job_seconds(segment) for name, segment in planned.segments.items()}
    ends: dict[str, float] = {}
    for name, segment in planned.segments.items():
        ends[name] = (seconds[name] or 0.0) + (ends[segment.parent] if segment.parent else 0.0)
    core_seconds = _sum(_times(s, threads) for s in seconds.values())
    shares = {name: gpu_share(s.n_params) if job_times.conditions.gpu else 0 for name, s in planned.segments.items()}
    gpu_seconds = sum(share / 100 * (seconds[name] or 0.0) for name, share in shares.items())
    on_cores = sum(threads * (seconds[name] or 0.0) for name, share in shares.items() if not share)
    return StageBudget(
        stage="train",
        cells=len(planned.cells),
        jobs=len(planned.segments),
        tokens=sum(segment.tokens for segment in planned.segments.values()),
        train_flops_exact=sum(segment.train_flops_exact for segment in planned.segments.values()),
        unshared_train_flops_exact=sum(cell.train_flops_per_token * cell.token_horizon for cell in planned.cells),
        core_seconds=core_seconds,
        unshared_core_seconds=_sum(
            _times(_sum(seconds[name] for name in planned.chains[cell.cell_id]), threads) for cell in planned.cells
        ),
        wall_seconds=None
        if core_seconds is None
        else max(on_cores / job_times.conditions.cores, gpu_seconds, *ends.values()),
        disk_bytes=sum(
            BYTES_PER_PARAMETER
            * param_counts(segment.spec.trajectory.model).n_params_total
            * (STATE_COPIES + len(segment.spec.recording.snapshot_at))
            for segment in planned.segments.values()
        ),
    )


def _average(
    planned: Plan, averages: Mapping[str, AverageSpec], positions: Mapping[str, PositionSpec], job_times: JobTimes
) -> StageBudget:
    """What is done with snapshots: averages, and losses by position."""
    core_seconds = _sum(
        [
            *(job_times.average_seconds(planned, spec) for spec in averages.values()),
            *(job_times.position_seconds(planned, spec) for spec in positions.values()),
        ]
    )
    return _stage(
        "average",
        cells=len(averages),
        jobs=len(averages) + len(positions),
        core_seconds=core_seconds,
        wall_seconds=None if core_seconds is None else core_seconds / job_times.conditions.cores,
    )


def _coordinate_check(spec: CoordinateCheckSpec | None, job_times: JobTimes) -> StageBudget:
    seconds = job_times.coordinate_check_seconds(spec) if spec else 0.0
    return _stage("coordinate_check", jobs=1 if spec else 0, core_seconds=seconds, wall_seconds=seconds)


def _analysis(study: StudyConfig, cells: int, conditions: Conditions) -> StageBudget:
    several = {
        "fit": len(study.analysis.laws),
        "figure": len(figures_of(study)),
        "spike-removal": int(bool(study.spikes)),
        "collect-positions": int(bool(study.temporal)),
    }
    core_seconds = (
        sum(several.get(command, 1) * seconds for command, seconds in ANALYSIS_SECONDS.items())
        + COLLECT_SECONDS_PER_CELL * cells
        + FIT_SECONDS_PER_SAMPLE * study.analysis.bootstrap_samples * several["fit"]
        + sum(FIT_SECONDS_PER_CELL.get(law, 0.0) for law in study.analysis.laws) * cells
    )
    return _stage(
        "analysis",
        jobs=sum(several.get(command, 1) for command in ANALYSIS_SECONDS),
        core_seconds=core_seconds,
        wall_seconds=core_seconds / conditions.cores,
    )


def _stage(
    stage: str,
    *,
    jobs: int,
    core_seconds: float | None,
    wall_seconds: float | None,
    cells: int = 0,
    disk_bytes: float = 0.0,
) -> StageBudget:
    """A stage that trains nothing, so that sharing saves nothing."""
    return StageBudget(
        stage=stage,
        cells=cells,
        jobs=jobs,
        tokens=0,
        train_flops_exact=0.0,
        unshared_train_flops_exact=0.0,
        core_seconds=core_seconds,
        unshared_core_seconds=core_seconds,
        wall_seconds=wall_seconds,
        disk_bytes=disk_bytes,
    )


def _times(seconds: float | None, threads: int) -> float | None:
    return None if seconds is None else seconds * threads


def _sum(terms: Iterable[float | None]) -> float | None:
    """The sum, unknown if a term is."""
    known = list(terms)
    return None if None in known else sum(term for term in known if term is not None)
