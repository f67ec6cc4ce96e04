"""Train one segment: from a parent's state or from initialisation, along its path, to its records and its end state."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

import pandas as pd
import torch

from glidepath.corpus.store import TokenStore
from glidepath.study import tables
from glidepath.study.cells import flops_per_token
from glidepath.study.identity import canonical_json
from glidepath.study.layout import SEGMENT_TABLES
from glidepath.study.provenance import host, source_digest, versions
from glidepath.study.specs import SegmentSpec
from glidepath.training.device import Machine, matmul_peak_flops_per_second, micro_batch_sequences, placed
from glidepath.training.files import written_atomically
from glidepath.training.loop import SegmentResult, train_segment
from glidepath.training.workers import joined, processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spec", required=True, help="the segment's specification as canonical JSON")
    parser.add_argument("--corpus", type=Path, required=True, help="directory of the tokenised corpus")
    parser.add_argument(
        "--parent-state", type=Path, nargs="?", help="state to start from; without a value: initialisation"
    )
    parser.add_argument("--output", type=Path, required=True, help="directory of the segment's records")
    parser.add_argument("--state", type=Path, required=True, help="file of the end state")
    parser.add_argument("--scratch", type=Path, required=True, help="directory for resuming after a kill")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--gpu-share",
        type=int,
        default=100,
        help="percent of a GPU, where there is one, all processes together; 0: CPU",
    )
    parser.add_argument("--resume-every-seconds", type=float, default=60.0)


def main(args: argparse.Namespace) -> None:
    spec = SegmentSpec.model_validate_json(args.spec)
    share, threads = args.gpu_share // processes(), max(1, args.threads // processes())
    args.output.mkdir(parents=True, exist_ok=True)
    args.state.parent.mkdir(parents=True, exist_ok=True)
    args.scratch.mkdir(parents=True, exist_ok=True)
    with placed(share) as place, joined(torch.device(place)) as workers:
        result = train_segment(
            spec=spec,
            tokens=TokenStore.open(args.corpus),
            parent_state=args.parent_state,
            state_out=args.state,
            snapshots_out=args.output / "snapshots.safetensors",
            scratch=args.scratch,
            machine=Machine(
                device=place,
                threads=threads,
                micro_batch_sequences=micro_batch_sequences(spec.trajectory.model, place, share),
                compile=place != "cpu",
                compile_cache=Path("scratch/compile").resolve(),
            ),
            resume_every_seconds=args.resume_every_seconds,
            progress=lambda updates_done: _write_progress(args.scratch, spec, updates_done),
            workers=workers,
        )
    if not workers.leads:
        return
    try:
        _write(result, _record(spec, result, place, threads), args.output)
    except OSError as error:
        raise OSError(
            error.errno, f"{error}: the tables of {args.output} could not be written; make room and run again, which "
            f"continues from the progress in {args.scratch}"
        ) from error  # fmt: skip
    shutil.rmtree(args.scratch)
    if result.status == "diverged":
        print(f"diverged at update {result.diverged_step}: recorded as a result", file=sys.stderr)


def _write(result: SegmentResult, record: dict[str, object], output: Path) -> None:
    """Tables first: the record says that all else is there."""
    for name in SEGMENT_TABLES:
        table = tables.of_segment(next(t for t in tables.TABLES if t.name == name))
        tables.write(table, pd.DataFrame(getattr(result, name)), output / f"{name}.parquet")
    with written_atomically(output / "segment.json") as temporary:
        temporary.write_text(canonical_json(record) + "\n", encoding="utf-8")


def _record(spec: SegmentSpec, result: SegmentResult, place: str, threads: int) -> dict[str, object]:
    """What the tables need to know about this segment beyond its rows."""
    device = torch.device(place).type
    return {
        "spec": json.loads(spec.to_json()),
        "status": result.status,
        "diverged_step": result.diverged_step,
        "last_finite_loss": result.last_finite_loss,
        "timing": result.timing,
        "matmul_peak_flops_per_second": processes() * matmul_peak(device, threads),
        "train_flops_per_token": flops_per_token(spec.trajectory.model),
        "device": device,
        "threads": threads,
        "processes": processes(),
        "versions": versions(),
        "code_digest": source_digest("glidepath.stages.train"),
    }


def matmul_peak(device: str, threads: int) -> float:
    """This machine's measured matmul peak [FLOP/s], measured once and kept beside the resume states."""
    kept = Path("scratch/matmul_peak") / f"{host()}-{device}-{threads}.json"
    if kept.is_file():
        return float(json.loads(kept.read_text(encoding="utf-8")))
    peak = matmul_peak_flops_per_second(device, threads)
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_name(f".{kept.name}.{os.getpid()}")
    temporary.write_text(json.dumps(peak), encoding="utf-8")
    temporary.replace(kept)
    return peak


def _write_progress(scratch: Path, spec: SegmentSpec, updates_done: int) -> None:
    """Heartbeat for the progress display: updates done in this segment. A full disk must not stop training for it."""
    with contextlib.suppress(OSError):
        (scratch / "progress").write_text(f"{updates_done - spec.start}", encoding="utf-8")
