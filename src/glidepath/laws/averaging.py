"""Averages of snapshots, mean over replicates, with the noise that replicates show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from glidepath.study.final_losses import open_to_fits

SETTING = ["schedule", "peak_lr", "average", "tokens_per_parameter"]
CELL = [
    "cell_id",
    "model",
    "batch_sequences",
    "schedule",
    "schedule_kind",
    "peak_lr",
    "tokens_per_parameter",
    "token_horizon",
    "replicate",
]
"""What of its cell stands beside an average."""
COOLDOWN = ["cooldown_cell_id", "val_loss_cooldown", "gap_to_cooldown", "gap_to_cooldown_sem", "closed_fraction"]
"""What a row of averages says of the real cooldown."""
SHARE = ["closed", "closed_se", "closed_degrees_of_freedom"]
SHARE_LEVEL = 0.95
"""Where this interval of raw minus cooled loss reaches zero, there is no gap of which a share could be closed."""


def usable_averages(averages: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Averages of the runs that are open to fits, with what their cells are; a cooldown that is not open is null."""
    open_runs = open_to_fits(runs)
    rows = averages.merge(open_runs[CELL], on="cell_id")
    cooled = rows["cooldown_cell_id"].isin(open_runs["cell_id"])
    return rows.assign(**{name: rows[name].where(cooled) for name in COOLDOWN})


