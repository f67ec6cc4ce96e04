"""The section `spikes` of a study."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from glidepath.study.section import Name, Section, Share

SAME_LR = 1e-9
"""Relative difference up to which two learning rates are the same: recipes of equal meaning may differ in the last
bits of their values."""


class SpikesConfig(Section):
    """Provoked loss spikes: averaged schedules whose learning rates are another one's but for a few updates at higher
    ones, and what averaging does to them. Cells that differ in the schedule only are a pair."""

    clean: Name
    """Schedule without the spike; one of averaging.schedules."""
    spiked: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Schedules that are the clean one but for the updates that provoke a spike; of averaging.schedules. Wherever one
    is trained, the clean one is too, with two replicates at least."""
    window_fraction: Share = 0.2
    """The height of a spike is looked for in this part of the horizon, from where the schedules part."""

    @model_validator(mode="after")
    def _two(self) -> SpikesConfig:
        if self.clean in self.spiked:
            raise ValueError(f"spiked has {self.clean!r}, which is also clean: nothing would differ. Remove one")
        return self
