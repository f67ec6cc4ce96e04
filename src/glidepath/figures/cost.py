"""What each schedule's cells cost, and what sharing trained prefixes saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from glidepath.figures import layout, scales, select, style, text
from glidepath.figures.frames import tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "What the study cost, and what sharing saved"


def data(tables: Tables) -> pd.DataFrame:
    """Sums over the cells of each schedule, all models and batches; a diverged cell counts its whole
    horizon."""
    rows = (
        tables["runs"]
        .groupby("schedule", as_index=False)
        .agg(
            n_cells=("cell_id", "size"),
            unshared_updates=("total_steps", "sum"),
            own_updates=("own_steps", "sum"),
            unshared_seconds=("train_seconds", "sum"),
            own_seconds=("own_train_seconds", "sum"),
        )
    )
    return tidy("cost", select.in_family_order(select.with_families(rows, tables["runs"]), ["schedule"]))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(TITLE, "No cell has run.", "Train the study first: snakemake --cores N.")
    figure, axes = layout.panels(2, width=5.4, height=1.4 + 0.55 * len(frame), share_y=True)
    labels = [f"{name} ({n} cells)" for name, n in zip(frame["schedule"], frame["n_cells"], strict=True)]
    hours = text.time_unit(float(frame["unshared_seconds"].max()))
    for ax, (what, unit, scale) in zip(
        axes, (("updates", "updates", 1.0), ("seconds", hours[1], hours[0])), strict=True
    ):
        for y, (_, row) in enumerate(frame.iterrows()):
            color = style.schedule_look(row["schedule_kind"], row["family_rank"]).color
            ax.barh(
                [y],
                [row[f"unshared_{what}"] / scale],
                height=0.62,
                facecolor=style.shade(color, 0.78),
                edgecolor=color,
            )
            ax.barh([y], [row[f"own_{what}"] / scale], height=0.62, color=color)
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(f"{'training time' if what == 'seconds' else 'training of all cells'} [{unit}]")
        scales.count_axis(ax, "x", most=5)
    axes[0].set_yticks(range(len(frame)), labels)
    axes[0].set_ylim(len(frame) - 0.4, -0.6)
    total, own = float(frame["unshared_updates"].sum()), float(frame["own_updates"].sum())
    layout.heading(
        figure,
        TITLE,
        f"Full bars: every cell trained alone ({text.compact(total)} updates in all). Dark: updates that no "
        f"other cell shares ({100 * own / total:.0f} % of them); the light rest is trained once per shared "
        "stretch, not once per cell.",
        [
            Patch(color=style.FAINT, label="needed by this cell only"),
            Patch(
                facecolor=style.shade(style.FAINT, 0.78),
                edgecolor=style.FAINT,
                label="shared with other cells, trained once",
            ),
        ],
    )
    return figure
