"""Batch paths: what is drawn is what was measured, of the pairs that belong together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath import figures
from glidepath.figures.batch_paths import LOOKS, MOST_PATHS
from glidepath.study import tables
from tests.figures.planted import filled

CONTEXT = 64
PEAKS = (0.004, 0.008, 0.016)
PATHS = ("ramp", "stages")
BATCHES = {"fixed": [8] * 10, "ramp": [2] * 8 + [4] * 8 + [8] * 4, "stages": [4] * 10 + [8] * 4 + [3, 5]}
"""In sequences; 80 of them."""


def runs() -> pd.DataFrame:
    """The fixed schedule is best at 0.008, a path at 0.004."""
    rows = [
        {
            "cell_id": f"{schedule}-{lr}-{replicate}", "model": "m", "schedule": schedule, "peak_lr": lr,
            "replicate": replicate, "tokens_per_parameter": 20.0, "batch_sequences": 8, "context_length": CONTEXT,
            "status": "completed", "val_loss": 3.0 + abs(lr - (0.008 if schedule == "fixed" else 0.004)),
        }
        for schedule in BATCHES for lr in PEAKS for replicate in (0, 1)
    ]  # fmt: skip
    return filled(tables.RUNS, rows)


def updates() -> pd.DataFrame:
    rows = [
        {"cell_id": run["cell_id"], "step": i, "tokens_seen": int(seen) * CONTEXT, "batch_tokens": batch * CONTEXT}
        for run in runs().to_dict("records")
        for batches in [BATCHES[run["schedule"]]]
        for i, (batch, seen) in enumerate(zip(batches, np.cumsum(batches), strict=True))
    ]
    return filled(tables.UPDATES, rows)


def evaluations() -> pd.DataFrame:
    """Replicate r is r above the mean of the two less a half."""
    rows = [
        {
            "cell_id": run["cell_id"], "updates_done": done, "tokens_seen": tokens * CONTEXT, "domain": domain,
            "eval_set": eval_set, "val_loss": 5.0 - tokens / 80 + run["replicate"] + (domain == "c"),
        }
        for run in runs().to_dict("records")
        for done, tokens in enumerate((8, 40, 80))
        for domain in ("python", "c")
        for eval_set in ("subset", "full")
    ]  # fmt: skip
    return filled(tables.EVALUATIONS, rows)


def saving(**changes: Any) -> pd.DataFrame:
    rows = []
    for i, schedule in enumerate(PATHS):
        for lr_choice, path_lr, fixed_lr in (*(("equal", lr, lr) for lr in PEAKS), ("best", 0.004, 0.008)):
            for at, point in (("end", 0), ("curve", 0), ("curve", 1)):
                tokens = 0.1 * (i + 1) + 0.01 * point + path_lr
                row = {
                    "schedule": schedule, "fixed_schedule": "fixed", "model": "m", "tokens_per_parameter": 20.0,
                    "batch_sequences": 8, "lr_choice": lr_choice, "peak_lr": path_lr, "fixed_peak_lr": fixed_lr,
                    "at": at, "point": point, "edge_of_grid": lr_choice == "best", "val_loss": 3.5 - 0.2 * point,
                    "n_replicates": 2, "ci_level": 0.9,
                }  # fmt: skip
                for unit, value in (("tokens", tokens), ("updates", -1.0), ("seconds", tokens - 0.2)):
                    row |= {
                        f"{unit}_saved_fraction": value,
                        f"{unit}_saved_fraction_low": value - 0.05,
                        f"{unit}_saved_fraction_high": value + 0.05,
                    }
                rows.append({**row, **changes})
    return filled(tables.BATCH_SAVING, rows)


def frame_of(name: str, **others: pd.DataFrame) -> pd.DataFrame:
    everything = {"runs": runs(), "updates": updates(), "evaluations": evaluations(), "batch_saving": saving()}
    return figures.load(name).data({**everything, **others})


def test_losses_are_those_of_the_pairs_at_the_best_learning_rate_of_the_fixed_batch() -> None:
    frame = frame_of("batch_path_losses")
    assert set(frame["peak_lr"]) == {0.008}
    assert frame.drop_duplicates("schedule").set_index("schedule")["rank"].to_dict() == {
        "fixed": 0,
        "ramp": 1,
        "stages": 2,
    }
    ramp = frame[frame["schedule"] == "ramp"]
    means = ramp[ramp["item"] == "mean"]
    assert means["val_loss"].tolist() == [5.4, 5.0, 4.5]
    assert means["tokens_seen"].tolist() == [8 * CONTEXT, 40 * CONTEXT, 80 * CONTEXT]
    second = ramp[(ramp["item"] == "replicate") & (ramp["replicate"] == 1)]
    assert second["val_loss"].tolist() == [5.9, 5.5, 5.0]


@pytest.mark.parametrize(
    ("schedule", "begins", "batches"),
    [("fixed", [0, 80], [8, 8]), ("ramp", [0, 16, 48, 80], [2, 4, 8, 8]), ("stages", [0, 40, 72, 80], [4, 8, 3, 3])],
)
def test_the_batch_is_what_was_applied(schedule: str, begins: list[int], batches: list[int]) -> None:
    """Of the last update, which takes what is left, only its end."""
    frame = frame_of("batch_path_losses")
    drawn = frame[(frame["schedule"] == schedule) & (frame["item"] == "batch")]
    assert (drawn["tokens_seen"] / CONTEXT).tolist() == begins
    assert drawn["batch_sequences"].tolist() == batches


def test_savings_are_those_of_the_table() -> None:
    frame = frame_of("batch_saving")
    curve = frame[(frame["item"] == "curve") & (frame["schedule"] == "stages")]
    np.testing.assert_allclose(curve["saved_fraction"], [0.208, 0.218])
    np.testing.assert_allclose(curve["ci_high"] - curve["ci_low"], 0.1)
    end = frame[frame["item"] != "curve"].set_index(["item", "lr_choice", "schedule"])["saved_fraction"]
    assert end.to_dict() == pytest.approx(
        {
            ("tokens", "equal", "ramp"): 0.108,
            ("tokens", "equal", "stages"): 0.208,
            ("tokens", "best", "ramp"): 0.104,
            ("tokens", "best", "stages"): 0.204,
            ("seconds", "equal", "ramp"): -0.092,
            ("seconds", "equal", "stages"): 0.008,
        }
    )
    figure = figures.load("batch_saving").draw(frame)
    along, at_end = figure.axes
    assert along.xaxis_inverted()
    assert len(at_end.get_xticks()) == 3


def test_the_main_model_and_the_longest_horizon_are_shown() -> None:
    other = saving(tokens_per_parameter=5.0, tokens_saved_fraction=0.9)
    frame = frame_of("batch_saving", batch_saving=pd.concat([other, saving()], ignore_index=True))
    assert set(frame["tokens_per_parameter"]) == {20.0}
    assert frame["saved_fraction"].max() < 0.3
    # The fixed schedule that most paths are compared with.
    lonely = saving(fixed_schedule="another", schedule="alone").drop_duplicates(tables.BATCH_SAVING.key)
    frame = frame_of("batch_saving", batch_saving=pd.concat([lonely, saving()], ignore_index=True))
    assert set(frame["fixed_schedule"]) == {"fixed"}


def test_without_seconds_and_without_intervals_the_rest_is_drawn() -> None:
    nothing = {f"tokens_saved_fraction_{end}": np.nan for end in ("low", "high")}
    frame = frame_of("batch_saving", batch_saving=saving(**nothing, seconds_saved_fraction=np.nan, n_replicates=1))
    assert set(frame["item"]) == {"curve", "tokens"}
    figure = figures.load("batch_saving").draw(frame)
    assert "One replicate: no intervals" in " ".join(text.get_text() for text in figure.texts)
    assert len(figure.axes[1].get_xticks()) == 2


def test_there_is_a_look_for_every_path_shown() -> None:
    assert len(LOOKS) == MOST_PATHS + 1
