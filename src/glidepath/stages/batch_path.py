"""A batch path derived from the measured gradient noise scale, as keys for a schedule of a study.

The rule: through the trusted windows, weighted by their errors, log noise scale = log A + p·log tokens. The batch
follows that growth, B(u) = B_end·u^p with u the fraction of the horizon, rounded up to a multiple of --multiple-of: the
measurement decides the shape, --batch-sequences the level. With --multiplier M the level is measured too, B = M × the
noise scale, and --batch-sequences only bounds it.

Windows are not trusted where |G|² is not told from zero, and there the noise scale is large: leaving them out rather
understates the growth.
"""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from glidepath.science.batch_path import BatchStages, Growth, fit_growth, growing_stages
from glidepath.study import tables

if TYPE_CHECKING:
    import pandas as pd

SETTING = ["model", "batch_sequences", "tokens_per_parameter", "peak_lr"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--noise-scale", type=Path, required=True, help="noise_scale.parquet of a study")
    parser.add_argument("--runs", type=Path, required=True, help="runs.parquet of the same study")
    measured = parser.add_mutually_exclusive_group(required=True)
    measured.add_argument("--cells", nargs="+", help="cell_ids of probed cells, say the replicates of one")
    measured.add_argument("--schedule", help="a probed schedule: the replicates of its cell of lowest final loss")
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

    Raises ValueError for unknown or diverged cells, a schedule or group that was not probed, windows that cannot be
    trusted, growth that is not resolved, and a batch that does not grow to its end.
    """
    cells = _named(runs, args.cells) if args.cells else _best(runs, noise_scale, args.schedule)
    windows = noise_scale[noise_scale["cell_id"].isin(cells["cell_id"]) & (noise_scale["group"] == args.group)]
    if windows.empty:
        groups = noise_scale.loc[noise_scale["cell_id"].isin(cells["cell_id"]), "group"].unique()
        raise ValueError(
            f"--group {args.group}: the cells have no window of it, but of {', '.join(sorted(groups)) or 'none'}. Take "
            "one of these, or add the schedule to noise_scale.schedules of the study"
        )
    trusted = windows[windows["status"] == "ok"]
    if trusted.empty:
        raise ValueError(
            f"no one of {len(windows)} windows can be trusted: |G|² is within its error of zero. Probe more often "
            "(noise_scale.every_updates), take fewer windows, or more replicates"
        )
    try:
        growth = fit_growth(
            trusted["tokens_seen"], trusted["noise_scale_sequences"], _errors(trusted, cells), args.ci_level
        )
    except ValueError as refusal:
        raise ValueError(f"--group {args.group}, {len(windows)} windows: {refusal}. Probe more often") from refusal
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
    return "\n".join([*_comments(args, cells, windows, trusted, growth, horizon, wanted), *_keys(stages)]) + "\n"


def _named(runs: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    for name in names:
        found = runs[runs["cell_id"] == name]
        if found.empty:
            near = difflib.get_close_matches(name, list(runs["cell_id"]), 3, cutoff=0.0)
            raise ValueError(f"--cells {name}: no such cell_id in runs.parquet; the nearest are {', '.join(near)}")
        if found["status"].iloc[0] == "diverged":
            raise ValueError(f"--cells {name}: {found['reason'].iloc[0]}; take a cell that finished")
    cells = runs[runs["cell_id"].isin(names)]
    if cells["token_horizon"].nunique() > 1:
        raise ValueError("--cells have several horizons: the windows of one lie in the other. Take one horizon")
    return cells


def _best(runs: pd.DataFrame, noise_scale: pd.DataFrame, schedule: str) -> pd.DataFrame:
    """The completed replicates of the probed setting of lowest mean final loss."""
    probed = runs[runs["cell_id"].isin(noise_scale["cell_id"])]
    cells = probed[(probed["schedule"] == schedule) & (probed["status"] == "completed")]
    if cells.empty:
        there = ", ".join(sorted(probed["schedule"].unique())) or "none"
        raise ValueError(
            f"--schedule {schedule}: none of its cells is probed and completed; probed are cells of {there}. Take one "
            "of these, or add it to noise_scale.schedules of the study"
        )
    means = cells.groupby(SETTING, as_index=False).agg(val_loss=("val_loss", "mean"))
    best = means.sort_values("val_loss", kind="stable")[SETTING].head(1)
    return cells.merge(best, on=SETTING)


def _errors(trusted: pd.DataFrame, cells: pd.DataFrame) -> pd.Series[float]:
    """Standard errors in sequences."""
    errors: pd.Series[float] = trusted["noise_scale_tokens_se"] / float(cells["context_length"].iloc[0])
    return errors


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
    trusted: pd.DataFrame,
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
        f"# From {args.noise_scale}, group {args.group}, {len(trusted)} of {len(windows)} windows (trusted), "
        f"{trusted['tokens_seen'].min()} to {trusted['tokens_seen'].max()} tokens:",
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
