"""Models of a study that differ in width alone or in depth alone, trained alike: where transfer can be read off."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from glidepath.study.identity import digest
from glidepath.study.specs import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

Varied = Literal["d_model", "n_layer"]
ALIKE = ["schedule", "batch_sequences", "architecture"]
SAME_HORIZON = 0.02
"""Horizons that differ by less than this fraction count as one: each is a whole number of updates."""


def architecture(model: ModelSpec) -> str:
    """Digest of a model without its size: equal where only width, depth or vocabulary differ.

    Part of it is how wide the feed-forward block is for its width: 8/3 rounded up to a multiple of 16 (the default of
    swiglu, whose ratio itself depends on the width), else d_ff/d_model. The base shapes count where the
    parametrisation uses them.
    """
    size = {"n_layer", "d_model", "n_head", "d_ff", "vocab_size"}
    unused = {"sp": {"base_width", "base_depth"}, "mup": {"base_depth"}, "completep": set[str]()}
    kept = model.model_dump(mode="json", exclude=size | unused[model.parametrization])
    rounded = model.feed_forward == "swiglu" and model.d_ff == 16 * math.ceil(8 * model.d_model / 3 / 16)
    return digest({**kept, "feed_forward_ratio": "8/3" if rounded else model.d_ff / model.d_model})


@dataclass(frozen=True)
class SizeGroup:
    """Sweeps of one schedule and batch over models that differ in one dimension, at one token horizon."""

    varied: Varied
    architecture: str
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
        return (
            f"{self.parametrization}, {fixed} {self.fixed}, d_head {self.d_head}, context {self.context_length}, "
            f"architecture {self.architecture}"
        )


def size_groups(points: pd.DataFrame) -> Iterator[SizeGroup]:
    """All groups of at least two sizes, from rows with model, its shape, schedule, batch and horizon.

    Only one token horizon of a group is taken, since the optimal learning rate falls with it: the one that most sizes
    have, of several the longest.
    """
    shape = ["parametrization", "d_head", "context_length", "d_model", "n_layer"]
    rows = points[[*ALIKE, *shape, "model", "tokens_per_parameter", "token_horizon"]].drop_duplicates()
    axes: tuple[tuple[Varied, str], ...] = (("d_model", "n_layer"), ("n_layer", "d_model"))
    for varied, fixed in axes:
        for _, group in rows.groupby([*ALIKE, fixed], sort=False):
            members = _at_common_horizon(group.assign(size=group[varied]))
            if members["size"].nunique() < 2:
                continue
            first = group.iloc[0]
            yield SizeGroup(
                varied=varied,
                architecture=str(first["architecture"]),
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
