"""The section `temporal` of a study."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from glidepath.study.section import Name, Section


class TemporalConfig(Section):
    """Loss by position in the sequence along training, from the snapshots that averaging keeps: what the law `temporal`
    is fitted to."""

    schedules: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Schedules whose snapshots are evaluated; of averaging.schedules."""
    points_per_octave: Annotated[int, Field(ge=1, le=100, strict=True)] = 4
    """Evaluations per doubling of the updates, at the snapshots nearest to an even spacing, and at ends of segments:
    of cells, and where others branch off."""
