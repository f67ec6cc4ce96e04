"""The training loop: one segment of a trajectory, from its parent's state to its own.

All per-update quantities are arrays computed before the first update; the loop only reads them at the update
index.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
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

DIVERGENCE_FACTOR = 2.0


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
) -> SegmentResult:
    """Train updates `start … stop-1` of a trajectory and write its state and snapshots.

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
    with locked(scratch), sigterm_noted() as asked_to_end:
        device = configure(machine)

        # -- a diverged parent has no state to continue from
        recorder = Recorder()
        last_loss: float | None = None
        if parent_state is not None:
            parent = load_header(parent_state, trajectory.clip(spec.start))
            last_loss = parent.last_finite_loss
            if parent.status == "diverged":
                header = StateHeader(trajectory.digest, spec.stop, "diverged", parent.diverged_step, last_loss)
                return _finish(spec, header, {}, recorder, watch, scratch, state_out, snapshots_out)

        # -- the state at `start`, or where a killed job left off
        decoder = Decoder(model, device=device, matmul_dtype=matmul_dtype(device))
        decoder.initialise(trajectory.init_seed)
        buffers = (decoder.flat_weights, decoder.flat_gradients)
        optimizer = make_optimizer(trajectory.optimizer, *buffers, decoder.layout.groups, path)
        plateau = Plateau(trajectory.plateau) if trajectory.plateau else None
        tensors = state_tensors(decoder, optimizer, plateau)
        begin = spec.start
        if saved := load_progress(scratch, spec.digest, tensors):
            begin, last_loss, recorder = saved.updates_done, saved.last_loss, saved.recorder
            watch.seconds, watch.timed_tokens = saved.seconds, saved.timed_tokens
        elif parent_state is not None:
            load_tensors(parent_state, tensors)
        optimizer.restored(begin)
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
            ids = batch(tokens.train, trajectory.data_seed, int(path.positions[s]), n, model.context_length)
            ids_BT = torch.from_numpy(ids).to(device)
            decoder.flat_gradients.zero_()
            loss = torch.zeros((), dtype=torch.float64, device=device)
            for micro_BT in torch.split(ids_BT, machine.micro_batch_sequences or n):
                inputs_BT, targets_BT = micro_BT[:, :-1], micro_BT[:, 1:]
                if probe:
                    loss += decoder.accumulate_gradients(inputs_BT, targets_BT, 1.0 / batch_tokens, probe)
                else:
                    loss += accumulate_gradients(inputs_BT, targets_BT, 1.0 / batch_tokens)
            probe_rows = _probe_rows(probe, decoder, n, s, int(tokens_seen[updates_done])) if probe else []
            grad_norm_l1 = torch.linalg.vector_norm(decoder.flat_gradients, 1) if norms_taken else None
            grad_norm = clip_gradients(decoder.flat_gradients, trajectory.optimizer.grad_clip_norm)
            before = optimizer.buffers["weights"].clone() if norms_taken else None
            optimizer.update(s, lr_factor)
            unread.append((s, loss / batch_tokens, grad_norm))
            if probe:
                watch.lap("probes", device)
            else:
                watch.timed_tokens += batch_tokens

            # Reading a number waits for the device: on a GPU only when something is to be written down.
            evaluated = updates_done in subset_at or updates_done in full_at
            judged = plateau is not None and plateau.due(updates_done)
            due = norms_taken or evaluated or judged or updates_done in snapshot_at or updates_done in probe_at
            save = asked_to_end.is_set() or time.monotonic() - last_saved >= resume_every_seconds
            if not (due or save or device.type == "cpu"):
                continue
            steps = [step for step, _, _ in unread]
            for step, train_loss, norm in zip(steps, *_read(unread), strict=True):
                if has_diverged(train_loss, norm, model.vocab_size):
                    diverged_step = step
                    break
                last_loss = train_loss
                norms = {"grad_norm_l1": math.nan, "update_norm": math.nan, "param_norm": math.nan}
                if step == s and before is not None and grad_norm_l1 is not None:
                    weights = optimizer.buffers["weights"]
                    norms = {
                        "grad_norm_l1": float(grad_norm_l1),
                        "update_norm": _norm(weights - before),
                        "param_norm": _norm(weights),
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
            if norms_taken:
                progress(updates_done)
            for row in probe_rows:
                recorder.add("gradient_statistics", row)
            if evaluated:
                watch.lap("updates", device)
                seen = int(tokens_seen[updates_done])
                with optimizer.evaluated_weights():
                    _evaluate(recorder, decoder, tokens, spec, updates_done, seen, updates_done in full_at)
                watch.lap("evaluation", device)
            if plateau is not None and judged:
                watch.lap("updates", device)
                with optimizer.evaluated_weights():
                    judging = tokens.validation(tokens.domains[0])
                    plateau.observe(mean_and_sem(block_losses(decoder, judging, plateau.spec.subset_blocks))[0])
                watch.lap("evaluation", device)
            if updates_done in snapshot_at:
                watch.lap("updates", device)
                weights = optimizer.buffers["weights"]
                snapshots.save_part(scratch, updates_done, decoder.layout.views(weights))
                watch.lap("snapshots", device)
            if save and updates_done < spec.stop:
                watch.lap("updates", device)
                now = Progress(updates_done, last_loss, recorder, watch.seconds, watch.timed_tokens)
                save_progress(scratch, spec.digest, now, tensors)
                last_saved = time.monotonic()
                watch.lap("snapshots", device)
                if asked_to_end.is_set():
                    raise SystemExit(128 + 15)
        watch.lap("updates", device)

        status: Literal["completed", "diverged"] = "completed" if diverged_step is None else "diverged"
        header = StateHeader(trajectory.digest, spec.stop, status, diverged_step, last_loss)
        kept = tensors if status == "completed" else {}
        return _finish(spec, header, kept, recorder, watch, scratch, state_out, snapshots_out)


def state_tensors(decoder: Decoder, optimizer: Optimizer, plateau: Plateau | None) -> dict[str, torch.Tensor]:
    """The tensors of a state by name, as views of the live buffers."""
    views = {
        f"{buffer}/{name}": tensor
        for buffer, flat in optimizer.buffers.items()
        for name, tensor in decoder.layout.views(flat).items()
    }
    return views | ({"plateau": plateau.tensor} if plateau else {})


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


def _read(unread: list[tuple[int, torch.Tensor, torch.Tensor]]) -> tuple[list[float], list[float]]:
    """Losses and gradient norms as numbers, in one transfer."""
    values = torch.stack([x.double() for _, *pair in unread for x in pair]).tolist()
    return values[0::2], values[1::2]


def _norm(flat: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(flat))


def _probe_rows(
    probe: PerExampleNorms, decoder: Decoder, n: int, step: int, tokens_seen: int
) -> list[dict[str, float | int | str]]:
    """Squared norms of single sequences and of the whole batch, by kind of parameter, before clipping."""
    rows: list[dict[str, float | int | str]] = []
    for kind, small in probe.mean_squared_norms(n).items():
        big = sum(
            float(decoder.gradients[p.name].square().sum(dtype=torch.float64))
            for p in decoder.layout.parameters
            if p.kind == kind
        )
        rows.append({
            "step": step, "tokens_seen": tokens_seen, "group": kind, "grad_sq_norm_small": small,
            "grad_sq_norm_big": big, "small_batch_tokens": decoder.spec.context_length,
            "big_batch_tokens": n * decoder.spec.context_length,
        })  # fmt: skip
    return rows


def _evaluate(
    recorder: Recorder,
    decoder: Decoder,
    tokens: TokenStore,
    spec: SegmentSpec,
    updates_done: int,
    tokens_seen: int,
    full: bool,
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
        domain: block_losses(decoder, tokens.validation(domain), None if full else n_subset)
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
) -> SegmentResult:
    """Write snapshots and state, return the rest."""
    parts = [snapshots.part_path(scratch, u) for u in sorted(set(spec.recording.snapshot_at))]
    metadata = {"trajectory_digest": spec.trajectory.digest, "segment_digest": spec.digest}
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
