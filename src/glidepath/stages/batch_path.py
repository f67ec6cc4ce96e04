"""A batch path derived from the measured gradient noise scale, as keys for a schedule of a study.

The rule: noise scale = A·tokens^p, fitted to |G|²/trΣ of all windows with their signs (see fit_growth). The batch
follows that growth, B(u) = B_end·u^p with u the fraction of the horizon, rounded up to a multiple of --multiple-of: the
measurement decides the shape, --batch-sequences the level. With --multiplier M the level is measured too, B = M × the
noise scale, and held at --batch-sequences from where it gets there; a path that does not get there within the horizon
is refused.

Windows whose |G|² is not told from zero, mostly late ones with a large noise scale, take part like all others: to leave
them out would understate the growth.
"""

from __future__ import annotations

import argparse
import difflib
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from glidepath.science.batch_path import BatchStages, Growth, fit_growth, growing_stages
from glidepath.study import tables
from glidepath.study.final_losses import open_to_fits, replicated_peak_lrs

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

CHOICES = {"--model": "model", "--probed-batch-sequences": "batch_sequences"}
"""Options that choose among the probed cells of a schedule, with their columns of runs.parquet."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--noise-scale", type=Path, required=True, help="noise_scale.parquet of a study")
    parser.add_argument("--runs", type=Path, required=True, help="runs.parquet of the same study")
    measured = parser.add_mutually_exclusive_group(required=True)
    measured.add_argument("--cells", nargs="+", help="cell_ids of probed cells, say the replicates of one")
    measured.add_argument(
        "--schedule", help="a probed schedule: its longest horizon, all replicates at the best peak LR"
    )
    parser.add_argument("--model", help="with --schedule, where several models are probed")
    parser.add_argument(
        "--probed-batch-sequences", type=int, help="with --schedule, where it is probed at several batches [sequences]"
    )
    parser.add_argument("--group", default="total", help="whose noise scale: total, body, norm, …; total if not given")
    parser.add_argument("--batch-sequences", type=int, required=True, help="batch at the end [sequences]")
    parser.add_argument("--min-batch-sequences", type=int, default=1, help="no batch is smaller; 1 if not given")
    parser.add_argument("--multiple-of", type=int, default=1, help="batches are multiples of it; 1 if not given")
    parser.add_argument("--multiplier", type=float, help="batch over noise scale; if not given, only the shape is used")
    parser.add_argument("--token-horizon", type=int, help="of the new schedule, for --multiplier; that of the cells")
    parser.add_argument("--ci-level", type=float, default=0.9, help="level of the exponent's interval; 0.9")
    parser.add_argument("--allow-unresolved", action="store_true", help="accept an exponent that may be zero")


def main(args: argparse.Namespace) -> None:
    print(block(tables.read(tables.NOISE_SCALE, args.noise_scale), tables.read(tables.RUNS, args.runs), args), end="")


def block(noise_scale: pd.DataFrame, runs: pd.DataFrame, args: argparse.Namespace) -> str:
    """The key `batch` of a schedule, with comments that say what it was derived from.

    Raises ValueError for arguments that make no sense, unknown or diverged cells, a schedule or group that was not
    probed, a schedule that was probed in several sweeps, windows that no growth describes, growth that is not resolved,
    and a batch that does not grow to its end.
    """
    _check_arguments(args)
    cells = _named(runs, args.cells) if args.cells else _best(runs, noise_scale, args)
    windows = noise_scale[noise_scale["cell_id"].isin(cells["cell_id"]) & (noise_scale["group"] == args.group)]
    if windows.empty:
        groups = noise_scale.loc[noise_scale["cell_id"].isin(cells["cell_id"]), "group"].unique()
        raise ValueError(
            f"--group {args.group}: the cells have no window of it, but of {', '.join(sorted(groups)) or 'none'}. Take "
            "one of these, or add the schedule to noise_scale.schedules of the study"
        )
    try:
        growth = _growth(windows, args.ci_level)
    except ValueError as refusal:
        raise ValueError(
            f"--group {args.group}, {len(windows)} windows: {refusal}. Probe more often (noise_scale.every_updates) or "
            "take more replicates"
        ) from refusal
    _check_growth(growth, args)
    horizon = args.token_horizon or int(cells["token_horizon"].iloc[0])
    wanted = float(args.batch_sequences) if args.multiplier is None else args.multiplier * growth.at(horizon)
    try:
        stages = growing_stages(
            growth.exponent, wanted, args.batch_sequences, args.min_batch_sequences, args.multiple_of
        )
    except ValueError as refusal:
        raise ValueError(
            f"{refusal}. Change --batch-sequences, --min-batch-sequences or --multiple-of"
            + ("" if args.multiplier is None else ", or raise --multiplier or --token-horizon")
        ) from refusal
    return "\n".join([*_comments(args, cells, windows, growth, horizon, wanted), *_keys(stages)]) + "\n"


def _check_arguments(args: argparse.Namespace) -> None:
    for option, value, least in (
        ("--batch-sequences", args.batch_sequences, 2),
        ("--min-batch-sequences", args.min_batch_sequences, 1),
        ("--multiple-of", args.multiple_of, 1),
        ("--token-horizon", args.token_horizon, 1),
    ):
        if value is not None and value < least:
            raise ValueError(f"{option} {value}: it is at least {least}. Give a larger one")
    if args.multiplier is not None and not (math.isfinite(args.multiplier) and args.multiplier > 0.0):
        raise ValueError(
            f"--multiplier {args.multiplier:g}: it is positive and finite. Give the batch over the noise scale, or "
            "leave it out"
        )
    if not 0.0 < args.ci_level < 1.0:
        raise ValueError(f"--ci-level {args.ci_level:g}: it lies between 0 and 1. Give 0.9, say")
    for option, value in (("--model", args.model), ("--probed-batch-sequences", args.probed_batch_sequences)):
        if value is not None and args.cells:
            raise ValueError(f"{option} {value}: --cells say already which cells. Leave it out, or give --schedule")


def _named(runs: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    for name in names:
        found = runs[runs["cell_id"] == name]
        if found.empty:
            near = difflib.get_close_matches(name, list(runs["cell_id"]), 3, cutoff=0.0)
            raise ValueError(f"--cells {name}: no such cell_id in runs.parquet; the nearest are {', '.join(near)}")
        if found["status"].iloc[0] == "diverged":
            raise ValueError(f"--cells {name}: {found['reason'].iloc[0]}; take a cell that finished")
    cells = runs[runs["cell_id"].isin(names)]
    if cells["model"].nunique() > 1:
        raise ValueError(
            f"--cells are of models {', '.join(cells['model'].unique())}: their noise scales differ. Take one"
        )
    if cells["token_horizon"].nunique() > 1:
        raise ValueError("--cells have several horizons: the windows of one lie in the other. Take one horizon")
    return cells


def _best(runs: pd.DataFrame, noise_scale: pd.DataFrame, args: argparse.Namespace) -> pd.DataFrame:
    """The replicates of the schedule's probed cells at the longest horizon and the peak learning rate of lowest mean
    final loss; cells that are held out, and learning rates at which a replicate was lost, are not looked at."""
    probed = open_to_fits(runs)
    probed = probed[probed["cell_id"].isin(noise_scale["cell_id"])]
    cells = probed[probed["schedule"] == args.schedule]
    if cells.empty:
        there = ", ".join(sorted(probed["schedule"].unique())) or "none"
        raise ValueError(
            f"--schedule {args.schedule}: none of its cells is probed, completed and open to fits; such cells are of "
            f"{there}. Take one of these, or add it to noise_scale.schedules of the study"
        )
    for option, column in CHOICES.items():
        there = ", ".join(str(value) for value in sorted(cells[column].unique()))
        chosen = getattr(args, option[2:].replace("-", "_"))
        if chosen is not None:
            cells = cells[cells[column] == chosen]
            if cells.empty:
                raise ValueError(f"{option} {chosen}: probed cells of {args.schedule} have {there}. Take one of these")
        elif cells[column].nunique() > 1:
            raise ValueError(
                f"--schedule {args.schedule}: probed with {column} {there}; final losses of these cannot be "
                f"compared. Choose with {option}, or name --cells"
            )
    cells = cells[cells["tokens_per_parameter"] == cells["tokens_per_parameter"].max()]
    cells = cells[cells["peak_lr"].isin(replicated_peak_lrs(cells, set(cells["replicate"])))]
    best: pd.DataFrame = cells[cells["peak_lr"] == cells.groupby("peak_lr")["val_loss"].mean().idxmin()]
    return best


def _growth(windows: pd.DataFrame, ci_level: float) -> Growth:
    """Of the noise scale in sequences."""
    cells = [cell.sort_values("window") for _, cell in windows.groupby("cell_id", sort=False)]
    begin, end = (np.concatenate(side) for side in zip(*(_bounds(cell) for cell in cells), strict=True))
    inverse, errors = (np.concatenate(part) for part in zip(*(_inverse(cell) for cell in cells), strict=True))
    return fit_growth(begin, end, inverse, errors, ci_level)


def _bounds(cell: pd.DataFrame) -> tuple[Floats, Floats]:
    """Tokens where each window of a cell begins and ends, from their means: half-way between neighbours. The first of n
    probes is as far from the beginning of training as from the next one."""
    means = cell["tokens_seen"].to_numpy(np.float64)
    if len(means) < 2:
        raise ValueError("a cell with one window only: growth needs several times")
    between = (means[1:] + means[:-1]) / 2.0
    first = means[0] / (cell["n_probes"].iloc[0] + 1.0)
    return np.append(first, between), np.append(between, 2.0 * means[-1] - between[-1])


def _inverse(cell: pd.DataFrame) -> tuple[Floats, Floats]:
    """Inverse noise scales [1/sequences] with their standard errors, NaN where an interval has no lower end: this end
    is the inverse of the upper end of the inverse's interval, which is Student's."""
    inverse = (cell["grad_sq_norm_true"] / cell["grad_noise_trace"]).to_numpy(np.float64)
    quantile = stats.t.ppf((1.0 + cell["ci_level"]) / 2.0, cell["n_blocks"] - 1)
    return inverse, ((1.0 / cell["ci_low_sequences"]).to_numpy(np.float64) - inverse) / quantile


def _check_growth(growth: Growth, args: argparse.Namespace) -> None:
    """Raises ValueError where nothing says that a batch should grow."""
    measured = (
        f"noise scale ∝ tokens^{growth.exponent:.3g}, {100 * args.ci_level:g} % interval {growth.exponent_low:.3g} to "
        f"{growth.exponent_high:.3g}"
    )
    if growth.exponent <= 0.0:
        raise ValueError(f"{measured}: it does not grow, so there is no case for a growing batch. Keep it fixed")
    if not growth.resolved and not args.allow_unresolved:
        raise ValueError(
            f"{measured}: growth is not resolved, so there is no case for a growing batch yet. Measure more (more "
            "replicates, noise_scale.every_updates, a longer cell), or take the estimate with --allow-unresolved"
        )


def _comments(
    args: argparse.Namespace,
    cells: pd.DataFrame,
    windows: pd.DataFrame,
    growth: Growth,
    horizon: int,
    wanted: float,
) -> list[str]:
    first = cells.iloc[0]
    level = (
        f"batch = {args.batch_sequences} sequences x (tokens / horizon)^{growth.exponent:.3f}: the shape is measured, "
        "its level is not"
        if args.multiplier is None
        else f"batch = {args.multiplier:g} x noise scale, {wanted:.3g} sequences at the horizon of {horizon} tokens, "
        f"at most {args.batch_sequences}"
    )
    unresolved = "" if growth.resolved else "; NOT resolved above 0"
    return [
        f"# From {args.noise_scale}, group {args.group}, {len(windows)} windows "
        f"({(windows['status'] != 'ok').sum()} of them untrusted on their own), "
        f"{windows['tokens_seen'].min()} to {windows['tokens_seen'].max()} tokens:",
        *(f"#   {cell}" for cell in cells["cell_id"]),
        f"# noise scale = {growth.at(horizon):.3g} sequences of {first['context_length']} tokens x "
        f"(tokens / {horizon})^{growth.exponent:.3f}, {100 * args.ci_level:g} % interval of the exponent "
        f"{growth.exponent_low:.3f} to {growth.exponent_high:.3f}{unresolved}",
        f"# {level}; rounded up to a multiple of {args.multiple_of}, at least {args.min_batch_sequences}",
    ]


def _keys(stages: BatchStages) -> list[str]:
    end = stages.batch_sequences[-1]
    milestones = ", ".join(f"{begin:.6g}" for begin in stages.begins)
    fractions = ", ".join(f"{batch / end:.10g}" for batch in stages.batch_sequences[:-1])
    return [
        "batch:",
        "  kind: stages",
        f"  milestones: [{milestones}]",
        f"  batch_fractions: [{fractions}]",
    ]
