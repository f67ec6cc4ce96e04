"""The training loop: one segment of a trajectory, from its parent's state to its own.

All per-update quantities are arrays computed before the first update; the loop only reads them at the update
index.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from glidepath.study.specs import Recording, SegmentSpec
from glidepath.training import snapshots
from glidepath.training.batches import TokenStore
from glidepath.training.device import Machine, configure, synchronise
from glidepath.training.evaluation import bits_per_byte, block_losses, mean_and_sem
from glidepath.training.lock import locked
from glidepath.training.model import Probe
from glidepath.training.recorder import Columns, Recorder
from glidepath.training.request import check_request
from glidepath.training.resume import Progress, load_progress, save_progress, sigterm_noted
from glidepath.training.state import StateHeader, load_header, load_tensors, save_state
from glidepath.training.trainer import Trainer, Update
from glidepath.training.workers import ALONE, Workers

DIVERGENCE_FACTOR = 2.0
ASKED_TO_END = 2


def has_diverged(train_loss: float, grad_norm: float, vocab_size: int) -> bool:
    """The one rule: loss or gradient norm is not finite, or the loss exceeds twice ln V, that of a uniform
    guess."""
    return not (math.isfinite(grad_norm) and train_loss <= DIVERGENCE_FACTOR * math.log(vocab_size))


@dataclass(frozen=True)
class SegmentResult:
    """What a segment has to report; tables are columns as in `recorder.COLUMNS`."""

    status: Literal["completed", "diverged"]
    diverged_step: int | None
    """Index of the update whose loss or gradient broke the rule of `has_diverged`."""
    last_finite_loss: float | None
    """Training loss of the update before it [nats/token]."""
    updates: Columns
    evaluations: Columns
    block_losses: Columns
    gradient_statistics: Columns
    timing: dict[str, float]
    """Seconds: setup, updates, evaluation, probes, snapshots, total (of all attempts, if resumed), and
    tokens_per_second over the time of updates without a probe of all layers. What the norm layers alone cost is part
    of the updates."""


class Stopwatch:
    """Adds the time since the last lap to an activity."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("setup", "updates", "evaluation", "probes", "snapshots"), 0.0)
        self.timed_tokens = 0
        self._last = time.perf_counter()

    def lap(self, activity: str, device: torch.device) -> None:
        """Everything since the last lap was `activity`."""
        synchronise(device)
        now = time.perf_counter()
        self.seconds[activity] += now - self._last
        self._last = now

    def report(self) -> dict[str, float]:
        """Seconds by activity, their total, and tokens per second of updates."""
        updates = self.seconds["updates"]
        rate = self.timed_tokens / updates if updates > 0.0 else 0.0
        return {**self.seconds, "total": sum(self.seconds.values()), "tokens_per_second": rate}


