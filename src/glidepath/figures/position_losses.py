"""Loss by position at some checkpoints with their hyperbolas, and the mean along training with the temporal law."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import laws, layout, scales, select, style, text
from glidepath.figures.frames import level_of, tidy
from glidepath.science.laws.temporal import fit_hyperbola
from glidepath.study.figure_list.features import TEMPORAL

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Loss by position in the sequence, and where its plateau goes"
MOST_CHECKPOINTS = 5
TRAINING = ["model", "schedule", "batch_sequences", "tokens_per_parameter", "peak_lr"]


def data(tables: Tables) -> pd.DataFrame:
    """The longest training of the main model with the lowest loss, mean over replicates."""
    losses = tables["position_losses"]
    runs = select.main_model(select.completed(select.among(tables["runs"], losses)))
    runs = runs[runs["tokens_per_parameter"] == runs["tokens_per_parameter"].max()]
    if runs.empty:
        return tidy("position_losses")
    best = runs.groupby(TRAINING)["val_loss"].mean().idxmin()
    one = runs[(runs[TRAINING] == list(best)).all(axis=1)]
    rows = losses[losses["cell_id"].isin(one["cell_id"])]
    means = rows.groupby(["tokens_seen", "position"], as_index=False)["val_loss"].mean()
    wide = means.pivot(index="tokens_seen", columns="position", values="val_loss").dropna()
    tokens, positions = wide.index.to_numpy(np.float64), wide.columns.to_numpy(np.float64)
    n_shown = min(MOST_CHECKPOINTS, len(tokens))
    shown = np.unique(np.linspace(0, max(len(tokens) - 1, 0), n_shown).round().astype(np.int64))
    parts = [means[means["tokens_seen"].isin(tokens[shown])].assign(item="position")]
    if len(tokens) and len(positions) >= 4:
        curves = fit_hyperbola(positions, wide.to_numpy(np.float64)[shown]).predict(positions)
        parts += [
            pd.DataFrame({"item": "hyperbola", "tokens_seen": t, "position": positions, "val_loss": curve})
            for t, curve in zip(tokens[shown], curves, strict=True)
        ]
    parts.append(pd.DataFrame({"item": "mean", "tokens_seen": tokens, "val_loss": wide.mean(axis=1).to_numpy()}))
    law = laws.predictions(tables[f"{TEMPORAL}/predictions"], one, quantity="val_loss", x_name="tokens_seen")
    law = law[law["tokens_per_parameter"] == one["tokens_per_parameter"].iloc[0]]
    law = law.rename(columns={"x": "tokens_seen", "value": "val_loss"})
    parts.append(law[["tokens_seen", "val_loss", "ci_low", "ci_high", "ci_level", "extrapolated"]].assign(item="law"))
    first = one.iloc[0]
    about = {name: first[name] for name in ("model", "schedule", "tokens_per_parameter", "peak_lr")}
    numbered = [
        part.assign(**about, n_replicates=len(one)).astype({"tokens_seen": "float64"}) for part in parts if len(part)
    ]
    return tidy("position_losses", *(select.with_families(part, tables["runs"]) for part in numbered))


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No completed cell has losses by position.",
            "Add a `temporal` section to the study, with schedules whose snapshots averaging keeps.",
        )
    figure, (left, right) = layout.panels(2, width=4.8, height=4.0)
    measured = frame[frame["item"] == "position"]
    checkpoints = sorted(measured["tokens_seen"].unique())
    handles = []
    for t, color in zip(checkpoints, style.sequence(len(checkpoints)), strict=True):
        rows = measured[measured["tokens_seen"] == t]
        curve = frame[(frame["item"] == "hyperbola") & (frame["tokens_seen"] == t)]
        left.plot(rows["position"], rows["val_loss"], ".", color=color, markersize=4, alpha=0.6)
        left.plot(curve["position"], curve["val_loss"], color=color)
        handles.append(Line2D([], [], color=color, label=f"{text.compact(t)} tokens"))
    left.set_xscale("log")
    scales.log_steps(left, "x", text.compact)
    left.set_xlabel("position [tokens of context]")
    left.set_ylabel("validation loss [nat/token]")
    _draw_means(right, frame)
    first = frame.iloc[0]
    layout.heading(
        figure,
        TITLE,
        f"Model {first['model']}, {first['schedule']} at peak {text.learning_rate(first['peak_lr'])}, "
        f"{first['tokens_per_parameter']:g} tokens per parameter, mean over {first['n_replicates']} replicates. Left: "
        "points are means over all validation blocks of the first domain, the same text at every checkpoint, so that "
        "their scatter is common; lines: a0/(1 + a1·i) + a2. Right: mean over positions; line and band: the temporal "
        f"law without annealing, {text.interval(level_of(frame))} of this one training; grey: beyond the fit.",
        handles,
    )
    return figure


def _draw_means(ax: Axes, frame: pd.DataFrame) -> None:
    means, law = frame[frame["item"] == "mean"], frame[frame["item"] == "law"]
    color = style.schedule_look(str(frame["schedule_kind"].iloc[0]), int(frame["family_rank"].iloc[0])).color
    ax.plot(law["tokens_seen"], law["val_loss"], color=color)
    ax.fill_between(law["tokens_seen"], law["ci_low"], law["ci_high"], color=color, alpha=0.15, linewidth=0)
    ax.plot(means["tokens_seen"], means["val_loss"], "o", color=color, markersize=5)
    ax.set_xscale("log")
    scales.log_steps(ax, "x", text.compact)
    beyond = law.loc[law["extrapolated"], "tokens_seen"]
    if len(beyond):
        ax.axvspan(float(means["tokens_seen"].max()), float(beyond.max()), color=style.BAND, alpha=0.35, linewidth=0)
    ax.set_xlabel("training tokens")
    ax.set_ylabel("mean validation loss [nat/token]")
