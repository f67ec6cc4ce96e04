"""How much a loss varies from replicate to replicate, and what a study could have measured instead.

Model of cell p's final loss in replicate r, where x is the cell's position: everything about it but the schedule (size,
batch, horizon, peak learning rate):

    loss[p, r] = mu[p] + shared[r] + position[x, r] + own[p, r]

`shared` is what another initialisation and data order does to all cells alike and cancels in every paired difference;
`position` cancels between schedules at one peak learning rate; `own` never cancels. The variances are pooled over all
cells with several replicates, because two or three replicates of one cell say almost nothing about its own. Pooling
assumes that they are the same everywhere. That is a doubt: they are larger where training is short or the learning rate
high.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ReplicateNoise:
    """Cell means and pooled standard deviations [nat/token]; these are NaN without replicates."""

    means: Floats
    """Mean over a cell's replicates, the shared effect taken off, shape [cells]."""
    counts: NDArray[np.int64]
    """Replicates of each cell, shape [cells]."""
    own_sd: float
    position_sd: float
    shared_sd: float
    degrees_of_freedom: int
    """Behind own_sd; 0 when it is NaN."""
    shared_degrees_of_freedom: int
    """Behind shared_sd, one less than the replicates; 0 when it is NaN."""


def replicate_noise(losses: Floats, positions: NDArray[np.int64]) -> ReplicateNoise:
    """Analysis of variance of losses [cells, replicates], NaN where a cell has no such replicate.

    With S schedules and R replicates at a position, centred over each cell's replicates,

        own² = Σ_x Σ (loss - position mean)²/Σ_x (S-1)(R-1).

    The position means, less `shared` by least squares, give `position`; the variance of `shared` over replicates is
    left; each less what the finer noise contributes to it. Positions take part with the cells that have all their
    replicates. Replicates at one position only cannot tell `shared` from `position`: all of it is `position`. One
    schedule cannot tell `position` from `own`: all of it is `own`. Either makes intervals too wide rather than too
    narrow.

    Raises ValueError when a cell has no replicate at all.
    """
    present = np.isfinite(losses)
    counts = present.sum(1)
    if (counts == 0).any():
        raise ValueError("a cell without any replicate cannot be compared; leave it out")
    effects: list[Floats] = []
    cells_per_position: list[int] = []
    squares = degrees = 0.0
    for x in np.unique(positions):
        columns = present[positions == x].any(0)
        rows = losses[positions == x][:, columns]
        rows = rows[np.isfinite(rows).all(1)]
        if len(rows) == 0 or columns.sum() < 2:
            continue
        rows = rows - rows.mean(1, keepdims=True)
        effect = np.full(losses.shape[1], np.nan)
        effect[columns] = rows.mean(0)
        effects.append(effect)
        cells_per_position.append(len(rows))
        squares += float(((rows - rows.mean(0)) ** 2).sum())
        degrees += (len(rows) - 1) * (int(columns.sum()) - 1)
    if not effects:
        return ReplicateNoise(np.nanmean(losses, axis=1), counts, np.nan, np.nan, np.nan, 0, 0)
    table = np.array(effects)
    shared = _shared(table)
    known = np.isfinite(shared)
    within = int(np.isfinite(table).sum()) - len(table)
    position_degrees = within - (int(known.sum()) - 1)
    if position_degrees < 1:
        shared, position_degrees = np.zeros(losses.shape[1]), within
    deviations = table - shared
    deviations -= np.nanmean(deviations, axis=1, keepdims=True)
    mean_square = float(np.nansum(deviations**2)) / position_degrees
    shared_variance = float(shared[known].var(ddof=1)) - mean_square / len(table)
    if degrees < 1:
        own_variance, position_variance, degrees = mean_square, 0.0, position_degrees
    else:
        own_variance = squares / degrees
        position_variance = mean_square - own_variance * float(np.mean(1.0 / np.array(cells_per_position)))
    means = np.nanmean(losses - np.where(known, shared, 0.0), axis=1)
    own_sd, position_sd, shared_sd = (
        float(np.sqrt(max(0.0, variance))) for variance in (own_variance, position_variance, shared_variance)
    )
    return ReplicateNoise(means, counts, own_sd, position_sd, shared_sd, int(degrees), int(known.sum()) - 1)


