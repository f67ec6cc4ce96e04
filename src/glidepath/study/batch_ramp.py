"""The path of the batch in a study's YAML: up to the cell's batch, linearly in tokens or by stages."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from glidepath.science.schedules import portable
from glidepath.study.section import Count, Number, Section, Share, check_rising

LR_EXPONENTS = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}


class BatchGrowth(Section):
    """What every path of the batch has."""

    lr_scaling: Literal["none", "sqrt", "linear"] = "none"
    """none: the learning rate is a function of the tokens, whatever the batch; sqrt, linear: that function times
    (batch / the cell's batch)^(1/2 or 1) at every update."""

    def lr_factor(self, batch_sequences: int, end_sequences: int) -> float:
        """What the learning rate of an update is multiplied by, given its batch and the one at the end."""
        return portable((batch_sequences / end_sequences) ** LR_EXPONENTS[self.lr_scaling])


class LinearRamp(BatchGrowth):
    """The batch grows linearly in tokens, to the cell's batch."""

    kind: Literal["linear"]
    start_fraction: Share
    """First batch over the cell's batch."""
    until: Annotated[Number, Field(gt=0, le=1)] = 1.0
    """Where the cell's batch is reached, over the horizon."""
    multiple_of: Count = 1
    """Batches are rounded up to a multiple of so many sequences."""

    def wanted(self, progress: float, batch_sequences: int) -> int:
        """Sequences of the update that begins at a fraction of the horizon."""
        share = self.start_fraction + (1.0 - self.start_fraction) * min(progress / self.until, 1.0)
        return self.multiple_of * math.ceil(round(share * batch_sequences / self.multiple_of, 9))


class Stages(BatchGrowth):
    """The batch jumps at given points, to the cell's batch. `glidepath batch-path` derives such a path from a measured
    gradient noise scale: it grows as the same power of the tokens."""

    kind: Literal["stages"]
    milestones: Annotated[tuple[Share, ...], Field(min_length=1)]
    """Where the batch grows, as fractions of the horizon, rising."""
    batch_fractions: Annotated[tuple[Share, ...], Field(min_length=1)]
    """Batch before each of them, over the cell's batch."""

    @model_validator(mode="after")
    def _pairs(self) -> Stages:
        if len(self.milestones) != len(self.batch_fractions):
            raise ValueError(
                f"milestones has {len(self.milestones)} entries and batch_fractions {len(self.batch_fractions)}: each "
                "stage needs both. Make them equally long"
            )
        check_rising("milestones", self.milestones)
        return self

    def wanted(self, progress: float, batch_sequences: int) -> int:
        """Sequences of the update that begins at a fraction of the horizon."""
        stage = sum(milestone <= progress for milestone in self.milestones)
        return max(1, round([*self.batch_fractions, 1.0][stage] * batch_sequences))


BatchRamp = Annotated[LinearRamp | Stages, Field(discriminator="kind")]


def batch_of_every_update(ramp: LinearRamp | Stages | None, batch_sequences: int, sequences: int) -> list[int]:
    """Sequences of every update, `sequences` in all; the last update takes what is left."""
    if ramp is None:
        return [batch_sequences] * (sequences // batch_sequences)
    found: list[int] = []
    done = 0
    while done < sequences:
        found.append(min(ramp.wanted(done / sequences, batch_sequences), sequences - done))
        done += found[-1]
    return found
