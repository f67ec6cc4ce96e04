"""From a cell's gradient norms to a file that a schedule of kind points reads."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from glidepath.stages import refine
from glidepath.study import tables
from glidepath.study.schedule_points import Points
from tests.figures import planted

STEPS, BATCH_TOKENS = 2000, 64
CELL = "m-linear-0"


def runs(**changes: object) -> pd.DataFrame:
    run = {"cell_id": CELL, "status": "completed", "reason": "", "total_steps": STEPS}
    return planted.filled(tables.RUNS, [{**run, "token_horizon": STEPS * BATCH_TOKENS, **changes}])


def updates(batch_tokens: np.ndarray | None = None, norms_every: int = 4) -> pd.DataFrame:
    """l2 norms at every update, flat; l1 norms at every fourth, falling from 2 to 1."""
    batches = np.full(STEPS, BATCH_TOKENS) if batch_tokens is None else batch_tokens
    step = np.arange(STEPS)
    falling = np.where(step % norms_every == 0, 2.0 - step / (STEPS - 1), np.nan)
    columns = {
        "cell_id": CELL,
        "step": step,
        "tokens_seen": batches.cumsum(),
        "batch_tokens": batches,
        "grad_norm": 0.7,
        "grad_norm_l1": falling,
    }
    return planted.filled(tables.UPDATES, pd.DataFrame(columns).to_dict("records"))


def points(text: str) -> np.ndarray:
    header, *lines = text.splitlines()
    assert header == "position,multiplier"
    return np.array([[float(value) for value in line.split(",")] for line in lines])


def test_flat_norms_give_a_linear_decay() -> None:
    found = points(refine.points_csv(runs(), updates(), CELL, "l2"))
    assert len(found) == 400
    assert_allclose(found[:, 1], 1 - found[:, 0], atol=1e-3)


def test_the_l1_norms_that_were_logged_are_interpolated() -> None:
    """At half the run the published l1 refinement of norms from 2 to 1 has 0.7839 of its largest value."""
    found = points(refine.points_csv(runs(), updates(), CELL, "l1"))
    assert np.interp(0.5, found[:, 0], found[:, 1]) == pytest.approx(0.7839, abs=0.01)


def test_positions_are_in_tokens_where_the_batch_grows() -> None:
    """Half of the updates have 1 and half 3 sequences: the middle of the updates is a quarter of the tokens."""
    batches = np.repeat([BATCH_TOKENS, 3 * BATCH_TOKENS], STEPS // 2)
    grown = runs(token_horizon=int(batches.sum()))
    found = points(refine.points_csv(grown, updates(batches), CELL, "l2"))
    assert np.interp(0.25, found[:, 0], found[:, 1]) == pytest.approx(0.5, abs=1e-3)
    assert (np.diff(found[:, 0]) > 0).all()


def test_a_schedule_of_points_reads_the_file(tmp_path: Path) -> None:
    tables.write(tables.RUNS, runs(), tmp_path / "runs.parquet")
    tables.write(tables.UPDATES, updates(), tmp_path / "updates.parquet")
    file = tmp_path / "schedule.csv"
    refine.main(argparse.Namespace(results=tmp_path, cell=CELL, norm="l1", output=file))
    schedule = Points.model_validate(
        {"kind": "points", "file": str(file), "unit": "fraction", "interpolation": "linear"}
    )
    assert_allclose(schedule.points, points(file.read_text()))
    assert schedule.points[0] == (0.0, 1.0)
    assert schedule.final_fraction == 0.0
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("cell", "changes", "every", "says"),
    [
        ("m-linear-1", {}, 4, "no such cell_id.*the nearest are m-linear-0"),
        (CELL, {"status": "diverged", "reason": "diverged at update 7"}, 4, "diverged at update 7; take a cell"),
        (CELL, {}, STEPS // 8, "column grad_norm_l1.*4 usable gradient norms"),
    ],
)
def test_what_cannot_be_refined_is_refused(cell: str, changes: dict[str, object], every: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        refine.points_csv(runs(**changes), updates(norms_every=every), cell, "l1")
