"""Updates against tokens to a loss at every batch: the front, its hyperbola, and the critical batches on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glidepath.figures import layout, marks, scales, style, text
from glidepath.figures.frames import level_of, tidy

if TYPE_CHECKING:
    from glidepath.figures import Tables

TITLE = "Updates against tokens to a loss"
RAW, RE_TUNED = "raw", "re_tuned"
RULES = {
    RE_TUNED: "peak learning rate re-tuned",
    "none": "peak learning rate kept",
    "sqrt": "peak learning rate × √batch",
    "linear": "peak learning rate × batch",
}
MARKS = {
    "step_data_tradeoff": ("D", "critical batch: twice the fewest of both"),
    "fixed_overhead_20pct": ("s", "20 % overhead"),
    "noise_scale": ("*", "noise scale, all layers"),
}
"""Marker and name; those that are measured by gradients come last."""
TARGETS = {
    "lowest": "loss that every batch reaches",
    "half_tokens": "with half of the tokens",
    "quarter_tokens": "with a quarter",
}
MOST_TARGETS = 3
MIN_BATCHES = 3
FIT_POINTS = 49
BEYOND, FURTHEST = 1.5, 8.0
"""The hyperbola is drawn so much further than batches, and marks that are at most so many times beyond them."""
ERRORS = 2.0
"""Bars in standard errors."""
SWEEP = ["model", "schedule", "weights"]
FRONT = ["lr_rule", "target_loss"]


def data(tables: Tables) -> pd.DataFrame:
    """The sweep with most batches (of these the largest model) at up to three losses: raw weights under every rule, and
    the average of lowest loss re-tuned. Rules under which three batches reach a loss."""
    steps, critical = tables["steps_to_loss"], tables["critical_batch"]
    n_reached = (steps["status"] == "reached").groupby([steps[name] for name in [*SWEEP, *FRONT]]).transform("sum")
    steps = steps[n_reached >= MIN_BATCHES]
    if steps.empty:
        return tidy("critical_batch")
    sizes = tables["runs"].groupby("model")["n_params_total"].max()
    order = steps.assign(
        n=-steps.groupby(SWEEP)["batch_sequences"].transform("nunique"),
        size=-steps["model"].map(sizes).fillna(0.0),
    ).sort_values(["n", "size"], kind="stable")
    main = order.iloc[0]
    steps = steps[(steps["model"] == main["model"]) & (steps["schedule"] == main["schedule"])]
    panels = [(RAW, rule) for rule in RULES]
    if (averaged := _best_average(steps)) is not None:
        panels.insert(1, (averaged, RE_TUNED))
    parts = []
    for weights, rule in panels:
        of_weights = steps[steps["weights"] == weights]
        for rank, loss in enumerate(sorted(of_weights["target_loss"].unique())[:MOST_TARGETS]):
            measured = of_weights[(of_weights["lr_rule"] == rule) & (of_weights["target_loss"] == loss)]
            if len(measured):
                where = measured.iloc[0][[*SWEEP, *FRONT, "target"]]
                fitted = critical[(critical[[*SWEEP, *FRONT]] == where[[*SWEEP, *FRONT]]).all(axis=1)]
                of_fit = _of_fit(fitted, measured).assign(**{str(name): value for name, value in where.items()})
                parts += [part.assign(rank=rank) for part in (measured.assign(item="batch"), of_fit)]
    return tidy("critical_batch", *parts)


def _best_average(steps: pd.DataFrame) -> str | None:
    """Of the averages that of lowest loss; of equal ones that with the fewest tokens to it."""
    averaged = steps[(steps["weights"] != RAW) & (steps["lr_rule"] == RE_TUNED)]
    if averaged.empty:
        return None
    tokens = averaged.groupby(["weights", "target_loss"])["tokens"].sum().reset_index()
    return str(tokens.sort_values(["target_loss", "tokens"], kind="stable")["weights"].iloc[0])


def _of_fit(fitted: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """The curve, its two asymptotes, and the batches marked on it."""
    first = fitted.iloc[0]
    context_length = measured["batch_tokens"].iloc[0] / measured["batch_sequences"].iloc[0]
    batches = measured["batch_sequences"]
    rows: list[dict[str, Any]] = []
    for definition in fitted.to_dict("records"):
        rows.append(
            {
                "item": definition["definition"],
                "batch_sequences": definition["critical_batch_sequences"],
                "batch_low": definition["critical_batch_sequences_ci_low"],
                "batch_high": definition["critical_batch_sequences_ci_high"],
            }
        )
    if first["noise_scale_total_status"] == "ok" and first["noise_scale_total_tokens"] > 0:
        rows.append({"item": "noise_scale", "batch_sequences": first["noise_scale_total_tokens"] / context_length})
    shown = [row[name] for row in rows for name in ("batch_sequences", "batch_low", "batch_high") if name in row]
    within = [batch for batch in shown if batches.min() / FURTHEST < batch < batches.max() * FURTHEST]
    low, high = min([*batches, *within]) / BEYOND, max([*batches, *within]) * BEYOND
    rows = [{"item": "fit", "batch_sequences": batch} for batch in np.geomspace(low, high, FIT_POINTS)] + rows
    found = pd.DataFrame(rows)
    found = found[np.isfinite(found["batch_sequences"]) & (found["batch_sequences"] > 0)]
    steps = first["steps_min"] + first["examples_min"] / found["batch_sequences"]
    found = found.assign(steps=steps, tokens=steps * found["batch_sequences"] * context_length)
    ends = [
        {"item": "steps_min", "steps": first["steps_min"]},
        {"item": "examples_min", "tokens": first["examples_min"] * context_length},
    ]
    known = [end for end in ends if max(end.get("steps", 0.0), end.get("tokens", 0.0)) > 0]
    rows_of_fit: pd.DataFrame = pd.concat([found, pd.DataFrame(known)])
    return rows_of_fit.assign(status=first["status"], ci_level=first["ci_level"])


@style.styled
def draw(frame: pd.DataFrame) -> Figure:
    if frame.empty:
        return layout.nothing_to_draw(
            TITLE,
            "No schedule without a horizon reaches one loss at three batches.",
            "Train a constant schedule at three or more `batch_sequences` around the target's, with `batch_lr` or "
            "several `peak_lrs` at each.",
        )
    panels = list(frame.groupby(["weights", "lr_rule"], sort=False))
    n_ranks = int(frame["rank"].max()) + 1
    colors = style.sequence(n_ranks)[::-1]
    figure, axes = layout.panels(len(panels), columns=2, width=5.6, height=4.3, share_x=True, share_y=True)
    # The asymptotes that a sweep identifies belong into view.
    ends = frame["item"].isin(("steps_min", "examples_min")) & (frame["status"] == "converged")
    drawn = frame[frame["item"].isin(("batch", "fit")) | (ends & (frame["rank"] == frame["rank"].min()))]
    for ax, ((weights, rule), here) in zip(axes, panels, strict=True):
        # The lowest loss last, above the others.
        for rank in sorted(here["rank"].unique(), reverse=True):
            _draw_front(ax, here[here["rank"] == rank], colors[rank], lowest=rank == here["rank"].min())
        ax.set_xlim(0.75 * drawn["tokens"].min(), 1.25 * drawn["tokens"].max())
        ax.set_ylim(0.75 * drawn["steps"].min(), 1.25 * drawn["steps"].max())
        scales.log_steps(ax, "x", text.compact)
        scales.log_steps(ax, "y", text.compact)
        lowest = here[here["rank"] == here["rank"].min()]
        _draw_ends(ax, lowest)
        ax.set_title(RULES[str(rule)] if weights == RAW else f"averaged: {weights}, re-tuned", pad=38)
        ax.text(0.0, 1.015, _in_words(lowest), transform=ax.transAxes, va="bottom", fontsize=10.5)
    for i, ax in enumerate(axes):
        if i % 2 == 0:
            ax.set_ylabel("updates")
        if i >= len(axes) - 2:
            ax.set_xlabel("training tokens")
    layout.heading(figure, TITLE, _note(frame), _handles(frame, colors))
    return figure


def _draw_front(ax: Axes, front: pd.DataFrame, color: str, *, lowest: bool) -> None:
    curve = front[front["item"] == "fit"]
    converged = bool((curve["status"] == "converged").all())
    ax.plot(curve["tokens"], curve["steps"], color=color, linewidth=1.6, linestyle="-" if converged else (0, (5, 2.5)))
    trade_off = front[front["item"] == "step_data_tradeoff"]
    for mark in trade_off.to_dict("records"):
        if np.isfinite(mark["batch_low"]) and np.isfinite(mark["batch_high"]):
            inside = curve[curve["batch_sequences"].between(mark["batch_low"], mark["batch_high"])]
            ends = _on_curve(curve, np.array([mark["batch_low"], mark["batch_high"]]))
            x, y = ([pair[0], *inside[name], pair[1]] for pair, name in zip(ends, ("tokens", "steps"), strict=True))
            ax.plot(x, y, color=color, linewidth=11, alpha=0.25, solid_capstyle="butt", zorder=1.5)
    for item, (marker, _) in MARKS.items():
        for mark in front[front["item"] == item].to_dict("records"):
            ax.plot(
                [mark["tokens"]],
                [mark["steps"]],
                marker,
                color=color if item != "noise_scale" else "white",
                markeredgecolor="white" if item != "noise_scale" else color,
                markeredgewidth=1.2,
                markersize=15 if item == "noise_scale" else 9.5,
                zorder=5,
            )
    for point in front[(front["item"] == "batch") & front["steps"].notna()].to_dict("records"):
        ax.plot(
            [point["tokens"]], [point["steps"]], "o", color=color, markersize=5.5,
            markerfacecolor="white" if point["edge_of_grid"] else color, zorder=4,
        )  # fmt: skip
        bar = np.exp(ERRORS * point["ln_steps_se"])
        marks.error_bars(ax, point["tokens"], point["steps"], point["steps"] / bar, point["steps"] * bar, color)
        if lowest:
            ax.annotate(
                f"{point['batch_sequences']:g}", (point["tokens"], point["steps"]), xytext=(6, 6),
                textcoords="offset points", fontsize=10.5, color=color,
            )  # fmt: skip


def _on_curve(curve: pd.DataFrame, batches: np.ndarray[Any, np.dtype[np.float64]]) -> list[list[float]]:
    """Tokens and updates of the drawn curve at batches."""
    x = np.log(curve["batch_sequences"])
    return [list(np.exp(np.interp(np.log(batches), x, np.log(curve[name])))) for name in ("tokens", "steps")]


def _draw_ends(ax: Axes, front: pd.DataFrame) -> None:
    """Asymptotes and numbers of the lowest loss."""
    dotted: dict[str, Any] = {"color": style.FAINT, "linewidth": 1.2, "linestyle": (0, (1.5, 2))}
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for end in front[(front["item"] == "steps_min") & front["steps"].between(bottom, top)].to_dict("records"):
        ax.axhline(end["steps"], **dotted)
        ax.annotate(
            f"fewest {_number(end['steps'])}", (0.99, end["steps"]), xycoords=ax.get_yaxis_transform(),
            xytext=(0, -3), textcoords="offset points", ha="right", va="top", fontsize=10.5, color=style.FAINT,
        )  # fmt: skip
    for end in front[(front["item"] == "examples_min") & front["tokens"].between(left, right)].to_dict("records"):
        ax.axvline(end["tokens"], **dotted)
        ax.annotate(
            f"fewest {text.compact(end['tokens'])}", (end["tokens"], 0.02), xycoords=ax.get_xaxis_transform(),
            xytext=(-3, 0), textcoords="offset points", ha="right", fontsize=10.5, color=style.FAINT, rotation=90,
        )  # fmt: skip


def _in_words(front: pd.DataFrame) -> str:
    """The batches that are marked on a front, in two lines."""
    said = {
        item: f"{_number(mark['batch_sequences'])}{_interval(mark['batch_low'], mark['batch_high'])}"
        for item in MARKS
        for mark in front[front["item"] == item].to_dict("records")
    }
    status = front.loc[front["item"] == "fit", "status"]
    doubt = "" if not len(status) or status.iloc[0] == "converged" else f" ({status.iloc[0].replace('_', ' ')})"
    first = f"loss {front['target_loss'].iloc[0]:.3g}: critical batch {said.get('step_data_tradeoff', 'none')}"
    others = [
        f"{name} {said[item]}"
        for item, name in (("fixed_overhead_20pct", "20 % overhead"), ("noise_scale", "noise scale"))
        if item in said
    ]
    return f"{first} sequences{doubt}\n{', '.join(others)}"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else text.compact(value)


def _interval(low: float, high: float) -> str:
    if not np.isfinite(low) and not np.isfinite(high):
        return ""
    return f" [{_number(low) if np.isfinite(low) else '0'}, {_number(high) if np.isfinite(high) else '∞'}]"


def _handles(frame: pd.DataFrame, colors: list[str]) -> list[Line2D]:
    fronts = frame.drop_duplicates("rank").sort_values("rank")
    handles = [
        Line2D([], [], color=color, marker="o", markersize=5.5, label=TARGETS.get(target, f"loss {loss:.3g}"))
        for color, target, loss in zip(colors, fronts["target"], fronts["target_loss"], strict=True)
    ]
    for item, (marker, name) in MARKS.items():
        if (frame["item"] == item).any():
            white = item == "noise_scale"
            handles.append(
                Line2D(
                    [], [], color="white" if white else style.INK, marker=marker, linestyle="none",
                    markeredgecolor=style.INK if white else "white", markersize=14 if white else 9.5, label=name,
                )
            )  # fmt: skip
    return handles


def _note(frame: pd.DataFrame) -> str:
    first = frame.iloc[0]
    missing = sorted(frame.loc[(frame["item"] == "batch") & (frame["status"] != "reached"), "batch_sequences"].unique())
    listed = ", ".join(f"{batch:g}" for batch in missing)
    left_out = f" Batches {listed} have no point at some losses: see steps_to_loss.parquet." if missing else ""
    bars = " bars: two standard errors over replicates;" if frame["ln_steps_se"].notna().any() else ""
    return (
        f"Model {first['model']}, schedule {first['schedule']}: numbers beside points are the batch in "
        f"sequences;{bars} hollow: learning rate at the edge of its grid. Lines: updates = fewest + c/batch, dashed "
        f"where the sweep does not identify it; thick: {text.interval(level_of(frame))} of the batch with twice "
        "the fewest updates and tokens. 20 % overhead: a fifth more tokens than in proportion from the reference batch "
        f"on.{left_out}"
    )
