"""The decoder: token and rotary embedding, pre-norm blocks of attention and feed-forward, a norm and a head.

Shape legend: B sequences, T tokens per sequence, N = B·T, D d_model, H heads, K d_head, F d_ff, V vocabulary.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from glidepath.study.forward_constants import logits_multiplier, residual_multiplier
from glidepath.study.specs import ModelSpec
from glidepath.training import layers
from glidepath.training.parameters import ALIGNMENT, LayerType, Layout, initial_values, matrix_layer_type
from glidepath.training.per_example import (
    embedding_sq_norms,
    gain_sq_norms,
    linear_weight_sq_norms,
    tied_cross_terms,
)

Probe = Literal["none", "norms", "all"]
"""Of which layers per-example gradient norms are taken: of none, of the norm layers, of all."""
SqNorms = dict[LayerType, list[Tensor]]
"""|g_b|² of one layer after another, each [B], by layer type."""


class SavedBlock(NamedTuple):
    """What the backward pass of one block needs of its forward pass."""

    attention_norm: layers.SavedNorm
    normed_ND: Tensor
    q_norm: layers.SavedNorm | None
    k_norm: layers.SavedNorm | None
    attention_backward: layers.AttentionBackward
    attended_ND: Tensor
    feed_forward_norm: layers.SavedNorm
    feed_forward_normed_ND: Tensor
    activation: layers.SavedActivation
    activated_NF: Tensor


class Activations(NamedTuple):
    """What one forward pass computes at every place; lists have an entry per block."""

    embedding_ND: Tensor
    attention_ND: list[Tensor]
    """Outputs of the attention blocks, before they join the residual stream."""
    feed_forward_ND: list[Tensor]
    """Outputs of the feed-forward blocks, likewise."""
    residual_ND: Tensor
    """The residual stream after the last block, before the final norm."""
    logits_NV: Tensor
    matrix_inputs: dict[str, Tensor]
    """What every matrix and the head are multiplied with, by the parameter's name, [N, in]."""


