"""Weights of an average of a cell's snapshots, made again from the recipe that its losses were measured with."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glidepath.science.averaging import cheapest_step
from glidepath.stages.average import SPEC, segment_spec
from glidepath.study import tables
from glidepath.study.averages import AverageSpec, History, snapshot_weights
from glidepath.study.layout import average_directory, segment_directory
from glidepath.study.specs import Trajectory
from glidepath.training.model import Decoder
from glidepath.training.snapshots import SnapshotFile, SnapshotsOfChain
from glidepath.training.weighted_mean import WeightedMean


@dataclass(frozen=True)
class AveragedWeights:
    """One average at one point of a cell's training."""

    directory: Path
    """Of the averages of the segment that the point is in."""
    spec: AverageSpec
    average: str
    updates_done: int
    chain: tuple[str, ...]
    """Segments up to that one, whose snapshots are averaged."""

    @property
    def trajectory(self) -> Trajectory:
        """What was trained, up to the end of that segment."""
        return segment_spec(self.spec.segment).trajectory

    @property
    def shares(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Updates of the snapshots up to the point, and their weights.

        Raises ValueError where the average would hold fewer than two snapshots.
        """
        updates = np.array([u for u in self.spec.snapshot_at if u <= self.updates_done])
        history = History.of(self.trajectory, self.spec.n_params_counted)
        shares = snapshot_weights(self.spec.schemes[self.average], history, updates)
        if shares is None:
            raise ValueError(
                f"--average {self.average} holds fewer than two snapshots after {self.updates_done} updates: "
                "name a later point, or a longer average"
            )
        return updates, shares

    def load(self) -> dict[str, NDArray[np.float32]]:
        """The averaged weights by parameter, float32.

        Raises ValueError as `shares` does, DamagedFileError for a file of snapshots that is not what was written.
        """
        updates, shares = self.shares
        decoder = Decoder(self.trajectory.model)
        step = cheapest_step(np.zeros(len(updates)), shares)
        files = [Path(segment_directory(segment)) / "snapshots.safetensors" for segment in self.chain]
        WeightedMean(decoder.weights).step(step, updates.tolist(), SnapshotsOfChain(files))
        return {name: weight.numpy() for name, weight in decoder.weights.items()}

    def val_loss(self, domain: str) -> float | None:
        """Loss on all validation tokens of a domain [nat/token], if the average was evaluated there."""
        rows = tables.read(tables.AVERAGE_LOSSES, self.directory / "losses.parquet")
        rows = rows[(rows["updates_done"] == self.updates_done) & (rows["domain"] == domain)]
        rows = rows[rows["average"] == self.average]
        return None if rows.empty else float(rows["val_loss"].iloc[0])


def choose_average(names: str, segments: str, average: str, updates: int | None) -> AveragedWeights:
    """An average of a cell, whose averages and segments have these names (as in `plan`), after some updates or at the
    last of its snapshots.

    Raises ValueError if the cell's snapshots were not averaged, not in that way, or none was taken at that update.
    """
    if not names:
        raise ValueError("--average: no snapshots of this cell are kept; name a cell of averaging.schedules")
    directories = [Path(average_directory(name)) for name in names.split()]
    missing = [directory for directory in directories if not (directory / SPEC).is_file()]
    if missing:
        raise ValueError(f"--average: {missing[0]} has no averages yet; run the target average of the study")
    specs = [AverageSpec.model_validate_json((d / SPEC).read_text(encoding="utf-8")) for d in directories]
    schemes = list(specs[-1].schemes)
    if average not in schemes:
        near = difflib.get_close_matches(average, schemes, 3, cutoff=0.0)
        raise ValueError(f"--average {average}: the study has no such average; the nearest are {', '.join(near)}")
    chain = segments.split()
    # A cell that diverged has snapshots up to there.
    kept = {u for segment in chain for u in _snapshots_of(segment)}
    there = {u: i for i, spec in reversed(list(enumerate(specs))) for u in spec.snapshot_at if u in kept}
    wanted = max(there, default=0) if updates is None else updates
    if wanted not in there:
        listed = ", ".join(str(u) for u in sorted(there))
        raise ValueError(f"--updates {wanted}: no snapshot was taken there; there are some after {listed} updates")
    i = there[wanted]
    up_to_here = chain[: chain.index(specs[i].segment) + 1]
    return AveragedWeights(directories[i], specs[i], average, wanted, tuple(up_to_here))


def _snapshots_of(segment: str) -> list[int]:
    return SnapshotFile(Path(segment_directory(segment)) / "snapshots.safetensors").updates_done
