"""The training loop: one segment of a trajectory, from its parent's state to its own.

All per-update quantities are arrays computed before the first update; the loop only reads them at the update
index.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from glidepath.study.specs import SegmentSpec
from glidepath.training import snapshots
from glidepath.training.batches import TokenStore, batch, n_sequences
from glidepath.training.device import Machine, configure, matmul_dtype, synchronise
from glidepath.training.evaluation import bits_per_byte, block_losses, mean_and_sem
from glidepath.training.lock import locked
from glidepath.training.model import Decoder
from glidepath.training.optimizer import Optimizer, clip_gradients, make_optimizer
from glidepath.training.per_example import PerExampleNorms
from glidepath.training.plateau import Plateau
from glidepath.training.recorder import Columns, Recorder
from glidepath.training.resume import Progress, load_progress, save_progress, sigterm_noted
from glidepath.training.state import StateHeader, load_header, load_tensors, save_state
from glidepath.training.whole_buffers import WholeBuffers
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
    tokens_per_second over the time of updates without a probe."""


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
    path = trajectory.path.arrays()
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
        decoder = Decoder(model, device=device, matmul_dtype=matmul_dtype(device), n_slices=workers.size)
        decoder.initialise(trajectory.init_seed)
        own_gradients = workers.own(decoder.flat_gradients)
        groups = workers.own_groups(decoder.layout.groups, decoder.layout.size)
        own_weights = workers.own(decoder.flat_weights)
        optimizer = make_optimizer(trajectory.optimizer, own_weights, own_gradients, groups, path)
        plateau = Plateau(trajectory.plateau) if trajectory.plateau else None
        whole = WholeBuffers(workers, decoder.layout, optimizer.buffers)
        tensors = whole.tensors | ({"plateau": plateau.tensor} if plateau else {})
        begin = spec.start
        saved = workers.from_leader(load_progress(scratch, spec.digest, tensors) if workers.leads else None)
        if saved:
            begin, last_loss, recorder = saved.updates_done, saved.last_loss, saved.recorder
            watch.seconds, watch.timed_tokens = saved.seconds, saved.timed_tokens
        elif parent_state is not None and workers.leads:
            load_tensors(parent_state, tensors)
        if begin > 0:
            whole.scatter()
            if plateau:
                plateau.tensor.copy_(workers.as_leader_has(plateau.tensor))
        optimizer.restored(begin)
        workers.join_slices(decoder.flat_weights)
        accumulate_gradients = (
            torch.compile(decoder.accumulate_gradients) if machine.compile else decoder.accumulate_gradients
        )

        # -- the loop
        tokens_seen = path.positions * model.context_length
        subset_at, full_at = set(recording.evaluate_subset_at), set(recording.evaluate_full_at)
        snapshot_at, probe_at = set(recording.snapshot_at), set(recording.probe_at)
        unread: list[tuple[int, torch.Tensor, torch.Tensor]] = []
        diverged_step: int | None = None
        last_saved = time.monotonic()
        watch.lap("setup", device)
        for s in range(begin, spec.stop):
            updates_done = s + 1
            norms_taken = updates_done % recording.norms_every == 0 or updates_done == spec.stop
            n, batch_tokens = int(path.batch_sequences[s]), int(path.batch_sequences[s]) * model.context_length
            lr_factor = plateau.lr_factor if plateau else 1.0
            probe = PerExampleNorms(model.context_length) if updates_done in probe_at else None
            if probe:
                watch.lap("updates", device)

            # One update. Micro-losses are scaled by the whole batch, so that their gradients add up to that
            # of the mean.
            decoder.flat_gradients.zero_()
            loss = torch.zeros((), dtype=torch.float64, device=device)
            share = workers.share(n)
            first = int(path.positions[s]) + share.start
            for micro_BT in _micro_batches(spec, tokens, first, len(share), machine.micro_batch_sequences, device):
                inputs_BT, targets_BT = micro_BT[:, :-1], micro_BT[:, 1:]
                if probe:
                    loss += decoder.accumulate_gradients(inputs_BT, targets_BT, 1.0 / batch_tokens, probe)
                else:
                    loss += accumulate_gradients(inputs_BT, targets_BT, 1.0 / batch_tokens)
            workers.sum_into_slices(decoder.flat_gradients)
            probe_rows = _probe_rows(probe, decoder, n, s, int(tokens_seen[updates_done]), workers) if probe else []
            grad_norm_l1 = workers.norm(own_gradients, 1) if norms_taken else None
            grad_norm = clip_gradients(own_gradients, trajectory.optimizer.grad_clip_norm, workers)
            before = optimizer.buffers["weights"].clone() if norms_taken else None
            optimizer.update(s, lr_factor)
            workers.join_slices(decoder.flat_weights)
            unread.append((s, workers.sum(loss) / batch_tokens, grad_norm))
            if probe:
                watch.lap("probes", device)
            else:
                watch.timed_tokens += batch_tokens

            # Reading a number waits for the device: on a GPU only when something is to be written down.
            evaluated = updates_done in subset_at or updates_done in full_at
            judged = plateau is not None and plateau.due(updates_done)
            due = norms_taken or evaluated or judged or updates_done in snapshot_at or updates_done in probe_at
            late = workers.leads and time.monotonic() - last_saved >= resume_every_seconds
            save = workers.greatest(ASKED_TO_END if asked_to_end.is_set() else int(late))
            if not (due or save or device.type == "cpu"):
                continue
            steps = [step for step, _, _ in unread]
            for step, train_loss, norm in zip(steps, *_read(unread, workers), strict=True):
                if has_diverged(train_loss, norm, model.vocab_size):
                    diverged_step = step
                    break
                last_loss = train_loss
                norms = {"grad_norm_l1": math.nan, "update_norm": math.nan, "param_norm": math.nan}
                if step == s and before is not None and grad_norm_l1 is not None:
                    weights = optimizer.buffers["weights"]
                    norms = {
                        "grad_norm_l1": float(grad_norm_l1),
                        "update_norm": float(workers.norm(weights - before)),
                        "param_norm": float(workers.norm(weights)),
                    }
                recorder.add("updates", {
                    "step": step, "tokens_seen": int(tokens_seen[step + 1]), "lr": float(path.lr[step]) * lr_factor,
                    "weight_decay": float(path.weight_decay[step]), "adam_beta1": float(path.adam_beta1[step]),
                    "adam_beta2": float(path.adam_beta2[step]),
                    "batch_tokens": int(path.batch_sequences[step]) * model.context_length,
                    "train_loss": train_loss, "grad_norm": norm, **norms,
                })  # fmt: skip
            unread.clear()
            if diverged_step is not None:
                break
            if norms_taken and workers.leads:
                progress(updates_done)
            for row in probe_rows:
                recorder.add("gradient_statistics", row)
            if evaluated:
                watch.lap("updates", device)
                seen = int(tokens_seen[updates_done])
                with _evaluated_weights(decoder, optimizer, workers):
                    _evaluate(recorder, decoder, tokens, spec, updates_done, seen, updates_done in full_at, workers)
                watch.lap("evaluation", device)
            if plateau is not None and judged:
                watch.lap("updates", device)
                with _evaluated_weights(decoder, optimizer, workers):
                    judging = tokens.validation(tokens.domains[0])
                    losses = block_losses(decoder, judging, plateau.spec.subset_blocks, workers)
                plateau.observe(mean_and_sem(losses)[0])
                watch.lap("evaluation", device)
            if updates_done in snapshot_at:
                watch.lap("updates", device)
                whole.gather()
                if workers.leads:
                    snapshots.save_part(scratch, updates_done, whole.weights)
                watch.lap("snapshots", device)
            if save and updates_done < spec.stop:
                watch.lap("updates", device)
                now = Progress(updates_done, last_loss, recorder, watch.seconds, watch.timed_tokens)
                whole.gather()
                if workers.leads:
                    save_progress(scratch, spec.digest, now, tensors)
                last_saved = time.monotonic()
                watch.lap("snapshots", device)
                if save == ASKED_TO_END:
                    raise SystemExit(128 + 15)
        watch.lap("updates", device)

        status: Literal["completed", "diverged"] = "completed" if diverged_step is None else "diverged"
        header = StateHeader(trajectory.digest, spec.stop, status, diverged_step, last_loss)
        whole.gather()
        kept = tensors if status == "completed" else {}
        return _finish(spec, header, kept, recorder, watch, scratch, state_out, snapshots_out, workers)