def _shared(effects: Floats) -> Floats:
    """Least squares of effects[x, r] = a[x] + shared[r], Σ shared = 0, NaN for replicates nowhere present."""
    x, r = np.nonzero(np.isfinite(effects))
    design = np.zeros((len(x), effects.shape[0] + effects.shape[1]))
    design[np.arange(len(x)), x] = design[np.arange(len(x)), effects.shape[0] + r] = 1.0
    solution = np.linalg.lstsq(design, effects[x, r], rcond=None)[0]
    shared = np.asarray(solution[effects.shape[0] :], dtype=np.float64)
    columns = np.isfinite(effects).any(0)
    shared[columns] -= shared[columns].mean()
    shared[~columns] = np.nan
    return shared


def resampled_losses(
    noise: ReplicateNoise,
    positions: NDArray[np.int64],
    blocks: Floats,
    n_samples: int,
    seed: int,
    ratio: Floats | float = 1.0,
) -> Floats:
    """Losses that the same study could have measured [nat/token], shape [n_samples, cells].

    mean + validation noise + replicate noise. Validation: blocks are resampled, the same ones for all cells, since all
    are evaluated on the same text; `blocks` [cells, n_blocks] are mean losses over a cell's replicates, none where they
    are not known. Replicates: normal draws of own, position and shared effects, each variance over the number of
    replicates, with Student's factors for the degrees of freedom: two replicates say so little about `shared` that
    absolute losses get wide intervals, differences do not. Cells on one trunk are drawn independently although they
    share most of their history; that makes intervals of their differences too wide, never too narrow. `ratio` [cells]
    multiplies own and position effects where noise is known to differ between cells. Without replicates only the
    validation noise is there.
    """
    random = np.random.default_rng(seed)
    n_cells, n_blocks = blocks.shape
    samples: Floats = np.tile(noise.means, (n_samples, 1))
    if n_blocks:
        counts = random.multinomial(n_blocks, np.full(n_blocks, 1.0 / n_blocks), size=n_samples)
        centred = blocks - blocks.mean(1, keepdims=True)
        samples += counts @ centred.T / n_blocks
    if noise.degrees_of_freedom:
        student = _student(random, noise.degrees_of_freedom, n_samples)
        own = random.standard_normal((n_samples, n_cells)) * noise.own_sd
        position = random.standard_normal((n_samples, int(positions.max()) + 1))[:, positions] * noise.position_sd
        samples += student * (own + position) * ratio / np.sqrt(noise.counts)
        student = _student(random, noise.shared_degrees_of_freedom, n_samples)
        samples += student * random.standard_normal((n_samples, 1)) * noise.shared_sd / np.sqrt(noise.counts.max())
    return samples


def single_run_noise(noise: ReplicateNoise, n_samples: int, seed: int, ratio: float = 1.0) -> Floats:
    """What one more run, another replicate of any cell, may differ from the mean by [nat/token], shape [n_samples].

    `ratio` is as in `resampled_losses`.
    """
    if not noise.degrees_of_freedom:
        return np.zeros(n_samples)
    random = np.random.default_rng(seed)
    own = _student(random, noise.degrees_of_freedom, n_samples) * ratio * np.hypot(noise.own_sd, noise.position_sd)
    shared = _student(random, noise.shared_degrees_of_freedom, n_samples) * noise.shared_sd
    draws: Floats = (random.standard_normal((n_samples, 2)) * np.hstack([own, shared])).sum(1)
    return draws


def _student(random: np.random.Generator, degrees_of_freedom: int, n_samples: int) -> Floats:
    """Factors that make normal draws Student's, shape [n_samples, 1]."""
    factors: Floats = np.sqrt(degrees_of_freedom / random.chisquare(degrees_of_freedom, size=(n_samples, 1)))
    return factors


def interval(samples: Floats, level: float) -> tuple[float, float]:
    """Percentile interval; an end beyond which more samples lie than its tail holds for certain is NaN.

    An infinite sample lies beyond the end of its sign. A NaN could lie on either side, so it counts against both ends:
    dropping it would pull the interval towards the samples that happened to have an answer.
    """
    if len(samples) < 2:
        return np.nan, np.nan
    tail = (1 - level) / 2
    low = float(np.quantile(np.where(np.isnan(samples), -np.inf, samples), tail, method="lower"))
    high = float(np.quantile(np.where(np.isnan(samples), np.inf, samples), 1 - tail, method="higher"))
    return (low if np.isfinite(low) else np.nan), (high if np.isfinite(high) else np.nan)
