"""Hand-made segment directories: what training jobs would have left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from glidepath.study import tables
from glidepath.study.layout import segment_directory
from glidepath.study.segments import Segment

N_BLOCKS = 4
DOMAINS = ("python", "c")


def write_segment(root: Path, segment: Segment, loss: float, **record: Any) -> None:
    """Records of a segment whose training loss is `loss` at every update and whose block i has loss + i/10.

    One second per update. With `diverged_step`, nothing is recorded from that update on.
    """
    spec = segment.spec
    diverged_step = record.get("diverged_step")
    limit = spec.stop if diverged_step is None else min(spec.stop, diverged_step)
    steps = list(range(spec.start, limit))
    every = spec.recording.norms_every
    norms = [0.5 if (s + 1) % every == 0 or s + 1 == spec.stop else None for s in steps]
    subset = [u for u in spec.recording.evaluate_subset_at if u <= limit]
    full = [u for u in spec.recording.evaluate_full_at if u <= limit]
    probe_every = spec.recording.probe_every
    probes = [u for u in range(spec.start + 1, limit + 1) if probe_every and u % probe_every == 0]
    batch_tokens = 256
    evaluated = [(u, "python", "subset") for u in subset] + [(u, d, "full") for u in full for d in DOMAINS]
    blocks = [(u, d, i) for u in full for d in DOMAINS for i in range(N_BLOCKS)]
    means = {"python": loss + 0.15, "c": loss + 1.15}
    directory = root / segment_directory(segment.segment_id)
    columns: dict[str, dict[str, Any]] = {
        "updates": {
            "step": steps,
            "tokens_seen": [(s + 1) * batch_tokens for s in steps],
            **{name: [0.5] * len(steps) for name in ("lr", "weight_decay", "adam_beta1", "adam_beta2", "grad_norm")},
            **dict.fromkeys(("grad_norm_l1", "update_norm", "param_norm"), norms),
            "batch_tokens": [batch_tokens] * len(steps),
            "train_loss": [loss] * len(steps),
        },
        "evaluations": {
            "updates_done": [u for u, _, _ in evaluated],
            "tokens_seen": [u * batch_tokens for u, _, _ in evaluated],
            "domain": [d for _, d, _ in evaluated],
            "eval_set": [s for _, _, s in evaluated],
            "val_loss": [means[d] for _, d, _ in evaluated],
            "val_loss_sem": [0.01] * len(evaluated),
            "bits_per_byte": [means[d] / 2 for _, d, _ in evaluated],
            "n_eval_tokens": [N_BLOCKS * 64] * len(evaluated),
        },
        "block_losses": {
            "updates_done": [u for u, _, _ in blocks],
            "domain": [d for _, d, _ in blocks],
            "block": [i for _, _, i in blocks],
            "loss": np.array([loss + (d == "c") + i / 10 for _, d, i in blocks], dtype=np.float32),
        },
        "gradient_statistics": {
            "step": [u - 1 for u in probes],
            "tokens_seen": [u * batch_tokens for u in probes],
            "group": ["total"] * len(probes),
            "grad_sq_norm_small": [2.0] * len(probes),
            "grad_sq_norm_big": [1.0] * len(probes),
            "small_batch_tokens": [64] * len(probes),
            "big_batch_tokens": [batch_tokens] * len(probes),
        },
    }
    for name, content in columns.items():
        table = tables.of_segment(next(t for t in tables.TABLES if t.name == name))
        empty = tables.empty(table)
        tables.write(table, empty if not next(iter(content.values())) else content, directory / f"{name}.parquet")
    whole = {
        "spec": json.loads(spec.to_json()),
        "status": "completed" if diverged_step is None else "diverged",
        "diverged_step": diverged_step,
        "last_finite_loss": None,
        "timing": {"updates": float(max(0, limit - spec.start)), "tokens_per_second": 256.0, "evaluation": 100.0},
        "train_flops_per_token": 1e6,
        "matmul_peak_flops_per_second": 1e9,
        "device": "cpu",
        "versions": {"torch": "2", "python": "3"},
        "code_digest": "abc",
        **record,
    }
    (directory / "segment.json").write_text(json.dumps(whole))