def check_request(spec: SegmentSpec, tokens: TokenStore, parent_state: Path | None) -> None:
    """Refuse, before any work, what cannot be honoured. Raises ValueError with the key, the value and the
    rule."""
    recording, model = spec.recording, spec.trajectory.model
    if not 0 <= spec.start < spec.stop:
        raise ValueError(f"start = {spec.start}: must be at least 0 and less than the {spec.stop} updates of the path")
    if (parent_state is None) != (spec.start == 0):
        raise ValueError(
            f"start = {spec.start} with parent state {parent_state}: a parent is needed exactly if start > 0"
        )
    if recording.norms_every < 1:
        raise ValueError(f"recording.norms_every = {recording.norms_every}: must be at least 1")
    for key in ("evaluate_subset_at", "evaluate_full_at", "snapshot_at", "probe_at"):
        for updates_done in getattr(recording, key):
            if not spec.start < updates_done <= spec.stop:
                raise ValueError(
                    f"recording.{key} has {updates_done}: this segment covers {spec.start + 1} to "
                    f"{spec.stop} updates done"
                )
    if tokens.vocab_size != model.vocab_size:
        raise ValueError(
            f"model.vocab_size = {model.vocab_size}: the tokens have vocab_size = {tokens.vocab_size}; make them equal"
        )
    available = n_sequences(len(tokens.validation(tokens.domains[0])), model.context_length)
    wanted = {"recording.subset_blocks": recording.subset_blocks} if recording.evaluate_subset_at else {}
    if plateau := spec.trajectory.plateau:
        wanted["plateau.subset_blocks"] = plateau.subset_blocks
    for key, blocks in wanted.items():
        if not 1 <= blocks <= available:
            raise ValueError(
                f"{key} = {blocks}: domain {tokens.domains[0]!r} has {available} blocks of {model.context_length} "
                f"tokens; ask for 1 to {available}"
            )


