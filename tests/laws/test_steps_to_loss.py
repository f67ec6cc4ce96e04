"""Updates to a loss from a study's tables: what was planted, under every rule for the learning rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import steps_to_loss
from glidepath.laws.steps_to_loss import steps_to_losses
from tests.laws.planted_sweeps import AVERAGED_GAIN, BEST_LR, CONTEXT, REFERENCE, Planted, updates_to

WIDE = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Peaks so far apart that no rule and all rules find theirs."""


def found(
    study: Planted, targets: tuple[float, ...] | None = None, drop: str = "", status: dict[str, str] | None = None
) -> pd.DataFrame:
    """The table; without cells whose name has `drop`, with another status of those that are named."""
    runs, evaluations, averages = study.runs_and_losses()
    if drop:
        runs = runs[~runs["cell_id"].str.contains(drop)]
    for cell, to in (status or {}).items():
        runs.loc[runs["cell_id"] == cell, "status"] = to
    return steps_to_loss.frame(steps_to_losses(runs, evaluations, averages, REFERENCE, targets))


def rows(frame: pd.DataFrame, **where: object) -> pd.DataFrame:
    for key, value in where.items():
        frame = frame[frame[key] == value]
    return frame.set_index("batch_sequences")


def test_updates_are_those_planted() -> None:
    """Evaluations lie 26 % apart; between them the curve is a power of the updates and not a line."""
    frame = found(Planted())
    for weights, ahead in (("raw", 1.0), ("window", AVERAGED_GAIN)):
        here = frame[(frame["weights"] == weights) & (frame["lr_rule"] == "re_tuned")]
        assert len(here) == 3 * 6
        planted = [
            updates_to(loss, batch, ahead)
            for loss, batch in zip(here["target_loss"], here["batch_sequences"], strict=True)
        ]
        np.testing.assert_allclose(here["steps"], planted, rtol=0.005)
        np.testing.assert_allclose(here["examples"], here["steps"] * here["batch_sequences"])
        np.testing.assert_allclose(here["tokens"], here["steps"] * here["batch_tokens"])
        assert (here["status"] == "reached").all()
        assert here["ln_steps_se"].isna().all(), "one replicate"


def test_targets_follow_the_rule() -> None:
    """At equal tokens the largest batch, which lacks updates, is furthest behind."""
    study = Planted()
    frame = found(study)
    lowest, half, quarter = (
        frame.loc[(frame["weights"] == "raw") & (frame["target"] == target), "target_loss"].unique().item()
        for target in ("lowest", "half_tokens", "quarter_tokens")
    )
    updates = study.token_horizon / (64 * CONTEXT)
    assert updates_to(lowest, 64) == pytest.approx(updates, rel=1e-3)
    of_reference = updates_to(lowest, REFERENCE)
    for target, share in ((half, 2), (quarter, 4)):
        assert updates_to(target, REFERENCE) == pytest.approx(of_reference / share, rel=0.005)


def test_given_targets_are_taken() -> None:
    frame = found(Planted(), (3.4, 3.2))
    assert frame["target_loss"].unique().tolist() == [3.4, 3.2]
    assert (frame["target"] == "given").all()


def test_rules_carry_the_best_rate_of_the_reference_batch() -> None:
    """The planted optimum goes with the root; other rules are off by ln of the ratio to it, and slower by exp(off²)."""
    frame = found(replace(Planted(), factors=WIDE, batches=(2, 4, 8, 16, 32)), (3.4,))
    for rule, exponent in (("none", 0.0), ("sqrt", 0.5), ("linear", 1.0)):
        here = rows(frame, weights="raw", lr_rule=rule)
        # Powers of two reach every batch with the root, and every other one without it.
        assert here.index.tolist() == ([2, 4, 8, 16, 32] if rule == "sqrt" else [2, 8, 32])
        for batch, row in here.iterrows():
            ratio = float(batch) / REFERENCE  # type: ignore[arg-type]
            assert row["peak_lr"] == pytest.approx(BEST_LR * ratio**exponent, rel=1e-6)
            slower = np.exp(((exponent - 0.5) * np.log(ratio)) ** 2)
            assert row["steps"] == pytest.approx(slower * updates_to(3.4, float(batch)), rel=0.005)  # type: ignore[arg-type]
    re_tuned = rows(frame, weights="raw", lr_rule="re_tuned")
    pd.testing.assert_series_equal(re_tuned["steps"], rows(frame, weights="raw", lr_rule="sqrt")["steps"])


