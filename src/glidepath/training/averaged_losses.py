"""Validation losses of averages along a trajectory, for any model that is made of named tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from glidepath.science.averaging import Step, cheapest_step
from glidepath.training.batches import Tokens
from glidepath.training.evaluation import LanguageModel, block_losses
from glidepath.training.weighted_mean import Snapshots, WeightedMean

Weighted = tuple[int, NDArray[np.float64]]
"""A point of training [updates] and the weights of an average there over all snapshots."""


@dataclass(frozen=True)
class Losses:
    """Loss of every validation block of one domain under some weights [nat/token]."""

    updates_done: int
    domain: str
    blocks: NDArray[np.float32]


def raw_losses(
    model: LanguageModel, snapshots: Snapshots, points: Iterable[int], validation: Mapping[str, Tokens]
) -> Iterator[Losses]:
    """Evaluate the snapshots themselves."""
    for point in points:
        for name, weight in model.weights.items():
            weight.copy_(snapshots.tensor(point, name))
        yield from _evaluated(model, point, validation)


def averaged_losses(
    model: LanguageModel,
    snapshots: Snapshots,
    updates_done: tuple[int, ...],
    averages: Iterable[Weighted],
    validation: Mapping[str, Tokens],
) -> Iterator[Losses]:
    """Evaluate one kind of average at its points, each made from the one before by the cheapest step.

    `updates_done` are those of all snapshots, which the weights belong to.
    """
    mean = WeightedMean(model.weights)
    before = np.zeros(len(updates_done))
    losses: list[Losses] = []
    for point, weights in averages:
        # Between the ends of disjoint groups the average does not change, and evaluating is what costs.
        if not np.array_equal(before, weights):
            step: Step = cheapest_step(before, weights)
            mean.step(step, updates_done, snapshots)
            before = weights
            losses = list(_evaluated(model, point, validation))
        yield from (replace(one, updates_done=point) for one in losses)


def _evaluated(model: LanguageModel, point: int, validation: Mapping[str, Tokens]) -> Iterator[Losses]:
    for domain, tokens in validation.items():
        yield Losses(point, domain, block_losses(model, tokens))
