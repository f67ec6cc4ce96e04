"""What every section of a study's YAML has in common: closed, frozen, strict, free of repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Share = Annotated[Number, Field(gt=0, lt=1)]
"""Part of a whole, neither none nor all of it."""
Text = Annotated[str, Field(min_length=1)]
LARGEST = 2**53
"""Whole numbers up to here fit the tables' integers and are exact as floats."""
Count = Annotated[int, Field(gt=0, le=LARGEST, strict=True)]
NonNegative = Annotated[int, Field(ge=0, le=LARGEST, strict=True)]
Flag = Annotated[bool, Field(strict=True)]


class StudyError(ValueError):
    """A study that cannot be run as it is written; the message names key, value, rule and remedy."""


class Section(BaseModel):
    """An unknown key is an error, and so is a list that gives a value twice."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*")
    @classmethod
    def _no_repeats(cls, value: Any) -> Any:
        if isinstance(value, tuple):
            for i, entry in enumerate(value):
                # Sections with a name are told apart by it, where they are listed.
                if entry in value[:i] and not hasattr(entry, "name"):
                    what = "a block" if isinstance(entry, BaseModel) else shortened(entry)
                    raise ValueError(
                        f"{what} is given twice, as entries {value.index(entry)} and {i}: a list of "
                        "alternatives has each of them once. Remove one"
                    )
        return value


def shortened(value: Any) -> str:
    """Value as a message shows it, on one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_rising(key: str, where: Sequence[float]) -> None:
    """Raises ValueError if a key's numbers do not rise."""
    for a, b in pairwise(where):
        if not a < b:
            raise ValueError(f"{key} has {b:g} after {a:g}: they must rise. Sort them")