def at_cell_ends(averages: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The usable averages at the ends of cells on the domain that selects: the one that is written first."""
    ends = (
        averages[averages["at_end"] & (averages["domain"] == averages["domain"].iloc[0])] if len(averages) else averages
    )
    return usable_averages(ends, runs)


def at_longest_horizon(ends: pd.DataFrame) -> pd.DataFrame:
    """What an answer on averaging rests on: of trunks with a cooldown, where there are any, the longest horizon."""
    with_cooldown = ends[ends["gap_to_cooldown"].notna()]
    ends = with_cooldown if len(with_cooldown) else ends
    found: pd.DataFrame = ends[ends["tokens_per_parameter"] == ends["tokens_per_parameter"].max()]
    return found


def replicate_means(averages: pd.DataFrame, setting: Sequence[str] = SETTING) -> pd.DataFrame:
    """One row per setting: means over replicates of loss, gain and gap to the cooldown, and the share of the gap that
    is closed, with standard errors. `setting` are the columns that tell settings apart, `average` among them; all rows
    are of one model and batch.

    SE² = replicate variance/n + mean squared error over validation blocks. The replicate variance of gain and of gap is
    that within settings, pooled over all settings of one average (a long average is noisier than a short one);
    `degrees_of_freedom` stands behind it. The blocks are the same for all replicates, so their error does not shrink
    with n. Without replicates the errors are NaN. For the share, see `_shares`.
    """
    points = (
        _with_squares(averages)
        .groupby(list(setting), as_index=False)
        .agg(
            averaged=("val_loss_averaged", "mean"),
            gain=("gain", "mean"),
            gap=("gap_to_cooldown", "mean"),
            n=("gain", "size"),
            averaging_scheme=("averaging_scheme", "first"),
            window_checkpoints=("window_checkpoints", "median"),
            window_fraction=("window_fraction", "median"),
            gain_blocks=("gain_sem_sq", "mean"),
            gap_blocks=("gap_to_cooldown_sem_sq", "mean"),
        )
    )
    for name, column in (("gain", "gain"), ("gap", "gap_to_cooldown")):
        pooled = _pooled(averages, [column], list(setting)).reindex(points["average"])
        variance = pooled[f"{column} {column}"].to_numpy()
        points[f"{name}_se"] = np.sqrt(variance / points["n"] + points[f"{name}_blocks"])
        points[f"{name}_degrees_of_freedom"] = pooled["degrees"].fillna(0).to_numpy(np.int64)
    shares = _shares(averages, list(setting))
    points = points.merge(shares[[*setting, *SHARE]], on=list(setting), how="left")
    points["closed_degrees_of_freedom"] = points["closed_degrees_of_freedom"].fillna(0).astype(np.int64)
    return points.drop(columns=["gain_blocks", "gap_blocks"])


def pooled_shares(ends: pd.DataFrame) -> pd.DataFrame:
    """One row per average: the share of the gap that is closed in all settings together, Σ gain/Σ (raw - cooled), with
    its standard error, `n` replicates and `n_settings`.

    Cells of one replicate have initialisation and data order in common and, at several horizons, their trunk. So they
    are averaged first, and replicates alone give the error, with n - 1 degrees of freedom. Settings that a replicate
    lacks are left out: it would weigh less in them.
    """
    rows = ends[ends["gap_to_cooldown"].notna()]
    replicates = rows.groupby("average")["replicate"].transform("nunique")
    rows = rows[rows.groupby(SETTING)["replicate"].transform("nunique") == replicates]
    columns = ["gain", "gain_sem", "val_loss_raw", "val_loss_cooldown", "gap_to_cooldown", "gap_to_cooldown_sem"]
    # The mean of block errors is at least the error of the mean, whatever settings have in common.
    by_replicate = rows.groupby(["average", "replicate"], as_index=False)[columns].mean()
    settings = rows.drop_duplicates(SETTING).groupby("average").size()
    shares = _shares(by_replicate, ["average"])
    return shares.assign(n_settings=shares["average"].map(settings))


def half_width(standard_error: float, degrees_of_freedom: int, level: float) -> float:
    """Half of Student's interval; NaN without degrees of freedom."""
    if degrees_of_freedom < 1:
        return float("nan")
    return float(stats.t(degrees_of_freedom).ppf((1 + level) / 2)) * standard_error


def _shares(averages: pd.DataFrame, setting: list[str]) -> pd.DataFrame:
    """Per setting with a cooldown the columns `SHARE` and the number of replicates `n`.

    With g the gain and d = raw - cooled loss the share is R = Σg/Σd over replicates, and to first order (delta method)

        SE² = [(V_gg - 2·R·V_gd + R²·V_dd)/n + b²]/mean(d)²,    b = |1 - R|·sem(g) + |R|·sem(gap),

    V the covariance within settings, pooled over all settings of one average. b bounds the error of g - R·d over
    validation blocks, d being g + gap: how g and gap are correlated over blocks is not in the table. R is NaN where d
    is not above its own interval at `SHARE_LEVEL`, and without replicates.
    """
    rows = _with_squares(averages).assign(to_close=averages["val_loss_raw"] - averages["val_loss_cooldown"])
    rows = rows[rows["to_close"].notna()]
    points = rows.groupby(setting, as_index=False).agg(
        gain=("gain", "mean"),
        to_close=("to_close", "mean"),
        n=("gain", "size"),
        gain_blocks=("gain_sem_sq", "mean"),
        gap_blocks=("gap_to_cooldown_sem_sq", "mean"),
    )
    pooled = _pooled(rows, ["gain", "to_close"], setting).reindex(points["average"])
    v_gg, v_gd, v_dd = (
        pooled[name].to_numpy(np.float64) for name in ("gain gain", "gain to_close", "to_close to_close")
    )
    degrees = pooled["degrees"].fillna(0).to_numpy(np.int64)
    d, n = points["to_close"].to_numpy(np.float64), points["n"].to_numpy(np.float64)
    gain_blocks, gap_blocks = (np.sqrt(points[f"{name}_blocks"].to_numpy(np.float64)) for name in ("gain", "gap"))
    d_se = np.sqrt(v_dd / n + (gain_blocks + gap_blocks) ** 2)
    half = np.array([half_width(se, int(k), SHARE_LEVEL) for se, k in zip(d_se, degrees, strict=True)])
    resolved = d > half
    share = points["gain"].to_numpy(np.float64) / np.where(resolved, d, np.nan)
    blocks = np.abs(1.0 - share) * gain_blocks + np.abs(share) * gap_blocks
    # Rounding may leave the variance of exact multiples a little below zero.
    replicates = np.maximum(v_gg - 2.0 * share * v_gd + share**2 * v_dd, 0.0) / n
    return points[[*setting, "n"]].assign(
        closed=share, closed_se=np.sqrt(replicates + blocks**2) / d, closed_degrees_of_freedom=degrees
    )


def _pooled(averages: pd.DataFrame, columns: list[str], setting: list[str]) -> pd.DataFrame:
    """Covariances within settings, by average, named by their two columns, and their degrees of freedom; NaN without
    replicates."""
    values = averages[averages[columns].notna().all(axis=1)]
    deviations = values[columns] - values.groupby(setting)[columns].transform("mean")
    degrees = values.groupby("average").size() - values.drop_duplicates(setting).groupby("average").size()
    found = {"degrees": degrees}
    for i, first in enumerate(columns):
        for second in columns[i:]:
            products = deviations[first] * deviations[second]
            found[f"{first} {second}"] = products.groupby(values["average"]).sum() / degrees.where(degrees > 0)
    return pd.DataFrame(found)


def _with_squares(averages: pd.DataFrame) -> pd.DataFrame:
    """Squares of the errors over blocks: their mean over replicates is what counts."""
    columns = ("gain_sem", "gap_to_cooldown_sem")
    return averages.assign(**{f"{column}_sq": averages[column].astype("float64") ** 2 for column in columns})
