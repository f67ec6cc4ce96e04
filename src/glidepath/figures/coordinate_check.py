"""Change of activations after a few updates against width and depth: a panel per parametrisation, a line per place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, marks, scales, style, text
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Do activations move alike at every width and depth?"
PLACES = {
    "embedding": ("#5f5f5f", "o"),
    "attention": ("#0072B2", "s"),
    "feed_forward": ("#009E73", "^"),
    "residual": ("#CC79A7", "D"),
    "logits": ("#D55E00", "v"),
}
AXES = {"d_model": "width [features]", "n_layer": "depth [layers]"}
PARAMETRIZATIONS = ("sp", "mup", "completep")


def data(tables: Tables) -> pd.DataFrame:
    """Geometric means over replicates after the last update, with the slope of each line."""
    found, slopes = tables["coordinate_check"], tables["coordinate_slopes"]
    slopes = slopes[(slopes["quantity"] == "activation") & (slopes["measure"] == "rms_change")]
    slopes = slopes[slopes["updates_done"] == slopes["updates_done"].max()]
    found = found[(found["quantity"] == "activation") & (found["updates_done"] == found["updates_done"].max())]
    parts = []
    for varied, fixed in (("d_model", "n_layer"), ("n_layer", "d_model")):
        along = slopes[slopes["varied"] == varied]
        if along.empty:
            continue
        # The check varies one dimension at a time: the one that is fixed is at its most frequent value.
        rows = found[found[fixed] == found[fixed].mode().iloc[0]].assign(size=found[varied])
        means = rows.groupby(["parametrization", "place", "size"], as_index=False).agg(
            rms_change=("rms_change", _geometric_mean),
            rms_change_min=("rms_change", "min"),
            rms_change_max=("rms_change", "max"),
            n_replicates=("replicate", "nunique"),
            updates_done=("updates_done", "first"),
            peak_lr=("peak_lr", "first"),
        )
        columns = ["parametrization", "place", "slope", "slope_se", "tolerance", "verdict"]
        parts.append(means.merge(along[columns], on=["parametrization", "place"]).assign(varied=varied))
    ordered = [
        part.assign(
            panel=part["parametrization"].map(PARAMETRIZATIONS.index), line=part["place"].map(list(PLACES).index)
        ).sort_values(["panel", "line", "size"], kind="stable")
        for part in parts
    ]
    return tidy("coordinate_check", *ordered)


def _geometric_mean(values: pd.Series[float]) -> float:
    positive = values[values > 0]
    return float(np.exp(np.log(positive).mean())) if len(positive) == len(values) else float("nan")


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE, "The coordinate check has no sizes to compare.", "Give `coordinate_check.widths` or `depths`."
        )
    varied = [name for name in AXES if (frame["varied"] == name).any()]
    parametrizations = list(dict.fromkeys(frame["parametrization"]))
    figure, axes = layout.panels(
        len(varied) * len(parametrizations), columns=len(parametrizations), width=4.2, height=3.4, share_y=True
    )
    for i, ax in enumerate(axes):
        row, column = divmod(i, len(parametrizations))
        name, parametrization = varied[row], parametrizations[column]
        here = frame[(frame["varied"] == name) & (frame["parametrization"] == parametrization)]
        _draw_panel(ax, here)
        ax.set_title(parametrization)
        ax.set_xlabel(AXES[name])
        if column == 0:
            ax.set_ylabel("change, root mean square")
    ends = [ax.get_ylim() for ax in axes]
    axes[0].set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    for i, ax in enumerate(axes):
        row, column = divmod(i, len(parametrizations))
        here = frame[(frame["varied"] == varied[row]) & (frame["parametrization"] == parametrizations[column])]
        marks.end_labels(ax, _ends(here), gap=0.085)
    scales.log_steps(axes[0], "y", text.scientific)
    handles = [
        Line2D([], [], color=color, marker=marker, label=place.replace("_", "-"))
        for place, (color, marker) in PLACES.items()
        if (frame["place"] == place).any()
    ]
    first = frame.iloc[0]
    layout.heading(
        figure,
        TITLE,
        f"Root mean square of the change from initialisation after {first['updates_done']} updates at learning rate "
        f"{text.learning_rate(first['peak_lr'])}, on fixed inputs: geometric mean over {first['n_replicates']} "
        "replicates, bars from lowest to highest. Beside a line: log2 of its factor per doubling; ▲ grows, ▼ shrinks, "
        f"= stable (interval within ±{first['tolerance']:g}), ? not resolved.",
        handles,
    )
    return figure


def _draw_panel(ax: Axes, frame: pd.DataFrame) -> None:
    ax.set_yscale("log")
    for place, (color, marker) in PLACES.items():
        rows = frame[frame["place"] == place]
        ax.plot(rows["size"], rows["rms_change"], color=color, marker=marker)
        for _, point in rows.iterrows():
            marks.error_bars(
                ax, point["size"], point["rms_change"], point["rms_change_min"], point["rms_change_max"], color
            )
    scales.log_ticks(ax, "x", frame["size"], text.compact)


MARKS = {"stable": "=", "grows": "▲", "shrinks": "▼", "not resolved": "?"}


def _ends(frame: pd.DataFrame) -> list[tuple[float, float, str, str]]:
    """Slope and verdict beside the largest size."""
    last = frame.sort_values("size").groupby("place", sort=False).tail(1)
    return [
        (float(row["size"]), float(row["rms_change"]), f"{row['slope']:+.2f} {MARKS[row['verdict']]}", color)
        for _, row in last.iterrows()
        if np.isfinite(row["rms_change"]) and np.isfinite(row["slope"])
        for color in [PLACES[row["place"]][0]]
    ]
