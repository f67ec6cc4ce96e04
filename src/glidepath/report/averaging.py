"""Question 4: does averaging replace a decay, and what is a stable-phase checkpoint worth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from glidepath.figures.text import compact, learning_rate
from glidepath.laws.averaging import at_cell_ends, at_longest_horizon, half_width, pooled_shares, replicate_means
from glidepath.report.answer import Answer, Evidence, Rows, Sure, Tables, Target, beyond, group_for, rows, where
from glidepath.report.cooldown_oracle import oracle
from glidepath.report.numbers import difference, estimate
from glidepath.report.steps_saved import saved
from glidepath.study.averaging_config import BEST_WINDOW

QUESTION = "Does averaging checkpoints replace a decay, and what is my stable-phase checkpoint worth?"
POINT = ["peak_lr", "average", "updates_done"]
NEAR = 2.0
"""Peaks up to this factor from the best one are near it."""
LOG_NEAR = np.log(1.01 * NEAR)
"""Grids are rounded."""


def answer(tables: Tables, target: Target) -> Answer:
    """The best average at the longest horizon and the best learning rate of the averaged trunks."""
    ends = _ends(tables, target)
    if ends.empty:
        return Answer(
            4,
            QUESTION,
            "Not measured: no checkpoints were averaged.",
            "not measured",
            "Add an `averaging` section to the study. Cells that diverged, were excluded or are held out do not count.",
        )
    averages = at_longest_horizon(ends)
    tried = replicate_means(_candidates(averages)).sort_values("averaged", kind="stable")
    best = tried.iloc[0]
    cells = where(averages, schedule=str(best["schedule"]), peak_lr=float(best["peak_lr"]))
    longest = float(best["tokens_per_parameter"])
    gain = difference(-best["gain"], best["gain_se"])
    evidence = [
        Evidence(
            f"Averaging changes the loss of the {best['schedule']} trunk at peak {learning_rate(best['peak_lr'])} and "
            f"{longest:g} tokens per parameter by {gain} nat/token ({_setting(best)}): what the stable-phase "
            "checkpoint gains without any decay.",
            (_rows(cells, best, at_end=True),),
        ),
        *_along(tables["averages"], averages, cells, best),
        *saved(tables, cells, str(best["average"])),
        *oracle(tables, cells),
    ]
    caveats = [*beyond(longest, target), *_choice(tried)]
    if best["n"] == 1:
        caveats.append("One trunk only: what another seed would change is not in the error.")
    if not np.isfinite(best["gap"]):
        return Answer(
            4,
            QUESTION,
            f"Averaging changes the loss by {gain} nat/token; whether it replaces a decay is not measured.",
            "not measured",
            "No cooldown of the same trunk was completed and is open to fits: add a wsd schedule to the grid.",
            tuple(evidence),
            tuple(caveats),
        )
    trunks = "1 trunk" if best["n"] == 1 else f"{int(best['n'])} trunks"
    against = Evidence(
        "Against the best real cooldown of the same trunk at equal tokens: "
        f"{difference(best['gap'], best['gap_se'])} nat/token ({trunks}).",
        (_rows(cells, best, at_end=True),),
    )
    together = _near_the_best(ends, best)
    headline, sure, why = _verdict(best, target.recommended.ci_level)
    if sure == "resolved" and beyond(longest, target):
        sure, why = "extrapolated", f"Resolved at {longest:g}, not measured at the target's horizon. {why}"
    degrees = f"{best['gap_degrees_of_freedom']:.0f} degrees of freedom"
    why += f" Errors: replicates, pooled with {degrees}, and validation blocks."
    return Answer(4, QUESTION, headline, sure, why, (evidence[0], against, *together, *evidence[1:]), tuple(caveats))


def _ends(tables: Tables, target: Target) -> pd.DataFrame:
    """Averages at the ends of cells: of the target's model and batch, and of constant schedules, where there are
    any."""
    ends = at_cell_ends(tables["averages"], tables["runs"])
    group = group_for(ends.drop_duplicates("cell_id"), target)
    if group is None:
        return ends
    ends = where(ends, model=group[0], batch_sequences=group[1])
    constant = where(ends, schedule_kind="constant")
    return constant if len(constant) else ends


def _candidates(averages: pd.DataFrame) -> pd.DataFrame:
    """What may be the best average: for all windows together best_window, which is not scored on what it was chosen
    on."""
    if (averages["average"] == BEST_WINDOW).any():
        return averages[averages["averaging_scheme"] != "window"]
    return averages


def _choice(tried: pd.DataFrame) -> Iterator[str]:
    """How the best average was chosen."""
    others = tried["average"].nunique() - 1
    if tried["average"].iloc[0] == BEST_WINDOW:
        yield (
            "The window was chosen on one half of the validation blocks and scored on the other."
            + (
                f" That it is better than {others} other averages was seen on what they are scored on."
                if others
                else ""
            )
        )
    elif others:
        yield (
            f"The best of {others + 1} averages was chosen on the blocks it is scored on; with so few this flatters it "
            "little."
        )


def _along(along: pd.DataFrame, ends: pd.DataFrame, cells: pd.DataFrame, best: pd.Series[Any]) -> Iterator[Evidence]:
    """What the same average gains early, in the middle and at the end of the same cells; trunks at other learning rates
    tell how much replicates differ there."""
    alike = where(ends, schedule=str(best["schedule"])).drop_duplicates("cell_id")
    along = where(along, average=str(best["average"]), domain=str(cells["domain"].iloc[0]))
    along = along.merge(alike[["cell_id", "peak_lr"]], on="cell_id")
    ours = where(along, peak_lr=float(best["peak_lr"]))
    in_all = ours.groupby("updates_done")["cell_id"].transform("size") == ours["cell_id"].nunique()
    points = sorted(int(point) for point in ours.loc[in_all, "updates_done"].unique())
    if len(points) < 3:
        return
    middle = min(points[1:-1], key=lambda point: abs(np.log(point**2 / (points[0] * points[-1]))))
    parts = []
    for point in (points[0], middle, points[-1]):
        here = where(along, updates_done=point)
        found = where(replicate_means(here, POINT), peak_lr=float(best["peak_lr"])).iloc[0]
        tokens = compact(float(where(ours, updates_done=point)["tokens_seen"].iloc[0]))
        parts.append(f"{difference(-found['gain'], found['gain_se'])} after {tokens} tokens")
    yield Evidence(
        f"Along training it changes the loss by {', '.join(parts)} [nat/token].",
        tuple(_rows(cells, best, updates_done=point) for point in (points[0], middle, points[-1])),
    )


def _verdict(best: pd.Series[Any], level: float) -> tuple[str, Sure, str]:
    """Headline, how sure, and why."""
    gap, half = float(best["gap"]), half_width(best["gap_se"], int(best["gap_degrees_of_freedom"]), level)
    to_cooldown = f"{estimate(abs(gap), best['gap_se'])} nat/token"
    share = _share(best)
    name = f"{100 * level:.3g} % interval of the gap"
    if gap > half:
        return (
            f"No: the best average stays above a real decay, by {to_cooldown}. {share}",
            "resolved",
            f"The {name} lies above zero.",
        )
    if gap < -half:
        return (
            f"Yes: the best average is below a real decay, by {to_cooldown}. {share}",
            "resolved",
            f"The {name} lies below zero.",
        )
    return (
        f"Not resolved: the best average differs from a real decay by {to_cooldown}. {share}",
        "not resolved",
        f"The {name} includes zero."
        if np.isfinite(half)
        else "Without replicates there is no interval: add replicates.",
    )


def _share(best: pd.Series[Any]) -> str:
    if not np.isfinite(best["closed"]):
        return "What share of the gap from the raw weights to the cooldown it closes is not resolved."
    return f"It closes {_percent(best)} of the gap from the raw weights to the cooldown."


def _near_the_best(ends: pd.DataFrame, best: pd.Series[Any]) -> Iterator[Evidence]:
    """The share that the same average closes at all horizons and at peaks near the best one together."""
    alike = where(ends, schedule=str(best["schedule"]), average=str(best["average"]))
    alike = alike[alike["gap_to_cooldown"].notna() & (np.abs(np.log(alike["peak_lr"] / best["peak_lr"])) < LOG_NEAR)]
    shares = pooled_shares(alike)
    if shares.empty or shares["n_settings"].iloc[0] < 2 or not np.isfinite(shares["closed"].iloc[0]):
        return
    found = shares.iloc[0]
    yield Evidence(
        f"At {int(found['n_settings'])} pairs of a horizon and a peak within a factor {NEAR:g} of the best together, "
        f"{best['average']} closes {_percent(found)} of that gap ({int(found['n'])} replicates, each averaged over the "
        "pairs before the error is taken).",
        (_rows(alike, best, at_end=True),),
    )


def _percent(share: pd.Series[Any]) -> str:
    return f"{estimate(100 * share['closed'], 100 * share['closed_se'])}\N{NO-BREAK SPACE}%"


def _setting(best: pd.Series[Any]) -> str:
    return (
        f"{best['average']}: {best['window_checkpoints']:.0f} snapshots over the last "
        f"{100 * best['window_fraction']:.2g} % of the horizon"
    )


def _rows(cells: pd.DataFrame, best: pd.Series[Any], **where_else: float) -> Rows:
    return rows(
        "averages",
        cell_id=sorted(cells["cell_id"].unique()),
        average=str(best["average"]),
        domain=str(cells["domain"].iloc[0]),
        **where_else,
    )
