"""How long each job of a study takes, from the speeds that were measured on this machine (`study.speed`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glidepath.study.averages import AverageSpec
from glidepath.study.cells import flops_per_token
from glidepath.study.config import StudyConfig
from glidepath.study.coordinates import CoordinateCheckSpec
from glidepath.study.positions import PositionSpec
from glidepath.study.segments import Plan, Segment
from glidepath.study.specs import ModelSpec
from glidepath.study.speed import Conditions, Speed, Workload, batches_of, shape_digest, workloads

RESUME_SECONDS = 60.0
"""A training job saves its state this often."""


@dataclass(frozen=True)
class JobTimes:
    """Speeds by shape of the jobs, and what else the time of a job depends on."""

    conditions: Conditions
    validation_tokens: tuple[int, ...]
    """Of every domain."""
    by_shape: dict[str, tuple[list[int], list[Speed]]]
    """Batches, ascending, and the speeds measured at them; a shape that was not measured is absent."""
    measured: tuple[tuple[Workload, Speed], ...]
    """Every measurement."""

    @classmethod
    def of(cls, study: StudyConfig, planned: Plan, conditions: Conditions, speeds: Mapping[str, Speed]) -> JobTimes:
        """From the speeds that are known, by digest of their `Workload`."""
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


def _mean_of(speeds: Sequence[Speed]) -> Speed:
    """What does not depend on the batch, as a mean over the batches it was measured at."""
    means = {
        name: float(np.mean([getattr(speed, name) for speed in speeds]))
        for name in Speed.model_fields
        if name != "device"
    }
    return Speed(device=speeds[0].device, **means)
