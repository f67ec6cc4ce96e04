"""Averages of a few learning rates and replicates, all numbers by hand, and shares of a gap that was planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from glidepath.laws.averaging import (
    at_cell_ends,
    at_longest_horizon,
    half_width,
    pooled_shares,
    replicate_means,
)
from glidepath.study import tables
from glidepath.study.final_losses import open_to_fits

COOLDOWN = ["val_loss_cooldown", "gap_to_cooldown", "gap_to_cooldown_sem", "closed_fraction"]


def averages(gains: list[list[float]], to_close: list[list[float]] | None = None) -> pd.DataFrame:
    """One window average per learning rate and replicate; without `to_close`, raw minus cooled loss, the gap to the
    cooldown is half the gain."""
    rows = [
        {
            "schedule": "constant",
            "peak_lr": 0.01 * (i + 1),
            "average": "window_20",
            "averaging_scheme": "window",
            "window_checkpoints": 7,
            "window_fraction": 0.2,
            "tokens_per_parameter": 20.0,
            "epochs": 0.5,
            "replicate": replicate,
            "val_loss_raw": 3.0,
            "val_loss_averaged": 3.0 - gain,
            "gain": gain,
            "gain_sem": 0.003,
            "val_loss_cooldown": 3.0 - (to_close[i][replicate] if to_close else 1.5 * gain),
            "gap_to_cooldown": to_close[i][replicate] - gain if to_close else gain / 2,
            "gap_to_cooldown_sem": 0.004,
            "closed_fraction": 0.9,
        }
        for i, replicates in enumerate(gains)
        for replicate, gain in enumerate(replicates)
    ]
    return pd.DataFrame(rows)


def test_means_and_pooled_errors() -> None:
    """Within learning rates the gains differ by 0.02 and 0.04: variance (2·0.01² + 2·0.02²)/2 = 0.0005, two degrees."""
    points = replicate_means(averages([[0.10, 0.12], [0.20, 0.24]]))
    np.testing.assert_allclose(points["gain"], [0.11, 0.22])
    np.testing.assert_allclose(points["gain_se"], np.sqrt(0.0005 / 2 + 0.003**2))
    np.testing.assert_allclose(points["gap_se"], np.sqrt(0.0005 / 4 / 2 + 0.004**2))
    assert points["gain_degrees_of_freedom"].tolist() == [2, 2]
    assert points["n"].tolist() == [2, 2]


def test_every_average_has_its_own_noise() -> None:
    """The EMA varies twice as much; averages of the same trunks add no degrees of freedom."""
    window = averages([[0.10, 0.12], [0.20, 0.24]])
    ema = averages([[0.10, 0.14], [0.20, 0.28]]).assign(average="ema_5")
    points = replicate_means(pd.concat([window, ema])).set_index("average")
    assert points["gain_degrees_of_freedom"].tolist() == [2, 2, 2, 2]
    np.testing.assert_allclose(points.loc["window_20", "gain_se"], np.sqrt(0.0005 / 2 + 0.003**2))
    np.testing.assert_allclose(points.loc["ema_5", "gain_se"], np.sqrt(0.002 / 2 + 0.003**2))


def test_a_setting_may_be_a_point_of_training() -> None:
    early, late = averages([[0.10, 0.12]]), averages([[0.20, 0.24]])
    both = pd.concat([early.assign(tokens_seen=1000), late.assign(tokens_seen=2000)])
    points = replicate_means(both, ["peak_lr", "average", "tokens_seen"])
    np.testing.assert_allclose(points["gain"], [0.11, 0.22])
    assert points["gain_degrees_of_freedom"].tolist() == [2, 2]


def test_without_replicates_there_is_no_error() -> None:
    points = replicate_means(averages([[0.1], [0.2]]))
    assert points["gain_se"].isna().all()
    assert points["gain_degrees_of_freedom"].tolist() == [0, 0]
    assert points[["closed", "closed_se"]].isna().all(axis=None)
    assert np.isnan(half_width(0.1, 0, 0.9))


def test_half_width_is_students() -> None:
    assert half_width(0.1, 4, 0.9) == pytest.approx(0.1 * stats.t(4).ppf(0.95))


# -- the share of the gap that is closed


def test_share_is_a_ratio_of_means() -> None:
    """(0.10 + 0.14)/(0.2 + 0.2); only the gains vary, by 0.04: variance 0.0008. Blocks: 0.4·0.003 + 0.6·0.004."""
    (point,) = replicate_means(averages([[0.10, 0.14]], [[0.2, 0.2]])).to_dict("records")
    assert point["closed"] == pytest.approx(0.6)
    assert point["closed_se"] == pytest.approx(np.sqrt(0.0008 / 2 + 0.0036**2) / 0.2)
    assert point["closed_degrees_of_freedom"] == 1


def test_a_gap_that_varies_with_the_gain_leaves_the_share_alone() -> None:
    """Replicates whose gain is the same share of a larger or smaller gap: what is left is the text."""
    rows = averages([[0.10, 0.12], [0.20, 0.24]], [[0.20, 0.24], [0.40, 0.48]])
    points = replicate_means(rows)
    np.testing.assert_allclose(points["closed"], 0.5)
    np.testing.assert_allclose(points["closed_se"], 0.5 * (0.003 + 0.004) / np.array([0.22, 0.44]), rtol=1e-6)


def test_replicates_without_a_cooldown_have_no_part_in_the_share() -> None:
    rows = averages([[0.10, 0.14, 9.0]], [[0.2, 0.2, 0.2]])
    rows.loc[rows["replicate"] == 2, COOLDOWN] = np.nan
    (point,) = replicate_means(rows).to_dict("records")
    assert point["closed"] == pytest.approx(0.6)
    assert replicate_means(rows.assign(**dict.fromkeys(COOLDOWN, np.nan)))["closed"].isna().all()


@pytest.mark.parametrize("to_close", [[[0.02, -0.01], [0.01, 0.00]], [[-0.2, -0.2], [-0.2, -0.2]]])
def test_of_no_resolved_gap_nothing_is_a_share(to_close: list[list[float]]) -> None:
    """The cooldown is not resolved from the raw weights, or it is worse."""
    points = replicate_means(averages([[0.10, 0.12], [0.10, 0.12]], to_close))
    assert points[["closed", "closed_se"]].isna().all(axis=None)
    assert points["gain_se"].notna().all()


N_DRAWS = 400
SHARE = 0.8


def studies(
    replicate_sd: float, block_sd: float, common_sd: float = 0.0, n_peaks: int = 6, n_replicates: int = 6
) -> pd.DataFrame:
    """Many studies, an average each, all with the same share of gaps of 0.08 nat/token and more.

    Per replicate, what raw weights are above or below their mean is in gain and gap alike; averaged and cooled weights
    have noise of their own, and `common_sd` a noise that averaged weights have at all learning rates of a replicate.
    The text moves all replicates of a learning rate alike, and by the same amount the loss of the averaged weights.
    """
    random = np.random.default_rng(5)
    shape = (N_DRAWS, n_peaks, n_replicates)
    gap = np.linspace(0.08, 0.12, n_peaks)[:, None]

    def noise(sd: float, *size: int) -> NDArray[np.float64]:
        return random.normal(0.0, sd, size) if sd else np.zeros(size)

    raw, averaged, cooled = (noise(replicate_sd, *shape) for _ in range(3))
    averaged = averaged + noise(common_sd, N_DRAWS, 1, n_replicates) + noise(block_sd, N_DRAWS, n_peaks, 1)
    gain, to_close = SHARE * gap + raw - averaged, gap + raw - cooled
    draw, peak, replicate = (index.ravel() for index in np.indices(shape))
    return pd.DataFrame(
        {
            "schedule": "constant", "peak_lr": 0.01 * (1 + peak), "average": [f"study {i}" for i in draw],
            "averaging_scheme": "window", "window_checkpoints": 7, "window_fraction": 0.2,
            "tokens_per_parameter": 20.0, "epochs": 0.5, "replicate": replicate, "val_loss_raw": 3.0,
            "val_loss_averaged": 3.0 - gain.ravel(), "gain": gain.ravel(), "gain_sem": block_sd,
            "val_loss_cooldown": 3.0 - to_close.ravel(), "gap_to_cooldown": (to_close - gain).ravel(),
            "gap_to_cooldown_sem": block_sd,
        }
    )  # fmt: skip


@pytest.mark.parametrize(("replicate_sd", "block_sd"), [(0.008, 0.0), (0.008, 0.004), (0.001, 0.004)])
def test_the_planted_share_lies_within_its_error(replicate_sd: float, block_sd: float) -> None:
    """In 9 of 10 studies within 1.645 standard errors: noise of replicates, of the text, and both."""
    points = replicate_means(studies(replicate_sd, block_sd))
    first = points[points["peak_lr"] == 0.01]
    assert len(first) == N_DRAWS
    assert (first["closed_degrees_of_freedom"] == 30).all()
    inside = (first["closed"] - SHARE).abs() <= 1.645 * first["closed_se"]
    assert inside.mean() == pytest.approx(0.9, abs=0.04)


def test_a_pooled_share_holds_what_a_replicate_does_everywhere() -> None:
    """A replicate whose averages are better at all learning rates: more learning rates make nothing surer."""
    ends = studies(0.002, 0.0, common_sd=0.01, n_replicates=4)
    found = pooled_shares(ends)
    assert (found[["n", "n_settings", "closed_degrees_of_freedom"]] == [4, 6, 3]).all(axis=None)
    inside = (found["closed"] - SHARE).abs() <= half_width(1.0, 3, 0.9) * found["closed_se"]
    assert inside.mean() == pytest.approx(0.9, abs=0.04)


def test_a_pooled_share_is_of_settings_that_all_replicates_have() -> None:
    """0.14 of 0.4 in two settings; the third lacks a replicate."""
    rows = averages([[0.10, 0.12], [0.18, 0.16], [0.3, 0.3]], [[0.2, 0.2], [0.6, 0.6], [0.3, 0.3]])
    rows = rows[~((rows["peak_lr"] > 0.025) & (rows["replicate"] == 1))]
    (found,) = pooled_shares(rows).to_dict("records")
    assert found["closed"] == pytest.approx(0.14 / 0.4)
    assert (found["n"], found["n_settings"]) == (2, 2)


# -- which rows answers rest on


def cells(**changes: Any) -> pd.DataFrame:
    """Two replicates at two learning rates, and their cooldowns."""
    rows = [
        {
            "cell_id": f"{kind}-{peak_lr}-{replicate}", "model": "m", "batch_sequences": 8, "schedule": kind,
            "schedule_kind": kind, "peak_lr": peak_lr, "tokens_per_parameter": 20.0, "epochs": 0.5,
            "token_horizon": 2000,
            "replicate": replicate, "status": "completed", "holdout": False,
        }
        for kind in ("constant", "wsd")
        for peak_lr in (0.01, 0.02)
        for replicate in (0, 1)
    ]  # fmt: skip
    runs = pd.DataFrame(rows)
    for name, change in changes.items():
        cell_id, value = change
        runs.loc[runs["cell_id"] == cell_id, name] = value
    return runs


def ends(peaks: tuple[float, ...] = (0.01, 0.02)) -> pd.DataFrame:
    """Gains 0, 1, … of the constant cells, in their order."""
    rows = averages([[0.0]]).drop(columns=["schedule", "peak_lr", "tokens_per_parameter", "replicate"])
    names = [f"{peak_lr}-{replicate}" for peak_lr in peaks for replicate in (0, 1)]
    return pd.concat(
        [
            rows.assign(
                cell_id=f"constant-{name}", cooldown_cell_id=f"wsd-{name}", gain=float(i), at_end=True, domain="text"
            )
            for i, name in enumerate(names)
        ]
    )


def test_ends_of_cells_on_the_domain_that_selects() -> None:
    other = ends().assign(domain="code", gain=9.0)
    early = ends().assign(at_end=False, gain=8.0)
    found = at_cell_ends(pd.concat([ends(), other, early]), cells())
    assert found["gain"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert found["batch_sequences"].tolist() == [8, 8, 8, 8]
    assert found[COOLDOWN].notna().all(axis=None)
    assert at_cell_ends(tables.empty(tables.AVERAGES), cells()).empty
    assert at_cell_ends(tables.empty(tables.AVERAGES), tables.empty(tables.RUNS)).empty


@pytest.mark.parametrize("status", ["diverged", "excluded"])
def test_a_learning_rate_that_lost_a_replicate_is_left_out(status: str) -> None:
    """Also where the lost replicate has no averages."""
    runs = cells(status=("constant-0.02-1", status))
    assert at_cell_ends(ends(), runs)["gain"].tolist() == [0.0, 1.0]
    assert at_cell_ends(ends().iloc[:3], runs)["gain"].tolist() == [0.0, 1.0]
    assert len(open_to_fits(runs)) == 6


def test_cells_that_are_held_out_answer_nothing() -> None:
    assert at_cell_ends(ends(), cells(holdout=("constant-0.02-1", True)))["gain"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(("change", "kept"), [({"holdout": True}, 3), ({"status": "diverged"}, 2)])
def test_a_cooldown_that_answers_nothing_is_none(change: dict[str, Any], kept: int) -> None:
    runs = cells(**{name: ("wsd-0.02-1", value) for name, value in change.items()})
    found = at_cell_ends(ends(), runs)
    assert found["gain"].tolist() == [0.0, 1.0, 2.0, 3.0]
    for column in COOLDOWN:
        assert found[column].notna().sum() == kept


def test_the_longest_horizon_is_one_with_a_cooldown() -> None:
    longer = averages([[0.3, 0.3]]).assign(tokens_per_parameter=40.0)
    both = pd.concat([averages([[0.1, 0.1]]), longer])
    assert at_longest_horizon(both)["gain"].unique().tolist() == [0.3]
    without = pd.concat([averages([[0.1, 0.1]]), longer.assign(**dict.fromkeys(COOLDOWN, np.nan))])
    assert at_longest_horizon(without)["gain"].unique().tolist() == [0.1]
