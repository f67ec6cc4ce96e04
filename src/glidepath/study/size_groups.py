"""Models of a study that differ in width alone or in depth alone, trained alike: where transfer can be read off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

Varied = Literal["d_model", "n_layer"]
ALIKE = ["schedule", "batch_sequences", "parametrization", "d_head", "context_length"]
SAME_HORIZON = 0.02
"""Horizons that differ by less than this fraction count as one: each is a whole number of updates."""


@dataclass(frozen=True)
class SizeGroup:
    """Sweeps of one schedule and batch over models that differ in one dimension, at one token horizon."""

    varied: Varied
    parametrization: str
    fixed: int
    """The other dimension: layers if the width varies, features if the depth does."""
    d_head: int
    context_length: int
    schedule: str
    batch_sequences: int
    members: pd.DataFrame
    """A row per size, ascending: model, size, tokens_per_parameter, token_horizon."""

    @property
    def label(self) -> str:
        """What stands for the model in the tables of a law over these models."""
        fixed = "n_layer" if self.varied == "d_model" else "d_model"
        return f"{self.parametrization}, {fixed} {self.fixed}, d_head {self.d_head}, context {self.context_length}"


def size_groups(points: pd.DataFrame) -> Iterator[SizeGroup]:
    """All groups of at least two sizes, from rows with model, its shape, schedule, batch and horizon.

    Only one token horizon of a group is taken, since the optimal learning rate falls with it: the one that most sizes
    have, of several the longest.
    """
    columns = [*ALIKE, "d_model", "n_layer", "model", "tokens_per_parameter", "token_horizon"]
    rows = points[columns].drop_duplicates()
    axes: tuple[tuple[Varied, str], ...] = (("d_model", "n_layer"), ("n_layer", "d_model"))
    for varied, fixed in axes:
        for _, group in rows.groupby([*ALIKE, fixed], sort=False):
            members = _at_common_horizon(group.assign(size=group[varied]))
            if members["size"].nunique() < 2:
                continue
            first = group.iloc[0]
            yield SizeGroup(
                varied=varied,
                parametrization=str(first["parametrization"]),
                fixed=int(first[fixed]),
                d_head=int(first["d_head"]),
                context_length=int(first["context_length"]),
                schedule=str(first["schedule"]),
                batch_sequences=int(first["batch_sequences"]),
                members=members,
            )


def _at_common_horizon(group: pd.DataFrame) -> pd.DataFrame:
    """Rows at the horizon that most sizes have, in the order of their size."""
    found = group.iloc[:0]
    for horizon in sorted(group["token_horizon"].unique()):
        near = group[(group["token_horizon"] / horizon - 1).between(0, SAME_HORIZON)]
        if near["size"].nunique() >= found["size"].nunique():
            found = near.sort_values("token_horizon", kind="stable").drop_duplicates("model")
    return found.sort_values("size", kind="stable")[["model", "size", "tokens_per_parameter", "token_horizon"]]
