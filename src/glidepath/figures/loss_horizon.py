"""Loss at the best peak learning rate against tokens per parameter, with the law and where it leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glidepath.figures import laws, layout, marks, scales, select, style, text
from glidepath.figures.frames import level_of, tidy
from glidepath.study.figure_list import LOSS_HORIZON

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Loss against horizon, and where it leads"


def data(tables: Tables) -> pd.DataFrame:
    """Best losses, the law on its grid, and the points at which every learning rate diverged."""
    runs = select.main_batch(tables["runs"])
    best = select.at_best_lr(runs).assign(item="loss", extrapolated=False)
    best["ci_low"] = best["val_loss"] - best["val_loss_se"]
    best["ci_high"] = best["val_loss"] + best["val_loss_se"]
    diverged = runs.loc[runs["status"] == "diverged", select.GROUP].drop_duplicates()
    lost = diverged.merge(best[select.GROUP].assign(found=True), on=select.GROUP, how="left")
    lost = lost[lost["found"].isna()].assign(item="diverged")
    law = laws.predictions(
        tables[f"{LOSS_HORIZON}/predictions"], runs, quantity="val_loss", x_name="tokens_per_parameter"
    )
    law = law.assign(item="law", tokens_per_parameter=law["x"], val_loss=law["value"])
    parts = [
        select.in_family_order(select.with_families(part, tables["runs"]), ["model", "tokens_per_parameter"])
        for part in (law, best, lost)
    ]
    return tidy("loss_horizon", *parts)


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(TITLE, "No cell has run.", "Train the study first: snakemake --cores N.")
    models = sorted(frame["model"].unique())
    figure, axes = layout.panels(len(models), columns=3, width=4.8, height=4.4)
    for ax, model in zip(axes, models, strict=True):
        _draw_model(ax, frame[frame["model"] == model], names=len(models) == 1)
        ax.set_title(model)
        ax.set_xlabel("tokens per parameter")
    axes[0].set_ylabel("validation loss [nat/token]")
    interval = text.interval(level_of(frame))
    law = (
        f"Lines: law fitted to the filled points, with its {interval} as a band; grey background: "
        "extrapolated, with the loss that the law leads to."
        if (frame["item"] == "law").any()
        else "No law: it needs more horizons than were trained."
    )
    layout.heading(
        figure,
        TITLE,
        "Each schedule at its best peak learning rate of the grid; bars: replicate noise, pooled over the "
        f"study; hollow: hidden from the fit. {law}",
        [] if len(models) == 1 else [style.schedule_handle(*schedule) for schedule in style.schedules_in_order(frame)],
    )
    return figure


def _draw_model(ax: Axes, frame: pd.DataFrame, *, names: bool) -> None:
    schedules = style.schedules_in_order(frame)
    for i, (name, kind, rank) in enumerate(schedules):
        rows = frame[frame["schedule"] == name]
        look = style.schedule_look(kind, rank)
        law = rows[rows["item"] == "law"]
        ax.plot(
            law["tokens_per_parameter"],
            law["val_loss"],
            color=look.color,
            linestyle=look.line_style,
            linewidth=1.8,
        )
        ax.fill_between(
            law["tokens_per_parameter"],
            law["ci_low"],
            law["ci_high"],
            color=look.color,
            alpha=0.13,
            linewidth=0,
        )
        nudge = 1.0 + 0.02 * (i - (len(schedules) - 1) / 2)
        for _, point in rows[rows["item"] == "loss"].iterrows():
            x = point["tokens_per_parameter"] * nudge
            marks.error_bars(ax, x, point["val_loss"], point["ci_low"], point["ci_high"], look.color)
            ax.plot(
                [x],
                [point["val_loss"]],
                look.marker,
                color=look.color,
                markersize=8,
                markerfacecolor="white" if point["holdout"] else look.color,
                zorder=4,
            )
        marks.edge_marks(ax, list(rows.loc[rows["item"] == "diverged", "tokens_per_parameter"] * nudge), look.color)
    law = frame[frame["item"] == "law"]
    measured = frame.loc[frame["item"] != "law", "tokens_per_parameter"]
    scales.log_ticks(
        ax,
        "x",
        [*measured, *law["tokens_per_parameter"].tail(1)],
        lambda value: f"{value:.3g}",
        unit_gap=0.09,
    )
    left, right = ax.get_xlim()
    fitted = law.loc[~law["extrapolated"], "tokens_per_parameter"]
    if len(fitted) and (law["tokens_per_parameter"] > fitted.max()).any():
        ax.axvspan(float(fitted.max()), right, color=style.BAND, alpha=0.35, linewidth=0, zorder=0)
        ax.set_xlim(left, right)
    losses = frame.loc[frame["item"] == "loss", "val_loss"]
    values = pd.concat([losses, law["val_loss"]])
    if np.isfinite(values).any():
        # The law is drawn down to horizons where it is far above every point: those must not set the scale.
        high = max(float(losses.max()) if len(losses) else float(values.max()), float(values.min()))
        low = float(np.nanmin([values.min(), law["ci_low"].min() if len(law) else values.min()]))
        margin = 0.08 * (high - low) or 0.05
        ax.set_ylim(low - margin, high + margin)
    else:
        ax.set_yticks([])
    ends = []
    for name, kind, rank in schedules:
        rows = frame[(frame["schedule"] == name) & frame["val_loss"].notna()]
        rows = rows[rows["item"] == "law"] if (rows["item"] == "law").any() else rows
        if len(rows):
            last = rows.sort_values("tokens_per_parameter").iloc[-1]
            label = f"{name}\N{EN SPACE}{last['val_loss']:.3f}" if names else f"{last['val_loss']:.3f}"
            color = style.schedule_look(kind, rank).color
            ends.append((float(last["tokens_per_parameter"]), float(last["val_loss"]), label, color))
    marks.end_labels(ax, ends)
