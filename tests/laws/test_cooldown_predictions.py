"""A study's table of cooldowns: what is predicted, what is refused and why, and who is the better predictor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.laws.cooldown_oracle import AVERAGED, MEAN_DROP, ORACLE
from glidepath.laws.cooldown_predictions import calibrated, cooldowns, predicted, scores
from glidepath.study import tables

N_PARAMS = 1000
PEAKS = (0.002, 0.004, 0.008, 0.016)
MEAN_LR = {"linear": 0.5, "one_minus_sqrt": 1 / 3}


def row(
    random: np.random.Generator, peak_lr: float, replicate: int, tokens: int, shape: str, real: bool
) -> dict[str, Any]:
    """A point of a trunk with a cooldown over a fifth of its training; its real loss, if any, is set by `study`."""
    end = tokens / 0.8
    return {
        "cell_id": f"constant-lr{peak_lr:g}-r{replicate}",
        "updates_done": tokens // 10,
        "schedule": f"wsd_{shape}",
        "model": "tiny",
        "n_params_counted": N_PARAMS,
        "peak_lr": peak_lr,
        "batch_sequences": 8,
        "replicate": replicate,
        "tokens_seen": tokens,
        "branch_tokens_per_parameter": tokens / N_PARAMS,
        "decay_shape": shape,
        "final_lr_fraction": 0.0,
        "decay_fraction": 0.2,
        "mean_lr_fraction": MEAN_LR[shape],
        "end_tokens": end,
        "end_tokens_per_parameter": end / N_PARAMS,
        "average": "window_20",
        "val_loss_raw": 3.0,
        "val_loss_averaged": 3.0 - random.uniform(0.03, 0.1),
        "gain_sem": 0.0,
        "loss_slope": random.uniform(0.1, 0.3),
        "lag_tokens": 0.1 * tokens,
        "cooldown_cell_id": f"wsd-{shape}-lr{peak_lr:g}-r{replicate}-{tokens}" if real else None,
        "val_loss_cooldown": np.nan,
        "calibrating": real,
    }


def study(truth: str = ORACLE, sd: float = 0.002, peaks: tuple[float, ...] = PEAKS, seed: int = 0) -> pd.DataFrame:
    """Two replicates, cooldowns of two shapes at two horizons, and a point between them without one."""
    random = np.random.default_rng(seed)
    rows = [
        row(random, peak, replicate, tokens, shape, real=tokens != 16_000)
        for peak in peaks
        for replicate in (0, 1)
        for tokens in (8_000, 16_000, 32_000)
        for shape in MEAN_LR
    ]
    frame = pd.DataFrame(rows)
    seen = cooldowns(frame)
    drops = {
        ORACLE: seen.gain * (0.9 + 0.4 * seen.length) + 0.8 * seen.progress,
        AVERAGED: seen.gain,
        MEAN_DROP: np.full(len(frame), 0.1),
    }
    losses = frame["val_loss_raw"] - drops[truth] + sd * random.standard_normal(len(frame))
    return frame.assign(val_loss_cooldown=losses.where(frame["calibrating"]))


def test_every_row_has_an_answer() -> None:
    frame = predicted(study(sd=0.0), 0.9)
    assert frame["status"].value_counts().to_dict() == {"held_out": 32, "predicted": 16}
    held_out = frame[frame["status"] == "held_out"]
    np.testing.assert_allclose(held_out["val_loss_predicted"], held_out["val_loss_cooldown"], atol=2e-4)
    assert (frame["reason"] == "").all()
    assert list(frame.columns) == tables.COOLDOWN_ORACLE.names


def test_a_prediction_lies_in_its_interval_which_covers_real_losses() -> None:
    hits = []
    for seed in range(12):
        frame = predicted(study(seed=seed), 0.9)
        assert (frame["ci_low"] < frame["val_loss_predicted"]).all()
        real = frame[frame["calibrating"]]
        hits.extend(real["val_loss_cooldown"].between(real["ci_low"], real["ci_high"]))
    assert 0.85 < np.mean(hits) < 0.97


def test_a_real_loss_that_is_hidden_calibrates_nothing() -> None:
    """A holdout cell stands beside its prediction; moving it moves nothing."""
    frame = study()
    hidden = frame.index[5]
    frame.loc[hidden, "calibrating"] = False
    frame.loc[hidden, "val_loss_cooldown"] = 2.0
    moved = frame.copy()
    moved.loc[hidden, "val_loss_cooldown"] = 9.0
    first, second = predicted(frame, 0.9), predicted(moved, 0.9)
    assert first.loc[hidden, "status"] == "predicted"
    np.testing.assert_array_equal(first["val_loss_predicted"], second["val_loss_predicted"])


def test_a_trunk_has_no_part_in_its_own_prediction() -> None:
    frame = study()
    own = (frame["peak_lr"] == 0.004) & (frame["replicate"] == 1) & frame["calibrating"]
    moved = frame.assign(val_loss_cooldown=frame["val_loss_cooldown"] + 0.3 * own)
    before, after = predicted(frame, 0.9), predicted(moved, 0.9)
    columns = ["val_loss_predicted", "ci_low", "ci_high"]
    pd.testing.assert_frame_equal(before.loc[own, columns], after.loc[own, columns])
    others = frame["calibrating"] & ~own
    assert (before.loc[others, "val_loss_predicted"] != after.loc[others, "val_loss_predicted"]).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"peak_lr": 0.1}, r"peak_lr 0.1: the calibrating cooldowns have 0.002 … 0.016"),
        ({"decay_fraction": 0.5}, "decay_fraction 0.5"),
        ({"branch_tokens_per_parameter": 4.0}, "branch_tokens_per_parameter 4"),
        ({"end_tokens_per_parameter": 80.0}, "end_tokens_per_parameter 80"),
        ({"n_params_counted": 9000}, "n_params_counted 9000"),
        ({"batch_sequences": 64}, "batch_sequences 64"),
        ({"decay_shape": "cosine"}, "decay_shape cosine to 0: the calibrating cooldowns are linear to 0, one_minus"),
        ({"final_lr_fraction": 0.1}, "decay_shape linear to 0.1"),
        ({"val_loss_averaged": np.nan}, "average: none is defined at 1600 updates"),
        ({"loss_slope": np.nan}, "loss_slope: window_20"),
    ],
)
def test_what_lies_outside_the_calibration_is_refused(change: dict[str, Any], says: str) -> None:
    frame = study()
    at = frame.index[(~frame["calibrating"]) & (frame["decay_shape"] == "linear")][0]
    for name, value in change.items():
        frame[name] = frame[name].astype(object)
        frame.loc[at, name] = value
        frame[name] = frame[name].infer_objects()
    found = predicted(frame, 0.9).loc[at]
    assert found["status"] == "refused"
    assert str(found["reason"]).startswith(says)
    assert np.isnan(found["val_loss_predicted"])


def test_whole_updates_are_no_reason_to_refuse() -> None:
    frame = study()
    at = frame.index[~frame["calibrating"]][0]
    frame.loc[at, "decay_fraction"] = 0.204
    assert predicted(frame, 0.9).loc[at, "status"] == "predicted"


def test_three_trunks_are_too_few() -> None:
    frame = study()
    frame = frame[(frame["peak_lr"] == 0.002) | ((frame["peak_lr"] == 0.004) & (frame["replicate"] == 0))]
    found = predicted(frame, 0.9)
    assert (found["status"] == "refused").all()
    assert found["reason"].str.startswith("trunks 3: at least 4").all()


def test_without_real_cooldowns_all_is_refused() -> None:
    found = predicted(study().assign(calibrating=False, val_loss_cooldown=np.nan), 0.9)
    assert (found["status"] == "refused").all()
    assert scores(found).empty


def test_a_shape_of_one_trunk_is_not_held_out() -> None:
    frame = study()
    lonely = (frame["decay_shape"] == "one_minus_sqrt") & frame["calibrating"]
    first = lonely & (frame["cell_id"] == frame["cell_id"].iloc[0])
    frame = frame.assign(calibrating=frame["calibrating"] & ~(lonely & ~first))
    found = predicted(frame, 0.9)
    assert (found.loc[first, "status"] == "refused").all()
    assert found.loc[first, "reason"].str.contains("no other trunk").all()


@pytest.mark.parametrize("truth", [ORACLE, AVERAGED, MEAN_DROP])
def test_scores_name_the_predictor_with_the_planted_form(truth: str) -> None:
    frame = study(truth, sd=0.003)
    found = scores(frame)
    assert found["predictor"].tolist() == [ORACLE, AVERAGED, MEAN_DROP] * 2
    best = found[found["status"] == "best"]
    assert best["predictor"].tolist() == [truth, truth]
    assert (best["rmse"] < 0.005).all()
    assert found["n_cooldowns"].unique().tolist() == [32]
    assert found["n_trunks"].unique().tolist() == [8]
    notes = predicted(frame, 0.9).query("status == 'predicted'")["reason"].unique()
    assert len(notes) == 1
    assert str(notes[0]).startswith("" if truth == ORACLE else f"{truth} has the smaller error")
    assert bool(notes[0]) == (truth != ORACLE)


def test_bias_and_error_by_hand() -> None:
    """Cooled losses are 0.02 below the averaged ones: 0.02 too high a prediction, everywhere."""
    frame = study(AVERAGED, sd=0.0)
    frame = frame.assign(val_loss_cooldown=frame["val_loss_cooldown"] - 0.02)
    averaged = scores(frame).set_index(["predictor", "validation"]).loc[(AVERAGED, "leave_one_trunk_out")]
    assert averaged["bias"] == pytest.approx(0.02)
    assert averaged["rmse"] == pytest.approx(0.02)


def test_a_new_peak_learning_rate_is_the_harder_test() -> None:
    """The drop grows with the learning rate in a way that no feature shows: neighbours know, other rates do not."""
    frame = study(sd=0.001)
    bent = frame["val_loss_cooldown"] - 0.02 * np.log(frame["peak_lr"] / PEAKS[0]) ** 2
    found = scores(frame.assign(val_loss_cooldown=bent)).set_index(["predictor", "validation"])["rmse"]
    assert found[ORACLE, "leave_one_peak_lr_out"] > 1.15 * found[ORACLE, "leave_one_trunk_out"]


def test_features_of_rows_without_averages_do_not_calibrate() -> None:
    frame = study()
    frame.loc[frame.index[0], "loss_slope"] = np.nan
    assert len(calibrated(frame).calibration) == 31