def test_re_tuned_flags_the_edge_of_its_own_grid_and_the_others_that_of_the_reference() -> None:
    """Optimum as B^1.5: at 2 and 4 it lies below, at 16 and 32 above the grid of three."""
    study = replace(Planted(), factors=(0.5, 1.0, 2.0), lr_exponent=1.5, batches=(2, 4, 8, 16, 32))
    frame = found(study, (3.6,))
    re_tuned = rows(frame, weights="raw", lr_rule="re_tuned")
    assert re_tuned["edge_of_grid"].to_dict() == {2: True, 4: True, 8: False, 16: True, 32: True}
    assert (re_tuned["n_peak_lrs"] == 3).all()
    assert not rows(frame, weights="raw", lr_rule="sqrt")["edge_of_grid"].any()
    upper = found(replace(study, factors=(1.0, 2.0, 4.0)), (3.6,))
    assert rows(upper, weights="raw", lr_rule="sqrt")["edge_of_grid"].all()


def test_an_unstable_neighbour_is_no_edge() -> None:
    """2·BEST_LR at the reference diverges: what is below it was bracketed."""
    study = replace(Planted(), factors=(0.5, 1.0, 2.0))
    frame = found(study, (3.4,), status={"constant-b8-lr0.02-r0": "diverged"})
    assert not rows(frame, weights="raw", lr_rule="re_tuned").loc[8, "edge_of_grid"]
    frame = found(study, (3.4,), drop="b8-lr0.02")
    assert rows(frame, weights="raw", lr_rule="re_tuned").loc[8, "edge_of_grid"]


def test_a_carried_rate_that_is_unstable_has_no_updates() -> None:
    frame = found(Planted(), (3.4,), status={"constant-b64-lr0.0282843-r0": "diverged"})
    here = rows(frame, weights="raw", lr_rule="sqrt").loc[64]
    assert here["status"] == "unstable"
    assert here["peak_lr"] == pytest.approx(BEST_LR * 8**0.5)
    assert np.isnan(here["steps"])
    assert rows(frame, weights="raw", lr_rule="re_tuned").loc[64, "status"] == "reached", "at another rate"


def test_what_is_not_reached_is_said() -> None:
    """64 ends at the lowest target; a lower one it does not reach, a high one it is at before it is evaluated."""
    raw = rows(found(Planted(), (2.9,)), weights="raw", lr_rule="re_tuned")
    assert raw["status"].to_dict() == {batch: "not_reached" if batch == 64 else "reached" for batch in raw.index}
    assert np.isnan(raw.loc[64, "steps"])
    early = rows(found(Planted(), (7.5,)), weights="raw", lr_rule="re_tuned")
    assert early["status"].to_dict() == {2: "reached", 4: "reached"} | dict.fromkeys((8, 16, 32, 64), "before_first")


def test_a_replicate_that_does_not_get_there_counts() -> None:
    """The mean of the others would flatter the batch."""
    runs, evaluations, averages = replace(Planted(), replicates=2).runs_and_losses()
    slow = evaluations["cell_id"].str.startswith("constant-b8-") & evaluations["cell_id"].str.endswith("r1")
    evaluations.loc[slow, "val_loss"] += 1.5
    frame = steps_to_loss.frame(steps_to_losses(runs, evaluations, averages, REFERENCE, (3.2,)))
    raw = rows(frame, weights="raw", lr_rule="re_tuned")
    assert raw["status"].to_dict() == {batch: "not_reached" if batch == 8 else "reached" for batch in raw.index}
    assert set(frame.loc[frame["weights"] == "raw", "lr_rule"]) == {"re_tuned"}, "no best rate to carry"


def test_few_evaluations_do_not_tell() -> None:
    runs, evaluations, averages = Planted().runs_and_losses()
    few = averages[averages.groupby("cell_id").cumcount() % 6 == 0]
    frame = steps_to_loss.frame(steps_to_losses(runs, evaluations, few, REFERENCE, (3.4,)))
    assert set(rows(frame, weights="window", lr_rule="re_tuned")["status"]) == {"too_sparse"}


def test_a_completed_rate_with_few_evaluations_is_not_unstable() -> None:
    """The carried rate at 64 was evaluated twice."""
    runs, evaluations, averages = Planted().runs_and_losses()
    few = (evaluations["cell_id"] == "constant-b64-lr0.0282843-r0") & (
        evaluations.groupby("cell_id").cumcount(ascending=False) >= 2
    )
    frame = steps_to_loss.frame(steps_to_losses(runs, evaluations[~few], averages, REFERENCE, (3.4,)))
    here = rows(frame, weights="raw", lr_rule="sqrt").loc[64]
    assert here["status"] == "too_sparse"
    assert np.isnan(here["steps"])


