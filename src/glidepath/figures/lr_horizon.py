"""Optimal peak learning rate against the token horizon, with the law that carries it to longer ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glidepath.figures import laws, layout, marks, scales, select, style, text
from glidepath.figures.frames import level_of, tidy
from glidepath.study.figure_list import LR_HORIZON, LR_OPTIMUM

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Optimal peak learning rate against the token horizon"


def data(tables: Tables) -> pd.DataFrame:
    """Optima of every model at its main batch, and the law on its grid."""
    runs = select.main_batch(tables["runs"])
    optima = laws.parameter(tables[f"{LR_OPTIMUM}/parameters"], runs, laws.OPTIMAL_PEAK_LR)
    horizons = runs.groupby(["model", "batch_sequences", "tokens_per_parameter"], as_index=False)[
        "token_horizon"
    ].first()
    optima = optima.merge(horizons, on=["model", "batch_sequences", "tokens_per_parameter"])
    optima = optima.assign(item="optimum", peak_lr=optima["value"], extrapolated=False)
    law = laws.predictions(tables[f"{LR_HORIZON}/predictions"], runs, quantity="peak_lr", x_name="token_horizon")
    exponents = laws.parameter(tables[f"{LR_HORIZON}/parameters"], runs, laws.LR_EXPONENT)
    exponents = exponents.rename(columns={"value": "exponent", "ci_low": "exponent_low", "ci_high": "exponent_high"})
    law = law.merge(
        exponents[[*laws.GROUP, "exponent", "exponent_low", "exponent_high", "status"]],
        on=laws.GROUP,
        how="left",
    ).assign(item="law", token_horizon=law["x"].to_numpy(), peak_lr=law["value"].to_numpy())
    parts = [
        select.in_family_order(select.with_families(part, tables["runs"]), ["model", "token_horizon"])
        for part in (law, optima)
    ]
    return tidy("lr_horizon", *parts)


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No schedule has an optimal peak learning rate.",
            "Each needs at least three peak learning rates at a horizon, around its best one; add values "
            "to `peak_lrs`.",
        )
    models = sorted(frame["model"].unique())
    figure, axes = layout.panels(len(models), columns=2, width=6.2, height=4.4, share_y=True)
    for ax, model in zip(axes, models, strict=True):
        _draw_model(ax, frame[frame["model"] == model])
        if len(models) > 1:
            ax.set_title(model)
        ax.set_xlabel("token horizon [tokens]")
    axes[0].set_ylabel("optimal peak learning rate")
    handles = [style.schedule_handle(*schedule) for schedule in style.schedules_in_order(frame)]
    interval = text.interval(level_of(frame))
    extrapolated = " Shaded: outside the horizons that were tuned." if frame["extrapolated"].any() else ""
    no_law = "" if (frame["item"] == "law").any() else " No law: it needs optima at two horizons or more."
    layout.heading(
        figure,
        TITLE,
        f"Points: optimum of the parabola at one horizon, with its {interval} (hollow: not converged). "
        f"Lines: peak ∝ horizon^(-b) with its {interval} as a band and the exponent b beside "
        f"it.{extrapolated}{no_law}",
        handles,
    )
    return figure


def _draw_model(ax: Axes, frame: pd.DataFrame) -> None:
    schedules = style.schedules_in_order(frame)
    for i, (name, kind, rank) in enumerate(schedules):
        rows = frame[frame["schedule"] == name]
        look = style.schedule_look(kind, rank)
        law = rows[rows["item"] == "law"]
        ax.plot(law["token_horizon"], law["peak_lr"], color=look.color, linestyle=look.line_style)
        ax.fill_between(law["token_horizon"], law["ci_low"], law["ci_high"], color=look.color, alpha=0.13, linewidth=0)
        # Points of schedules at one horizon stand side by side, or their bars would hide each other.
        nudge = 1.0 + 0.035 * (i - (len(schedules) - 1) / 2)
        for _, optimum in rows[rows["item"] == "optimum"].iterrows():
            x = optimum["token_horizon"] * nudge
            marks.error_bars(ax, x, optimum["peak_lr"], optimum["ci_low"], optimum["ci_high"], look.color)
            ax.plot(
                [x],
                [optimum["peak_lr"]],
                look.marker,
                color=look.color,
                markersize=8,
                markerfacecolor=look.color if optimum["status"] == "converged" else "white",
                zorder=4,
            )
    optima = frame[frame["item"] == "optimum"]
    beyond = frame[(frame["item"] == "law") & frame["extrapolated"]]
    scales.log_ticks(ax, "x", [*optima["token_horizon"], *beyond["token_horizon"].tail(1)], text.compact, unit_gap=0.12)
    ax.set_yscale("log")
    scales.log_steps(ax, "y", text.learning_rate)
    fitted = frame[(frame["item"] == "law") & ~frame["extrapolated"]]["token_horizon"]
    left, right = ax.get_xlim()
    if len(beyond) and len(fitted):
        if (beyond["token_horizon"] > fitted.max()).any():
            ax.axvspan(float(fitted.max()), right, color=style.BAND, alpha=0.35, linewidth=0, zorder=0)
        if (beyond["token_horizon"] < fitted.min()).any():
            ax.axvspan(left, float(fitted.min()), color=style.BAND, alpha=0.35, linewidth=0, zorder=0)
    ax.set_xlim(left, right)
    ends = []
    for name, kind, rank in schedules:
        law = frame[(frame["schedule"] == name) & frame["exponent"].notna()]
        if len(law):
            last = law.sort_values("token_horizon").iloc[-1]
            color = style.schedule_look(kind, rank).color
            ends.append((float(last["token_horizon"]), float(last["peak_lr"]), _exponent(last), color))
    marks.end_labels(ax, ends)


def _exponent(law: pd.Series[Any]) -> str:
    """Exponent with its interval: 0.40 [0.30, 0.50]."""
    words = f"b = {law['exponent']:.2f}"
    if np.isfinite(law["exponent_low"]) and np.isfinite(law["exponent_high"]):
        words += f" [{law['exponent_low']:.2f}, {law['exponent_high']:.2f}]"
    return words
