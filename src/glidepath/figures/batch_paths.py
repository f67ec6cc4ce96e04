"""What the figures of batch paths have in common: which pairs they show, and in which looks."""

from __future__ import annotations

from typing import Any

import pandas as pd

from glidepath.figures import select, style

MOST_PATHS = 4
LOOKS: tuple[tuple[str, Any, str], ...] = (
    (style.FAINT, "-", "o"),
    ("#0072B2", "-", "s"),
    ("#D55E00", (0, (5, 1.8)), "^"),
    ("#009E73", (0, (6, 1.6, 1.4, 1.6)), "D"),
    ("#CC79A7", (0, (1.4, 1.3)), "v"),
)
"""Colour, line and marker by rank; 0 is the fixed batch."""
PLACE = ["model", "tokens_per_parameter", "batch_sequences", "fixed_schedule"]


def shown_pairs(saving: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Rows of `batch_saving` of the main model and batch, its longest horizon and the fixed schedule with most paths
    there; `rank`, from 1 on, are the paths in the order of the table, at most `MOST_PATHS`.

    Rows at equal peak learning rates are those at the best one of the fixed schedule, or else at the nearest one that a
    path has too.
    """
    if saving.empty:
        return saving.assign(rank=0)
    trained = runs[runs["schedule"].isin([*saving["schedule"], *saving["fixed_schedule"]])]
    main = select.main_model(trained)
    rows = saving[saving["model"].isin(main["model"]) & saving["batch_sequences"].isin(main["batch_sequences"])]
    rows = rows[rows["tokens_per_parameter"] == rows["tokens_per_parameter"].max()]
    paths = rows.groupby("fixed_schedule")["schedule"].nunique().sort_index()
    rows = rows[rows["fixed_schedule"] == paths.idxmax()]
    names = list(rows["schedule"].unique())[:MOST_PATHS]
    rows = rows[rows["schedule"].isin(names)]
    best = float(rows.loc[rows["lr_choice"] == "best", "fixed_peak_lr"].iloc[0])
    common = rows.loc[rows["lr_choice"] == "equal", "peak_lr"].unique()
    equal = min(common, key=lambda lr: max(lr / best, best / lr)) if len(common) else None
    rows = rows[(rows["lr_choice"] == "best") | (rows["peak_lr"] == equal)]
    found: pd.DataFrame = rows.assign(rank=rows["schedule"].map({name: i for i, name in enumerate(names, start=1)}))
    return found


def names_by_rank(frame: pd.DataFrame) -> dict[int, str]:
    """Schedules of a figure's rows, the fixed one first if it is there."""
    unique = frame.drop_duplicates("rank").sort_values("rank")
    return {int(rank): str(name) for rank, name in zip(unique["rank"], unique["schedule"], strict=True)}
