"""A model on its way along a trajectory: its weights, its optimizer, and one update of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from glidepath.study.specs import SegmentSpec
from glidepath.training.batches import TokenStore, batch
from glidepath.training.device import Machine, matmul_dtype
from glidepath.training.evaluation import block_losses, mean_and_sem
from glidepath.training.model import Decoder, Probe
from glidepath.training.optimizer import clip_gradients, make_optimizer
from glidepath.training.parameters import LayerType
from glidepath.training.per_example import square_sums
from glidepath.training.plateau import Plateau
from glidepath.training.whole_buffers import WholeBuffers
from glidepath.training.workers import Workers


@dataclass(frozen=True)
class Update:
    """What one update was. Numbers are tensors of the device: reading them waits for it."""

    step: int
    lr: float
    """Applied, a plateau's factor included."""
    train_loss: Tensor
    """Of the whole batch before the update [nats/token]."""
    grad_norm: Tensor
    """Before clipping."""
    grad_norm_l1: Tensor | None
    """Sum of magnitudes before clipping, where norms were asked for."""
    weights_before: Tensor | None
    """This process' slice of the weights before the update, where norms were asked for."""
    sq_norms: dict[LayerType, Tensor]
    """By type of layer, where a probe was asked for: mean |g_b|² of single sequences and |g|² of the batch, before
    clipping, [2]."""


class Trainer:
    """Weights, optimizer and plateau of a segment's trajectory, in one of its processes.

    `tensors` is its state by name: in the leader all of it, elsewhere the plateau's.
    """

    def __init__(
        self, spec: SegmentSpec, tokens: TokenStore, machine: Machine, device: torch.device, workers: Workers
    ) -> None:
        trajectory = spec.trajectory
        self.trajectory, self.tokens, self.machine, self.device, self.workers = (
            trajectory,
            tokens,
            machine,
            device,
            workers,
        )
        self.path = trajectory.path.arrays()
        self.decoder = Decoder(
            trajectory.model, device=device, matmul_dtype=matmul_dtype(device), n_slices=workers.size
        )
        self.decoder.initialise(trajectory.init_seed)
        self._gradients = workers.own(self.decoder.flat_gradients)
        groups = workers.own_groups(self.decoder.layout.groups, self.decoder.layout.size)
        weights = workers.own(self.decoder.flat_weights)
        self.optimizer = make_optimizer(trajectory.optimizer, weights, self._gradients, groups, self.path)
        self.plateau = Plateau(trajectory.plateau) if trajectory.plateau else None
        self.whole = WholeBuffers(workers, self.decoder.layout, self.optimizer.buffers)
        self.tensors = self.whole.tensors | ({"plateau": self.plateau.tensor} if self.plateau else {})
        gradients = self.decoder.accumulate_gradients
        self._accumulate_gradients = torch.compile(gradients) if machine.compile else gradients

    @property
    def weights(self) -> Tensor:
        """This process' slice of the weights that are evaluated, averaged and kept."""
        return self.optimizer.buffers["weights"]

    def begin(self, updates_done: int) -> None:
        """Go on from the state that the leader has loaded into `tensors`, or from initialisation."""
        if updates_done > 0:
            self.whole.scatter()
            if self.plateau:
                self.plateau.tensor.copy_(self.workers.as_leader_has(self.plateau.tensor))
        self.optimizer.restored(updates_done)
        self.workers.join_slices(self.decoder.flat_weights)

    def update(self, step: int, norms: bool, probe: Probe) -> Update:
        """Apply update `step` (0-based); with its costly norms and with per-example norms where asked for.

        Micro-losses are scaled by the whole batch, so that their gradients add up to that of the mean.
        """
        context_length, n = self.trajectory.model.context_length, int(self.path.batch_sequences[step])
        scale = 1.0 / (n * context_length)
        layer_types = self.decoder.layer_types(probe)
        self.decoder.flat_gradients.zero_()
        k = len(layer_types)
        sums = torch.zeros(1 + 2 * k, dtype=torch.float64, device=self.device)
        total_loss, small, big = sums[:1], sums[1 : 1 + k], sums[1 + k :]
        share = self.workers.share(n)
        for micro_BT in self._micro_batches(int(self.path.positions[step]) + share.start, len(share)):
            loss, sq_norms = self._accumulate_gradients(micro_BT[:, :-1], micro_BT[:, 1:], scale, probe)
            total_loss += loss
            if sq_norms is not None:
                # Each is that of g_b/n, and mean |g_b|² is n·Σ|g_b/n|².
                small.add_(sq_norms.sum(1), alpha=n)
        self.workers.sum_into_slices(self.decoder.flat_gradients)
        if layer_types:
            big += self._batch_sq_norms(layer_types)
        self.workers.sum(sums)
        grad_norm_l1 = self.workers.norm(self._gradients, 1) if norms else None
        grad_norm = clip_gradients(self._gradients, self.trajectory.optimizer.grad_clip_norm, self.workers)
        before = self.weights.clone() if norms else None
        lr_factor = self.plateau.lr_factor if self.plateau else 1.0
        self.optimizer.update(step, lr_factor)
        self.workers.join_slices(self.decoder.flat_weights)
        return Update(
            step=step,
            lr=float(self.path.lr[step]) * lr_factor,
            train_loss=total_loss[0] / (n * context_length),
            grad_norm=grad_norm,
            grad_norm_l1=grad_norm_l1,
            weights_before=before,
            sq_norms=dict(zip(layer_types, torch.stack([small, big], 1), strict=True)),
        )

    def observe(self, plateau: Plateau) -> None:
        """The evaluation that decides whether the learning rate falls."""
        first = self.tokens.validation(self.tokens.domains[0])
        with self.evaluated_weights():
            losses = block_losses(self.decoder, first, plateau.spec.subset_blocks, self.workers)
        plateau.observe(mean_and_sem(losses)[0])

    @contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """Within it the model's weights are, in every process, those that are evaluated."""
        with self.optimizer.evaluated_weights():
            self.workers.join_slices(self.decoder.flat_weights)
            yield
        self.workers.join_slices(self.decoder.flat_weights)

    def _micro_batches(self, first: int, n: int) -> Iterator[Tensor]:
        """Sequences first … first+n-1 of the walk on the device, in as few passes of nearly equal size as fit.

        From pinned memory, so that the copy does not wait for what the device is still doing.
        """
        if n == 0:
            return
        ids = batch(self.tokens.train, self.trajectory.data_seed, first, n, self.trajectory.model.context_length)
        ids_BT = torch.from_numpy(ids)
        if self.device.type == "cuda":
            ids_BT = ids_BT.pin_memory().to(self.device, non_blocking=True)
        yield from torch.tensor_split(ids_BT, -(-n // (self.machine.micro_batch_sequences or n)))

    def _batch_sq_norms(self, layer_types: list[LayerType]) -> Tensor:
        """|g|² of the whole batch in this process' slice of the gradients, by type of layer, float64 [types]."""
        self.workers.clear_others(self.decoder.flat_gradients)
        squares: dict[LayerType, list[Tensor]] = {layer_type: [] for layer_type in layer_types}
        for s in self.decoder.layout.stretches:
            if s.layer_type in squares:
                squares[s.layer_type].append(square_sums(self.decoder.flat_gradients[None, s.begin : s.end]))
        return torch.stack([torch.cat(of_type).sum() for of_type in squares.values()])
