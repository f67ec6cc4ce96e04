"""Train one segment: from a parent's state or from initialisation, along its path, to its records and its end state."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import pandas as pd

from glidepath.corpus.store import TokenStore
from glidepath.study import tables
from glidepath.study.cells import flops_per_token
from glidepath.study.identity import canonical_json
from glidepath.study.layout import SEGMENT_TABLES
from glidepath.study.provenance import host, source_digest, versions
from glidepath.study.specs import SegmentSpec
from glidepath.training.device import Machine, chosen_device, matmul_peak_flops_per_second, micro_batch_sequences
from glidepath.training.loop import SegmentResult, train_segment


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
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto: cuda where there is one")
    parser.add_argument("--resume-every-seconds", type=float, default=60.0)


def main(args: argparse.Namespace) -> None:
    spec = SegmentSpec.model_validate_json(args.spec)
    device = chosen_device(args.device)
    machine = Machine(
        device=device,
        threads=args.threads,
        micro_batch_sequences=micro_batch_sequences(spec.trajectory.model, device),
        compile=device == "cuda",
        compile_cache=Path("scratch/compile").resolve(),
    )
    args.output.mkdir(parents=True, exist_ok=True)
    args.state.parent.mkdir(parents=True, exist_ok=True)
    args.scratch.mkdir(parents=True, exist_ok=True)
    result = train_segment(
        spec=spec,
        tokens=TokenStore.open(args.corpus),
        parent_state=args.parent_state,
        state_out=args.state,
        snapshots_out=args.output / "snapshots.safetensors",
        scratch=args.scratch,
        machine=machine,
        resume_every_seconds=args.resume_every_seconds,
        progress=lambda updates_done: _write_progress(args.scratch, spec, updates_done),
    )
    for name in SEGMENT_TABLES:
        table = tables.of_segment(next(t for t in tables.TABLES if t.name == name))
        tables.write(table, pd.DataFrame(getattr(result, name)), args.output / f"{name}.parquet")
    record = canonical_json(_record(spec, result, device, args.threads))
    temporary = args.output / ".segment.json.partial"
    temporary.write_text(record + "\n", encoding="utf-8")
    temporary.replace(args.output / "segment.json")
    shutil.rmtree(args.scratch)
    if result.status == "diverged":
        print(f"diverged at update {result.diverged_step}: recorded as a result", file=sys.stderr)


def _record(spec: SegmentSpec, result: SegmentResult, device: str, threads: int) -> dict[str, object]:
    """What the tables need to know about this segment beyond its rows."""
    return {
        "spec": json.loads(spec.to_json()),
        "status": result.status,
        "diverged_step": result.diverged_step,
        "last_finite_loss": result.last_finite_loss,
        "timing": result.timing,
        "matmul_peak_flops_per_second": matmul_peak(device, threads),
        "train_flops_per_token": flops_per_token(spec.trajectory.model),
        "device": device,
        "threads": threads,
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
    """Heartbeat for the progress display: updates done in this segment."""
    (scratch / "progress").write_text(f"{updates_done - spec.start}", encoding="utf-8")
