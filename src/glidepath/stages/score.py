"""Hold a real run against what was recommended and predicted, and keep count."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
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
    given.add_argument("--diverged", action="store_true", help="the run has no loss: outside of every interval")
    given.add_argument("--results", type=Path, help="results folder of a study or of imported runs that has the run")
    parser.add_argument("--cell", help="with --results: its cell_id; default: the only one of that size and horizon")
    parser.add_argument("--run", help="beside --loss or --diverged: name of the run, by which it is scored once only")
    parser.add_argument("--params", type=float, help="likewise: its parameters, in the target's count")
    parser.add_argument("--tokens", type=float, help="likewise: its training tokens")
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
        named = args.run or ("diverged" if args.diverged else f"loss {args.loss:g}")
        real = RealRun(
            named, args.loss, args.params, args.tokens, args.peak_lr, args.schedule,
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
    print("\n".join(_words(found)))
    if before:
        print("\n".join(coverage([*before, found])))


def _words(found: Score) -> Iterator[str]:
    if found.val_loss is None:
        yield f"{found.run}: diverged, predicted {found.predicted_loss:.4f} nat/token."
    else:
        size = "" if found.position is None else f" ({found.position:+.2f} of its expected size)"
        yield (
            f"{found.run}: {found.val_loss:.4f} nat/token, predicted {found.predicted_loss:.4f}, off by "
            f"{found.error:+.4f}{size}."
        )
    yield (
        f"{'Inside' if found.inside_50 else 'Outside'} the 50 % interval, "
        f"{'inside' if found.inside_90 else 'outside'} the 90 % interval."
    )
    for difference in found.differences:
        yield f"Otherwise than recommended: {difference}. The run is listed apart: the intervals are not of it."
    if found.not_known:
        yield f"Not known of the run, and taken to be as recommended: {', '.join(found.not_known)}."


def real_run(runs: pd.DataFrame, recommended: Recommendation, cell_id: str | None) -> RealRun:
    """A run of a table. Raises ValueError for one that is not there or is not told from others."""
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

    def number(name: str) -> float | None:
        return None if pd.isna(row[name]) else float(row[name])

    return RealRun(
        name=str(row["cell_id"]),
        val_loss=None if row["status"] == "diverged" else float(row["val_loss"]),
        n_params=number("n_params_counted"),
        token_horizon=number("token_horizon"),
        peak_lr=number("peak_lr"),
        schedule=None if pd.isna(row["schedule"]) else str(row["schedule"]),
        batch_tokens=number("batch_tokens"),
    )
