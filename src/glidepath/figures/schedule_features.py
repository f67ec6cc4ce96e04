"""Losses predicted from features of the schedule, its family hidden from the regression, against measured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glidepath.figures import layout, marks, select, style, text
from glidepath.figures.frames import level_of, tidy
from glidepath.laws.schedule_features import HIDDEN_FAMILY
from glidepath.study.figure_list.features import SCHEDULE_FEATURES

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Loss predicted from features of the schedule"
POINT = ["model", "schedule", "batch_sequences", "tokens_per_parameter", "peak_lr"]
MOST_MODELS = 4


def data(tables: Tables) -> pd.DataFrame:
    """Every predicted point with completed runs; of each model its main batch."""
    found = tables[f"{SCHEDULE_FEATURES}/predictions"]
    found = found[found["quantity"] == HIDDEN_FAMILY].rename(columns={"x": "peak_lr", "value": "predicted"})
    runs = select.main_batch(select.completed(tables["runs"]))
    means = select.replicate_means(runs, POINT) if len(runs) else runs.assign(n_replicates=0)
    points = means[[*POINT, "val_loss", "n_replicates"]].merge(found.drop(columns="quantity"), on=POINT)
    points = select.with_families(points, tables["runs"])
    order = ["model", "schedule_kind", "family_rank", "tokens_per_parameter", "peak_lr"]
    return tidy("schedule_features", points.sort_values(order, kind="stable"))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No family of schedules could be hidden and predicted.",
            "Train three families of schedules (cosine, linear, wsd, …) at several peak learning rates and horizons.",
        )
    models = list(frame["model"].value_counts(sort=True).index[:MOST_MODELS])
    figure, axes = layout.panels(len(models), width=4.6, height=4.2)
    for ax, model in zip(axes, models, strict=True):
        _draw_model(ax, frame[frame["model"] == model])
        if len(models) > 1:
            ax.set_title(model)
    axes[0].set_ylabel("predicted loss [nat/token]")
    layout.heading(
        figure,
        TITLE,
        "A point is one schedule, peak learning rate and horizon, mean over replicates, predicted from its learning "
        "rate, size and tokens by a regression on the other families of schedules; on the dashed line prediction and "
        f"measurement agree. Bars: {text.interval(level_of(frame))} of a single run.",
        [style.schedule_handle(*schedule) for schedule in style.schedules_in_order(frame)],
    )
    return figure


def _draw_model(ax: Axes, frame: pd.DataFrame) -> None:
    for name, kind, rank in style.schedules_in_order(frame):
        look = style.schedule_look(kind, rank)
        for row in frame[frame["schedule"] == name].to_dict("records"):
            x, y = row["val_loss"], row["predicted"]
            marks.error_bars(ax, x, y, row["ci_low"], row["ci_high"], look.color, alpha=0.25, capsize=0)
            ax.plot([x], [y], look.marker, color=look.color, markersize=5.5, zorder=4)
    both = frame[["val_loss", "predicted"]].to_numpy()
    margin = 0.05 * float(both.max() - both.min()) or 0.05
    limits = (float(both.min()) - margin, float(both.max()) + margin)
    ax.plot(limits, limits, color=style.FAINT, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    ax.set_xlim(*limits)
    ax.set_ylim(*limits)
    ax.set_xlabel("measured loss [nat/token]")
