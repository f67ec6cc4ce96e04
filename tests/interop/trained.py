"""A study's store in miniature: real text, and segments that the real stage has trained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from glidepath.stages import average, train
from glidepath.study import tables
from glidepath.study.averages import AverageSpec
from glidepath.study.averaging_config import WindowScheme
from glidepath.study.layout import average_directory, segment_directory
from glidepath.study.specs import SegmentSpec
from tests.corpus.corpus_texts import documents, files_domain, tokenized, write_jsonl
from tests.figures import planted
from tests.interop.exported import VOCAB_SIZE
from tests.training.small import segment_spec

CORPUS = Path("store/corpora/counting")
"""Where the trajectories of `segment_spec` have their corpus."""
TRUNK, END, DIVERGED = "n1k-trunk", "n1k-linear-end", "n1k-too-hot"

AVERAGES = AverageSpec(
    averaging_version=1, segment=END, snapshot_at=(6, 16, 20), evaluate_at=(20,), n_params_counted=None,
    schemes={
        "window_60": WindowScheme(kind="window", fraction=0.6),
        "window_10": WindowScheme(kind="window", fraction=0.1),
    },
)  # fmt: skip


def spec(start: int, stop: int, **changes: Any) -> SegmentSpec:
    return segment_spec(start, stop, vocab_size=VOCAB_SIZE, context_length=16, d_head=8, **changes)


def build() -> None:
    """In the current directory: a corpus, a chain of two segments, one that diverged, and the study's tables."""
    write_jsonl(Path("words.jsonl"), documents(60))
    tokenized(Path(), files_domain("words.jsonl"), name=str(CORPUS))
    train_segment(TRUNK, spec(0, 12, snapshot_at=(6,)), None)
    train_segment(END, spec(12, 20, snapshot_at=(16, 20), evaluate_full_at=(20,)), TRUNK)
    average.main(argparse.Namespace(
        spec=AVERAGES.model_dump_json(), corpus=CORPUS, output=Path(average_directory(AVERAGES.average_id)), threads=1,
        gpu_share=0, snapshots=[Path(segment_directory(name)) / "snapshots.safetensors" for name in (TRUNK, END)],
    ))  # fmt: skip
    train_segment(DIVERGED, spec(0, 12, snapshot_at=(1, 9), peak_lr=1e30), None)
    results = Path("results/mine")
    results.mkdir(parents=True)
    cells = {
        "d16-linear-a": {
            "segments": f"{TRUNK} {END}",
            "status": "completed",
            "val_loss": 4.0,
            "averages": AVERAGES.average_id,
        },
        "d16-linear-b": {"segments": f"{TRUNK} n1k-not-yet", "status": "completed", "val_loss": 5.0},
        "d16-hot": {"segments": DIVERGED, "status": "diverged", "val_loss": 3.0},
    }
    cells["d16-linear-b"]["averages"] = "not-yet"
    cells["d16-hot"]["averages"] = ""
    rows = [{"cell_id": cell_id, **fields} for cell_id, fields in cells.items()]
    for table in (tables.PLAN, tables.RUNS):
        kept = [{key: value for key, value in row.items() if key in table.names} for row in rows]
        tables.write(table, planted.filled(table, kept), results / f"{table.name}.parquet")


def train_segment(segment: str, of: SegmentSpec, parent: str | None) -> None:
    directory = Path(segment_directory(segment))
    state = None if parent is None else Path(segment_directory(parent)) / "state.safetensors"
    train.main(argparse.Namespace(
        spec=of.to_json(), corpus=CORPUS, parent_state=state, output=directory, state=directory / "state.safetensors",
        scratch=Path("scratch") / segment, threads=1, gpu_share=0, resume_every_seconds=1e9,
    ))  # fmt: skip
