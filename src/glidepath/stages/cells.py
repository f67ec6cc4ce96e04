"""Write `plan.parquet`: a row per cell, before anything is trained."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glidepath.science import accounting
from glidepath.study import tables
from glidepath.study.averages import AverageSpec, average_specs, chain_of
from glidepath.study.cells import Cell
from glidepath.study.config import parse_study
from glidepath.study.corpus_identity import corpus_id, vocab_size_of
from glidepath.study.segments import Plan, plan
from glidepath.study.size_groups import architecture

if TYPE_CHECKING:
    import pandas as pd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", required=True, help="the validated study as JSON")
    parser.add_argument(
        "--base", type=Path, required=True, help="directory that the study's file paths are relative to"
    )
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json of the tokenised corpus")
    parser.add_argument("--output", type=Path, required=True, help="plan.parquet")


def main(args: argparse.Namespace) -> None:
    study = parse_study(json.loads(args.study), "given as JSON")
    planned = plan(study, corpus_id(study.corpus, args.base), vocab_size_of(study.corpus, args.base))
    frame = plan_frame(planned, average_specs(planned, study.averaging), unique_tokens(args.manifest))
    tables.write(tables.PLAN, frame, args.output)
    for warning in epoch_warnings(frame):
        print(f"warning: {warning}", file=sys.stderr)


def unique_tokens(manifest: Path) -> int:
    """Training tokens of a tokenised corpus."""
    return int(json.loads(manifest.read_text(encoding="utf-8"))["n_train_tokens"])


def plan_frame(planned: Plan, averages: dict[str, AverageSpec], n_unique_tokens: int) -> pd.DataFrame:
    """One row per cell, with the columns of `tables.PLAN`."""
    import pandas as pd

    rows = [_row(planned, cell, averages, n_unique_tokens) for cell in planned.cells]
    return pd.DataFrame(rows, columns=tables.PLAN.names)


def _row(planned: Plan, cell: Cell, averages: dict[str, AverageSpec], n_unique_tokens: int) -> dict[str, Any]:
    model = cell.trajectory.model
    chain = planned.chains[cell.cell_id]
    return {
        "cell_id": cell.cell_id,
        "model": cell.model_name,
        "n_layer": model.n_layer,
        "d_model": model.d_model,
        "n_head": model.n_head,
        "d_head": model.d_head,
        "d_ff": model.d_ff,
        "context_length": model.context_length,
        "vocab_size": model.vocab_size,
        "parametrization": model.parametrization,
        "architecture": architecture(model),
        "n_params_total": cell.counts.n_params_total,
        "n_params_non_embedding": cell.counts.n_params_non_embedding,
        "n_params_matrices_and_head": cell.counts.n_params_matrices_and_head,
        "n_params_counted": cell.n_params_counted,
        "schedule": cell.schedule_name,
        "schedule_kind": cell.schedule.kind,
        "final_lr_fraction": cell.schedule.final_fraction,
        "decay_shape": cell.schedule.shape,
        "peak_lr": cell.peak_lr,
        "warmup_steps": cell.warmup_steps,
        "decay_steps": cell.decay_steps,
        "weight_decay": cell.weight_decay,
        "batch_sequences": cell.batch_sequences,
        "batch_tokens": cell.batch_tokens,
        "total_steps": cell.total_steps,
        "token_horizon": cell.token_horizon,
        "tokens_per_parameter": cell.tokens_per_parameter,
        "replicate": cell.replicate,
        "init_seed": cell.trajectory.init_seed,
        "data_seed": cell.trajectory.data_seed,
        "holdout": cell.holdout,
        "probed": cell.probed,
        "trunk_id": chain[0],
        "segments": " ".join(chain),
        "segment_ends": " ".join(str(planned.segments[segment].spec.stop) for segment in chain),
        "averages": " ".join(chain_of(averages, chain)) if cell.averaged else "",
        "own_steps": planned.own_steps(cell),
        "train_flops_6nd": accounting.train_flops_6nd(cell.counts.n_params_non_embedding, cell.token_horizon),
        "train_flops_exact": cell.train_flops_per_token * cell.token_horizon,
        "epochs": cell.token_horizon / n_unique_tokens,
    }


def epoch_warnings(frame: pd.DataFrame) -> list[str]:
    """What to tell about cells that see training tokens more than once."""
    repeated = frame[frame["epochs"] > 1]
    if repeated.empty:
        return []
    longest = repeated.sort_values("epochs").iloc[-1]
    return [
        f"{len(repeated)} of {len(frame)} cells see the training tokens more than once, at most "
        f"{longest['epochs']:.1f} epochs ({longest['cell_id']}): their losses mix schedule and repetition. "
        "Add text or shorten tokens_per_parameter."
    ]
