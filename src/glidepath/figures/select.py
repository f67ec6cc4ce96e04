"""Choosing the rows that a figure shows: the main model and batch, each schedule at its best learning
rate."""

from __future__ import annotations

import numpy as np
import pandas as pd

from glidepath.science.replicates import replicate_noise

GROUP = ["model", "batch_sequences", "schedule", "tokens_per_parameter"]


def with_families(frame: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Add schedule_kind and family_rank by schedule; the rank counts over all schedules of the study.

    A law may name a schedule that has no run any more; it keeps its rows, with kind "" and rank 0.
    """
    frame = frame.drop(columns=["schedule_kind", "family_rank"], errors="ignore")
    merged = frame.merge(families(runs), on="schedule", how="left")
    merged["schedule_kind"] = merged["schedule_kind"].fillna("").astype("str")
    merged["family_rank"] = merged["family_rank"].fillna(0).astype("int64")
    return merged


def families(runs: pd.DataFrame) -> pd.DataFrame:
    """schedule, schedule_kind, family_rank, in the order in which figures list schedules.

    Kinds in alphabetical order; within a kind decays to zero come first, then long decays, then by name.
    """
    table = runs[["schedule", "schedule_kind", "final_lr_fraction", "decay_steps", "total_steps"]].copy()
    # Logs seldom tell kinds: such schedules are one family, whose members differ in line and marker.
    table["schedule_kind"] = table["schedule_kind"].fillna("")
    table["decay_fraction"] = table["decay_steps"] / table["total_steps"]
    table = table.groupby(["schedule_kind", "schedule"], as_index=False)[["final_lr_fraction", "decay_fraction"]].mean()
    table = table.sort_values(
        ["schedule_kind", "final_lr_fraction", "decay_fraction", "schedule"],
        ascending=[True, True, False, True],
    )
    table["family_rank"] = table.groupby("schedule_kind").cumcount()
    return table[["schedule", "schedule_kind", "family_rank"]].reset_index(drop=True)


def in_family_order(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Rows in drawing order: by schedule family, then by the given columns; equal rows keep their order."""
    return frame.sort_values(["schedule_kind", "family_rank", *by], kind="stable").reset_index(drop=True)


def by_family(frame: pd.DataFrame, most_together: int) -> list[tuple[str, pd.DataFrame]]:
    """Name and rows of each panel; all schedules together, without a name, if they are few, else family by family."""
    if frame["schedule"].nunique() <= most_together:
        return [("", frame)]
    found: list[tuple[str, pd.DataFrame]] = []
    for kind, rows in frame.groupby("schedule_kind", sort=False):
        names = list(rows["schedule"].unique())
        for start in range(0, len(names), most_together):
            some = names[start : start + most_together]
            found.append((str(kind).replace("_", " "), rows[rows["schedule"].isin(some)]))
    return found


def completed(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows with a final loss."""
    done: pd.DataFrame = runs[(runs["status"] == "completed") & runs["val_loss"].notna()]
    return done


def among(runs: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """Runs that have rows in another table."""
    return runs[runs["cell_id"].isin(records["cell_id"].unique())]


def first_domain(records: pd.DataFrame) -> pd.DataFrame:
    """The rows on the domain that is written first: the one on which a study chooses."""
    return records[records["domain"] == records["domain"].iloc[0]] if len(records) else records


def longest_on_trunk(runs: pd.DataFrame) -> pd.DataFrame:
    """Of cells of one schedule and peak learning rate on one trunk the longest: shorter ones are a part of it."""
    ordered = runs.sort_values(["total_steps", "cell_id"], ascending=[False, True], kind="stable")
    return ordered.groupby(["trunk_id", "schedule", "peak_lr"]).head(1)


def nearest_the_best(frame: pd.DataFrame, value: str, most: int) -> list[float]:
    """At most so many peak learning rates, ascending: that of the lowest value and those nearest to it."""
    best = float(frame.sort_values(value, kind="stable")["peak_lr"].iloc[0])
    rates = sorted(frame["peak_lr"].unique(), key=lambda lr: abs(np.log(lr / best)))
    return sorted(float(lr) for lr in rates[:most])


def main_batch(runs: pd.DataFrame) -> pd.DataFrame:
    """For each model the rows of its most trained batch; ties go to the smaller batch."""
    kept = []
    for _, rows in runs.groupby("model", sort=True):
        counts = rows["batch_sequences"].value_counts()
        batch = min(counts[counts == counts.max()].index)
        kept.append(rows[rows["batch_sequences"] == batch])
    return pd.concat(kept) if kept else runs


def main_model(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows of the model with most cells and of its main batch; ties go to the larger model."""
    if runs.empty:
        return runs
    counts = runs.groupby("model").agg(n=("cell_id", "size"), size=("n_params_counted", "max"))
    name = counts.sort_values(["n", "size"]).index[-1]
    return main_batch(runs[runs["model"] == name])


def one_per_schedule(runs: pd.DataFrame) -> pd.DataFrame:
    """One cell of the main model per schedule, all at the longest common horizon and one peak learning rate.

    The peak is the middle one of those that most schedules share there; of replicates the first.
    """
    runs = main_model(runs)
    runs = runs[runs["tokens_per_parameter"] == common_horizon(runs)]
    if not runs.empty:
        schedules = runs.groupby("peak_lr")["schedule"].nunique()
        peaks = sorted(schedules[schedules == schedules.max()].index)
        runs = runs[runs["peak_lr"] == peaks[(len(peaks) - 1) // 2]]
    return runs.sort_values(["replicate", "cell_id"]).groupby("schedule", as_index=False).first()


def at_best_lr(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per model, batch, schedule and horizon: its lowest loss on the grid of peak learning rates.

    Losses are means over replicates after what a replicate does to all cells alike is taken off (see
    `science.replicates`), so that a learning rate with fewer replicates is neither favoured nor punished. A
    learning rate at which a replicate diverged or was excluded is not a candidate. `val_loss_se` is the pooled
    replicate noise over the square root of the replicates, null if no cell has two. `edge_of_grid`: the best one is
    the lowest or highest that was tried.
    """
    keys = [*GROUP, "peak_lr"]
    # Of a run without a size nothing is known in tokens per parameter; learning rates that a log does not tell are one.
    runs = runs.dropna(subset=GROUP)
    lost = runs[runs["status"].isin(["diverged", "excluded"])][keys].drop_duplicates()
    usable = completed(runs).merge(lost.assign(lost=True), on=keys, how="left")
    usable = usable[usable["lost"].isna()]
    points = usable.groupby(keys, as_index=False, dropna=False).agg(
        holdout=("holdout", "all"),
        schedule_kind=("schedule_kind", "first"),
        batch_tokens=("batch_tokens", "first"),
        token_horizon=("token_horizon", "first"),
        n_params_counted=("n_params_counted", "first"),
        train_flops_exact=("train_flops_exact", "first"),
    )
    points = points.merge(replicate_means(usable, keys), on=keys)
    best = points.sort_values([*GROUP, "val_loss", "peak_lr"], kind="stable")
    best = best.groupby(GROUP, as_index=False).head(1).reset_index(drop=True)
    ends = runs.groupby(GROUP, as_index=False)["peak_lr"].agg(lowest="min", highest="max")
    best = best.merge(ends, on=GROUP, how="left")
    best["edge_of_grid"] = (best["peak_lr"] == best["lowest"]) | (best["peak_lr"] == best["highest"])
    return best.drop(columns=["lowest", "highest"])


def replicate_means(completed_runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """val_loss, val_loss_se and n_replicates of each point; replicate noise is pooled within a model."""
    nothing = completed_runs.iloc[:0][keys].assign(val_loss=0.0, val_loss_se=0.0, n_replicates=0)
    parts = []
    for _, rows in completed_runs.groupby("model"):
        table = rows.groupby([*keys, "replicate"], dropna=False)["val_loss"].mean().unstack("replicate")
        points = table.index.to_frame(index=False)
        positions = points.groupby([key for key in keys if key != "schedule"], dropna=False).ngroup()
        noise = replicate_noise(table.to_numpy(float), np.asarray(positions, dtype=np.int64))
        parts.append(
            points.assign(
                val_loss=noise.means,
                # What a replicate does to all cells alike is left out: it cancels between points.
                val_loss_se=np.hypot(noise.own_sd, noise.position_sd) / np.sqrt(noise.counts),
                n_replicates=noise.counts,
            )
        )
    return pd.concat(parts) if parts else nothing


def common_horizon(runs: pd.DataFrame) -> float | None:
    """The longest horizon at which most schedules have a row; None without rows."""
    if runs.empty:
        return None
    schedules = runs.groupby("tokens_per_parameter")["schedule"].nunique()
    return float(max(schedules[schedules == schedules.max()].index))
