"""What the tests let several processes do: `torchrun … -m tests.training.workers_job JOB FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from glidepath.science import schedules
from glidepath.study.specs import OptimizerSpec, PathSpec, PlateauSpec, SegmentSpec
from glidepath.training.batches import batch
from glidepath.training.evaluation import block_losses
from glidepath.training.model import Decoder
from glidepath.training.optimizer import clip_gradients, make_optimizer
from glidepath.training.whole_buffers import WholeBuffers
from glidepath.training.workers import Workers, joined
from tests.training.small import counting_tokens, model_spec, segment_spec, train

EVERYTHING = {
    "evaluate_subset_at": (3, 12),
    "evaluate_full_at": (12,),
    "snapshot_at": (2, 9, 12),
    "probe_every": 4,
    "probe_norm_layers_every": 1,
}
BATCHES = (5, 5, 1, 1, 4, 4, 3)
"""None of them divides by two and by three; with one sequence a process has nothing to do."""


def several_updates(workers: Workers, dtype: torch.dtype, kind: str = "adamw") -> dict[str, NDArray[np.float64]]:
    """Losses, gradient norms, first and last weights, and validation losses of a few updates, the essence of the
    loop."""
    spec = OptimizerSpec(kind=kind, adam_eps=1e-8, grad_clip_norm=0.5)
    sequences = sum(BATCHES)
    path = PathSpec(
        batch_sequences=tuple(schedules.Stage(n, 1) for n in BATCHES),
        lr=schedules.constant(0.02, sequences),
        weight_decay=schedules.constant(0.1, sequences),
        adam_beta1=schedules.constant(0.9, sequences),
        adam_beta2=schedules.constant(0.95, sequences),
    ).arrays()
    model = model_spec(tied_embeddings=True, parametrization="mup")
    tokens = counting_tokens()
    decoder = Decoder(model, dtype=dtype, n_slices=workers.size)
    decoder.initialise(1)
    own_weights, own_gradients = workers.own(decoder.flat_weights), workers.own(decoder.flat_gradients)
    groups = workers.own_groups(decoder.layout.groups, decoder.layout.size)
    optimizer = make_optimizer(spec, own_weights, own_gradients, groups, path)
    losses, norms, order = [], [], []
    for s, n in enumerate(BATCHES):
        share = workers.share(n)
        decoder.flat_gradients.zero_()
        loss = torch.zeros((), dtype=torch.float64)
        if share:
            first = int(path.positions[s]) + share.start
            ids = torch.from_numpy(batch(tokens.train, 2, first, len(share), model.context_length))
            order.extend(ids[:, 0].tolist())
            loss += decoder.accumulate_gradients(ids[:, :-1], ids[:, 1:], 1.0 / (n * model.context_length))[0]
        workers.sum_into_slices(decoder.flat_gradients)
        norm = clip_gradients(own_gradients, spec.grad_clip_norm, workers)
        optimizer.update(s)
        workers.join_slices(decoder.flat_weights)
        losses.append(float(workers.sum(loss)) / (n * model.context_length))
        norms.append(float(norm))
    with optimizer.evaluated_weights():
        workers.join_slices(decoder.flat_weights)
        validation = block_losses(decoder, tokens.validation("counting"), workers=workers)
    workers.join_slices(decoder.flat_weights)
    whole = WholeBuffers(workers, decoder.layout, optimizer.buffers)
    whole.gather()
    moments = [t.flatten() for name, t in sorted(whole.tensors.items()) if name.startswith("exp_avg_sq/")]
    used = decoder.layout.groups[-1].end
    return {
        "losses": np.array(losses),
        "norms": np.array(norms),
        "weights": decoder.flat_weights[:used].double().numpy(),
        "exp_avg_sq": torch.cat(moments).double().numpy() if moments else np.zeros(0),
        "validation": validation.astype(np.float64),
        "first_ids": np.array(order, dtype=np.float64),
    }


def main() -> None:
    job, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as workers:
        if job == "updates":
            for dtype in ("float32", "float64"):
                for kind in ("adamw", "schedule_free_adamw"):
                    result = several_updates(workers, getattr(torch, dtype), kind)
                    np.savez(folder / f"{dtype}-{kind}-{workers.rank}.npz", **result)
        if job == "collectives":
            greatest = workers.greatest(workers.rank)
            decided = float(workers.as_leader_has(torch.tensor(float(workers.rank + 7))))
            passed = workers.from_leader([workers.rank])
            order_1 = float(workers.norm(torch.full((2,), float(workers.rank + 1)), 1))
            (folder / f"{workers.rank}.txt").write_text(f"{greatest} {decided} {passed} {order_1}")
        if job == "train":
            train_and_die(workers, folder, *sys.argv[3:])


def job_spec(kind: str) -> SegmentSpec:
    """A segment in which everything happens, its learning rate lowered by evaluations that never please."""
    spec = segment_spec(**EVERYTHING)
    plateau = PlateauSpec(factor=0.5, patience=1, threshold=0.5, min_fraction=0.1, evaluate_every=2, subset_blocks=4)
    optimizer = spec.trajectory.optimizer.model_copy(update={"kind": kind})
    trajectory = spec.trajectory.model_copy(update={"optimizer": optimizer, "plateau": plateau})
    return spec.model_copy(update={"trajectory": trajectory})


def train_and_die(workers: Workers, folder: Path, at: str, signal_name: str, victim: str, every: str) -> None:
    """Train the segment of the tests; after `at` updates the leader sends the victim a signal."""
    (folder / f"pid{workers.rank}").write_text(str(os.getpid()))

    def die(updates_done: int) -> None:
        if updates_done == int(at):
            os.kill(int((folder / f"pid{victim}").read_text()), getattr(signal, signal_name))

    result = train(job_spec(folder.name), folder, resume_every_seconds=float(every), progress=die, workers=workers)
    np.savez(folder / f"updates{workers.rank}.npz", **result.updates)
    np.savez(folder / f"statistics{workers.rank}.npz", **result.gradient_statistics)


if __name__ == "__main__":
    main()
