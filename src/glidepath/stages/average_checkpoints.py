"""Evaluate one average of checkpoints trained elsewhere at the points of their trajectory, or the raw checkpoints.

Out of core as for snapshots of a study: memory holds two copies of the model whatever the number of checkpoints.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glidepath.corpus.store import TokenStore
from glidepath.interop.checkpoints import Checkpoints
from glidepath.interop.pretrained_model import PretrainedModel, check_same_model, read_config
from glidepath.stages.average import Records
from glidepath.study.averages import snapshot_weights
from glidepath.study.averaging_config import RAW
from glidepath.study.checkpoints import CheckpointAverageSpec, history_of, record_path
from glidepath.training.averaged_losses import averaged_losses, raw_losses
from glidepath.training.device import Machine, configure, matmul_dtype, placed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spec", required=True, help="CheckpointAverageSpec as JSON")
    parser.add_argument("--corpus", type=Path, required=True, help="directory of the tokenised text")
    parser.add_argument("--output", type=Path, required=True, help="directory of the results")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu-share", type=int, default=100, help="percent of a GPU, where there is one; 0: the cores")


def main(args: argparse.Namespace) -> None:
    spec = CheckpointAverageSpec.model_validate_json(args.spec)
    with placed(args.gpu_share) as place:
        machine = Machine(place, args.threads, micro_batch_sequences=None, compile=False, compile_cache=None)
        _average(spec, TokenStore.open(args.corpus), args.output, configure(machine))


def _average(spec: CheckpointAverageSpec, tokens: TokenStore, output: Path, device: torch.device) -> None:
    folders = {updates: _folder(Path(record_path(name))) for updates, name in spec.checkpoints}
    configs = {folder: read_config(folder) for folder in folders.values()}
    check_same_model(configs)
    model = PretrainedModel(next(iter(configs.values())), spec.context_length, device, matmul_dtype(device))
    _check_fits(spec, tokens, model)
    checkpoints = Checkpoints(folders, model.parameters)

    updates_done = np.array(sorted(folders))
    kept = tuple(updates_done.tolist())
    history = history_of(spec, kept[-1])
    found = Records(history, kept, tokens)
    validation = {domain: tokens.validation(domain) for domain in tokens.domains}
    if spec.scheme is None:
        found.add(RAW, RAW, {}, raw_losses(model, checkpoints, spec.evaluate_at, validation))
    else:
        averages = []
        for point in spec.evaluate_at:
            n = int(np.searchsorted(updates_done, point)) + 1
            weights = snapshot_weights(spec.scheme, history, updates_done[:n])
            if weights is not None:
                averages.append((point, np.concatenate([weights, np.zeros(len(kept) - n)])))
        losses = averaged_losses(model, checkpoints, kept, averages, validation)
        found.add(spec.average, spec.scheme.kind, dict(averages), losses)
    found.write(output)


def _folder(record: Path) -> Path:
    """Where a checkpoint is. Raises ValueError unless its files have the sizes that they had when it was recorded."""
    written: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    folder = Path(written["path"])
    for entry in written["files"]:
        path = folder / entry["file"]
        size = path.stat().st_size if path.is_file() else None
        if size != entry["bytes"]:
            raise ValueError(
                f"{path} {'is missing' if size is None else f'has {size} bytes'} where {record} says {entry['bytes']} "
                f"bytes: remove {record} and run again, which fetches or records the checkpoint anew"
            )
    return folder


def _check_fits(spec: CheckpointAverageSpec, tokens: TokenStore, model: PretrainedModel) -> None:
    n_params = sum(weight.numel() for weight in model.weights.values())
    if spec.n_params > n_params:
        raise ValueError(
            f"n_params {spec.n_params:,} is more than the {n_params:,} parameters that the checkpoints hold. Correct it"
        )
    if tokens.vocab_size > model.n_embedded:
        raise ValueError(
            f"corpus.tokenizer has token ids up to {tokens.vocab_size - 1}, the model embeds {model.n_embedded} of "
            "them: give the tokenizer that it was trained with"
        )