def train_segment(
    spec: SegmentSpec,
    tokens: TokenStore,
    parent_state: Path | None,
    state_out: Path,
    snapshots_out: Path,
    scratch: Path,
    machine: Machine,
    resume_every_seconds: float,
    progress: Callable[[int], None],
    workers: Workers = ALONE,
) -> SegmentResult:
    """Train updates `start … stop-1` of a trajectory and write its state and snapshots.

    Of several `workers` each calls this with the same arguments; the leader does what has to do with files, `progress`
    included, and all return the same result, but for the time it took.

    `progress` is called with the number of updates done whenever norms are taken. Progress is saved in
    `scratch` every so many seconds and on SIGTERM, which ends the process with status 143; the next call
    continues from there, on a CPU bit for bit. The caller removes `scratch` once it has stored the result.

    A segment whose parent diverged does no update and diverged at the same step. Raises ValueError for a spec
    that cannot be honoured and for a parent state or a scratch folder of something else, RuntimeError if
    scratch is in use.
    """
    watch = Stopwatch()
    trajectory, recording, model = spec.trajectory, spec.recording, spec.trajectory.model
    check_request(spec, tokens, parent_state)
    with locked(scratch) if workers.leads else nullcontext(), sigterm_noted() as asked_to_end:
        device = configure(machine)

        # -- a diverged parent has no state to continue from
        recorder = Recorder()
        last_loss: float | None = None
        if parent_state is not None:
            parent = load_header(parent_state, trajectory.clip(spec.start))
            last_loss = parent.last_finite_loss
            if parent.status == "diverged":
                header = StateHeader(trajectory.digest, spec.stop, "diverged", parent.diverged_step, last_loss)
                return _finish(spec, header, {}, recorder, watch, scratch, state_out, snapshots_out, workers)

        # -- the state at `start`, or where a killed job left off
        trainer = Trainer(spec, tokens, machine, device, workers)
        path, plateau = trainer.path, trainer.plateau
        begin = spec.start
        saved = workers.from_leader(load_progress(scratch, spec.digest, trainer.tensors) if workers.leads else None)
        if saved:
            begin, last_loss, recorder = saved.updates_done, saved.last_loss, saved.recorder
            watch.seconds, watch.timed_tokens = saved.seconds, saved.timed_tokens
        elif parent_state is not None and workers.leads:
            load_tensors(parent_state, trainer.tensors)
        trainer.begin(begin)

        # -- the loop
        subset_at, full_at = set(recording.evaluate_subset_at), set(recording.evaluate_full_at)
        snapshot_at = set(recording.snapshot_at)
        unread: list[Update] = []
        diverged_step: int | None = None
        last_saved = time.monotonic()
        watch.lap("setup", device)
        for s in range(begin, spec.stop):
            updates_done = s + 1
            norms_taken = updates_done % recording.norms_every == 0 or updates_done == spec.stop
            probe = _probe(recording, updates_done)
            if probe == "all":
                watch.lap("updates", device)
            unread.append(trainer.update(s, norms_taken, probe))
            if probe == "all":
                watch.lap("probes", device)
            else:
                watch.timed_tokens += int(path.batch_sequences[s]) * model.context_length

            # Reading a number waits for the device: on a GPU only when something is to be written down.
            evaluated = updates_done in subset_at or updates_done in full_at
            judged = plateau is not None and plateau.due(updates_done)
            due = norms_taken or evaluated or judged or updates_done in snapshot_at
            late = workers.leads and time.monotonic() - last_saved >= resume_every_seconds
            save = workers.greatest(ASKED_TO_END if asked_to_end.is_set() else int(late))
            if not (due or save or device.type == "cpu"):
                continue
            for one, (train_loss, grad_norm, *sq_norms) in zip(unread, _read(unread, workers), strict=True):
                if has_diverged(train_loss, grad_norm, model.vocab_size):
                    diverged_step = one.step
                    break
                last_loss = train_loss
                recorder.add("updates", _update_row(one, trainer, train_loss, grad_norm))
                for row in _gradient_rows(one, trainer, sq_norms):
                    recorder.add("gradient_statistics", row)
            unread.clear()
            if diverged_step is not None:
                break
            if norms_taken and workers.leads:
                progress(updates_done)
            if evaluated:
                watch.lap("updates", device)
                with trainer.evaluated_weights():
                    _evaluate(recorder, trainer, spec, updates_done, updates_done in full_at)
                watch.lap("evaluation", device)
            if plateau is not None and judged:
                watch.lap("updates", device)
                trainer.observe(plateau)
                watch.lap("evaluation", device)
            if updates_done in snapshot_at:
                watch.lap("updates", device)
                trainer.whole.gather()
                if workers.leads:
                    snapshots.save_part(scratch, updates_done, trainer.whole.weights)
                watch.lap("snapshots", device)
            if save and updates_done < spec.stop:
                watch.lap("updates", device)
                now = Progress(updates_done, last_loss, recorder, watch.seconds, watch.timed_tokens)
                trainer.whole.gather()
                if workers.leads:
                    save_progress(scratch, spec.digest, now, trainer.tensors)
                last_saved = time.monotonic()
                watch.lap("snapshots", device)
                if save == ASKED_TO_END:
                    raise SystemExit(128 + 15)
        watch.lap("updates", device)

        status: Literal["completed", "diverged"] = "completed" if diverged_step is None else "diverged"
        header = StateHeader(trajectory.digest, spec.stop, status, diverged_step, last_loss)
        trainer.whole.gather()
        kept = trainer.tensors if status == "completed" else {}
        return _finish(spec, header, kept, recorder, watch, scratch, state_out, snapshots_out, workers)


def _probe(recording: Recording, updates_done: int) -> Probe:
    """Of which layers an update takes per-example gradient norms."""
    if recording.probe_every and updates_done % recording.probe_every == 0:
        return "all"
    if recording.probe_norm_layers_every and updates_done % recording.probe_norm_layers_every == 0:
        return "norms"
    return "none"


def _read(unread: list[Update], workers: Workers) -> list[list[float]]:
    """Loss, gradient norm and the squared norms of a probe of every update, as numbers, in one transfer."""
    tensors = [[one.train_loss, one.grad_norm, *one.sq_norms.values()] for one in unread]
    values = workers.as_leader_has(torch.cat([x.double().flatten() for several in tensors for x in several])).tolist()
    ends = np.cumsum([sum(x.numel() for x in several) for several in tensors])
    return [values[begin:end] for begin, end in pairwise([0, *ends])]


