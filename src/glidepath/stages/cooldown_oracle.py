"""Gather what the snapshots of constant trunks say and what their real cooldowns came to; predict the others."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.cooldown_oracle import AGE, loss_slope
from glidepath.laws.cooldown_predictions import TRUNK, predicted, scores
from glidepath.stages.average_records import CellPoints, cell_points
from glidepath.study import tables
from glidepath.study.averaging_config import RAW

FITTED = ("val_loss_predicted", "ci_low", "ci_high", "ci_level", "status", "reason")
MEASURED = [name for name in tables.COOLDOWN_ORACLE.names if name not in FITTED]
"""Columns of the table that need no oracle."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--updates", type=Path, required=True)
    parser.add_argument("--store", type=Path, default=Path("store/averages"), help="where the segments' averages are")
    parser.add_argument("--ci-level", type=float, required=True)
    parser.add_argument("--output", type=Path, required=True, help="cooldown_oracle.parquet")
    parser.add_argument("--scores", type=Path, required=True, help="cooldown_oracle_scores.parquet")


def main(args: argparse.Namespace) -> None:
    runs = tables.read(tables.RUNS, args.runs)
    measured = measurements(runs, tables.read(tables.UPDATES, args.updates), args.store)
    frame = predicted(measured, args.ci_level) if len(measured) else tables.empty(tables.COOLDOWN_ORACLE)
    tables.write(tables.COOLDOWN_ORACLE, frame, args.output)
    tables.write(tables.COOLDOWN_ORACLE_SCORES, scores(frame), args.scores)


def measurements(runs: pd.DataFrame, updates: pd.DataFrame, store: Path) -> pd.DataFrame:
    """Rows of `tables.COOLDOWN_ORACLE` as far as they are measured: every point of a trunk with every wsd schedule."""
    cooldowns = _cooldowns(runs, updates)
    trunks = [_trunk(cell, store) for cell in _constant_cells(runs)]
    real = [_branches(trunk, cooldowns) for trunk in trunks]
    rows: list[dict[str, Any]] = []
    lengths = _by_schedule(cooldowns)
    for trunk, here in zip(trunks, real, strict=True):
        rows.extend(_rows(trunk, lengths, here))
    return pd.DataFrame(rows, columns=MEASURED)


@dataclass(frozen=True)
class _Cooldown:
    """A wsd cell and the part of it that is no longer constant."""

    cell: pd.Series[Any]
    mean_lr_fraction: float
    """Mean of the applied learning rates below the peak, by tokens, over the peak."""

    @property
    def decay_fraction(self) -> float:
        return float(self.cell["decay_steps"] / self.cell["total_steps"])


@dataclass(frozen=True)
class _Trunk:
    """A constant cell with its averages, segment by segment."""

    cell: pd.Series[Any]
    segments: tuple[CellPoints, ...]
    averages: pd.DataFrame
    """By updates_done the reference average in the first domain: of age nearest to `AGE`, if possible with a slope."""
    raw: pd.DataFrame
    """Losses of the weights themselves, by updates_done."""
    domain: str


def _constant_cells(runs: pd.DataFrame) -> list[pd.Series[Any]]:
    """Completed constant cells with averages, of every trunk the longest."""
    found = runs[(runs["averages"] != "") & (runs["status"] == "completed") & (runs["schedule_kind"] == "constant")]
    longest = found.sort_values("token_horizon", ascending=False, kind="stable").drop_duplicates(TRUNK)
    return [cell for _, cell in longest.sort_index().iterrows()]


def _cooldowns(runs: pd.DataFrame, updates: pd.DataFrame) -> list[_Cooldown]:
    """Completed wsd cells whose learning rate falls over more than one update, with something before."""
    cells = runs[(runs["schedule_kind"] == "wsd") & (runs["status"] == "completed") & (runs["decay_steps"] > 1)]
    cells = cells[cells["decay_steps"] < cells["total_steps"]]
    applied = dict(list(updates[updates["cell_id"].isin(cells["cell_id"])].groupby("cell_id", sort=False)))
    found = []
    for _, cell in cells.iterrows():
        # The first update of a decay still runs at the peak.
        below = applied[cell["cell_id"]]["step"] > cell["total_steps"] - cell["decay_steps"]
        rows = applied[cell["cell_id"]][below]
        mean = float(np.average(rows["lr"], weights=rows["batch_tokens"]))
        found.append(_Cooldown(cell, mean / float(cell["peak_lr"])))
    return found