def _micro_batches(
    spec: SegmentSpec, tokens: TokenStore, first: int, n: int, at_most: int | None, device: torch.device
) -> Iterator[torch.Tensor]:
    """Sequences first … first+n-1 of the walk on the device, in as few passes of nearly equal size as fit, [B, T + 1].

    From pinned memory, so that the copy does not wait for what the device is still doing.
    """
    if n == 0:
        return
    ids = batch(tokens.train, spec.trajectory.data_seed, first, n, spec.trajectory.model.context_length)
    ids_BT = torch.from_numpy(ids)
    if device.type == "cuda":
        ids_BT = ids_BT.pin_memory().to(device, non_blocking=True)
    yield from torch.tensor_split(ids_BT, -(-n // (at_most or n)))


@contextmanager
def _evaluated_weights(decoder: Decoder, optimizer: Optimizer, workers: Workers) -> Iterator[None]:
    """Within it the model's weights are, in every process, those that are evaluated."""
    with optimizer.evaluated_weights():
        workers.join_slices(decoder.flat_weights)
        yield
    workers.join_slices(decoder.flat_weights)


def _read(unread: list[tuple[int, torch.Tensor, torch.Tensor]], workers: Workers) -> tuple[list[float], list[float]]:
    """Losses and gradient norms as numbers, in one transfer."""
    values = workers.as_leader_has(torch.stack([x.double() for _, *pair in unread for x in pair])).tolist()
    return values[0::2], values[1::2]


def _probe_rows(
    probe: PerExampleNorms, decoder: Decoder, n: int, step: int, tokens_seen: int, workers: Workers
) -> list[dict[str, float | int | str]]:
    """Squared norms of single sequences and of the whole batch, by kind of parameter, before clipping."""
    workers.clear_others(decoder.flat_gradients)
    kinds = decoder.layout.kinds
    squares = {kind: torch.zeros((), dtype=torch.float64, device=decoder.device) for kind in kinds}
    for p in decoder.layout.parameters:
        squares[p.kind] += decoder.gradients[p.name].square().sum(dtype=torch.float64)
    both = torch.stack([n * probe.sums(kinds, decoder.device), torch.stack(list(squares.values()))])
    return [
        {
            "step": step, "tokens_seen": tokens_seen, "group": kind, "grad_sq_norm_small": small,
            "grad_sq_norm_big": big, "small_batch_tokens": decoder.spec.context_length,
            "big_batch_tokens": n * decoder.spec.context_length,
        }
        for kind, small, big in zip(kinds, *workers.sum(both).tolist(), strict=True)
    ]  # fmt: skip


def _evaluate(
    recorder: Recorder,
    decoder: Decoder,
    tokens: TokenStore,
    spec: SegmentSpec,
    updates_done: int,
    tokens_seen: int,
    full: bool,
    workers: Workers,
) -> None:
    """Evaluate all blocks of all domains (`full`), or the first blocks of the first domain, and record both
    as asked."""

    def record(domain: str, eval_set: str, losses: NDArray[np.float32]) -> None:
        mean, sem = mean_and_sem(losses)
        recorder.add("evaluations", {
            "updates_done": updates_done, "tokens_seen": tokens_seen, "domain": domain, "eval_set": eval_set,
            "val_loss": mean, "val_loss_sem": sem,
            "bits_per_byte": bits_per_byte(mean, tokens.bytes_per_token(domain)),
            "n_eval_tokens": len(losses) * decoder.spec.context_length,
        })  # fmt: skip

    first, n_subset = tokens.domains[0], spec.recording.subset_blocks
    losses = {
        domain: block_losses(decoder, tokens.validation(domain), None if full else n_subset, workers)
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
