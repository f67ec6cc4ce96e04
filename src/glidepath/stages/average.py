"""Average the snapshots up to the points of one segment, in every way the study asks for, and evaluate each average.

Out of core, see `training/weighted_mean.py`: memory holds two copies of the model whatever the number of snapshots.
What another study, or this one before a scheme was added, has measured of the same segment is not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from glidepath.corpus.store import TokenStore
from glidepath.science.averaging import shape_of
from glidepath.study import tables
from glidepath.study.averages import AverageSpec, History, averages_of
from glidepath.study.averaging_config import RAW
from glidepath.study.identity import canonical_json
from glidepath.study.layout import segment_directory
from glidepath.study.specs import SegmentSpec
from glidepath.training.averaged_losses import Losses, averaged_losses, raw_losses
from glidepath.training.device import Machine, configure, matmul_dtype, placed
from glidepath.training.evaluation import bits_per_byte
from glidepath.training.files import written_atomically
from glidepath.training.model import Decoder
from glidepath.training.snapshots import SnapshotsOfChain

SPEC = "spec.json"
"""What was averaged, beside the losses and written after them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spec", required=True, help="AverageSpec as JSON")
    parser.add_argument("--snapshots", type=Path, nargs="+", required=True, help="snapshots of the chain, in order")
    parser.add_argument("--corpus", type=Path, required=True, help="directory of the tokenised corpus")
    parser.add_argument("--output", type=Path, required=True, help="directory of the results")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu-share", type=int, default=100, help="percent of a GPU, where there is one; 0: the cores")


def main(args: argparse.Namespace) -> None:
    spec = AverageSpec.model_validate_json(args.spec)
    with placed(args.gpu_share) as place:
        machine = Machine(place, args.threads, micro_batch_sequences=None, compile=False, compile_cache=None)
        _average(spec, args.snapshots, TokenStore.open(args.corpus), args.output, configure(machine))


def _average(asked: AverageSpec, files: Sequence[Path], tokens: TokenStore, output: Path, device: torch.device) -> None:
    """Evaluate every average as the training job evaluated the weights, so that the losses can be compared."""
    snapshots = SnapshotsOfChain(files)
    # A diverged cell has snapshots up to where it diverged.
    there = set(snapshots.updates_done)
    spec = asked.model_copy(
        update={
            "snapshot_at": tuple(u for u in asked.snapshot_at if u in there),
            "evaluate_at": tuple(u for u in asked.evaluate_at if u in there),
        }
    )
    trajectory = segment_spec(spec.segment).trajectory
    decoder = Decoder(trajectory.model, device, matmul_dtype=matmul_dtype(device))
    history = History.of(trajectory, spec.n_params_counted)
    records = Records(history, spec.snapshot_at, tokens)
    known = records.reuse(asked, output)
    validation = {domain: tokens.validation(domain) for domain in tokens.domains}
    points = [point for point in spec.evaluate_at if (RAW, point) not in known]
    records.add(RAW, RAW, {}, raw_losses(decoder, snapshots, points, validation))
    for name, averages in averages_of(spec, history):
        wanted = [(point, weights) for point, weights in averages if (name, point) not in known]
        losses = averaged_losses(decoder, snapshots, spec.snapshot_at, wanted, validation)
        records.add(name, spec.schemes[name].kind, dict(wanted), losses)
    records.write(output)
    with written_atomically(output / SPEC) as temporary:
        temporary.write_text(canonical_json(asked.model_dump(mode="json")) + "\n", encoding="utf-8")


def segment_spec(segment: str) -> SegmentSpec:
    """What a segment that has been trained was."""
    record = json.loads((Path(segment_directory(segment)) / "segment.json").read_text(encoding="utf-8"))
    return SegmentSpec.model_validate(record["spec"])