def _update_row(update: Update, trainer: Trainer, train_loss: float, grad_norm: float) -> dict[str, float | int]:
    """What was applied and what it did; norms that were not taken are NaN."""
    path, step, context_length = trainer.path, update.step, trainer.trajectory.model.context_length
    norms = {"grad_norm_l1": math.nan, "update_norm": math.nan, "param_norm": math.nan}
    if update.weights_before is not None and update.grad_norm_l1 is not None:
        norms = {
            "grad_norm_l1": float(update.grad_norm_l1),
            "update_norm": float(trainer.workers.norm(trainer.weights - update.weights_before)),
            "param_norm": float(trainer.workers.norm(trainer.weights)),
        }
    return {
        "step": step, "tokens_seen": int(path.positions[step + 1]) * context_length, "lr": update.lr,
        "weight_decay": float(path.weight_decay[step]), "adam_beta1": float(path.adam_beta1[step]),
        "adam_beta2": float(path.adam_beta2[step]),
        "batch_tokens": int(path.batch_sequences[step]) * context_length,
        "train_loss": train_loss, "grad_norm": grad_norm, **norms,
    }  # fmt: skip


def _gradient_rows(update: Update, trainer: Trainer, sq_norms: list[float]) -> Iterator[dict[str, float | int | str]]:
    """Squared gradient norms of a probed update, a row per type of layer."""
    path, step, context_length = trainer.path, update.step, trainer.trajectory.model.context_length
    for layer_type, small, big in zip(update.sq_norms, sq_norms[0::2], sq_norms[1::2], strict=True):
        yield {
            "step": step, "tokens_seen": int(path.positions[step + 1]) * context_length, "group": layer_type,
            "grad_sq_norm_small": small, "grad_sq_norm_big": big, "small_batch_tokens": context_length,
            "big_batch_tokens": int(path.batch_sequences[step]) * context_length,
        }  # fmt: skip


def _evaluate(recorder: Recorder, trainer: Trainer, spec: SegmentSpec, updates_done: int, full: bool) -> None:
    """Evaluate all blocks of all domains (`full`), or the first blocks of the first domain, and record both
    as asked."""
    tokens, context_length = trainer.tokens, spec.trajectory.model.context_length

    def record(domain: str, eval_set: str, losses: NDArray[np.float32]) -> None:
        mean, sem = mean_and_sem(losses)
        recorder.add("evaluations", {
            "updates_done": updates_done,
            "tokens_seen": int(trainer.path.positions[updates_done]) * context_length,
            "domain": domain, "eval_set": eval_set, "val_loss": mean, "val_loss_sem": sem,
            "bits_per_byte": bits_per_byte(mean, tokens.bytes_per_token(domain)),
            "n_eval_tokens": len(losses) * context_length,
        })  # fmt: skip

    first, n_subset = tokens.domains[0], spec.recording.subset_blocks
    losses = {
        domain: block_losses(trainer.decoder, tokens.validation(domain), None if full else n_subset, trainer.workers)
        for domain in (tokens.domains if full else [first])
    }
    if updates_done in spec.recording.evaluate_subset_at:
        record(first, "subset", losses[first][:n_subset])
    if full:
        for domain, blocks in losses.items():
            record(domain, "full", blocks)
            recorder.add_block_losses(updates_done, domain, blocks)


def _finish(
    spec: SegmentSpec,
    header: StateHeader,
    tensors: dict[str, torch.Tensor],
    recorder: Recorder,
    watch: Stopwatch,
    scratch: Path,
    state_out: Path,
    snapshots_out: Path,
    workers: Workers,
) -> SegmentResult:
    """Write snapshots and state, return the rest."""
    parts = [snapshots.part_path(scratch, u) for u in sorted(set(spec.recording.snapshot_at))]
    metadata = {"trajectory_digest": spec.trajectory.digest, "segment_digest": spec.digest}
    if workers.leads:
        snapshots.join([part for part in parts if part.exists()], snapshots_out, metadata)
        save_state(state_out, header, tensors)
    watch.lap("snapshots", torch.device("cpu"))
    return SegmentResult(
        status=header.status,
        diverged_step=header.diverged_step,
        last_finite_loss=header.last_finite_loss,
        updates=recorder.table("updates"),
        evaluations=recorder.table("evaluations"),
        block_losses=recorder.block_losses(),
        gradient_statistics=recorder.table("gradient_statistics"),
        timing=watch.report(),
    )
