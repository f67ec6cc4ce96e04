"""What becomes of cells that diverged, of cells without blocks, and of studies without replicates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from glidepath.study.final_losses import final_losses

N_BLOCKS = 6


def study(n_replicates: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two schedules, three learning rates; the loss of every cell is known, that of replicate r lies 0.01·r higher."""
    runs = [
        {
            "cell_id": f"{schedule}-{peak_lr}-{replicate}",
            "model": "m",
            "schedule": schedule,
            "batch_sequences": 8,
            "tokens_per_parameter": 20.0,
            "peak_lr": peak_lr,
            "token_horizon": 20_000,
            "n_params_counted": 1_000,
            "parametrization": "sp",
            "epochs": 1.0,
            "train_flops_exact": 1.0e6,
            "trunk_id": "t",
            "architecture": "plain",
            "d_model": 16,
            "n_layer": 1,
            "d_head": 8,
            "context_length": 64,
            "replicate": replicate,
            "val_loss": 3.0 + i * 0.1 + j * 0.01 + replicate * 0.01 * (1 + i),
            "status": "completed",
            "holdout": False,
        }
        for i, schedule in enumerate(("linear", "cosine"))
        for j, peak_lr in enumerate((0.001, 0.002, 0.004))
        for replicate in range(n_replicates)
    ]
    blocks = [
        {"cell_id": run["cell_id"], "domain": "text", "block": block, "loss": run["val_loss"] + 0.1 * (block - 2.5)}
        for run in runs
        for block in range(N_BLOCKS)
    ]
    return pd.DataFrame(runs), pd.DataFrame(blocks)


def test_a_learning_rate_where_a_replicate_diverged_is_left_out() -> None:
    """The survivor has by far the lowest loss of the study; it must not become anybody's best learning rate."""
    runs, blocks = study(3)
    there = (runs["schedule"] == "linear") & (runs["peak_lr"] == 0.004)
    runs.loc[there, "val_loss"] = [1.0, np.nan, np.nan]
    runs.loc[there, "status"] = ["completed", "diverged", "diverged"]
    points = final_losses(runs, blocks).points
    assert len(points) == 5
    assert points["val_loss"].min() > 2.9


def test_without_replicates_nothing_is_resampled() -> None:
    losses = final_losses(*study(1))
    samples = losses.resampled(100, 0)
    assert samples.shape == (100, 6)
    assert np.isnan(samples).all()
    assert losses.resampling_unit == "none: no replicates"


def test_with_replicates_samples_scatter_about_the_means() -> None:
    losses = final_losses(*study(3))
    samples = losses.resampled(4000, 0)
    np.testing.assert_allclose(samples.mean(0), losses.points["val_loss"], atol=0.01)


def test_cells_without_blocks_beside_others_are_refused() -> None:
    runs, blocks = study(2)
    with pytest.raises(ValueError, match="have no block losses"):
        final_losses(runs, blocks.iloc[:N_BLOCKS])


def test_imported_runs_have_no_blocks_and_need_not_tell_everything() -> None:
    """Neither the peak learning rate nor the shape is known, and points are still told apart by what is."""
    runs, blocks = study(2)
    there = runs["peak_lr"] == 0.002
    runs, without = runs[there].assign(peak_lr=np.nan, architecture=None, d_model=np.nan), blocks.iloc[:0]
    losses = final_losses(runs, without)
    assert list(losses.points["schedule"]) == ["linear", "cosine"]
    np.testing.assert_allclose(losses.replicates, [[3.01, 3.02], [3.11, 3.13]])
    assert losses.resampling_unit == "pooled replicates"
    assert losses.resampled(100, seed=0).std(axis=0).min() > 0


def test_two_runs_that_are_one_replicate_of_one_point_are_refused() -> None:
    runs, blocks = study(2)
    runs["replicate"] = 0
    with pytest.raises(ValueError, match="has the settings and the replicate of another run"):
        final_losses(runs, blocks)


def test_holdout_cells_are_hidden() -> None:
    runs, blocks = study(2)
    runs["holdout"] = runs["peak_lr"] == 0.001
    assert set(final_losses(runs, blocks).points["peak_lr"]) == {0.002, 0.004}
    assert set(final_losses(runs, blocks, holdout=True).points["peak_lr"]) == {0.001}


def test_text_that_was_repeated_more_often_is_another_point() -> None:
    runs, blocks = study(2)
    runs = pd.concat([runs, runs.assign(cell_id=runs["cell_id"] + "-again", epochs=4.0, val_loss=runs["val_loss"] + 1)])
    losses = final_losses(runs, blocks.iloc[:0])
    assert len(losses.points) == 12
    assert losses.points.loc[losses.points["epochs"] == 4.0, "val_loss"].min() > 3.9


def test_noise_that_grows_with_the_loss_is_drawn_so() -> None:
    """Standard deviations of 0.001 at a loss of 3 and eight times that at 4, in forty points of four replicates."""
    random = np.random.default_rng(0)
    levels = np.linspace(3.0, 4.0, 40)
    sds = 0.001 * 8 ** (levels - 3.0)
    template = study(1)[0].iloc[0].to_dict()
    runs = pd.DataFrame(
        [
            template
            | {"cell_id": f"{i}-{r}", "peak_lr": 0.001 * (i + 1), "replicate": r}
            | {"val_loss": level + sd * random.standard_normal()}
            for i, (level, sd) in enumerate(zip(levels, sds, strict=True))
            for r in range(4)
        ]
    )
    losses = final_losses(runs, study(1)[1].iloc[:0])
    drawn = losses.resampled(4000, seed=0).std(axis=0)
    assert drawn[-1] / drawn[0] == pytest.approx(8.0, rel=0.35)
    low, high = losses.noise_ratio(np.array([3.0, 4.0]))
    assert high / low == pytest.approx(8.0, rel=0.35)


def test_noise_that_does_not_is_pooled() -> None:
    runs, blocks = study(3)
    np.testing.assert_array_equal(final_losses(runs, blocks).noise_ratio(np.array([2.0, 4.0])), [1.0, 1.0])


def test_a_completed_run_without_a_loss_is_named() -> None:
    runs, blocks = study(1)
    runs.loc[3, "val_loss"] = float("nan")
    with pytest.raises(ValueError, match=f"1 completed cells have no val_loss, the first is {runs.loc[3, 'cell_id']}"):
        final_losses(runs, blocks)
