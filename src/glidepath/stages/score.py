"""Hold a real run against what was recommended and predicted, and keep count."""

from __future__ import annotations

import argparse
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from glidepath.study import tables
from glidepath.study.prediction_score import TARGET_TOLERANCE, RealRun, Score, coverage, score
from glidepath.study.recommendation import Recommendation

if TYPE_CHECKING:
    import pandas as pd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recommendation", type=Path, required=True, help="recommendation.json")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--loss", type=float, help="validation loss of the run [nat/token]")
    given.add_argument("--results", type=Path, help="results folder of a study or of imported runs that has the run")
    parser.add_argument("--cell", help="with --results: its cell_id; default: the only one of that size and horizon")
    parser.add_argument("--run", help="with --loss: name of the run, by which it is scored once only")
    parser.add_argument("--params", type=float, help="with --loss: its parameters, in the target's count")
    parser.add_argument("--tokens", type=float, help="with --loss: its training tokens")
    parser.add_argument("--peak-lr", type=float)
    parser.add_argument("--schedule")
    parser.add_argument("--batch-tokens", type=float)
    parser.add_argument("--scores", type=Path, help="file to add the score to; default: scores.jsonl beside")


def main(args: argparse.Namespace) -> None:
    text = args.recommendation.read_bytes()
    recommended = Recommendation.model_validate_json(text)
    given = {"params": args.params, "tokens": args.tokens, "peak-lr": args.peak_lr, "schedule": args.schedule,
             "batch-tokens": args.batch_tokens, "run": args.run}  # fmt: skip
    if args.results:
        refused = [f"--{name}" for name, value in given.items() if value is not None]
        if refused:
            raise ValueError(f"{', '.join(refused)} beside --results: the table says these. Leave them out")
        real = real_run(tables.read(tables.RUNS, args.results / "runs.parquet"), recommended, args.cell)
    else:
        if args.cell:
            raise ValueError(f"--cell {args.cell} without --results: give the folder whose runs.parquet has it")
        real = RealRun(
            args.run or f"loss {args.loss:g}", args.loss, args.params, args.tokens, args.peak_lr, args.schedule,
            args.batch_tokens,
        )  # fmt: skip
    file = args.scores or args.recommendation.with_name("scores.jsonl")
    before = (
        [Score.model_validate_json(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
    )
    digest = hashlib.sha256(text).hexdigest()
    if any((known.run, known.recommendation_sha256) == (real.name, digest) for known in before):
        raise ValueError(
            f"{real.name} is in {file} already, scored by this recommendation: it would count twice. Name another run"
        )
    found = score(recommended, real, digest, datetime.now(UTC).isoformat(timespec="seconds"))
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(found.model_dump(mode="json")) + "\n")
    print(
        f"{found.run}: {found.val_loss:.4f} nat/token, predicted {found.predicted_loss:.4f}, off by {found.error:+.4f} "
        f"({found.position:+.2f} of its expected size)."
    )
    print(
        f"{'Inside' if found.inside_50 else 'Outside'} the 50 % interval, "
        f"{'inside' if found.inside_90 else 'outside'} the 90 % interval."
    )
    for difference in found.differences:
        print(f"Beside the recommendation: {difference}.")
    if before:
        print("\n".join(coverage([*before, found])))


def real_run(runs: pd.DataFrame, recommended: Recommendation, cell_id: str | None) -> RealRun:
    """A run of a table. Raises ValueError for one that is not there, did not end well, or is not told from others."""
    import pandas as pd

    if cell_id is None:
        target = recommended.target
        near = runs[
            (runs["n_params_counted"] / target.n_params_counted - 1).abs().le(TARGET_TOLERANCE)
            & (runs["token_horizon"] / target.token_horizon - 1).abs().le(TARGET_TOLERANCE)
        ]
        if len(near) != 1:
            named = f": {', '.join(near['cell_id'])}" if len(near) else ""
            raise ValueError(f"{len(near)} runs have the target's size and horizon{named}. Name one with --cell")
        row = near.iloc[0]
    else:
        rows = runs[runs["cell_id"] == cell_id]
        if rows.empty:
            raise ValueError(f"--cell {cell_id}: no such cell_id in the table. See runs.parquet")
        row = rows.iloc[0]
    if row["status"] != "completed":
        raise ValueError(f"{row['cell_id']} is {row['status']}: only a completed run has a loss to score")

    def number(name: str) -> float | None:
        return None if pd.isna(row[name]) else float(row[name])

    return RealRun(
        str(row["cell_id"]), float(row["val_loss"]), number("n_params_counted"), number("token_horizon"),
        number("peak_lr"), None if pd.isna(row["schedule"]) else str(row["schedule"]), number("batch_tokens"),
    )  # fmt: skip