def _trunk(cell: pd.Series[Any], store: Path) -> _Trunk:
    segments = tuple(cell_points(name, store) for name in str(cell["averages"]).split())
    losses = pd.concat([segment.losses for segment in segments], ignore_index=True)
    domain = str(losses["domain"].iloc[0])
    losses = losses[losses["domain"] == domain].sort_values("updates_done", kind="stable")
    averages = pd.concat(
        [_with_slopes(points) for name, points in losses.groupby("average", sort=False) if name != RAW]
    )
    distance = np.abs(np.log(averages["lag_tokens"] / averages["tokens_seen"] / AGE))
    nearest = averages.assign(without=averages["loss_slope"].isna(), distance=distance.round(3))
    nearest = nearest.sort_values(["without", "distance", "average"])
    return _Trunk(
        cell=cell,
        segments=segments,
        averages=nearest.drop_duplicates("updates_done").set_index("updates_done"),
        raw=losses[losses["average"] == RAW].set_index("updates_done"),
        domain=domain,
    )


def _with_slopes(points: pd.DataFrame) -> pd.DataFrame:
    """Points of one average, ascending, each with the slope of the averaged loss up to there."""
    tokens, lag, losses = (points[name].to_numpy(np.float64) for name in ("tokens_seen", "lag_tokens", "val_loss"))
    slopes = [loss_slope(tokens[: i + 1], lag[: i + 1], losses[: i + 1]) for i in range(len(points))]
    return points.assign(loss_slope=slopes)


def _branches(trunk: _Trunk, cooldowns: Sequence[_Cooldown]) -> dict[tuple[int, str], _Cooldown]:
    """The real cooldowns that leave the trunk, by branching point and schedule."""
    found = {}
    for cooldown in cooldowns:
        chains = zip(*(str(cell["segments"]).split() for cell in (trunk.cell, cooldown.cell)), strict=False)
        shared = trunk.segments[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], chains))]
        if not shared or any(trunk.cell[name] != cooldown.cell[name] for name in TRUNK):
            continue
        branch = int(max(segment.losses["updates_done"].max() for segment in shared))
        # With the first update of the decay or without it: both run at the peak.
        if branch - int(cooldown.cell["total_steps"] - cooldown.cell["decay_steps"]) in (0, 1):
            found[branch, str(cooldown.cell["schedule"])] = cooldown
    return found


def _by_schedule(cooldowns: Sequence[_Cooldown]) -> dict[str, _Cooldown]:
    """Every wsd schedule at its longest horizon, where its length in whole updates is rounded least."""
    longest: dict[str, _Cooldown] = {}
    for cooldown in sorted(cooldowns, key=lambda cooldown: int(cooldown.cell["total_steps"])):
        longest[str(cooldown.cell["schedule"])] = cooldown
    return dict(sorted(longest.items()))


def _rows(
    trunk: _Trunk, lengths: Mapping[str, _Cooldown], real: Mapping[tuple[int, str], _Cooldown]
) -> Iterator[dict[str, Any]]:
    cell = trunk.cell
    n_params = float(cell["n_params_counted"])
    for _, raw in trunk.raw.reset_index().iterrows():
        updates_done, tokens_seen = int(raw["updates_done"]), int(raw["tokens_seen"])
        averaged = _averaged(trunk, updates_done)
        for schedule, typical in lengths.items():
            trained = real.get((updates_done, schedule))
            cooldown = trained or typical
            end = float(trained.cell["token_horizon"] if trained else tokens_seen / (1.0 - typical.decay_fraction))
            yield {
                "cell_id": cell["cell_id"],
                "updates_done": updates_done,
                "schedule": schedule,
                **{name: cell[name] for name in ("n_params_counted", *TRUNK)},
                "tokens_seen": tokens_seen,
                "branch_tokens_per_parameter": tokens_seen / n_params,
                "decay_shape": cooldown.cell["decay_shape"],
                "final_lr_fraction": cooldown.cell["final_lr_fraction"],
                "decay_fraction": cooldown.decay_fraction,
                "mean_lr_fraction": cooldown.mean_lr_fraction,
                "end_tokens": end,
                "end_tokens_per_parameter": end / n_params,
                "val_loss_raw": raw["val_loss"],
                **averaged,
                "cooldown_cell_id": trained.cell["cell_id"] if trained else None,
                "val_loss_cooldown": trained.cell["val_loss"] if trained else np.nan,
                "calibrating": bool(trained and not trained.cell["holdout"]),
            }


def _averaged(trunk: _Trunk, updates_done: int) -> dict[str, Any]:
    """What the reference average says at a point; null where none is defined."""
    if updates_done not in trunk.averages.index:
        return {"average": None} | dict.fromkeys(("val_loss_averaged", "gain_sem", "loss_slope", "lag_tokens"), np.nan)
    reference = trunk.averages.loc[updates_done]
    segment = next(part for part in trunk.segments if updates_done in set(part.losses["updates_done"]))
    averaged = segment.blocks(updates_done, str(reference["average"]), trunk.domain)
    gains = segment.raw(updates_done, trunk.domain) - averaged
    return {
        "average": reference["average"],
        "val_loss_averaged": reference["val_loss"],
        "gain_sem": float(gains.std(ddof=1) / np.sqrt(len(gains))),
        "loss_slope": reference["loss_slope"],
        "lag_tokens": reference["lag_tokens"],
    }
