"""What averages gain at the end of training, against the age of what they average and the distance of its
checkpoints, a column per learning rate.

The mean age of the averaged weights is the one length that all kinds have: half the window of a uniform average, the
memory of an exponential one. Below, windows of one length with checkpoints further and further apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, marks, scales, select, style, text
from glidepath.figures.frames import tidy
from glidepath.laws.averaging import SETTING, at_cell_ends, half_width, replicate_means

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "What averaging gains: window, memory and spacing"
MOST_COLUMNS = 4
LEVEL = 0.95
UNIFORM = ("window", "lawa")
"""Kinds whose checkpoints have one distance."""
ALIKE = 1.1
"""Windows whose lengths differ by less than this factor from the next one are of one length: their checkpoints are
snapshots that lie near to where they were wanted."""
LOOKS: dict[str, tuple[str, str, str]] = {
    "window": ("window", "#E69F00", "s"),
    "lawa": ("LAWA", "#0072B2", "P"),
    "ema": ("EMA", "#CC79A7", "^"),
    "swa": ("SWA", "#882255", "v"),
    "emulated_decay": ("emulated decay", "#56B4E9", "X"),
}
"""Name, colour and marker of the kinds of averages."""
BEST_WINDOW, COOLDOWN = "best_window", "cooldown"
REFERENCES: dict[str, tuple[str, str, Any]] = {
    BEST_WINDOW: ("best window, chosen on other blocks", "#B37A00", (0, (1.4, 1.3))),
    COOLDOWN: ("real cooldown", style.KIND_COLORS["wsd"], "-"),
}
"""Name, colour and line of what has no age."""
OTHER_MARKERS = {"window": ("o", "D", "p", "h"), "lawa": ("P", "*", "<", ">")}
"""Markers for a fixed number of checkpoints, by kind."""
JOINED = ("window", "ema")
"""Kinds of which a longer average is more of the same."""


def data(tables: Tables) -> pd.DataFrame:
    """Per learning rate and average the gain at the end of the longest averaged cells, over replicates."""
    averages = select.first_domain(tables["averages"])
    ends = at_cell_ends(averages, tables["runs"])
    ends = ends[np.isfinite(ends["gain"])]
    runs = select.main_model(select.among(tables["runs"], ends))
    ends = select.among(ends, runs)
    if ends.empty:
        return tidy("averaging_gain")
    ends = ends[ends["schedule"] == ends["schedule"].value_counts().sort_index().idxmax()]
    ends = ends[ends["tokens_per_parameter"] == ends["tokens_per_parameter"].max()]
    cooled = ends[np.isfinite(ends["val_loss_cooldown"])].drop_duplicates("cell_id")
    cooled = cooled.assign(
        average=COOLDOWN,
        averaging_scheme=COOLDOWN,
        val_loss_averaged=cooled["val_loss_cooldown"],
        gain=cooled["val_loss_raw"] - cooled["val_loss_cooldown"],
        gain_sem=np.nan,
    )
    ends = pd.concat([ends, cooled]) if len(cooled) else ends
    ends = ends.assign(
        age_fraction=ends["lag_tokens"] / ends["tokens_seen"],
        spacing_fraction=ends["window_fraction"] / (ends["window_checkpoints"] - 1),
    )
    shapes = ends.groupby(SETTING, as_index=False)[["age_fraction", "spacing_fraction"]].median()
    points = replicate_means(ends).merge(shapes, on=SETTING)
    half = np.array(
        [
            half_width(float(se), int(degrees), LEVEL)
            for se, degrees in zip(points["gain_se"], points["gain_degrees_of_freedom"], strict=True)
        ]
    )
    kind = points["averaging_scheme"]
    uniform, aged = kind.isin(UNIFORM), kind.isin(LOOKS)
    fixed = points["average"].map(_fixed_checkpoints(averages)).where(uniform)
    # Equal weights are on average as old as the middle of the window, if that reaches up to here.
    newest = points["age_fraction"] - points["window_fraction"] / 2
    ended_before = (kind == "lawa") & (newest > points["spacing_fraction"])
    points = points.assign(
        model=runs["model"].iloc[0],
        val_loss_averaged=points["averaged"],
        kind=kind,
        checkpoints=fixed.astype("Int64"),
        n_checkpoints=points["window_checkpoints"].where(aged).round().astype("Int64"),
        age_fraction=points["age_fraction"].where(aged),
        spacing_fraction=points["spacing_fraction"].where(uniform),
        # A checkpoint stands for the training before it, so the middle of a window is half a spacing further back.
        length_fraction=_alike(
            (2 * points["age_fraction"] + points["spacing_fraction"]).where(uniform & ~ended_before)
        ),
        ended_before=ended_before,
        n_replicates=points["n"],
        ci_low=points["gain"] - half,
        ci_high=points["gain"] + half,
        ci_level=LEVEL,
    )
    order = {kind: i for i, kind in enumerate([*LOOKS, *REFERENCES])}
    points = points[points["kind"].isin(order)].assign(order=points["kind"].map(order))
    return tidy("averaging_gain", points.sort_values(["peak_lr", "order", "checkpoints", "age_fraction", "average"]))


def _fixed_checkpoints(averages: pd.DataFrame) -> pd.Series[Any]:
    """By average its number of checkpoints if that is the same everywhere; null for all snapshots of a window, which
    are more or fewer from point to point."""
    counts = averages.groupby("average")["window_checkpoints"].agg(["min", "max"]).astype(float)
    found: pd.Series[Any] = counts["min"].where(counts["min"] == counts["max"])
    return found


def _alike(lengths: pd.Series[Any]) -> pd.Series[Any]:
    """Lengths that are alike made equal: their median."""
    ordered = lengths.dropna().sort_values()
    group = (ordered > ALIKE * ordered.shift()).cumsum()
    found: pd.Series[Any] = ordered.groupby(group).transform("median")
    return found


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No checkpoints were averaged.",
            "Add an `averaging` section to the study that names a constant schedule, with several windows.",
        )
    rates = sorted(frame["peak_lr"].unique())
    shown = select.nearest_the_best(frame, "val_loss_averaged", MOST_COLUMNS)
    frame = frame[frame["peak_lr"].isin(shown)]
    spaced = frame[frame["length_fraction"].notna()]
    spacings = spaced.groupby(["peak_lr", "length_fraction"])["n_checkpoints"].nunique()
    # A length with one number of checkpoints says nothing about their distance.
    spaced = spaced[spaced["length_fraction"].isin(spacings[spacings > 1].reset_index()["length_fraction"])]
    columns, n_rows = len(shown), 2 if len(spaced) else 1
    figure, axes = layout.panels(
        columns * n_rows, columns=columns, width=3.4, height=3.1 if n_rows == 2 else 3.9, share_y=True
    )
    for i, lr in enumerate(shown):
        _draw_by_age(axes[i], frame[frame["peak_lr"] == lr], frame)
        axes[i].set_title(f"peak {text.learning_rate(lr)}")
        if len(spaced):
            _draw_by_spacing(axes[columns + i], spaced[spaced["peak_lr"] == lr], spaced, frame)
    for first in axes[::columns]:
        first.set_ylabel("gain [nat/token]")
    layout.heading(figure, TITLE, _note(frame, spaced, len(rates) - columns), _handles(frame, spaced))
    return figure


def _draw_by_age(ax: Axes, rows: pd.DataFrame, frame: pd.DataFrame) -> None:
    """Gains of one learning rate; `frame` has those of all, for looks and limits."""
    _percent_axis(ax, frame["age_fraction"], "mean age / training so far")
    ax.axhline(0.0, color=style.FAINT, linewidth=1.2)
    for kind, (_, color, line) in REFERENCES.items():
        for gain in rows.loc[rows["kind"] == kind, "gain"]:
            ax.axhline(gain, color=color, linestyle=line, linewidth=2.0)
    aged = rows[rows["age_fraction"].notna()]
    for (name, checkpoints), points in aged.groupby(["kind", "checkpoints"], dropna=False):
        color, marker = _look(str(name), checkpoints, frame)
        if name in JOINED:
            ax.plot(points["age_fraction"], points["gain"], color=color, linewidth=1.6)
        _draw_points(ax, points, "age_fraction", color, marker)


def _draw_by_spacing(ax: Axes, rows: pd.DataFrame, spaced: pd.DataFrame, frame: pd.DataFrame) -> None:
    """The same of uniform averages, a line per length; `spaced` has them for all learning rates."""
    _percent_axis(ax, spaced["spacing_fraction"], "spacing / training so far")
    ax.axhline(0.0, color=style.FAINT, linewidth=1.2)
    for length, color in _lengths(spaced).items():
        points = rows[rows["length_fraction"] == length].sort_values("spacing_fraction")
        ax.plot(points["spacing_fraction"], points["gain"], color=color, linewidth=1.6)
        for (kind, checkpoints), same in points.groupby(["kind", "checkpoints"], dropna=False):
            _draw_points(ax, same, "spacing_fraction", color, _look(str(kind), checkpoints, frame)[1])


def _lengths(spaced: pd.DataFrame) -> dict[float, str]:
    """Lengths of windows with their colours."""
    lengths = sorted(spaced["length_fraction"].unique())
    # Two of them get the ends of three colours, which are told apart more easily.
    colors = style.sequence(3)[::2] if len(lengths) == 2 else style.sequence(max(len(lengths), 1))
    return dict(zip(lengths, colors, strict=False))


def _percent_axis(ax: Axes, values: pd.Series[Any], label: str) -> None:
    values = values[values > 0]
    ax.set_xlim(values.min() / 1.4, values.max() * 1.4)
    scales.log_steps(ax, "x", lambda value: f"{100 * value:.2g} %")
    ax.set_xlabel(label)


def _draw_points(ax: Axes, points: pd.DataFrame, x: str, color: str, marker: str) -> None:
    columns = [x, "gain", "ci_low", "ci_high"]
    for (at, gain, low, high), before in zip(points[columns].to_numpy(float), points["ended_before"], strict=True):
        ax.plot(at, gain, marker, color=color, markerfacecolor="white" if before else color, zorder=3)
        marks.error_bars(ax, at, gain, low, high, color)


def _look(kind: str, checkpoints: Any, frame: pd.DataFrame) -> tuple[str, str]:
    """Colour and marker: of a kind with several numbers of checkpoints another shade and shape for each."""
    _, color, marker = LOOKS[kind]
    if kind not in OTHER_MARKERS or pd.isna(checkpoints):
        return color, marker
    place = _numbers(frame, kind).index(checkpoints)
    others = OTHER_MARKERS[kind]
    return style.shade(color, -0.3 - 0.15 * (place % 4)), others[place % len(others)]


def _numbers(frame: pd.DataFrame, kind: str) -> list[int]:
    return sorted(int(n) for n in frame.loc[frame["kind"] == kind, "checkpoints"].dropna().unique())


def _handles(frame: pd.DataFrame, spaced: pd.DataFrame) -> list[Line2D]:
    handles = []
    for kind, (name, _, _) in LOOKS.items():
        rows = frame[frame["kind"] == kind]
        numbers: list[Any] = _numbers(frame, kind)
        if rows["checkpoints"].isna().any():
            numbers = [pd.NA, *numbers]
        for checkpoints in numbers:
            number = "all snapshots" if pd.isna(checkpoints) else f"{checkpoints} checkpoints"
            color, marker = _look(kind, checkpoints, frame)
            handles.append(
                Line2D(
                    [],
                    [],
                    color=color,
                    marker=marker,
                    linestyle="-" if kind in JOINED else "none",
                    label=f"{name}, {number}" if kind in UNIFORM else name,
                )
            )
    for kind, (label, color, line) in REFERENCES.items():
        if (frame["kind"] == kind).any():
            handles.append(Line2D([], [], color=color, linestyle=line, label=label))
    for length, color in _lengths(spaced).items():
        handles.append(Line2D([], [], color=color, label=f"window of {100 * length:.2g} % (below)"))
    return handles


def _note(frame: pd.DataFrame, spaced: pd.DataFrame, omitted: int) -> str:
    first = frame.iloc[0]
    said = (
        f"Model {first['model']}, snapshots of {first['schedule']} at {first['tokens_per_parameter']:g} tokens per "
        "parameter, means over replicates. Gain: loss of the raw weights minus that of the average. Mean age: half the "
        "window of a uniform average, the memory of an EMA"
    )
    said += ". Below: windows of one length, by the distance of their checkpoints" if len(spaced) else ""
    bars = bool(np.isfinite(frame["ci_low"]).any())
    said += (
        ". Bars: 95 %, replicates and validation blocks; the noise of the raw weights is in all of them alike."
        if bars
        else ". Without replicates there are no bars."
    )
    if frame["ended_before"].any():
        said += " Hollow: a group of checkpoints that ended before."
    if omitted:
        said += f" {omitted} learning rates further from the best are in the Parquet only."
    return said