@dataclass
class Records:
    """Rows of the two tables that a job writes."""

    history: History
    snapshot_at: tuple[int, ...]
    tokens: TokenStore

    def __post_init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._blocks: list[pd.DataFrame] = []

    def reuse(self, spec: AverageSpec, output: Path) -> set[tuple[str, int]]:
        """Take over what directories beside `output` have of the same averages; returns their names and points."""
        known: set[tuple[str, int]] = set()
        for folder in sorted(output.parent.glob(f"{spec.segment}-*")):
            if folder == output or not (folder / SPEC).is_file():
                continue
            same = shared_averages(spec, (folder / SPEC).read_text(encoding="utf-8"))
            if not same:
                continue
            known |= self.take(folder, {(name, point) for name in same for point in spec.evaluate_at} - known)
        return known

    def take(self, folder: Path, wanted: set[tuple[str, int]]) -> set[tuple[str, int]]:
        """Take over averages, by name and point, as far as a directory has them; returns those."""
        frames = []
        for table in (tables.AVERAGE_LOSSES, tables.AVERAGE_BLOCK_LOSSES):
            frame = tables.read(table, folder / f"{table.name}.parquet")
            keys = pd.MultiIndex.from_frame(frame[["average", "updates_done"]])
            frames.append(frame[keys.isin(list(wanted))])
        losses, blocks = frames
        self._rows += [{str(column): value for column, value in row.items()} for row in losses.to_dict("records")]
        if len(blocks):
            self._blocks.append(blocks)
        return set(zip(losses["average"], losses["updates_done"].astype(int), strict=True))

    def add(self, name: str, scheme: str, weights: dict[int, NDArray[np.float64]], losses: Iterable[Losses]) -> None:
        """Losses of one average at its points; without weights they are those of the snapshots themselves."""
        positions = self.history.positions[np.array(self.snapshot_at, dtype=np.int64)]
        for found in losses:
            end = float(self.history.positions[found.updates_done])
            shape = shape_of(weights[found.updates_done], positions, end) if weights else shape_of([1.0], [end], end)
            key = {"updates_done": found.updates_done, "average": name, "domain": found.domain}
            loss = float(found.blocks.mean(dtype=np.float64))
            self._rows.append(
                {
                    **key,
                    "tokens_seen": int(end),
                    "averaging_scheme": scheme,
                    "window_checkpoints": shape.checkpoints,
                    "effective_checkpoints": shape.effective_checkpoints,
                    "window_tokens": int(shape.span),
                    "window_fraction": shape.span / end,
                    "lag_tokens": shape.lag,
                    "val_loss": loss,
                    "bits_per_byte": bits_per_byte(loss, self.tokens.bytes_per_token(found.domain)),
                }
            )
            self._blocks.append(pd.DataFrame({**key, "block": np.arange(len(found.blocks)), "loss": found.blocks}))

    def write(self, output: Path) -> None:
        """Both tables in the order of training, empty where a segment diverged before its first point."""
        rows = pd.DataFrame(self._rows) if self._rows else tables.empty(tables.AVERAGE_LOSSES)
        blocks = pd.concat(self._blocks) if self._blocks else tables.empty(tables.AVERAGE_BLOCK_LOSSES)
        for table, frame in ((tables.AVERAGE_BLOCK_LOSSES, blocks), (tables.AVERAGE_LOSSES, rows)):
            # The first domain first; averages stay as they came, the raw weights before all others.
            place = frame["domain"].map({domain: i for i, domain in enumerate(self.tokens.domains)})
            ordered = frame.assign(place=place).sort_values(["updates_done", "place"], kind="stable")
            tables.write(table, ordered.drop(columns="place"), output / f"{table.name}.parquet")


def shared_averages(spec: AverageSpec, other_json: str) -> set[str]:
    """Names of the averages that another job on this segment has measured in the same way, `raw` among them."""
    try:
        other = AverageSpec.model_validate_json(other_json)
    except ValidationError:
        return set()  # Written by a version that described averages otherwise.
    ours = spec.averaging_version, spec.segment, spec.snapshot_at
    if ours != (other.averaging_version, other.segment, other.snapshot_at):
        return set()
    counted_alike = spec.n_params_counted == other.n_params_counted
    return {RAW} | {
        name
        for name, scheme in spec.schemes.items()
        if other.schemes.get(name) == scheme and (counted_alike or scheme.kind != "swa")
    }
