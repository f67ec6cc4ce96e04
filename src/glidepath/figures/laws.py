"""Reading fitted laws: the rows of the groups that a figure shows."""

from __future__ import annotations

import pandas as pd

GROUP = ["model", "schedule", "batch_sequences"]
OPTIMAL_PEAK_LR = "peak_lr"
"""Parameter of the law lr_optimum: where the parabola in ln(peak_lr) is lowest."""
LR_EXPONENT = "exponent"
"""Parameter of the law lr_horizon: peak_lr ∝ token_horizon^(-exponent)."""


def of_groups(law: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Rows of a law's table whose model, schedule and batch occur in the runs."""
    groups = runs[GROUP].drop_duplicates()
    return law.merge(groups, on=GROUP, how="inner")


def predictions(law: pd.DataFrame, runs: pd.DataFrame, *, quantity: str, x_name: str) -> pd.DataFrame:
    """One quantity of a law against one abscissa, in ascending order of it."""
    rows = of_groups(law, runs)
    rows = rows[(rows["quantity"] == quantity) & (rows["x_name"] == x_name) & rows["value"].notna()]
    return rows.sort_values([*GROUP, "tokens_per_parameter", "x"], kind="stable")


def parameter(law: pd.DataFrame, runs: pd.DataFrame, name: str) -> pd.DataFrame:
    """One parameter of a law, a row per group."""
    rows = of_groups(law, runs)
    return rows[(rows["parameter"] == name) & rows["value"].notna()]
