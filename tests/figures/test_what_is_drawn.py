"""What is on the axes is what stands in the frame, and what stands in the frame is what was planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D

from glidepath import figures
from glidepath.figures import marks, select, style, text
from glidepath.study import figure_list
from tests.figures import planted

Tables = dict[str, pd.DataFrame]


def frame_of(name: str, all_tables: Tables) -> pd.DataFrame:
    return figures.load(name).data({table: all_tables[table] for table in figure_list.entry(name).tables})


def lines(ax: Any) -> list[Line2D]:
    return [line for line in ax.get_lines() if len(line.get_xdata())]


def has_line(ax: Any, x: Any, y: Any) -> bool:
    return any(
        len(line.get_xdata()) == len(x)
        and np.allclose(np.asarray(line.get_xdata(), float), x)
        and np.allclose(np.asarray(line.get_ydata(), float), y)
        for line in lines(ax)
    )


def test_schedules_are_the_applied_learning_rates(tables_of: Callable[[str], Tables]) -> None:
    tables = tables_of("whole")
    frame = frame_of("schedules", tables)
    runs = tables["runs"].set_index("cell_id")
    assert set(frame["schedule"]) == set(planted.SCHEDULES)
    assert frame["peak_lr"].nunique() == 1
    assert frame["tokens_per_parameter"].unique() == [20.0]
    for cell_id, rows in frame.groupby("cell_id"):
        applied = planted.lr_array(runs.loc[cell_id])
        np.testing.assert_array_equal(rows["lr"], applied[rows["step"]])
    ax = figures.load("schedules").draw(frame).axes[0]
    for _, rows in frame.groupby("schedule"):
        assert has_line(ax, rows["tokens_seen"], rows["lr"])


def test_differences_are_drawn_with_their_intervals(tables_of: Callable[[str], Tables]) -> None:
    tables = tables_of("whole")
    frame = frame_of("schedule_differences", tables)
    comparisons = tables["comparisons"]
    assert len(frame) == len(comparisons)
    figure = figures.load("schedule_differences").draw(frame)
    horizons = sorted(frame["tokens_per_parameter"].unique())
    schedules = [name for name, _, _ in style.schedules_in_order(frame)]
    for ax, horizon in zip(figure.axes, horizons, strict=True):
        for row in frame[frame["tokens_per_parameter"] == horizon].itertuples():
            y = schedules.index(row.schedule)
            assert has_line(ax, [1000 * row.difference], [y])
            found = [line for line in lines(ax) if np.allclose(line.get_xdata()[0], 1000 * row.difference)]
            face = found[-1].get_markerfacecolor()
            assert (face == "white") == (row.verdict == "not resolved")


def test_diverged_cells_stand_at_the_top_edge(tables_of: Callable[[str], Tables]) -> None:
    frame = frame_of("lr_sweep", tables_of("whole"))
    diverged = frame[frame["item"] == "diverged"]
    assert set(diverged["schedule"]) == {"constant"}
    assert set(diverged["peak_lr"]) == {planted.PEAKS[-1]}
    figure = figures.load("lr_sweep").draw(frame)
    names = [name for name, _, _ in style.schedules_in_order(frame)]
    ax = figure.axes[names.index("constant")]
    crosses = [line for line in lines(ax) if line.get_marker() == "x"]
    assert {float(x) for line in crosses for x in line.get_xdata()} == {planted.PEAKS[-1]}
    assert all(float(y) == 1.0 for line in crosses for y in line.get_ydata())


def test_optimum_and_its_interval_come_from_the_law(tables_of: Callable[[str], Tables]) -> None:
    frame = frame_of("lr_horizon", tables_of("whole"))
    optima = frame[frame["item"] == "optimum"]
    runs = tables_of("whole")["runs"]
    tpp = optima.merge(runs[["token_horizon", "tokens_per_parameter"]].drop_duplicates())["tokens_per_parameter"]
    expected = [planted.optimum(schedule, horizon) for schedule, horizon in zip(optima["schedule"], tpp, strict=True)]
    np.testing.assert_allclose(optima["peak_lr"], expected)
    law = frame[frame["item"] == "law"]
    assert law["extrapolated"].any()
    assert not law["extrapolated"].all()
    assert law["exponent"].unique() == [planted.EXPONENT]


def test_averaging_keeps_the_best_of_each_kind(tables_of: Callable[[str], Tables]) -> None:
    """Planted: what closes most of the gap is the same at every point, and it closes the planted share."""
    frame = frame_of("averaging", tables_of("whole"))
    best = frame.drop_duplicates("variant").set_index("variant")["average"].to_dict()
    assert best == {
        "raw": "raw", "cooldown": "cooldown", "best_window": "best_window", "lawa": "lawa_4", "ema": "ema_10",
        "emulated_decay": "like_linear_20",
    }  # fmt: skip
    assert frame.groupby("variant")["average"].nunique().max() == 1
    raw = frame[frame["variant"] == "raw"].set_index(["peak_lr", "tokens_seen"])["gap_to_cooldown"]
    for variant, average in (("best_window", "best_window"), ("ema", "ema_10")):
        gaps = frame[frame["variant"] == variant].set_index(["peak_lr", "tokens_seen"])["gap_to_cooldown"]
        np.testing.assert_allclose((1 - gaps / raw).dropna(), planted.AVERAGES[average][4])


def test_averages_are_drawn_along_the_longest_cell(tables_of: Callable[[str], Tables]) -> None:
    """With cooldowns where shorter cells end, and bars that replicates give."""
    frame = frame_of("averaging", tables_of("whole"))
    assert frame["tokens_per_parameter"].unique() == [planted.HORIZONS[-1]]
    cooldowns = frame[(frame["variant"] == "cooldown") & (frame["peak_lr"] == 2e-3)]
    runs = tables_of("whole")["runs"]
    ends = runs.loc[runs["schedule"] == "wsd_sqrt", "token_horizon"].unique()
    assert sorted(cooldowns["tokens_seen"]) == sorted(ends)
    windows = frame[(frame["variant"] == "best_window") & (frame["peak_lr"] == 2e-3)]
    assert len(windows) > len(cooldowns)
    assert windows["ci_low"].notna().sum() == len(cooldowns)
    ax = figures.load("averaging").draw(frame).axes[1]
    assert has_line(ax, windows["tokens_seen"], windows["val_loss"])


def test_a_point_that_one_replicate_lacks_is_not_drawn(tables_of: Callable[[str], Tables]) -> None:
    """The mean would jump by what replicates differ."""
    tables = tables_of("whole")
    averages, runs = tables["averages"], tables["runs"]
    second = runs.loc[runs["replicate"] == 1, "cell_id"]
    steps = int(averages["updates_done"].median())
    lost = averages["cell_id"].isin(second) & (averages["updates_done"] == steps)
    before, after = (frame_of("averaging", {**tables, "averages": rows}) for rows in (averages, averages[~lost]))
    tokens = steps * planted.BATCH * planted.CONTEXT
    assert (before["tokens_seen"] == tokens).any()
    pd.testing.assert_frame_equal(before[before["tokens_seen"] != tokens].reset_index(drop=True), after)


@pytest.mark.parametrize("name", ["averaging", "averaging_gain"])
@pytest.mark.parametrize("status", ["diverged", "excluded"])
def test_no_average_is_drawn_where_a_replicate_was_lost(
    name: str, status: str, tables_of: Callable[[str], Tables]
) -> None:
    """One of two replicates: a mean over the other one would look as good as any."""
    tables = tables_of("whole")
    runs = tables["runs"]
    hurt = (runs["schedule"] == "constant") & (runs["peak_lr"] == 4e-3) & (runs["replicate"] == 1)
    assert 4e-3 in set(frame_of(name, tables)["peak_lr"])
    found = frame_of(name, {**tables, "runs": runs.assign(status=runs["status"].where(~hurt, status))})
    assert sorted(found["peak_lr"].unique()) == [1e-3, 2e-3, 8e-3]
    assert (found["n_replicates"] == 2).all()


def test_gains_stand_at_the_age_and_spacing_of_what_is_averaged(tables_of: Callable[[str], Tables]) -> None:
    frame = frame_of("averaging_gain", tables_of("whole"))
    one = frame[frame["peak_lr"] == 2e-3].set_index("average")
    cooled = one.loc["cooldown", "gain"]
    for average, (_, _, length, age, closed) in planted.AVERAGES.items():
        assert one.loc[average, "gain"] == pytest.approx(closed * cooled, rel=1e-6)
        if average.startswith(("window", "five")):
            assert one.loc[average, "length_fraction"] == pytest.approx(length, rel=0.02)
        elif average != "best_window" and age is not None:
            assert one.loc[average, "age_fraction"] == pytest.approx(age)
    assert one.loc["five_of_20", ["checkpoints", "n_checkpoints"]].tolist() == [5, 5]
    assert one.loc["five_of_20", "spacing_fraction"] == pytest.approx(0.04)
    assert pd.isna(one.loc["window_20", "checkpoints"]), "all snapshots, so their number differs between points"
    assert one["ended_before"].to_dict() == {name: name == "lawa_4_disjoint" for name in one.index}


def test_gain_against_spacing_joins_windows_of_one_length(tables_of: Callable[[str], Tables]) -> None:
    frame = frame_of("averaging_gain", tables_of("whole"))
    figure = figures.load("averaging_gain").draw(frame)
    rates = sorted(frame["peak_lr"].unique())
    for ax, lr in zip(figure.axes[len(rates) :], rates, strict=True):
        at_lr = frame[frame["peak_lr"] == lr].set_index("average")
        for length in ("10", "20", "40"):
            pair = at_lr.loc[[f"window_{length}", f"five_of_{length}"]]
            assert has_line(ax, pair["spacing_fraction"], pair["gain"])
        joined = [line for line in lines(ax) if len(line.get_xdata()) == 2 and 0.0 not in line.get_ydata()]
        assert len([line for line in joined if line.get_linewidth() == 1.6]) >= 3


def test_norm_layers_predict_the_total(tables_of: Callable[[str], Tables]) -> None:
    """Points of trusted windows, a line per group and schedule, and every smoothing beside."""
    frame = frame_of("noise_scale_norm_total", tables_of("whole"))
    windows = frame[frame["item"] == "window"]
    for group in ("body", "total"):
        rows = windows[windows["group"] == group]
        np.testing.assert_allclose(rows["noise_scale_tokens"], planted.TO_NORM[group] * rows["noise_scale_norm_tokens"])
    estimates = frame[frame["item"] == "estimate"]
    assert list(estimates["smoothing"].unique()) == ["windows", "ema_0.9", "ema_0.95", "ema_0.99"]
    assert (estimates.groupby("smoothing").size() == 2 * len(planted.PROBED)).all()
    figure = figures.load("noise_scale_norm_total").draw(frame)
    ends = windows["noise_scale_norm_tokens"].min(), windows["noise_scale_norm_tokens"].max()
    for row in estimates[estimates["smoothing"] == "windows"].itertuples():
        assert has_line(figure.axes[0], ends, [row.slope * end for end in ends])
    crosses = [line for ax in figure.axes[1:] for line in lines(ax) if line.get_marker() == "x"]
    assert len(crosses) == 3 * (estimates["status"] == "untrusted").sum()


def test_noise_scales_of_cells_that_count(tables_of: Callable[[str], Tables]) -> None:
    """At the longest horizon all diverge: a completed cell of a shorter one is drawn. Neither they nor held-out cells
    are points beside the regression, which leaves them out."""
    tables = tables_of("whole")
    runs = tables["runs"].copy()
    horizons = sorted(runs["tokens_per_parameter"].unique())
    runs.loc[runs["tokens_per_parameter"] == horizons[-1], "status"] = "diverged"
    runs.loc[runs["tokens_per_parameter"] == horizons[0], "holdout"] = True
    drawn = frame_of("noise_scale", {**tables, "runs": runs})
    assert set(drawn["tokens_per_parameter"]) == {horizons[-2]}
    points = frame_of("noise_scale_norm_total", {**tables, "runs": runs})
    counting = runs.loc[runs["tokens_per_parameter"].isin(horizons[1:-1]), "cell_id"]
    noise = tables["noise_scale"][tables["noise_scale"]["cell_id"].isin(counting)]
    pd.testing.assert_frame_equal(points, frame_of("noise_scale_norm_total", {**tables, "noise_scale": noise}))


def test_noise_scale_of_every_layer_type_with_its_band(tables_of: Callable[[str], Tables]) -> None:
    """A panel per layer type; a window without an upper bound is open to the top of the axis."""
    frame = frame_of("noise_scale", tables_of("whole"))
    assert set(frame["group"]) == set(planted.TO_NORM)
    assert frame.groupby("schedule")["peak_lr"].nunique().max() == 1
    figure = figures.load("noise_scale").draw(frame)
    assert len([ax for ax in figure.axes if ax.get_visible()]) == len(planted.TO_NORM)
    (ax,) = [ax for ax in figure.axes if ax.get_title("left") == "all layers"]
    band = ax.collections[0].get_paths()[0].vertices
    rows = frame[frame["group"] == "total"].groupby("schedule", sort=False).head(1)
    assert rows["ci_high"].isna().all()
    at_first = band[band[:, 0] == rows["tokens_seen"].iloc[0], 1]
    assert (at_first.min(), at_first.max()) == (pytest.approx(rows["ci_low"].iloc[0]), pytest.approx(ax.get_ylim()[1]))


def test_negative_noise_scales_are_marked(tables_of: Callable[[str], Tables]) -> None:
    frame = frame_of("noise_scale", tables_of("negative_noise"))
    assert (frame["noise_scale_tokens"] < 0).any()
    figure = figures.load("noise_scale").draw(frame)
    marks = [line for ax in figure.axes for line in lines(ax) if line.get_marker() == "v"]
    assert sum(len(line.get_xdata()) for line in marks) == (frame["noise_scale_tokens"] < 0).sum()


def test_frontier_only_improves(tables_of: Callable[[str], Tables]) -> None:
    frame = frame_of("size", tables_of("two_models_three_batches"))
    frontier = frame[frame["frontier"]].sort_values("train_flops_exact")
    assert frontier["val_loss"].is_monotonic_decreasing
    best = frame.loc[frame["val_loss"].idxmin()]
    assert best["frontier"]


def test_cost_counts_own_and_shared(tables_of: Callable[[str], Tables]) -> None:
    runs = tables_of("whole")["runs"]
    frame = frame_of("cost", tables_of("whole")).set_index("schedule")
    assert frame.loc["cosine_10", "own_updates"] == frame.loc["cosine_10", "unshared_updates"]
    own = runs[runs["schedule"] == "wsd_sqrt"]["own_steps"].sum()
    assert frame.loc["wsd_sqrt", "own_updates"] == own < frame.loc["wsd_sqrt", "unshared_updates"]


def test_a_learning_rate_with_a_diverged_replicate_is_not_the_best() -> None:
    runs = planted.runs(schedules=("wsd_sqrt",), horizons=(10.0,), noise=0.0)
    before = select.at_best_lr(runs)["peak_lr"].item()
    hurt = (runs["peak_lr"] == before) & (runs["replicate"] == 1)
    runs.loc[hurt, "status"] = "diverged"
    runs.loc[hurt, "val_loss"] = np.nan
    assert select.at_best_lr(runs)["peak_lr"].item() != before


def test_standard_error_needs_two_replicates_somewhere() -> None:
    one = select.at_best_lr(planted.runs(replicates=1))
    assert one["val_loss_se"].isna().all()
    two = select.at_best_lr(planted.runs(replicates=2, noise=0.001))
    np.testing.assert_allclose(two["val_loss_se"], 0.001 / np.sqrt(2), rtol=0.3)


def test_fewer_replicates_neither_help_nor_hurt_a_learning_rate() -> None:
    """Replicate 1 is 0.006 worse for all cells alike; dropping it from the second best must not make it the
    best."""
    runs = planted.runs(schedules=("wsd_sqrt", "cosine_zero"), horizons=(10.0,), noise=0.0)
    best = select.at_best_lr(runs).set_index("schedule")["peak_lr"]
    losses = runs[runs["schedule"] == "wsd_sqrt"].groupby("peak_lr")["val_loss"].mean().sort_values()
    second = losses.index[1]
    fewer = runs[~((runs["schedule"] == "wsd_sqrt") & (runs["peak_lr"] == second) & (runs["replicate"] == 1))]
    assert select.at_best_lr(fewer).set_index("schedule")["peak_lr"].to_dict() == best.to_dict()


def test_a_kind_has_one_colour_and_ranks_differ_in_more_than_colour(
    tables_of: Callable[[str], Tables],
) -> None:
    table = select.families(tables_of("whole")["runs"])
    assert list(table["schedule"]) == [
        "constant",
        "cosine_zero",
        "cosine_10",
        "linear_zero",
        "wsd_linear",
        "wsd_sqrt",
    ]
    looks = [style.schedule_look(kind, rank) for _, kind, rank in table.itertuples(index=False)]
    assert looks[1].line_style != looks[2].line_style
    assert looks[1].marker != looks[2].marker
    assert style.schedule_look("cosine", 0).color.lower() == style.KIND_COLORS["cosine"].lower()


def test_labels_are_moved_apart_and_stay_inside() -> None:
    moved = marks.spread([0.0, 0.0, 0.5, 0.51, 1.0, 1.0], 0.1)
    assert min(np.diff(moved)) >= 0.1 - 1e-12
    assert min(moved) >= 0.0
    assert max(moved) <= 1.0 + 1e-12
    assert marks.spread([0.2, 0.8], 0.1) == [0.2, 0.8]


@pytest.mark.parametrize(
    ("value", "expected"), [(0.004, "4e-3"), (0.0015, "1.5e-3"), (0.000999, "1e-3"), (1.0, "1e0"), (0.0, "0")]
)
def test_learning_rates_read_as_they_are_typed(value: float, expected: str) -> None:
    assert text.learning_rate(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(512, "512"), (1024, "1024"), (1_310_000, "1.31M"), (2e9, "2B")])
def test_counts_are_short(value: float, expected: str) -> None:
    assert text.compact(value) == expected


def test_many_schedules_are_drawn_family_by_family() -> None:
    """Thirteen names have no room at the edge of one panel; every schedule is in exactly one."""
    names = {f"wsd_{i}": "wsd" for i in range(14)} | {"constant": "constant"}
    frame = pd.DataFrame({"schedule": list(names), "schedule_kind": list(names.values())})
    few = frame.iloc[-12:]
    assert [(name, len(rows)) for name, rows in select.by_family(few, 12)] == [("", 12)]
    panels = select.by_family(frame, 12)
    assert [(name, len(rows)) for name, rows in panels] == [("wsd", 12), ("wsd", 2), ("constant", 1)]
    assert sorted(pd.concat([rows for _, rows in panels])["schedule"]) == sorted(names)


def test_runs_of_unknown_learning_rates_are_drawn() -> None:
    """A log that tells none: every run is the best of its horizon, with the noise of its replicates."""
    runs = planted.runs(schedules=("wsd_sqrt",), replicates=2, noise=0.001)
    one = runs[runs["peak_lr"] == runs["peak_lr"].min()]
    best = select.at_best_lr(one.assign(peak_lr=np.nan))
    known = select.at_best_lr(one)
    pd.testing.assert_frame_equal(
        best[["tokens_per_parameter", "val_loss"]], known[["tokens_per_parameter", "val_loss"]]
    )
    assert best["val_loss_se"].tolist() == known["val_loss_se"].tolist()
    assert len(best) > 1
