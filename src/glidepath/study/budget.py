"""What a study will cost, stage by stage, before anything runs: jobs, FLOPs, time here, disk, and what sharing saves.

Times come from speeds that were measured on this machine (`study.speed`); without them there are none. Everything here
is cheap: the workflow prints it whenever it starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glidepath.study.averages import AverageSpec, average_specs
from glidepath.study.cells import flops_per_token, param_counts
from glidepath.study.config import StudyConfig
from glidepath.study.coordinates import CoordinateCheckSpec, coordinate_check_spec
from glidepath.study.corpus_config import CorpusConfig, Domain, Files
from glidepath.study.corpus_files import matched_files
from glidepath.study.figure_list import figures_of
from glidepath.study.positions import PositionSpec, position_specs
from glidepath.study.segments import Plan, Segment
from glidepath.study.specs import ModelSpec
from glidepath.study.speed import (
    Conditions,
    Speed,
    Workload,
    batches_of,
    gpu_share,
    shape_digest,
    workloads,
)
from glidepath.study.units import duration, size

BYTES_PER_PARAMETER = 4
STATE_COPIES = 3
"""A state holds the weights and both moments."""
RESUME_SECONDS = 60.0
"""A training job saves its state this often."""
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
    known = _Known.of(study, planned, conditions, speeds)
    return Budget(
        study=study.study,
        conditions=conditions,
        stages=(
            _tokenize(study.corpus, conditions, base),
            _train(planned, known),
            _average(planned, average_specs(planned, study.averaging), position_specs(planned, study), known),
            _coordinate_check(coordinate_check_spec(study, planned.cells[0].trajectory.model.vocab_size), known),
            _analysis(study, len(planned.cells), conditions),
        ),
        unmeasured=tuple(sorted(known.unmeasured(planned))),
    )


@dataclass(frozen=True)
class _Known:
    """Speeds by shape of the jobs, and what else the time of a job depends on."""

    conditions: Conditions
    validation_tokens: tuple[int, ...]
    """Of every domain."""
    by_shape: dict[str, tuple[list[int], list[Speed]]]
    """Batches, ascending, and the speeds measured at them; a shape that was not measured is absent."""
    measured: tuple[tuple[Workload, Speed], ...]
    """Every measurement."""

    @classmethod
    def of(cls, study: StudyConfig, planned: Plan, conditions: Conditions, speeds: Mapping[str, Speed]) -> _Known:
        wanted = workloads(planned, conditions)
        return cls(
            conditions,
            tuple(domain.validation_tokens for domain in study.corpus.domains),
            {
                shape: ([w.batch_sequences for w in several], [speeds[w.digest] for w in several])
                for shape, several in wanted.items()
                if all(w.digest in speeds for w in several)
            },
            tuple((w, speeds[w.digest]) for several in wanted.values() for w in several if w.digest in speeds),
        )

    def unmeasured(self, planned: Plan) -> set[str]:
        """Names of models with a cell of unknown speed."""
        return {
            cell.model_name
            for cell in planned.cells
            if shape_digest(planned.segments[planned.chains[cell.cell_id][0]]) not in self.by_shape
        }

    def job_seconds(self, segment: Segment) -> float | None:
        """Time that one training job holds its threads."""
        if (found := self.by_shape.get(shape_digest(segment))) is None:
            return None
        measured_at, speeds = found
        recording, trajectory = segment.spec.recording, segment.spec.trajectory
        batches = batches_of(segment)
        at_probes = (
            batches[-(segment.spec.start + 1) % every :: every] if (every := recording.probe_every) else batches[:0]
        )
        update_seconds = [speed.update_seconds for speed in speeds]
        extra = [speed.probed_update_seconds - speed.update_seconds for speed in speeds]
        evaluated = len(recording.evaluate_full_at) * sum(self.validation_tokens)
        subset_tokens = recording.subset_blocks * trajectory.model.context_length
        evaluated += len(set(recording.evaluate_subset_at) - set(recording.evaluate_full_at)) * subset_tokens
        if trajectory.plateau is not None:
            steps = len(batches) // trajectory.plateau.evaluate_every
            evaluated += steps * trajectory.plateau.subset_blocks * trajectory.model.context_length
        mean = _mean_of(speeds)
        seconds = (
            float(np.interp(batches, measured_at, update_seconds).sum())
            + float(np.interp(at_probes, measured_at, extra).sum())
            + evaluated * mean.evaluation_token_seconds
        )
        saves = 1 + len(recording.snapshot_at) + int(seconds / RESUME_SECONDS)
        return seconds + saves * mean.save_seconds + mean.job_seconds

    def average_seconds(self, planned: Plan, spec: AverageSpec) -> float | None:
        """Time of evaluating the raw weights and all averages at the points of one segment, by a job that starts like
        one that trains."""
        found = self.by_shape.get(shape_digest(planned.segments[spec.segment]))
        if found is None:
            return None
        mean = _mean_of(found[1])
        evaluations = len(spec.evaluate_at) * (1 + len(spec.schemes))
        return evaluations * sum(self.validation_tokens) * mean.evaluation_token_seconds + mean.job_seconds

    def position_seconds(self, planned: Plan, spec: PositionSpec) -> float | None:
        """Time of evaluating the snapshots of one segment by position, on the first domain."""
        found = self.by_shape.get(shape_digest(planned.segments[spec.segment]))
        if found is None:
            return None
        mean = _mean_of(found[1])
        return len(spec.evaluate_at) * self.validation_tokens[0] * mean.evaluation_token_seconds + mean.job_seconds

    def coordinate_check_seconds(self, spec: CoordinateCheckSpec) -> float | None:
        """Time of the check, by FLOPs: each of its models at the rate of the measured one that is nearest in width, on
        which the rate depends most, and then in FLOPs.

        A measurement passes the validation sequences forward twice: for activations, and for what changes of weights do
        to them.
        """
        if not self.measured:
            return None
        trained = spec.path.sequences + (1 + len(spec.record_after)) * spec.validation_sequences * 2 / 3
        seconds = 0.0
        for model in spec.models:
            flops = trained * _sequence_flops(model)
            workload, speed = min(self.measured, key=lambda found: _distance(found[0].model, model))
            rate = workload.batch_sequences * _sequence_flops(workload.model) / speed.update_seconds
            seconds += len(spec.replicates) * flops / rate
        return seconds + float(np.mean([speed.job_seconds for _, speed in self.measured]))


def _sequence_flops(model: ModelSpec) -> float:
    """Training FLOPs of one sequence."""
    return flops_per_token(model) * model.context_length


def _distance(model: ModelSpec, other: ModelSpec) -> tuple[float, float]:
    """In width, then in FLOPs."""
    ratio = _sequence_flops(model) / _sequence_flops(other)
    return abs(math.log(model.d_model / other.d_model)), abs(math.log(ratio))


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


def _train(planned: Plan, known: _Known) -> StageBudget:
    threads = known.conditions.threads
    seconds = {name: known.job_seconds(segment) for name, segment in planned.segments.items()}
    ends: dict[str, float] = {}
    for name, segment in planned.segments.items():
        ends[name] = (seconds[name] or 0.0) + (ends[segment.parent] if segment.parent else 0.0)
    core_seconds = _sum(_times(s, threads) for s in seconds.values())
    shares = {name: gpu_share(s.n_params) if known.conditions.gpu else 0 for name, s in planned.segments.items()}
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
        else max(on_cores / known.conditions.cores, gpu_seconds, *ends.values()),
        disk_bytes=sum(
            BYTES_PER_PARAMETER
            * param_counts(segment.spec.trajectory.model).n_params_total
            * (STATE_COPIES + len(segment.spec.recording.snapshot_at))
            for segment in planned.segments.values()
        ),
    )


def _average(
    planned: Plan, averages: Mapping[str, AverageSpec], positions: Mapping[str, PositionSpec], known: _Known
) -> StageBudget:
    """What is done with snapshots: averages, and losses by position."""
    core_seconds = _sum(
        [
            *(known.average_seconds(planned, spec) for spec in averages.values()),
            *(known.position_seconds(planned, spec) for spec in positions.values()),
        ]
    )
    return _stage(
        "average",
        cells=len(averages),
        jobs=len(averages) + len(positions),
        core_seconds=core_seconds,
        wall_seconds=None if core_seconds is None else core_seconds / known.conditions.cores,
    )


def _coordinate_check(spec: CoordinateCheckSpec | None, known: _Known) -> StageBudget:
    seconds = known.coordinate_check_seconds(spec) if spec else 0.0
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


def _mean_of(speeds: Sequence[Speed]) -> Speed:
    """What does not depend on the batch, as a mean over the batches it was measured at."""
    means = {
        name: float(np.mean([getattr(speed, name) for speed in speeds]))
        for name in Speed.model_fields
        if name != "device"
    }
    return Speed(device=speeds[0].device, **means)


def _times(seconds: float | None, threads: int) -> float | None:
    return None if seconds is None else seconds * threads


def _sum(terms: Iterable[float | None]) -> float | None:
    """The sum, unknown if a term is."""
    known = list(terms)
    return None if None in known else sum(term for term in known if term is not None)


def described(budget: Budget) -> str:
    """The budget as an aligned table and a sentence on what sharing saves."""
    rows = [("stage", "cells", "jobs", "FLOP", "core time", "time", "disk")]
    there = tuple(stage for stage in budget.stages if stage.jobs)
    for stage, parts in (*((stage, (stage,)) for stage in there), (budget.total, there)):
        rows.append(
            (
                stage.stage,
                f"{stage.cells:,}" if stage.cells else "",
                f"{stage.jobs:,}",
                f"{stage.train_flops_exact:.3g}" if stage.train_flops_exact else "",
                _time([part.core_seconds for part in parts]),
                _time([part.wall_seconds for part in parts]),
                size(stage.disk_bytes) if stage.disk_bytes else "",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    total = budget.total
    sentences = [
        f"{budget.study}: {total.cells:,} cells, {total.tokens / 1e6:.4g}M tokens. Without shared prefixes training "
        f"would take {total.unshared_train_flops_exact:.3g} FLOP, {total.sharing_factor or 1.0:.2f} times as much"
    ]
    if total.core_seconds is not None and total.unshared_core_seconds is not None:
        saved = (total.unshared_core_seconds - total.core_seconds) / budget.conditions.cores
        sentences[-1] += f"; sharing saves {duration(saved)} on {budget.conditions.cores} cores"
    if budget.unmeasured:
        sentences.append(f"The speed of {', '.join(budget.unmeasured)} on this machine is not known")
    return "\n".join([f"{'. '.join(sentences)}.", *lines])


def _time(parts: Sequence[float | None]) -> str:
    """The sum, of which unknown parts make a lower bound."""
    known = [part for part in parts if part is not None]
    if not known:
        return "not known"
    return f"{'> ' if len(known) < len(parts) else ''}{duration(sum(known))}"
