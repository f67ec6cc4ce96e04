"""Compute that each schedule saves against the reference, by horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from glidepath.figures import laws, layout, marks, scales, select, style, text
from glidepath.figures.frames import level_of, tidy
from glidepath.study.figure_list import LOSS_HORIZON

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Compute saved against the reference schedule"
MOST_BARS = 8
"""More abscissae than this are drawn as a line with a band."""


def data(tables: Tables) -> pd.DataFrame:
    """Savings of every model at its main batch; the reference itself is left out."""
    runs = select.main_batch(tables["runs"])
    rows = laws.predictions(
        tables[f"{LOSS_HORIZON}/predictions"], runs, quantity="compute_saving", x_name="tokens_per_parameter"
    )
    references = tables["comparisons"]["reference_schedule"].unique()
    reference = str(references[0]) if len(references) else ""
    rows = rows[rows["schedule"] != reference]
    rows = rows.assign(compute_saving=rows["value"], tokens_per_parameter=rows["x"], reference_schedule=reference)
    rows = select.with_families(rows, tables["runs"])
    return tidy("compute_saving", select.in_family_order(rows, ["model", "tokens_per_parameter"]))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No compute saving could be computed.",
            "It needs two horizons at least that both a schedule and the reference were trained at "
            "(`tokens_per_parameter`).",
        )
    models = sorted(frame["model"].unique())
    figure, axes = layout.panels(len(models), columns=3, width=4.8, height=4.2, share_y=True)
    for ax, model in zip(axes, models, strict=True):
        _draw_model(ax, frame[frame["model"] == model])
        if len(models) > 1:
            ax.set_title(model)
        ax.set_xlabel("tokens per parameter of the reference")
    reference = str(frame["reference_schedule"].iloc[0]) or "the reference"
    axes[0].set_ylabel("compute saved")
    layout.heading(
        figure,
        f"{TITLE} ({reference})",
        f"1 - tokens that the schedule needs to reach {reference}'s loss / tokens of {reference}, both at "
        "their best peak learning rate, by the curves through the trained horizons. Above zero is a "
        f"saving. Bars or bands: {text.interval(level_of(frame))}; grey background: extrapolated.",
        [style.schedule_handle(*schedule) for schedule in style.schedules_in_order(frame)],
    )
    return figure


def _draw_model(ax: Axes, frame: pd.DataFrame) -> None:
    ax.axhline(0.0, color=style.INK, linewidth=1.2)
    schedules = style.schedules_in_order(frame)
    for i, (name, kind, rank) in enumerate(schedules):
        rows = frame[frame["schedule"] == name]
        look = style.schedule_look(kind, rank)
        if len(rows) > MOST_BARS:
            x = rows["tokens_per_parameter"]
            ax.plot(x, rows["compute_saving"], color=look.color, linestyle=look.line_style)
            ax.fill_between(x, rows["ci_low"], rows["ci_high"], color=look.color, alpha=0.13, linewidth=0)
            continue
        # Bars of schedules at one horizon stand side by side.
        x = rows["tokens_per_parameter"] * (1.0 + 0.03 * (i - (len(schedules) - 1) / 2))
        ax.plot(x, rows["compute_saving"], color=look.color, linestyle=look.line_style)
        for at, (_, row) in zip(x, rows.iterrows(), strict=True):
            marks.error_bars(ax, at, row["compute_saving"], row["ci_low"], row["ci_high"], look.color)
            face = "white" if row["extrapolated"] else look.color
            ax.plot(
                [at],
                [row["compute_saving"]],
                look.marker,
                color=look.color,
                markersize=8,
                markerfacecolor=face,
                zorder=4,
            )
    horizons = frame["tokens_per_parameter"]
    scales.log_ticks(ax, "x", horizons, lambda value: f"{value:.3g}", unit_gap=0.09)
    inside = horizons[~frame["extrapolated"]]
    left, right = ax.get_xlim()
    if len(inside) and (horizons > inside.max()).any():
        ax.axvspan(float(inside.max()) * 1.06, right, color=style.BAND, alpha=0.35, linewidth=0, zorder=0)
        ax.set_xlim(left, right)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
