"""Which averages a study asks for: one job per segment whose snapshots are averaged.

An average at some point of training is made of snapshots up to there, so it belongs to the segment that the point is
in, and all cells that run through the segment share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glidepath.science import averaging, schedules
from glidepath.study.averaging_config import (
    AveragingConfig,
    EmaScheme,
    EmulatedDecayScheme,
    LawaScheme,
    Scheme,
    SnapshotGrid,
    SwaScheme,
    WindowScheme,
)
from glidepath.study.cells import Cell
from glidepath.study.identity import digest
from glidepath.study.section import StudyError
from glidepath.study.segments import Plan
from glidepath.study.specs import Spec, Trajectory

AVERAGING_VERSION = 1
"""Version of what an average is and how it is evaluated. Raise it when a change moves any of its losses: it is part of
every identity, so all averages are made anew."""


class AverageSpec(Spec):
    """What decides the averages of one segment. Model and paths are in its record; how the training before it was cut
    into segments is no part of it."""

    averaging_version: int
    segment: str
    snapshot_at: tuple[int, ...]
    """Updates whose snapshots are averaged, ascending: the grid common to all cells, and the segment's end. Where other
    segments end is left out, so that another branching point moves no average behind it."""
    evaluate_at: tuple[int, ...]
    """Of these, the points in this segment at which averages are evaluated."""
    n_params_counted: int | None
    """Behind tokens per parameter, if a scheme counts in them."""
    schemes: dict[str, Scheme]

    @property
    def average_id(self) -> str:
        """Name of its directory in the store."""
        return f"{self.segment}-{digest(self.model_dump(mode='json'))}"


def average_specs(planned: Plan, config: AveragingConfig | None) -> dict[str, AverageSpec]:
    """By segment, for the segments that averaged cells run through.

    Raises StudyError for a scheme of the user's that is defined at the end of no averaged cell.
    """
    if config is None:
        return {}
    averaged = [cell for cell in planned.cells if cell.averaged]
    _check_schemes(config, averaged)
    counted = any(isinstance(scheme, SwaScheme) for scheme in config.schemes.values())
    specs: dict[str, AverageSpec] = {}
    for cell in averaged:
        for name in planned.chains[cell.cell_id]:
            if name not in specs:
                start, stop = planned.segments[name].spec.start, planned.segments[name].spec.stop
                points = {*evaluated_points(config.snapshots, config.points_per_octave, stop), stop}
                specs[name] = AverageSpec(
                    averaging_version=AVERAGING_VERSION,
                    segment=name,
                    snapshot_at=tuple(sorted({*config.snapshots.updates(stop), stop})),
                    evaluate_at=tuple(sorted(point for point in points if start < point <= stop)),
                    n_params_counted=cell.n_params_counted if counted else None,
                    schemes=config.schemes,
                )
    return specs


def _check_schemes(config: AveragingConfig, averaged: Sequence[Cell]) -> None:
    if "schemes" not in config.model_fields_set:
        return  # The default ones were not asked for one by one.
    one_per_length = {(cell.model_name, cell.total_steps): cell for cell in averaged}.values()
    for name, scheme in config.schemes.items():
        ends = (
            snapshot_weights(
                scheme,
                History.of(cell.trajectory, cell.n_params_counted),
                np.array(sorted({*config.snapshots.updates(cell.total_steps), cell.total_steps})),
            )
            for cell in one_per_length
        )
        if all(weights is None for weights in ends):
            raise StudyError(
                f"averaging.schemes.{name} is not defined at the end of any averaged cell: the snapshots that it "
                "averages, at least two, were not all kept. Make it longer, or raise averaging.snapshots.per_octave."
            )


def chain_of(specs: Mapping[str, AverageSpec], chain: tuple[str, ...]) -> list[str]:
    """Names of the averages along a chain of segments, in order."""
    return [specs[segment].average_id for segment in chain if segment in specs]


def evaluated_points(grid: SnapshotGrid, points_per_octave: int, stop: int) -> set[int]:
    """Snapshots of the grid at which averages are evaluated: the nearest to first_update·2^(i/points_per_octave)."""
    if not points_per_octave:
        return set()
    kept = np.array(grid.updates(2 * stop))
    if not len(kept):
        return set()
    octaves = np.log2(max(stop / grid.first_update, 1.0))
    wanted = grid.first_update * 2.0 ** (np.arange(points_per_octave * octaves + 1) / points_per_octave)
    return set(kept[np.abs(kept[None, :] - wanted[:, None]).argmin(1)].tolist())


@dataclass(frozen=True)
class History:
    """A trajectory as far as an average needs to know it."""

    positions: NDArray[np.float64]
    """Tokens trained before every update and after the last, [updates + 1]."""
    lr: NDArray[np.float64]
    """Learning rate of every update, before any multiplier of a parameter group."""
    weight_decay: NDArray[np.float64]
    n_params_counted: int | None
    """Behind tokens per parameter; None where no scheme counts in them."""

    @classmethod
    def of(cls, trajectory: Trajectory, n_params_counted: int | None) -> History:
        """That of a trajectory of ours."""
        path = trajectory.path.arrays()
        tokens = path.positions.astype(np.float64) * trajectory.model.context_length
        return cls(tokens, path.lr, path.weight_decay, n_params_counted)


def snapshot_weights(scheme: Scheme, history: History, updates_done: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Weights of a scheme after the last of the given snapshots, shape [n]; None where it would average fewer than two.

    `updates_done` are all snapshots so far, ascending.
    """
    if len(updates_done) < 2:
        return None
    tokens = history.positions[updates_done]
    end = float(tokens[-1])
    weights: NDArray[np.float64] | None
    match scheme:
        case WindowScheme(checkpoints=None):
            weights = averaging.uniform_weights(tokens, end * (1.0 - scheme.fraction))
        case WindowScheme(checkpoints=int(checkpoints)):
            weights = _spread(tokens, scheme.fraction, checkpoints)
        case LawaScheme():
            weights = _lawa(scheme, updates_done)
        case EmaScheme():
            timescale = scheme.timescale_tokens or (scheme.timescale_fraction or 0.0) * end
            weights = averaging.ema_weights(tokens, timescale)
        case SwaScheme():
            start = scheme.start_tokens_per_parameter * (history.n_params_counted or 0)
            weights = averaging.uniform_weights(tokens, start) if start < end else None
        case EmulatedDecayScheme():
            weights = _emulated_decay(scheme, history, updates_done)
    return None if weights is None or np.count_nonzero(weights) < 2 else weights