class Decoder:
    """Weights and gradients in two flat buffers, with the forward and the backward pass.

    The buffers are float32 (or `dtype`); with `matmul_dtype` bfloat16 the matrices are rounded once per pass,
    products run in bfloat16, the residual stream, norms, loss and gradients stay float32.
    """

    def __init__(
        self,
        spec: ModelSpec,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        matmul_dtype: torch.dtype | None = None,
        n_slices: int = 1,
    ) -> None:
        self.spec = spec
        self.device = torch.device(device)
        self.matmul_dtype = matmul_dtype or dtype
        self.layout = Layout(spec, n_slices)
        self.flat_weights = torch.zeros(self.layout.size, dtype=dtype, device=self.device)
        self.flat_gradients = torch.zeros_like(self.flat_weights)
        self.weights = self.layout.views(self.flat_weights)
        self.gradients = self.layout.views(self.flat_gradients)
        table = layers.rotary_table(spec.context_length, spec.d_head, spec.rope_base, self.device)
        self.rotary = table.to(torch.float32 if self.matmul_dtype == torch.bfloat16 else self.matmul_dtype)
        self.logits_multiplier = logits_multiplier(spec)
        self.residual_multiplier = residual_multiplier(spec)
        self.head_name = "embedding" if spec.tied_embeddings else "head"
        self.head_type: LayerType = "embedding_head" if spec.tied_embeddings else "head"
        self.embedding_type: LayerType = "embedding_head" if spec.tied_embeddings else "embedding"
        (norms,) = (stretch for stretch in self.layout.stretches if stretch.layer_type == "norm")
        self._gain_gradients = self.flat_gradients[norms.begin : norms.end]

    @property
    def context_length(self) -> int:
        """Tokens per sequence."""
        return self.spec.context_length

    def initialise(self, init_seed: int) -> None:
        """Set the weights to the initial values of a seed, on any device the same."""
        for name, values in initial_values(self.spec, init_seed).items():
            self.weights[name].copy_(values)

    def logits(self, inputs_BT: Tensor) -> Tensor:
        """Logits of the next token, [B·T, V]."""
        return self._forward(inputs_BT, self._rounded_weights(), None)[0]

    def activations(self, inputs_BT: Tensor) -> Activations:
        """What `logits` computes on its way, recomputed from what the forward pass saves for the backward pass, so
        that training is not slowed by it."""
        weights = self._rounded_weights()
        saved: list[SavedBlock] = []
        logits_NV, _, normed_ND = self._forward(inputs_BT, weights, saved)
        expand = "gate_up" if self.spec.feed_forward == "swiglu" else "up"
        matrix_inputs: dict[str, Tensor] = {self.head_name: normed_ND}
        for i, block in enumerate(saved):
            matrix_inputs |= {
                f"blocks.{i}.qkv": block.normed_ND,
                f"blocks.{i}.attention_out": block.attended_ND,
                f"blocks.{i}.{expand}": block.feed_forward_normed_ND,
                f"blocks.{i}.down": block.activated_NF,
            }

        def outputs(name: str) -> list[Tensor]:
            names = [f"blocks.{i}.{name}" for i in range(self.spec.n_layer)]
            return [layers.linear(matrix_inputs[matrix], weights[matrix]) for matrix in names]

        embedding_ND = F.embedding(inputs_BT.flatten(), self.weights["embedding"])
        attention_ND, feed_forward_ND = outputs("attention_out"), outputs("down")
        branches_ND = torch.stack([*attention_ND, *feed_forward_ND]).sum(0)
        residual_ND = embedding_ND + self._branch(branches_ND)
        return Activations(embedding_ND, attention_ND, feed_forward_ND, residual_ND, logits_NV, matrix_inputs)

    def token_losses(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Loss of every token [nats], shape [B, T]."""
        losses_N = layers.cross_entropy(self.logits(inputs_BT), targets_BT.flatten())
        return losses_N.view(targets_BT.shape)

    def layer_types(self, probe: Probe) -> list[LayerType]:
        """The rows of what `accumulate_gradients` returns for a probe."""
        if probe == "all":
            return self.layout.layer_types
        return ["norm"] if probe == "norms" else []

    def accumulate_gradients(
        self, inputs_BT: Tensor, targets_BT: Tensor, scale: float, probe: Probe = "none"
    ) -> tuple[Tensor, Tensor | None]:
        """Add d(scale·Σ token losses)/dweights to the gradients; returns Σ token losses and, for a probe, the squared
        norms that every example's part of it has in every type of layer, float64 [types, B].

        With scale = 1/(tokens of the whole batch) the micro-batches of one update add up to the gradient of the mean
        loss.

        A probe changes no bit of the gradients, since cells that are probed share trunks with cells that are not. So a
        matrix' gradient stays one product over all examples, and its examples' norms are made of the same operands once
        more: at most another such product, a third of what training costs.
        """
        B, T = inputs_BT.shape
        weights, gradients = self._rounded_weights(), self.gradients
        dgains: dict[str, Tensor] = {}
        sq_norms: SqNorms | None = {name: [] for name in self.layout.layer_types} if probe == "all" else None
        saved: list[SavedBlock] = []
        logits_NV, final_norm, normed_ND = self._forward(inputs_BT, weights, saved)
        losses_N, dlogits_NV = layers.cross_entropy_with_gradient(logits_NV, targets_BT.flatten(), scale)

        dlogits_NV = dlogits_NV.to(self.matmul_dtype)
        if self.logits_multiplier != 1.0:
            dlogits_NV *= self.logits_multiplier
        layers.accumulate_linear_gradient(gradients[self.head_name], dlogits_NV, normed_ND)
        dnormed_ND = layers.linear_backward(dlogits_NV, weights[self.head_name])
        dx_ND = self._norm_backward("final_norm", dnormed_ND, final_norm, B, dgains)

        for i in reversed(range(self.spec.n_layer)):
            dx_ND = self._block_backward(i, dx_ND, saved.pop(), weights, (B, T), dgains, sq_norms)

        gradients["embedding"].index_add_(0, inputs_BT.flatten(), dx_ND.to(gradients["embedding"].dtype))
        dgains_BG = self._side_by_side(dgains)
        self._gain_gradients += dgains_BG.sum(0)
        total_loss = losses_N.sum(dtype=torch.float64)
        if probe == "none":
            return total_loss, None
        norms_B = gain_sq_norms(dgains_BG)
        if sq_norms is None:
            return total_loss, norms_B[None]
        dx_BTD, normed_BTD, dlogits_BTV = (x.view(B, T, -1) for x in (dx_ND, normed_ND, dlogits_NV))
        sq_norms["norm"].append(norms_B)
        sq_norms[self.head_type].append(linear_weight_sq_norms(normed_BTD, dlogits_BTV))
        sq_norms[self.embedding_type].append(embedding_sq_norms(inputs_BT, dx_BTD))
        if self.spec.tied_embeddings:
            sq_norms["embedding_head"].append(tied_cross_terms(inputs_BT, dx_BTD, normed_BTD, dlogits_BTV))
        return total_loss, torch.stack([torch.stack(norms).sum(0) for norms in sq_norms.values()])

    def _rounded_weights(self) -> dict[str, Tensor]:
        """The weights as the products use them: matrices in `matmul_dtype`, gains as they are."""
        if self.matmul_dtype == self.flat_weights.dtype:
            return self.weights
        return {name: w.to(self.matmul_dtype) if w.dim() == 2 else w for name, w in self.weights.items()}

    def _forward(
        self, inputs_BT: Tensor, weights: dict[str, Tensor], saved: list[SavedBlock] | None
    ) -> tuple[Tensor, layers.SavedNorm, Tensor]:
        """Logits [N, V], with what the backward pass of norm and head needs; blocks append theirs to
        `saved`."""
        T = inputs_BT.shape[1]
        x_ND = F.embedding(inputs_BT.flatten(), self.weights["embedding"])
        for i in range(self.spec.n_layer):
            x_ND, block = self._block(i, x_ND, weights, T)
            if saved is not None:
                saved.append(block)
        normed_ND, final_norm = layers.norm(self.spec.norm, x_ND, weights["final_norm"])
        logits_NV = layers.linear(normed_ND, weights[self.head_name])
        if self.logits_multiplier != 1.0:
            logits_NV = logits_NV * self.logits_multiplier
        return logits_NV, final_norm, normed_ND

    def _block(self, i: int, x_ND: Tensor, weights: dict[str, Tensor], T: int) -> tuple[Tensor, SavedBlock]:
        spec, block = self.spec, f"blocks.{i}"
        table = self.rotary[:T]
        normed_ND, attention_norm = layers.norm(spec.norm, x_ND, weights[f"{block}.attention_norm"])
        qkv = layers.linear(normed_ND, weights[f"{block}.qkv"]).view(-1, T, 3, spec.n_head, spec.d_head)
        q_BTHK, k_BTHK, v_BTHK = qkv.unbind(2)
        q_norm = k_norm = None
        if spec.qk_norm:
            q_BTHK, q_norm = layers.norm("rmsnorm", q_BTHK, weights[f"{block}.q_norm"])
            k_BTHK, k_norm = layers.norm("rmsnorm", k_BTHK, weights[f"{block}.k_norm"])
        q_BTHK, k_BTHK = (layers.rotate(layers.head_by_head(x_BTHK), table) for x_BTHK in (q_BTHK, k_BTHK))
        q_BTHK, k_BTHK = q_BTHK.to(v_BTHK.dtype), k_BTHK.to(v_BTHK.dtype)
        attended, attention_backward = layers.causal_attention(q_BTHK, k_BTHK, v_BTHK)
        attended_ND = attended.reshape(x_ND.shape[0], -1)
        x_ND.add_(layers.linear(attended_ND, weights[f"{block}.attention_out"]), alpha=self.residual_multiplier)

        expand = f"{block}.gate_up" if spec.feed_forward == "swiglu" else f"{block}.up"
        ff_normed_ND, feed_forward_norm = layers.norm(spec.norm, x_ND, weights[f"{block}.feed_forward_norm"])
        hidden_NF = layers.linear(ff_normed_ND, weights[expand])
        activated_NF, activation = layers.feed_forward_activation(spec.feed_forward, hidden_NF)
        x_ND.add_(layers.linear(activated_NF, weights[f"{block}.down"]), alpha=self.residual_multiplier)
        return x_ND, SavedBlock(
            attention_norm, normed_ND, q_norm, k_norm, attention_backward, attended_ND,
            feed_forward_norm, ff_normed_ND, activation, activated_NF,
        )  # fmt: skip

    def _block_backward(
        self,
        i: int,
        dx_ND: Tensor,
        saved: SavedBlock,
        weights: dict[str, Tensor],
        sizes: tuple[int, int],
        dgains: dict[str, Tensor],
        sq_norms: SqNorms | None,
    ) -> Tensor:
        B, T = sizes
        spec, block = self.spec, f"blocks.{i}"
        table = self.rotary[:T]
        expand = f"{block}.gate_up" if spec.feed_forward == "swiglu" else f"{block}.up"
        dactivated_NF = self._linear_backward(
            f"{block}.down", self._branch(dx_ND), saved.activated_NF, weights, B, sq_norms
        )
        dhidden_NF = layers.feed_forward_activation_backward(spec.feed_forward, dactivated_NF, saved.activation)
        dnormed_ND = self._linear_backward(expand, dhidden_NF, saved.feed_forward_normed_ND, weights, B, sq_norms)
        self._norm_backward(f"{block}.feed_forward_norm", dnormed_ND, saved.feed_forward_norm, B, dgains, dx_ND)

        dattended_ND = self._linear_backward(
            f"{block}.attention_out", self._branch(dx_ND), saved.attended_ND, weights, B, sq_norms
        )
        do_BTHK = dattended_ND.view(-1, T, spec.n_head, spec.d_head)
        dq_BTHK, dk_BTHK, dv_BTHK = saved.attention_backward(do_BTHK)
        dq_BTHK, dk_BTHK = (layers.rotate(d_BTHK, table, inverse=True) for d_BTHK in (dq_BTHK, dk_BTHK))
        if saved.q_norm and saved.k_norm:
            dq_BTHK = self._norm_backward(f"{block}.q_norm", dq_BTHK, saved.q_norm, B, dgains)
            dk_BTHK = self._norm_backward(f"{block}.k_norm", dk_BTHK, saved.k_norm, B, dgains)
        dqkv = dv_BTHK.new_empty(do_BTHK.shape[0], T, 3, spec.n_head, spec.d_head)
        dqkv[:, :, 0], dqkv[:, :, 1], dqkv[:, :, 2] = dq_BTHK, dk_BTHK, dv_BTHK
        dqkv_NO = dqkv.flatten(0, 1).flatten(1)
        dnormed_ND = self._linear_backward(f"{block}.qkv", dqkv_NO, saved.normed_ND, weights, B, sq_norms)
        self._norm_backward(f"{block}.attention_norm", dnormed_ND, saved.attention_norm, B, dgains, dx_ND)
        return dx_ND

    def _branch(self, x_ND: Tensor) -> Tensor:
        """What a residual branch adds, from its output; and the gradient of its output, from that of the sum."""
        return x_ND if self.residual_multiplier == 1.0 else x_ND * self.residual_multiplier

    def _linear_backward(
        self,
        name: str,
        dy_NO: Tensor,
        x_ND: Tensor,
        weights: dict[str, Tensor],
        n_examples: int,
        sq_norms: SqNorms | None,
    ) -> Tensor:
        dy_NO = dy_NO.to(self.matmul_dtype)
        layers.accumulate_linear_gradient(self.gradients[name], dy_NO, x_ND)
        if sq_norms is not None:
            x_BTD, dy_BTO = (x.view(n_examples, -1, x.shape[1]) for x in (x_ND, dy_NO))
            sq_norms[matrix_layer_type(name)].append(linear_weight_sq_norms(x_BTD, dy_BTO))
        return layers.linear_backward(dy_NO, weights[name])

    def _norm_backward(
        self,
        name: str,
        dy_D: Tensor,
        saved: layers.SavedNorm,
        n_examples: int,
        dgains: dict[str, Tensor],
        onto_ND: Tensor | None = None,
    ) -> Tensor:
        """dx; the gradients of the gain by example, [B, D], are left in `dgains`."""
        kind = "rmsnorm" if name.endswith(("q_norm", "k_norm")) else self.spec.norm
        dx_D, dgains[name] = layers.norm_backward(kind, dy_D, self.weights[name], saved, n_examples, onto_ND)
        return dx_D

    def _side_by_side(self, dgains: dict[str, Tensor]) -> Tensor:
        """All gains' gradients by example as the flat buffer has them, gaps included, [B, G]."""
        parts_BD = []
        for p in self.layout.of_kind("norm"):
            parts_BD.append(dgains[p.name])
            if gap := -p.size % ALIGNMENT:
                parts_BD.append(dgains[p.name].new_zeros(dgains[p.name].shape[0], gap))
        return torch.cat(parts_BD, 1)
