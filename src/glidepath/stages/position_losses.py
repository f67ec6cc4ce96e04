"""Evaluate the snapshots of one segment by position in the sequence.

What another study, or this one at other points, has measured of the same segment is not measured again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ValidationError

from glidepath.corpus.store import TokenStore
from glidepath.stages.average import segment_spec
from glidepath.study import tables
from glidepath.study.identity import canonical_json
from glidepath.study.positions import PositionSpec
from glidepath.training.device import Machine, configure, matmul_dtype, placed
from glidepath.training.files import written_atomically
from glidepath.training.model import Decoder
from glidepath.training.position_losses import position_losses
from glidepath.training.snapshots import SnapshotFile

OF_SEGMENT = tables.of_segment(tables.POSITION_LOSSES)
SPEC = "spec.json"
"""What was evaluated, beside the losses and written after them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spec", required=True, help="PositionSpec as JSON")
    parser.add_argument("--snapshots", type=Path, required=True, help="snapshots of the segment")
    parser.add_argument("--corpus", type=Path, required=True, help="directory of the tokenised corpus")
    parser.add_argument("--output", type=Path, required=True, help="directory of the results")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu-share", type=int, default=100, help="percent of a GPU, where there is one; 0: the cores")


def main(args: argparse.Namespace) -> None:
    spec = PositionSpec.model_validate_json(args.spec)
    known = _known(spec, args.output)
    done = set(known["updates_done"])
    frames = [known]
    trajectory = segment_spec(spec.segment).trajectory
    tokens_at = trajectory.path.arrays().positions * trajectory.model.context_length
    snapshots = SnapshotFile(args.snapshots)
    # A diverged cell has snapshots up to where it diverged.
    wanted = [u for u in spec.evaluate_at if u in snapshots.updates_done and u not in done]
    if wanted:
        tokens = TokenStore.open(args.corpus)
        validation = tokens.validation(tokens.domains[0])
        with placed(args.gpu_share) as place:
            machine = Machine(place, args.threads, micro_batch_sequences=None, compile=False, compile_cache=None)
            device = configure(machine)
            decoder = Decoder(trajectory.model, device, matmul_dtype=matmul_dtype(device))
            for updates_done in wanted:
                for name, weight in decoder.weights.items():
                    weight.copy_(snapshots.weights(updates_done)[name])
                mean, sem, n_blocks = position_losses(decoder, validation)
                frames.append(
                    pd.DataFrame(
                        {
                            "updates_done": updates_done,
                            "tokens_seen": int(tokens_at[updates_done]),
                            "position": np.arange(1, len(mean) + 1),
                            "val_loss": mean,
                            "val_loss_sem": sem,
                            "n_eval_tokens": n_blocks,
                        }
                    )
                )
    rows = pd.concat([frame for frame in frames if len(frame)]) if any(map(len, frames)) else known
    tables.write(OF_SEGMENT, rows.sort_values(["updates_done", "position"]), args.output / "losses.parquet")
    with written_atomically(args.output / SPEC) as temporary:
        temporary.write_text(canonical_json(spec.model_dump(mode="json")) + "\n", encoding="utf-8")


def _known(spec: PositionSpec, output: Path) -> pd.DataFrame:
    """What directories beside `output` have of the same segment at the wanted points, each point once."""
    found = tables.empty(OF_SEGMENT)
    for folder in sorted(output.parent.glob(f"{spec.segment}-*")):
        if folder == output or not (folder / SPEC).is_file():
            continue
        try:
            other = PositionSpec.model_validate_json((folder / SPEC).read_text(encoding="utf-8"))
        except ValidationError:
            continue  # Written by a version that described it otherwise.
        if (other.positions_version, other.segment) == (spec.positions_version, spec.segment):
            frame = tables.read(OF_SEGMENT, folder / "losses.parquet")
            new = frame["updates_done"].isin(spec.evaluate_at) & ~frame["updates_done"].isin(found["updates_done"])
            found = pd.concat([found, frame[new]]) if len(found) else frame[new]
    return found
