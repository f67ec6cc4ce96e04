"""What a recommendation says of averaging checkpoints."""

from __future__ import annotations

import pandas as pd

from glidepath.advice.choice import Choice
from glidepath.advice.estimates import of_replicates, source_row
from glidepath.laws.averaging import at_cell_ends, at_longest_horizon, replicate_means
from glidepath.study.averaging_config import BEST_WINDOW
from glidepath.study.recommendation import Averaging

KEY = ("cell_id", "updates_done", "average", "domain")
SETTING = ["average", "peak_lr", "tokens_per_parameter"]


def averaging(averages: pd.DataFrame, runs: pd.DataFrame, choice: Choice, level: float) -> Averaging:
    """The best average of a constant run at the horizon that the report's answer rests on; recommended only where it
    gains and the schedule is that constant."""
    # best_window is not one window: what is recommended has a name in the study.
    rows = at_cell_ends(averages[averages["average"] != BEST_WINDOW], runs)
    same = (rows["model"] == choice.model) & (rows["batch_sequences"] == choice.batch_sequences)
    rows = at_longest_horizon(rows[same & (rows["schedule_kind"] == "constant")])
    nothing = dict.fromkeys(("average", "averaging_scheme", "window_checkpoints", "window_fraction"))
    if rows.empty:
        return Averaging(**nothing, gain=None, gap_to_cooldown=None)
    best = replicate_means(rows).sort_values("averaged", kind="stable").iloc[0]
    chosen = rows[(rows[SETTING] == best[SETTING]).all(axis=1)]
    sources = [source_row("averages", row, KEY) for _, row in chosen.iterrows()]
    used = best["schedule"] == choice.schedule and best["gain"] > 0
    what = {
        "average": str(best["average"]),
        "averaging_scheme": str(best["averaging_scheme"]),
        "window_checkpoints": round(best["window_checkpoints"]),
        "window_fraction": float(best["window_fraction"]),
    }
    return Averaging(
        **(what if used else nothing),
        gain=of_replicates(best, "gain", level, sources),
        gap_to_cooldown=None if pd.isna(best["gap"]) else of_replicates(best, "gap", level, sources),
    )
