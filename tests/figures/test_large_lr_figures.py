"""What the figures of large learning rates and of spikes show, against the planted numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from glidepath.figures import averaging_over_lr, spike_removal
from tests.figures import planted_large_lr as planted

Tables = dict[str, pd.DataFrame]


def test_losses_optima_and_threshold_are_the_tables(tables_of: Callable[[str], Tables]) -> None:
    tables = tables_of("whole")
    frame = averaging_over_lr.data(tables)
    cells = frame[frame["item"] == "cell"]
    regimes = tables["regimes"]
    assert len(cells) == 3 * len(regimes)
    wide = cells.pivot(index=["peak_lr", "replicate"], columns="weights", values="val_loss").dropna()
    gain = np.sqrt(wide.index.get_level_values("peak_lr").to_numpy() / 4e-3)
    assert (wide["raw"] - wide["averaged"]).to_numpy() == pytest.approx(planted.GAIN * gain)
    assert (wide["raw"] - wide["cooldown"]).to_numpy() == pytest.approx(planted.COOLDOWN_GAIN * gain)
    threshold = frame[frame["item"] == "threshold"].iloc[0]
    assert (threshold["ci_low"], threshold["ci_high"]) == (4e-3, 8e-3)
    assert list(frame.loc[frame["item"] == "optimum", "weights"]) == ["raw", "averaged", "cooldown"]


def test_the_background_is_the_regime(tables_of: Callable[[str], Tables]) -> None:
    frame = averaging_over_lr.data(tables_of("whole"))
    (ax,) = averaging_over_lr.draw(frame).axes
    spans = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    colors = [averaging_over_lr.REGIMES[name] for name in ("converging",) * 3 + ("chaotic_equilibrium", "divergent")]
    assert [to_hex(span.get_facecolor()) for span in spans] == colors
    # Half-way between learning rates that are a factor of 2 apart.
    assert spans[3].get_x() == pytest.approx(8e-3 / np.sqrt(2))


def test_replicates_that_differ_are_undecided(tables_of: Callable[[str], Tables]) -> None:
    tables = dict(tables_of("whole"))
    regimes = tables["regimes"].copy()
    first = regimes.index[regimes["peak_lr"] == 1e-3][0]
    regimes.loc[first, "regime"] = "chaotic_equilibrium"
    tables["regimes"] = regimes
    figure = averaging_over_lr.draw(averaging_over_lr.data(tables))
    (ax,), (legend,) = figure.axes, figure.legends
    assert "undecided" in [text.get_text() for text in legend.get_texts()]
    assert to_hex(ax.patches[0].get_facecolor()) == averaging_over_lr.REGIMES["undecided"]


def test_shares_and_excess_are_the_tables(tables_of: Callable[[str], Tables]) -> None:
    frame = spike_removal.data(tables_of("whole"))
    for average, (share, mean_share) in planted.AVERAGES.items():
        rows = frame[(frame["average"] == average) & (frame["spiked"] == "jump_4")].set_index("item")
        assert rows.loc["height", "value"] == share
        assert rows.loc["mean", "value"] == mean_share
    raw = frame[(frame["item"] == "point") & (frame["average"] == "raw") & (frame["spiked"] == "jump_8")]
    assert list(raw["updates_after"][:2]) == [0, 8]
    assert raw["value"].max() == pytest.approx(planted.SPIKED["jump_8"] * np.exp(-8 / 50))


def test_two_panels_per_spike_and_a_verdict_per_average(tables_of: Callable[[str], Tables]) -> None:
    figure = spike_removal.draw(spike_removal.data(tables_of("whole")))
    assert len(figure.axes) == 2 * len(planted.SPIKED)
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert texts == ["reduced"] * len(planted.SPIKED) * len(planted.AVERAGES)
