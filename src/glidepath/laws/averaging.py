"""Averages of snapshots, mean over replicates, with the noise that replicates show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

SETTING = ["schedule", "peak_lr", "average", "tokens_per_parameter"]


def at_cell_ends(averages: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The averages at the ends of the given runs on the domain that selects, with what a setting is made of.

    That domain is the one that is written first.
    """
    ends = (
        averages[averages["at_end"] & (averages["domain"] == averages["domain"].iloc[0])] if len(averages) else averages
    )
    return ends.merge(
        runs[["cell_id", "model", "batch_sequences", "schedule", "peak_lr", "tokens_per_parameter", "replicate"]],
        on="cell_id",
    )


def replicate_means(averages: pd.DataFrame, setting: Sequence[str] = SETTING) -> pd.DataFrame:
    """One row per setting: means over replicates of loss, gain and gap to the cooldown, with standard errors. `setting`
    are the columns that tell settings apart, `average` among them; all rows are of one model and batch.

    SE² = replicate variance/n + mean squared error over validation blocks. The replicate variance of gain and of gap is
    that within settings, pooled over all settings of one average (a long average is noisier than a short one);
    `degrees_of_freedom` stands behind it. The blocks are the same for all replicates, so their error does not shrink
    with n. Without replicates the errors are NaN.
    """
    groups = averages.groupby(list(setting), as_index=False)
    points = groups.agg(
        averaged=("val_loss_averaged", "mean"),
        gain=("gain", "mean"),
        gap=("gap_to_cooldown", "mean"),
        closed=("closed_fraction", "mean"),
        n=("gain", "size"),
        averaging_scheme=("averaging_scheme", "first"),
        window_checkpoints=("window_checkpoints", "median"),
        window_fraction=("window_fraction", "median"),
        gain_blocks=("gain_sem", _root_mean_square),
        gap_blocks=("gap_to_cooldown_sem", _root_mean_square),
    )
    for name, column in (("gain", "gain"), ("gap", "gap_to_cooldown")):
        pooled = _pooled(averages, column, list(setting)).reindex(points["average"])
        variance = pooled["variance"].to_numpy()
        points[f"{name}_se"] = np.sqrt(variance / points["n"] + points[f"{name}_blocks"] ** 2)
        points[f"{name}_degrees_of_freedom"] = pooled["degrees"].fillna(0).to_numpy(np.int64)
    return points.drop(columns=["gain_blocks", "gap_blocks"])


def half_width(standard_error: float, degrees_of_freedom: int, level: float) -> float:
    """Half of Student's interval; NaN without degrees of freedom."""
    if degrees_of_freedom < 1:
        return float("nan")
    return float(stats.t(degrees_of_freedom).ppf((1 + level) / 2)) * standard_error


def _pooled(averages: pd.DataFrame, column: str, setting: list[str]) -> pd.DataFrame:
    """Variance within settings and its degrees of freedom, by average; NaN without replicates."""
    values = averages[averages[column].notna()]
    squares = (values[column] - values.groupby(setting)[column].transform("mean")) ** 2
    degrees = values.groupby("average").size() - values.drop_duplicates(setting).groupby("average").size()
    variance = squares.groupby(values["average"]).sum() / degrees.where(degrees > 0)
    return pd.DataFrame({"variance": variance, "degrees": degrees})


def _root_mean_square(errors: pd.Series[float]) -> float:
    return float(np.sqrt(np.square(errors).mean()))