def _spread(tokens: NDArray[np.float64], fraction: float, checkpoints: int) -> NDArray[np.float64] | None:
    """The snapshots nearest to `checkpoints` equally spaced places of the window; None if it has fewer."""
    wanted = tokens[-1] * (1.0 - fraction * np.arange(checkpoints) / checkpoints)
    chosen = np.unique(np.abs(tokens[None, :] - wanted[:, None]).argmin(1))
    inside = tokens[0] <= wanted[-1] and len(chosen) == checkpoints
    return averaging.equal_weights(len(tokens), chosen) if inside else None


def _lawa(scheme: LawaScheme, updates_done: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """The latest checkpoints at multiples of the distance; None where one of them was not kept."""
    every, k = scheme.every_updates, scheme.checkpoints
    latest = int(updates_done[-1]) // (every if scheme.groups == "moving" else every * k)
    last = latest * (every if scheme.groups == "moving" else every * k)
    wanted = last - every * np.arange(k)
    chosen = np.flatnonzero(np.isin(updates_done, wanted))
    return averaging.equal_weights(len(updates_done), chosen) if len(chosen) == k and wanted[-1] > 0 else None


def _emulated_decay(
    scheme: EmulatedDecayScheme, history: History, updates_done: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """A decay to zero that would have begun a fraction of the tokens ago."""
    stop = int(updates_done[-1])
    at = history.positions[: stop + 1]
    start = int(np.argmin(np.abs(at - at[-1] * (1.0 - scheme.fraction))))
    if stop - start < 2 or start < updates_done[0]:
        return None
    fall = decay_values(scheme, at[start:])
    lr = history.lr[:stop]
    decayed = np.concatenate([lr[:start], lr[start:] * fall])
    return averaging.emulated_decay_weights(lr, decayed, history.weight_decay[:stop], updates_done)


def decay_values(scheme: EmulatedDecayScheme, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiplier of the learning rate under a decay to zero of updates that train from at[s] to at[s+1] [updates]."""
    u = (at[:-1] - at[0]) / (at[-1] - at[0])
    fall = (1.0 - u) ** scheme.exponent if scheme.exponent else schedules.FALLS[scheme.shape](u)
    return np.asarray(fall, dtype=np.float64)


def averages_of(spec: AverageSpec, history: History) -> Iterator[tuple[str, list[tuple[int, NDArray[np.float64]]]]]:
    """For every scheme its points and their weights over all snapshots of the chain, in the order of training."""
    updates_done = np.array(spec.snapshot_at)
    for name, scheme in spec.schemes.items():
        found: list[tuple[int, NDArray[np.float64]]] = []
        for point in spec.evaluate_at:
            n = int(np.searchsorted(updates_done, point)) + 1
            weights = snapshot_weights(scheme, history, updates_done[:n])
            if weights is not None:
                found.append((point, np.concatenate([weights, np.zeros(len(updates_done) - n)])))
        yield name, found