@pytest.mark.parametrize("sparse", [0.005, 0.02])
def test_targets_do_not_depend_on_the_order_of_rates(sparse: float) -> None:
    """Where one rate of the reference batch is evaluated too rarely to tell, whichever, the others choose."""
    study = replace(Planted(), factors=(0.5, 1.0, 2.0))
    runs, evaluations, averages = study.runs_and_losses()
    dropped = (evaluations["cell_id"] == f"constant-b8-lr{sparse:g}-r0") & (
        evaluations.groupby("cell_id").cumcount(ascending=False) % 6 != 0
    )
    frame = steps_to_loss.frame(steps_to_losses(runs, evaluations[~dropped], averages, REFERENCE, None))
    of_all = found(study)
    for frames in (frame, of_all):
        raw = frames[(frames["weights"] == "raw") & (frames["lr_rule"] == "re_tuned")]
        assert set(raw["target"]) == {"lowest", "half_tokens", "quarter_tokens"}
    targets = [f.loc[f["weights"] == "raw", "target_loss"].unique().tolist() for f in (frame, of_all)]
    assert targets[0] == pytest.approx(targets[1], rel=1e-12)


def test_errors_are_pooled_and_shrink_with_replicates() -> None:
    study = replace(Planted(), replicates=4, own_sd=0.04, shared_sd=0.3)
    here = rows(found(study, (3.4,)), weights="raw", lr_rule="re_tuned")
    assert (here["n_replicates"] == 4).all()
    assert here["ln_steps_se"].nunique() == 1
    assert here["ln_steps_se"].iloc[0] == pytest.approx(0.04 / 2, rel=0.2)


def test_replicates_are_geometric_means() -> None:
    """Off by a factor 1.1 either way, in all batches alike; a batch that lacks one of them is set right by the rest."""
    runs, evaluations, averages = replace(Planted(), replicates=2).runs_and_losses()
    replicate = evaluations["cell_id"].str[-1].astype(int)
    # A factor of progress moves a power law by that factor to the exponent.
    evaluations["val_loss"] = 2.0 + (evaluations["val_loss"] - 2.0) * 1.1 ** (0.4 * np.where(replicate == 0, -1, 1))
    runs = runs[~runs["cell_id"].str.contains("b32-.*-r1")]
    frame = steps_to_loss.frame(steps_to_losses(runs, evaluations, averages, REFERENCE, (3.4,)))
    for batch, row in rows(frame, weights="raw", lr_rule="re_tuned").iterrows():
        assert row["steps"] == pytest.approx(updates_to(3.4, float(batch)), rel=0.01)  # type: ignore[arg-type]
        assert row["n_replicates"] == (1 if batch == 32 else 2)


def test_schedules_that_decay_are_left_out() -> None:
    study = replace(Planted(), schedules=(("constant", "constant"), ("rsqrt", "inverse_sqrt"), ("cosine", "cosine")))
    assert set(found(study, (3.4,))["schedule"]) == {"constant", "rsqrt"}


def test_of_horizons_the_longest_counts() -> None:
    long, short = Planted(), replace(Planted(), token_horizon=64 * 10_000)
    parts = zip(long.runs_and_losses(), short.runs_and_losses(), strict=True)
    runs, evaluations, averages = (
        pd.concat([a, b.assign(cell_id="short " + b["cell_id"])], ignore_index=True) for a, b in parts
    )
    both = steps_to_loss.frame(steps_to_losses(runs, evaluations, averages, REFERENCE, None))
    pd.testing.assert_frame_equal(both, found(long))


@pytest.mark.parametrize(
    "change",
    [
        {"holdout": True},
        {"status": "diverged"},
        {"total_steps": 10**6},  # A ramp has more updates than its end would have.
    ],
    ids=["hidden", "diverged", "ramp"],
)
def test_cells_that_do_not_count(change: dict[str, Any]) -> None:
    runs, evaluations, averages = Planted().runs_and_losses()
    assert steps_to_losses(runs.assign(**change), evaluations, averages, REFERENCE, None) == []


@pytest.mark.parametrize("batches", [(2, 8), (2, 4, 16)], ids=["two batches", "not the reference"])
def test_what_is_no_sweep_has_no_rows(batches: tuple[int, ...]) -> None:
    assert found(replace(Planted(), batches=batches)).empty


def test_averages_are_read_one_by_one_where_there_are_any() -> None:
    """best_window is another average at every point, and so no curve."""
    runs, evaluations, averages = Planted().runs_and_losses()
    two = pd.concat([averages, averages.assign(average="best_window")])
    for given, weights in ((two, {"raw", "window"}), (averages.iloc[:0], {"raw"})):
        some = steps_to_losses(runs, evaluations, given, REFERENCE, None)
        assert {steps.sweep.weights for steps in some} == weights
