"""Write a trained model as a Hugging Face directory: a cell, a segment, either after some updates, or an average."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from glidepath.corpus.store import TOKENIZER, TokenStore
from glidepath.interop.hugging_face_export import check_new, export_model
from glidepath.interop.model_card import ModelCard
from glidepath.stages.averaged_weights import AveragedWeights, choose_average
from glidepath.stages.results import read_result
from glidepath.study import tables
from glidepath.study.layout import Layout, segment_directory
from glidepath.study.specs import SegmentSpec, Trajectory
from glidepath.training.snapshots import SnapshotFile
from glidepath.training.state import load_header


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--cell", help="cell_id in plan.parquet")
    which.add_argument(
        "--best", action="store_true", help="the completed cell with the lowest val_loss in runs.parquet"
    )
    which.add_argument("--segment", help="name of a segment in store/segments")
    parser.add_argument("--results", type=Path, help="results folder of the study, for --cell and --best")
    parser.add_argument("--average", help="an average of the cell's snapshots, by its name in the study")
    parser.add_argument("--updates", type=int, help="weights after so many updates; without it those at the end")
    parser.add_argument("--output", type=Path, required=True, help="directory to write, which must not exist")


def main(args: argparse.Namespace) -> None:
    check_new(args.output)
    if args.segment is None and args.results is None:
        raise ValueError("--results is not given: --cell and --best need the results folder of their study")
    cell_id: str | None = best_cell(args.results) if args.best else args.cell
    weights: KeptWeights | AveragedWeights
    if args.average is None:
        chain = [args.segment] if cell_id is None else column_of(args.results, cell_id, "segments").split(" ")
        weights = choose([record for record in map(read_record, chain) if record is not None], chain, args.updates)
    elif cell_id is None:
        raise ValueError("--average with --segment: averages are of cells; name one with --cell and --results")
    else:
        names, segments = (column_of(args.results, cell_id, column) for column in ("averages", "segments"))
        weights = choose_average(names, segments, args.average, args.updates)
    trajectory = weights.trajectory
    layout = Layout("" if args.results is None else args.results.resolve().name, trajectory.corpus_id)
    store = TokenStore.open(Path(layout.corpus))
    card = ModelCard(
        name=cell_id or args.segment,
        trajectory=trajectory,
        weights=described(weights),
        updates_done=weights.updates_done,
        study=layout.study or None,
        cell_id=cell_id,
        val_loss=weights.val_loss(store.domains[0]),
        sources=tuple(_sources(store)),
    )
    tokenizer_json = (store.directory / TOKENIZER).read_text(encoding="utf-8")
    export_model(trajectory.model, weights.load(), tokenizer_json, store.end_of_document, card, args.output)
    print(f"{args.output}: {card.weights} after {weights.updates_done:,} updates")


@dataclass(frozen=True)
class Record:
    """What a segment's job left behind."""

    segment_id: str
    spec: SegmentSpec
    diverged_step: int | None

    @property
    def directory(self) -> Path:
        return Path(segment_directory(self.segment_id))


