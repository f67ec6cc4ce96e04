"""Which snapshots a study keeps, and what is averaged over them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from glidepath.science.schedules import DecayShape
from glidepath.study.section import Count, Name, Number, Positive, Section

SOME = Field(min_length=1)
Part = Annotated[Number, Field(gt=0, le=1)]
"""Part of a whole, or all of it."""
BEST_WINDOW = "best_window"
RAW = "raw"


class WindowScheme(Section):
    """Uniform over the last part of the training so far."""

    kind: Literal["window"]
    fraction: Part
    """Its length over the tokens trained so far."""
    checkpoints: Annotated[int, Field(ge=2, strict=True)] | None = None
    """Use so many snapshots, equally spaced over the window; null: all that there are."""


class LawaScheme(Section):
    """Latest weight averaging: uniform over the latest checkpoints at a fixed distance."""

    kind: Literal["lawa"]
    checkpoints: Annotated[int, Field(ge=2, strict=True)]
    """Checkpoints averaged."""
    every_updates: Count
    """Their distance [updates]; checkpoints are its multiples."""
    groups: Literal["moving", "disjoint"] = "moving"
    """moving: the latest ones; disjoint: the latest whole group, groups following each other without overlap."""


class EmaScheme(Section):
    """Exponential moving average: exactly one of two time-scales."""

    kind: Literal["ema"]
    timescale_fraction: Annotated[Number, Field(ge=0.001, le=1)] | None = None
    """Its memory over the tokens trained so far. It grows with training, so that every point reads all snapshots."""
    timescale_tokens: Positive | None = None
    """Its memory [tokens], the same all along, so that every point reads only the snapshots since the one before."""

    @model_validator(mode="after")
    def _one(self) -> EmaScheme:
        if (self.timescale_fraction is None) == (self.timescale_tokens is None):
            raise ValueError(
                f"timescale_fraction {self.timescale_fraction} and timescale_tokens {self.timescale_tokens}: an EMA "
                "has exactly one of them. Give one"
            )
        return self


class SwaScheme(Section):
    """Uniform over everything since a fixed start, so that the window grows."""

    kind: Literal["swa"]
    start_tokens_per_parameter: Annotated[Number, Field(ge=0)]
    """Where it starts; 0: with the first snapshot."""


class EmulatedDecayScheme(Section):
    """Weights that make of snapshots at a steady learning rate what a decay to zero would have made, as far as AdamW is
    an average of its updates."""

    kind: Literal["emulated_decay"]
    fraction: Part
    """Length of the decay over the tokens trained so far."""
    shape: DecayShape
    """Its shape."""
    exponent: Annotated[Number, Field(gt=0, le=100)] | None = None
    """Exponent of the shape power."""

    @model_validator(mode="after")
    def _shape(self) -> EmulatedDecayScheme:
        if self.shape == "exponential":
            raise ValueError("shape exponential never reaches zero: no decay to zero has it. Choose another shape")
        if (self.shape == "power") != (self.exponent is not None):
            raise ValueError(
                f"shape {self.shape} with exponent {self.exponent}: the shape power has an exponent and no other has. "
                "Set it so"
            )
        return self


Scheme = Annotated[WindowScheme | LawaScheme | EmaScheme | SwaScheme | EmulatedDecayScheme, Field(discriminator="kind")]

DEFAULT_SCHEMES: dict[str, Scheme] = {
    "window_10": WindowScheme(kind="window", fraction=0.1),
    "window_20": WindowScheme(kind="window", fraction=0.2),
    "window_40": WindowScheme(kind="window", fraction=0.4),
    "four_of_20": WindowScheme(kind="window", fraction=0.2, checkpoints=4),
    "two_of_20": WindowScheme(kind="window", fraction=0.2, checkpoints=2),
    "ema_5": EmaScheme(kind="ema", timescale_fraction=0.05),
    "like_linear_20": EmulatedDecayScheme(kind="emulated_decay", fraction=0.2, shape="linear"),
    "like_sqrt_20": EmulatedDecayScheme(kind="emulated_decay", fraction=0.2, shape="one_minus_sqrt"),
}


class SnapshotGrid(Section):
    """Snapshots: equally spaced within every doubling of the updates, twice as far apart in the next one. The same for
    every cell, so that another horizon moves none."""

    first_update: Count = 64
    """The first snapshot [updates]; a multiple of per_octave."""
    per_octave: Count = 32
    """Snapshots per doubling."""

    @model_validator(mode="after")
    def _divides(self) -> SnapshotGrid:
        if self.first_update % self.per_octave:
            raise ValueError(
                f"first_update {self.first_update} is not a multiple of per_octave {self.per_octave}: snapshots are "
                "equally spaced at whole updates. Change one of them"
            )
        return self

    def updates(self, stop: int) -> list[int]:
        """Updates up to `stop` after which weights are kept, ascending."""
        found: list[int] = []
        begin = self.first_update
        while begin <= stop:
            found.extend(range(begin, min(2 * begin - 1, stop) + 1, begin // self.per_octave))
            begin *= 2
        return found


class AveragingConfig(Section):
    """Snapshots along training, and what is averaged over them, offline."""

    schedules: Annotated[tuple[Name, ...], SOME]
    """Schedules whose snapshots are averaged."""
    snapshots: SnapshotGrid = SnapshotGrid()
    """Where weights are kept; also at the end of every segment."""
    points_per_octave: Annotated[int, Field(ge=0, le=100, strict=True)] = 2
    """Averages are evaluated so often per doubling of the updates, and at the ends of segments: of cells, and where
    cooldowns branch off."""
    schemes: Annotated[dict[Name, Scheme], SOME] = DEFAULT_SCHEMES
    """Averages, by name."""

    @model_validator(mode="after")
    def _schemes(self) -> AveragingConfig:
        for name, scheme in self.schemes.items():
            if name in (RAW, BEST_WINDOW):
                raise ValueError(f"schemes has {name!r}, a name that the tables need themselves. Give it another name")
            if isinstance(scheme, LawaScheme) and scheme.every_updates % (
                step := self.snapshots.first_update // self.snapshots.per_octave
            ):
                raise ValueError(
                    f"schemes.{name}.every_updates {scheme.every_updates} is not a multiple of {step}, the distance of "
                    "the first snapshots (snapshots.first_update / snapshots.per_octave). Change one of them"
                )
        return self
