"""Evaluate one average of checkpoints trained elsewhere at the points of their trajectory, or the raw checkpoints.

Out of core as for snapshots of a study: memory holds two copies of the model whatever the number of checkpoints. What
was measured before there were more checkpoints is not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
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
from glidepath.study.checkpoints import EVALUATED, CheckpointAverageSpec, check_n_params, history_of, record_path
from glidepath.study.identity import canonical_json
from glidepath.training.averaged_losses import Losses, averaged_losses, raw_losses
from glidepath.training.device import Machine, configure, matmul_dtype, placed
from glidepath.training.files import written_atomically


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
    known = _take_over(found, spec, output)
    points = [point for point in spec.evaluate_at if point not in known]
    validation = {domain: tokens.validation(domain) for domain in tokens.domains}
    if spec.scheme is None:
        losses = raw_losses(model, checkpoints, points, validation)
        found.add(RAW, RAW, {}, _finite(losses, checkpoints, {point: [point] for point in points}))
    else:
        averages = {}
        for point in points:
            n = int(np.searchsorted(updates_done, point)) + 1
            weights = snapshot_weights(spec.scheme, history, updates_done[:n])
            if weights is not None:
                averages[point] = np.concatenate([weights, np.zeros(len(kept) - n)])
        used = {point: updates_done[weights != 0].tolist() for point, weights in averages.items()}
        losses = averaged_losses(model, checkpoints, kept, averages.items(), validation)
        # What is infinite shows in the losses, where it can be told whose it is.
        with np.errstate(invalid="ignore"):
            found.add(spec.average, spec.scheme.kind, averages, _finite(losses, checkpoints, used))
    found.write(output)
    evaluated = {"spec": spec.model_dump(mode="json"), "n_params": _n_params(model)}
    with written_atomically(output / EVALUATED) as temporary:
        temporary.write_text(canonical_json(evaluated) + "\n", encoding="utf-8")


def _take_over(records: Records, spec: CheckpointAverageSpec, output: Path) -> set[int]:
    """What directories beside `output` have of the same average of the same checkpoints; returns the points."""
    known: set[tuple[str, int]] = set()
    for record in sorted(output.parent.glob(f"{spec.average}-*/{EVALUATED}")):
        other = json.loads(record.read_text(encoding="utf-8")).get("spec", {})
        wanted = {(spec.average, point) for point in spec.points_shared_with(other)} - known
        if wanted and record.parent != output:
            known |= records.take(record.parent, wanted)
    return {point for _, point in known}


def _finite(losses: Iterable[Losses], checkpoints: Checkpoints, used: Mapping[int, Iterable[int]]) -> Iterator[Losses]:
    """The losses; `used` are the checkpoints behind those at a point.

    Raises ValueError where one is no number, naming the tensor that it comes from.
    """
    for found in losses:
        if not np.isfinite(found.blocks).all():
            checkpoints.check_finite(used[found.updates_done])
            raise ValueError(
                f"the loss after {found.updates_done} updates is no number on the domain {found.domain}, although all "
                "weights are: the model overflows. Leave these checkpoints out"
            )
        yield found


def _n_params(model: PretrainedModel) -> int:
    return sum(weight.numel() for weight in model.weights.values())


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
    if spec.n_params is not None:
        check_n_params(spec.n_params, _n_params(model))
    if tokens.vocab_size > model.n_embedded:
        raise ValueError(
            f"corpus.tokenizer has token ids up to {tokens.vocab_size - 1}, the model embeds {model.n_embedded} of "
            "them: give the tokenizer that it was trained with"
        )
