"""The table of the AdamW-as-average view: numbers one can check, and cells without an answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from glidepath.science.ema_view import update_coefficients
from glidepath.stages.ema_view import ema_view, groups_of
from glidepath.study import tables
from glidepath.study.specs import ModelSpec
from glidepath.training.parameters import Multipliers

STEPS, BATCH_TOKENS = 100, 64
GROUPS = {"m": {"matrix": Multipliers(lr=0.5, weight_decay=2.0), "norm": Multipliers(lr=1.0, weight_decay=0.0)}}


def cell(**changes: object) -> pd.DataFrame:
    run = {
        "cell_id": "c",
        "model": "m",
        "schedule_kind": "linear",
        "status": "completed",
        "total_steps": STEPS,
        "token_horizon": STEPS * BATCH_TOKENS,
    }
    return pd.DataFrame([{**run, **changes}])


def applied(lr: np.ndarray, weight_decay: float = 0.1) -> pd.DataFrame:
    step = np.arange(len(lr))
    return pd.DataFrame({
        "cell_id": "c",
        "step": step,
        "tokens_seen": (step + 1) * BATCH_TOKENS,
        "lr": lr,
        "weight_decay": weight_decay,
        "batch_tokens": BATCH_TOKENS,
    })  # fmt: skip


def rows(runs: pd.DataFrame, updates: pd.DataFrame) -> pd.DataFrame:
    frame = ema_view(runs, updates, GROUPS)
    assert list(frame.columns) == tables.EMA_VIEW.names
    return frame.set_index("group")


def test_a_constant_learning_rate_forgets_exponentially() -> None:
    """α = 0.2·0.5 × 0.1·2 = 0.02: the last update weighs 0.02, the start 0.98^100, memory is half the run."""
    found = rows(cell(), applied(np.full(STEPS, 0.2)).sample(frac=1, random_state=0))
    matrix = found.loc["matrix"]
    assert matrix["status"] == "ok"
    assert (matrix["lr_multiplier"], matrix["weight_decay_multiplier"]) == (0.5, 2.0)
    assert matrix["initial_coefficient"] == pytest.approx(0.98**100)
    assert matrix["peak_coefficient"] == pytest.approx(0.02)
    assert matrix["peak_fraction"] == 1.0
    assert matrix["timescale_fraction"] == pytest.approx(0.5)
    kept = 0.98 ** np.arange(100)
    assert matrix["effective_updates"] == pytest.approx(kept.sum() ** 2 / (kept**2).sum())


def test_norms_are_not_decayed_and_so_no_average() -> None:
    norm = rows(cell(), applied(np.full(STEPS, 0.2))).loc["norm"]
    assert norm["status"] == "no weight decay"
    assert norm[["initial_coefficient", "effective_updates", "timescale_fraction"]].isna().all()


def test_a_decay_to_zero_remembers_more_updates_than_a_constant() -> None:
    lr = 0.2 * (1 - np.arange(STEPS) / STEPS)
    matrix = rows(cell(), applied(lr)).loc["matrix"]
    expected = update_coefficients(0.5 * lr, 0.2)
    assert matrix["effective_updates"] == pytest.approx(expected.effective_updates)
    assert matrix["peak_fraction"] == (expected.peak + 1) / STEPS
    assert matrix["timescale_fraction"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "lr", "status"),
    [
        ({"status": "diverged"}, np.full(40, 0.2), "diverged"),
        ({"schedule_kind": "schedule_free"}, np.full(STEPS, 0.2), "schedule-free"),
        ({}, np.full(STEPS - 1, 0.2), "not every update was logged"),
        ({}, np.empty(0), "not every update was logged"),
        ({}, np.full(STEPS, 20.0), "must be below 1"),
    ],
)
def test_cells_without_an_answer_say_why(changes: dict[str, object], lr: np.ndarray, status: str) -> None:
    matrix = rows(cell(**changes), applied(lr)).loc["matrix"]
    assert status in matrix["status"]
    assert np.isnan(matrix["initial_coefficient"])


def test_the_groups_are_the_kinds_a_model_has() -> None:
    spec = ModelSpec(
        n_layer=1, d_model=32, n_head=2, d_head=16, d_ff=64, context_length=8, vocab_size=64, feed_forward="swiglu",
        norm="rmsnorm", tied_embeddings=True, qk_norm=False, rope_base=1e4, parametrization="mup", base_width=16,
        base_depth=1, init_std_embedding=0.02, init_std_hidden=1.0, init_std_head=0.02,
        zero_init_output_projections=False,
    )  # fmt: skip
    groups = groups_of(spec)
    assert set(groups) == {"embedding_head", "matrix", "norm"}
    assert (groups["matrix"].lr, groups["matrix"].weight_decay) == (0.5, 2.0)
