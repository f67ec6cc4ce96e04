"""The section `coordinate_check` of a study."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from glidepath.study.section import Count, Name, NonNegative, Positive, Section

Parametrization = Literal["sp", "mup", "completep"]


class CoordinateCheckConfig(Section):
    """How activations and weights move in a few updates at a constant learning rate, against width and depth."""

    model: Name
    """Name from `models`: everything but parametrization, and the width and depth that do not vary."""
    parametrizations: Annotated[tuple[Parametrization, ...], Field(min_length=1)] = ("sp", "mup", "completep")
    """Parametrisations to compare."""
    widths: tuple[Count, ...]
    """Widths at the model's depth [features]; two or more, or none."""
    depths: tuple[Count, ...]
    """Depths at the model's width [layers]; two or more, or none."""
    peak_lr: Positive
    """Learning rate, at base_width if the parametrisation is not sp."""
    batch_sequences: Count = 8
    """[sequences/update]"""
    record_after: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 4, 10)
    """Updates after which changes are measured; the last one ends the training and is drawn."""
    replicates: Annotated[tuple[NonNegative, ...], Field(min_length=1)] = (0, 1, 2)
    """Each is another initialisation and data order."""
    validation_sequences: Count = 8
    """Fixed inputs on which activations are measured: the first sequences of the first domain [sequences]."""
    tolerance: Annotated[Positive, Field(lt=0.5)] = 0.25
    """Largest log2 change per doubling that counts as stable. In theory exponents are multiples of 1/2, so that below
    1/4 the nearest is 0."""

    @field_validator("widths", "depths")
    @classmethod
    def _some_or_none(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if len(sizes) == 1:
            raise ValueError(f"{sizes[0]} is the only size: a slope needs two. Add another, or leave the list empty")
        return sizes

    @model_validator(mode="after")
    def _something(self) -> CoordinateCheckConfig:
        if not self.widths and not self.depths:
            raise ValueError(
                "widths and depths are both empty: there is nothing to check. Give one of them, or set "
                "coordinate_check: null"
            )
        return self
