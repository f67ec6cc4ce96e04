"""Which completed cells are kept out of fits."""

from __future__ import annotations

import numpy as np
import pandas as pd

from glidepath.study.exclusion import with_exclusions
from glidepath.study.final_losses import final_losses
from tests.study.test_final_losses import study


def judged(*losses: float, status: str = "completed") -> list[str]:
    runs = pd.DataFrame({
        "model": "m",
        "schedule": "linear",
        "batch_sequences": 8,
        "tokens_per_parameter": 20.0,
        "val_loss": losses,
        "status": status,
        "reason": "",
    })  # fmt: skip
    return with_exclusions(runs)["status"].tolist()


def test_more_than_one_nat_above_the_best_of_the_sweep_is_out() -> None:
    assert judged(3.0, 4.0, 4.001, 6.0) == ["completed", "completed", "excluded", "excluded"]
    assert judged(3.0, np.nan) == ["completed", "completed"]
    assert judged(3.0, 9.0, status="diverged") == ["diverged", "diverged"]


def test_a_sweep_is_judged_by_its_own_best_and_by_completed_cells() -> None:
    runs, _ = study(1)
    runs = runs.assign(reason="")
    runs.loc[runs["schedule"] == "cosine", "val_loss"] += 2.0
    runs.loc[runs.index[0], ["val_loss", "status"]] = [0.5, "diverged"]
    assert (with_exclusions(runs)["status"] != "excluded").all()


def test_an_excluded_cell_says_why_and_takes_its_learning_rate_out_of_the_fits() -> None:
    runs, blocks = study(2)
    runs = runs.assign(reason="")
    out = (runs["schedule"] == "linear") & (runs["peak_lr"] == 0.004) & (runs["replicate"] == 1)
    runs.loc[out, "val_loss"] = 4.5
    before = runs.copy()
    marked = with_exclusions(runs)
    assert marked.loc[out, "reason"].tolist() == ["final loss 1.50 nat/token above the best of its sweep, more than 1"]
    assert (marked.loc[~out, "reason"] == "").all()
    points = final_losses(marked, blocks).points
    assert len(points) == 5
    assert not ((points["schedule"] == "linear") & (points["peak_lr"] == 0.004)).any()
    pd.testing.assert_frame_equal(runs, before)
