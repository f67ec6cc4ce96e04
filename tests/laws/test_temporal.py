"""The temporal law on tables of planted trainings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import temporal
from glidepath.laws.law import LawTables
from glidepath.study import tables
from tests.figures.planted import filled
from tests.laws.planted import LEVEL, one, parameters, scores, settings, valid

BATCH = 1000
STEPS = 4000
WARMUP = 10
A0, A1, Q, R, C = 1.2, 0.3, 6.0, 0.2, 0.3
POSITIONS = np.arange(1, 17)


def lr_of(schedule: str, peak_lr: float, steps: int = STEPS) -> np.ndarray:
    lr = np.full(steps, peak_lr)
    lr[:WARMUP] *= np.arange(1, WARMUP + 1) / WARMUP
    if schedule == "wsd":
        start = round(0.8 * steps)
        lr[start:] *= np.linspace(1, 0, steps - start, endpoint=False)
    return lr


def study(
    *cells: tuple[str, float, int], trunks: str = "own", horizons: tuple[int, ...] = (STEPS,), sd: float = 0.0
) -> dict[str, pd.DataFrame]:
    """Cells by schedule, peak and replicate at every horizon, with 16 checkpoints each whose mean has noise of `sd`."""
    runs, updates, positions = [], [], []
    generator = np.random.default_rng(0)
    for schedule, peak_lr, replicate in cells:
        for steps in horizons:
            cell = f"{schedule}-{peak_lr:g}-{replicate}-{steps}"
            lr = lr_of(schedule, peak_lr, steps)
            runs.append({
                "cell_id": cell, "model": "a", "schedule": schedule, "batch_sequences": 8, "status": "completed",
                "tokens_per_parameter": steps / 100, "peak_lr": peak_lr, "replicate": replicate,
                "token_horizon": steps * BATCH, "total_steps": steps,
                "trunk_id": cell if trunks == "own" else f"{peak_lr:g}-{replicate}",
            })  # fmt: skip
            step = np.arange(steps)
            updates.append(pd.DataFrame({"cell_id": cell, "step": step, "tokens_seen": (step + 1) * BATCH, "lr": lr}))
            for done in np.unique(np.round(np.geomspace(steps / 32, steps, 16)).astype(int)):
                t = done * BATCH
                plateau = Q - R * np.log(t) - C * (1 - lr[done - 1] / peak_lr) + (peak_lr - 0.01) ** 2 * 1e3
                losses = A0 / (1 + A1 * POSITIONS) + plateau + sd * generator.standard_normal()
                positions.append(pd.DataFrame({
                    "cell_id": cell, "updates_done": done, "tokens_seen": t, "position": POSITIONS,
                    "val_loss": losses, "val_loss_sem": 0.05, "n_eval_tokens": 100,
                }))  # fmt: skip
    whole = pd.concat(updates, ignore_index=True)
    return {
        "runs": filled(tables.RUNS, runs),
        "updates": filled(tables.UPDATES, whole.to_dict("records")),
        "position_losses": filled(tables.POSITION_LOSSES, pd.concat(positions).to_dict("records")),
    }


def fit(found: dict[str, pd.DataFrame]) -> LawTables:
    return temporal.fit(found, settings())


def test_planted_parameters_and_the_hidden_end() -> None:
    law = fit(study(("constant", 0.01, 0), ("constant", 0.02, 0)))
    values = parameters(law).set_index("parameter")["value"]
    np.testing.assert_allclose(values[["a0", "a1", "q", "r"]], [A0, A1, Q, R], rtol=1e-4)
    assert set(parameters(law)["status"]) == {"converged"}
    for part in ("half", "three quarters"):
        row = one(scores(law), holdout=f"last {part} of training, 40 tokens per parameter", quantity="val_loss")
        assert row["mean_absolute_error"] < 1e-5
        assert row["baseline_mean_absolute_error"] > 0.05
        assert row["covered"] == 1.0
    at = one(scores(law), holdout="last half of training, 40 tokens per parameter", quantity="val_loss_at_position")
    mean = one(scores(law), holdout="last half of training, 40 tokens per parameter", quantity="val_loss")
    assert at["n_hidden"] == len(POSITIONS) * mean["n_hidden"]
    assert at["mean_absolute_error"] < 1e-5


def test_curves_lead_on_and_are_of_the_best_peak() -> None:
    law = fit(study(("constant", 0.01, 0), ("constant", 0.02, 0), sd=0.005))
    found = valid(law)[tables.LAW_PREDICTIONS]
    curve = found[found["quantity"] == "val_loss"]
    beyond = curve[curve["extrapolated"]]
    assert beyond["x"].max() == pytest.approx(4 * STEPS * BATCH)
    truth = (A0 / (1 + A1 * POSITIONS)).mean() + Q - R * np.log(beyond["x"])
    assert (abs(beyond["value"] - truth) < 0.03).all()
    assert ((beyond["ci_low"] < truth) & (truth < beyond["ci_high"])).all()
    assert (beyond["ci_level"] == LEVEL).all()
    assert (np.diff(beyond["ci_high"] - beyond["ci_low"]) > 0).all()
    assert found.loc[found["x_name"] == "position", "x"].tolist() == POSITIONS.tolist()


def test_replicates_are_averaged_and_shared_trunks_count_once() -> None:
    """Of horizons on one trunk the longest; of horizons of their own each is a group."""
    cells = (("constant", 0.01, 0), ("constant", 0.01, 1))
    shared = scores(fit(study(*cells, trunks="shared", horizons=(STEPS // 2, STEPS))))
    assert set(shared["holdout"].str.rsplit(", ").str[-1]) == {"40 tokens per parameter"}
    own = scores(fit(study(*cells, horizons=(STEPS // 2, STEPS))))
    assert set(own["holdout"].str.rsplit(", ").str[-1]) == {"20 tokens per parameter", "40 tokens per parameter"}
    single = one(scores(fit(study(cells[0]))), quantity="val_loss", holdout=shared["holdout"].iloc[0])
    assert single["n_hidden"] == shared["n_hidden"].iloc[0]


def test_a_cooldown_that_the_fit_has_not_seen_has_no_interval() -> None:
    """Half of the training ends before the learning rate falls; of all of it the fall is a parameter."""
    law = fit(study(("wsd", 0.01, 0)))
    row = one(scores(law), quantity="val_loss", holdout="last half of training, 40 tokens per parameter")
    assert row["worst_relative_error"] > 0.03
    value = one(parameters(law), parameter="c")
    assert value["value"] == pytest.approx(C, rel=0.05)


def test_too_few_checkpoints_are_said_so() -> None:
    found = study(("constant", 0.01, 0))
    losses = found["position_losses"]
    kept = sorted(losses["updates_done"].unique())[-3:]
    law = fit({**found, "position_losses": losses[losses["updates_done"].isin(kept)]})
    assert set(parameters(law)["status"]) == {"failed"}
    assert set(scores(law)["n_hidden"]) == {0}
    assert scores(law)["status"].str.contains("needs 4").all()


def test_cells_kept_from_fits_and_cells_without_a_learning_rate_are_left_out() -> None:
    found = study(("constant", 0.01, 0))
    assert not fit({**found, "runs": found["runs"].assign(holdout=True)}).scores
    assert not fit({**found, "updates": found["updates"].iloc[:0]}).scores
