"""Loss curves from tables: points once, what is left out, and what no law would say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from glidepath.laws.curves import curves_of, distinct, keys_of, nearest_run, rise
from tests.laws.planted_curves import WARMUP, study


def changed(found: dict[str, pd.DataFrame], cell: str, **values: object) -> dict[str, pd.DataFrame]:
    runs = found["runs"].copy()
    for name, value in values.items():
        runs.loc[runs["cell_id"] == cell, name] = value
    return found | {"runs": runs}


def test_a_curve_is_what_was_applied_and_measured() -> None:
    found = study(steps=(400,), schedules=("linear",), replicates=1)
    (run,) = curves_of(found).runs
    np.testing.assert_array_equal(run.curve.lr, found["updates"]["lr"])
    np.testing.assert_array_equal(run.curve.losses, found["evaluations"]["val_loss"])
    assert run.curve.warmup_steps == WARMUP
    assert run.curve.updates_done[0] >= WARMUP


def test_a_point_that_cells_share_counts_once() -> None:
    found = study(steps=(400,), schedules=("constant", "wsd_20"), replicates=1)
    both = ["tiny-constant-lr0.01-400-r0", "tiny-wsd_20-lr0.01-400-r0"]
    for cell, own in zip(both, ("c", "w"), strict=True):
        found = changed(found, cell, segments=f"trunk {own}", segment_ends="320 400")
    runs = curves_of(found).runs
    once = distinct(runs)
    assert len(keys_of(runs)) == sum(len(run.keys) for run in once) < sum(len(run.keys) for run in runs)
    unseen = distinct([runs[1]], keys_of([runs[0]]))
    assert (unseen[0].curve.updates_done > 320).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"status": "diverged"}, "it is diverged"),
        ({"schedule_kind": "schedule_free"}, "more than the path"),
        ({"warmup_steps": 400}, "is all of it"),
    ],
)
def test_what_laws_cannot_read_is_left_out_with_a_reason(values: dict[str, object], reason: str) -> None:
    found = changed(study(steps=(400,), replicates=1), "tiny-linear-lr0.01-400-r0", **values)
    made = curves_of(found)
    assert "tiny-linear-lr0.01-400-r0" not in {run.cell_id for run in made.runs}
    assert reason in made.left_out["tiny-linear-lr0.01-400-r0"]


def test_batches_that_change_and_learning_rates_that_nobody_knows_are_left_out() -> None:
    found = study(steps=(400,), schedules=("linear", "wsd_20", "constant"), replicates=1)
    updates = found["updates"].copy()
    linear, wsd = (updates["cell_id"] == f"tiny-{name}-lr0.01-400-r0" for name in ("linear", "wsd_20"))
    updates.loc[linear & (updates["step"] > 100), "batch_tokens"] *= 2
    updates.loc[wsd & (updates["step"] == 7), "lr"] = np.nan
    made = curves_of(found | {"updates": updates})
    assert [run.schedule for run in made.runs] == ["constant"]
    assert [reason.split(":")[0] for reason in made.left_out.values()] == [
        "its batch changes",
        "the learning rate of its updates is not known",
    ]


def test_subset_losses_are_never_mixed_with_others() -> None:
    found = study(steps=(400,), schedules=("linear",), replicates=1)
    full = found["evaluations"].tail(1).assign(eval_set="full", val_loss=9.0)
    (run,) = curves_of(found | {"evaluations": pd.concat([found["evaluations"], full])}).runs
    assert 9.0 not in run.curve.losses
    (imported,) = curves_of(found | {"evaluations": full}).runs
    assert imported.curve.losses.tolist() == [9.0]


def test_the_nearest_run_is_that_of_the_most_similar_learning_rate() -> None:
    runs = {run.schedule: run for run in curves_of(study(steps=(400,), replicates=1, noise=0.0)).runs}
    said = nearest_run(runs["wsd_50"], [runs["constant"], runs["wsd_80"], runs["linear"]])
    np.testing.assert_allclose(said[-1], runs["wsd_80"].curve.losses[-1])


def test_beyond_all_runs_the_last_loss_is_carried_over() -> None:
    long, short = (
        curves_of(study(steps=(steps,), schedules=("linear",), replicates=1)).runs[0] for steps in (1600, 400)
    )
    assert nearest_run(long, [short])[-1] == short.curve.losses[-1]


def test_the_warm_up_is_found_where_nobody_tells_it() -> None:
    assert rise(np.array([0.1, 0.2, 0.3, 0.3, 0.2])) == 3
    assert rise(np.array([0.3, 0.3, 0.2])) == 0


def test_runs_that_nobody_evaluated_have_the_curve_of_their_training_loss() -> None:
    found = study(steps=(1600,), schedules=("linear",), replicates=1)
    losses = 2 + 1 / (found["updates"]["step"] + 1)
    updates = found["updates"].assign(train_loss=losses.where(found["updates"]["step"] % 2 == 0))
    (run,) = curves_of(found | {"updates": updates, "evaluations": found["evaluations"].iloc[:0]}).runs
    assert 190 < len(run.keys) <= 200
    np.testing.assert_allclose(run.curve.losses, 2 + 1 / (run.curve.updates_done + 1), rtol=3e-3)


def test_what_an_imported_log_does_not_tell_is_no_error() -> None:
    found = study(steps=(400,), schedules=("linear",), replicates=1)
    runs = found["runs"].astype(dict.fromkeys(("holdout", "warmup_steps", "replicate", "segments"), object))
    unknown = ["holdout", "warmup_steps", "replicate", "segments", "segment_ends", "trunk_id", "tokens_per_parameter"]
    runs[[*unknown, "n_params_counted", "batch_sequences"]] = None
    (run,) = curves_of(found | {"runs": runs, "updates": found["updates"].assign(batch_tokens=np.nan)}).runs
    assert (run.batch_sequences, run.batch_tokens, run.curve.warmup_steps) == (0, 0, WARMUP)
    assert (run.trunk, run.holdout, run.curve.n_params) == (run.cell_id, False, None)
