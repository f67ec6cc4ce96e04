"""The YAML of a study: blocks of cells."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from typing import Annotated, Literal

from pydantic import Field

from glidepath.science.schedules import portable
from glidepath.study.batch_ramp import LR_EXPONENTS
from glidepath.study.section import Count, Flag, Name, NonNegative, Positive, Section

SOME = Field(min_length=1)


class BatchLrConfig(Section):
    """How a block carries its peak learning rates from one batch to its others."""

    rule: Literal["none", "sqrt", "linear"]
    """none: peak_lrs hold at every batch; sqrt, linear: they are multiplied by the batch over at_batch_sequences, or
    its root."""
    at_batch_sequences: Count
    """The batch that peak_lrs are meant for [sequences/update]; the block need not train it."""

    def carried(self, peak_lr: float, batch_sequences: int) -> float:
        """The peak learning rate at another batch, to ten digits; at the same batch the number itself."""
        factor = (batch_sequences / self.at_batch_sequences) ** LR_EXPONENTS[self.rule]
        return peak_lr if factor == 1.0 else portable(peak_lr * factor)


class GridConfig(Section):
    """One block of cells: the product of its axes. A study is the union of its blocks."""

    models: Annotated[tuple[Name, ...], SOME]
    """Names from `models`."""
    schedules: Annotated[tuple[Name, ...], SOME]
    """Names from `schedules`."""
    peak_lrs: Annotated[tuple[Positive, ...], SOME]
    """Peak learning rates, at base_width if the model is mup."""
    tokens_per_parameter: Annotated[tuple[Positive, ...], SOME]
    """Horizons [tokens/parameter]."""
    batch_sequences: Annotated[tuple[Count, ...], SOME] = (8,)
    """[sequences/update]"""
    batch_lr: BatchLrConfig | None = None
    """How peak_lrs follow the batch; null: they hold at every batch."""
    replicates: Annotated[tuple[NonNegative, ...], SOME] = (0,)
    """Each is another initialisation and data order, the same for all schedules."""
    holdout: Flag = False
    """Hide these cells from all fits until the fits are scored."""

    def peak_lr_at(self, peak_lr: float, batch_sequences: int) -> float:
        """What one of `peak_lrs` is at one of the batches."""
        return peak_lr if self.batch_lr is None else self.batch_lr.carried(peak_lr, batch_sequences)


def replicates_of(grid: tuple[GridConfig, ...], schedule: str) -> dict[tuple[str, int, float, float], set[int]]:
    """Replicates of a schedule at every model, batch, horizon and peak learning rate; none where it is not trained."""
    found: dict[tuple[str, int, float, float], set[int]] = defaultdict(set)
    for block in grid:
        if schedule in block.schedules:
            axes = product(block.models, block.batch_sequences, block.tokens_per_parameter, block.peak_lrs)
            for model, batch_sequences, tokens_per_parameter, given_lr in axes:
                peak_lr = block.peak_lr_at(given_lr, batch_sequences)
                found[model, batch_sequences, tokens_per_parameter, peak_lr].update(block.replicates)
    return found
