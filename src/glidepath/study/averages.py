"""Which averages a study asks for: one job per segment whose snapshots are averaged.

An average at some point of training is made of snapshots up to there, so it belongs to the segment that the point is
in, and all cells that run through the segment share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from glidepath.study.identity import digest
from glidepath.study.segments import Plan
from glidepath.study.specs import Spec, Trajectory


class AverageSpec(Spec):
    """What decides the averages of one segment. Model and paths are in the records of its segments."""

    segments: tuple[str, ...]
    """The chain up to this segment, which is the last of them."""
    snapshot_at: tuple[int, ...]
    """Updates after which weights were kept along the chain, ascending; the last is the segment's end."""
    evaluate_at: tuple[int, ...]
    """Of these, the points in this segment at which averages are evaluated."""
    n_params_counted: int
    """Behind tokens per parameter."""
    schemes: dict[str, Scheme]

    @property
    def average_id(self) -> str:
        """Name of its directory in the store."""
        return f"{self.segments[-1]}-{digest(self.model_dump(mode='json'))}"


def average_specs(planned: Plan, averaging_config: AveragingConfig | None) -> dict[str, AverageSpec]:
    """By segment, for the segments that averaged cells run through."""
    if averaging_config is None:
        return {}
    specs: dict[str, AverageSpec] = {}
    for cell in planned.cells:
        if not cell.averaged:
            continue
        chain = planned.chains[cell.cell_id]
        for i, name in enumerate(chain):
            if name in specs:
                continue
            up_to_here = [planned.segments[segment].spec for segment in chain[: i + 1]]
            kept = tuple(u for spec in up_to_here for u in spec.recording.snapshot_at)
            stop = up_to_here[-1].stop
            points = evaluated_points(averaging_config.snapshots, averaging_config.points_per_octave, stop)
            specs[name] = AverageSpec(
                segments=chain[: i + 1],
                snapshot_at=kept,
                evaluate_at=tuple(u for u in kept if u > up_to_here[-1].start and (u in points or u == stop)),
                n_params_counted=cell.n_params_counted,
                schemes=averaging_config.schemes,
            )
    return specs


def chain_of(specs: Mapping[str, AverageSpec], chain: tuple[str, ...]) -> list[str]:
    """Names of the averages along a chain of segments, in order."""
    return [specs[segment].average_id for segment in chain if segment in specs]


def evaluated_points(grid: SnapshotGrid, points_per_octave: int, stop: int) -> set[int]:
    """Snapshots of the grid at which averages are evaluated: the nearest to first_update·2^(i/points_per_octave)."""
    if not points_per_octave:
        return set()
    kept = np.array(grid.updates(2 * stop))
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
    n_params_counted: int

    @classmethod
    def of(cls, trajectory: Trajectory, n_params_counted: int) -> History:
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
            weights = averaging.ema_weights(tokens, scheme.timescale_fraction * end)
        case SwaScheme():
            start = scheme.start_tokens_per_parameter * history.n_params_counted
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