@dataclass(frozen=True)
class KeptWeights:
    """Weights on disk: the end state of a segment, or one of its snapshots."""

    record: Record
    updates_done: int
    is_snapshot: bool

    @property
    def trajectory(self) -> Trajectory:
        """What was trained, up to the end of the segment."""
        return self.record.spec.trajectory

    def load(self) -> dict[str, NDArray[np.float32]]:
        """Those that are evaluated, by parameter; of schedule-free AdamW the average.

        Raises ValueError if their file is missing or damaged.
        """
        path = self.record.directory / ("snapshots.safetensors" if self.is_snapshot else "state.safetensors")
        if not path.is_file():
            raise ValueError(f"{path} is missing; run the study again, which trains only that segment anew")
        if self.is_snapshot:
            return {name: w.numpy() for name, w in SnapshotFile(path).weights(self.updates_done).items()}
        load_header(path, self.trajectory)
        prefix = "weights/"
        with safe_open(path, framework="numpy") as file:
            return {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118

    def val_loss(self, domain: str) -> float | None:
        """Loss on all validation tokens of a domain [nats/token], if they were evaluated at that update."""
        rows = tables.read(tables.of_segment(tables.EVALUATIONS), self.record.directory / "evaluations.parquet")
        rows = rows[(rows["updates_done"] == self.updates_done) & (rows["domain"] == domain)]
        rows = rows[rows["eval_set"] == "full"]
        return None if rows.empty else float(rows["val_loss"].iloc[0])


def best_cell(results: Path) -> str:
    """The cell of the results with the lowest val_loss. Raises ValueError if none completed."""
    runs = read_result(tables.RUNS, results)
    completed = runs[runs["status"] == "completed"]
    if completed.empty:
        raise ValueError(
            f"--best: no cell of {results} completed; name one that left snapshots, with --cell and --updates"
        )
    return str(completed.sort_values("val_loss")["cell_id"].iloc[0])


def column_of(results: Path, cell_id: str, column: str) -> str:
    """A text column of a cell's row of the plan. Raises ValueError, naming the nearest ones, for an unknown cell."""
    plan = read_result(tables.PLAN, results).set_index("cell_id")
    if cell_id not in plan.index:
        raise ValueError(f"--cell {cell_id}: no such cell_id in plan.parquet; {_nearest(cell_id, plan.index)}")
    return str(plan.loc[cell_id, column])


def read_record(segment_id: str) -> Record | None:
    """The record of a segment; None if it has not been trained."""
    path = Path(segment_directory(segment_id)) / "segment.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    return Record(segment_id, SegmentSpec.model_validate(record["spec"]), record["diverged_step"])


def choose(records: Sequence[Record], chain: Sequence[str], updates: int | None) -> KeptWeights:
    """The weights after some updates, or at the end of the chain.

    Raises ValueError, listing what there is, if they were not kept: the chain is not trained to its end, it diverged,
    or no snapshot was taken there.
    """
    kept = {weights.updates_done: weights for record in records for weights in _kept(record)}
    last = chain[-1]
    if updates is not None:
        wanted, why = kept.get(updates), f"--updates {updates}: no weights were kept there"
    elif not records or records[-1].segment_id != last:
        names = [path.parent.name for path in Path(segment_directory(last)).parent.glob("*/segment.json")]
        wanted, why = None, f"segment {last} has not been trained; {_nearest(last, names)}"
    else:
        wanted = next((w for w in kept.values() if w.record.segment_id == last and not w.is_snapshot), None)
        why = f"segment {last} diverged at update {records[-1].diverged_step} and has no end state"
    if wanted is None:
        there = f"weights are there after {sorted(kept)} updates: give one as --updates" if kept else "nothing is kept"
        raise ValueError(f"{why}; {there}")
    return wanted


def described(weights: KeptWeights | AveragedWeights) -> str:
    """Which weights they are."""
    if isinstance(weights, KeptWeights):
        return f"{'snapshot' if weights.is_snapshot else 'end state'} of segment {weights.record.segment_id}"
    updates, shares = weights.shares
    used = updates[shares > 0]
    return f"average {weights.average} of {len(used)} snapshots after {used[0]:,} to {used[-1]:,} updates"


def _kept(record: Record) -> list[KeptWeights]:
    """Snapshots, up to divergence, and the end state, which stands for a snapshot of the same update."""
    limit = record.spec.stop if record.diverged_step is None else record.diverged_step
    found = [KeptWeights(record, at, True) for at in record.spec.recording.snapshot_at if at <= limit]
    return found if record.diverged_step is not None else [*found, KeptWeights(record, record.spec.stop, False)]


def _sources(store: TokenStore) -> list[str]:
    """A line per domain of the training tokens."""
    domains = store.manifest["domains"]
    kinds = {domain["name"]: domain["source"]["kind"] for domain in store.manifest["corpus"]["domains"]}
    return [
        f"{name}: {described['train_tokens']:,} training tokens, source `{kinds[name]}`; licences that it declares: "
        f"{'; '.join(described['licences'])}"
        for name, described in domains.items()
        if described["train_tokens"]
    ]


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), 3, cutoff=0.0)
    return f"the nearest are {', '.join(near)}" if near else "there are none"
