"""Squared gradient norms of single examples (sequences), from the operands of the ordinary backward pass.

Gray et al. 2024 (arXiv 2411.00999). For y = x·Wᵀ the gradient of example b is Σ_t dy_bt ⊗ x_bt; its squared
norm is taken either from that matrix ("simultaneous") or, without it, as Σ_ts (x_bt·x_bs)(dy_bt·dy_bs)
("Gram", Li et al. 2022). For a gain it is |Σ_t dy_bt·x̂_bt|². An embedding is a Linear whose inputs are
one-hot, so x_bt·x_bs is 1 where the ids agree. Norms add over parameters, but the two uses of a tied
embedding share one parameter: there |a + h|² needs the cross term 2·a·h as well, which in a small model is
1–2 % of the whole.

Operands arrive as d(Σ loss/(B·T)), so every example's gradient comes divided by B. With g_b the gradient of
example b's own mean loss, mean_b |g_b|² is therefore B times the sum Σ_b |g_b/B|² that is collected here. Norms
are sums over the whole batch and do not depend on its split into micro-batches.

Shape legend: B sequences, T tokens, N = B·T, D inputs, O outputs, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class PerExampleNorms:
    """Collects the squared norms of the examples of one update, by kind of parameter."""

    def __init__(self, context_length: int) -> None:
        self.context_length = context_length
        self._sums: dict[str, Tensor] = {}

    def linear(self, kind: str, x_ND: Tensor, dy_NO: Tensor) -> None:
        """A matrix with inputs x and output gradients dy; Gram form when it is the smaller one (2T² <
        D·O)."""
        x_BTD, dy_BTO = self._per_example(x_ND), self._per_example(dy_NO)
        T, n_weights = x_BTD.shape[1], x_BTD.shape[2] * dy_BTO.shape[2]
        if n_weights > 2 * T * T:
            self._add(kind, (x_BTD @ x_BTD.mT) * (dy_BTO @ dy_BTO.mT))
        else:
            self._add(kind, (dy_BTO.mT @ x_BTD).square())

    def gain(self, kind: str, dgain_terms_D: Tensor) -> None:
        """The gain of a norm, from dy·x̂, [N, D] or, for the norms of queries and keys, [B, T, heads, D]."""
        heads = dgain_terms_D.shape[2] if dgain_terms_D.dim() == 4 else 1
        terms = dgain_terms_D.reshape(-1, self.context_length * heads, dgain_terms_D.shape[-1])
        self._add(kind, terms.sum(1).square())

    def embedding(self, kind: str, inputs_BT: Tensor, dx_ND: Tensor) -> None:
        """An embedding table, from the gradients of its outputs."""
        dx_BTD = self._per_example(dx_ND)
        same_id_BTT = inputs_BT[:, :, None] == inputs_BT[:, None, :]
        self._add(kind, (dx_BTD @ dx_BTD.mT) * same_id_BTT)

    def tied_cross_term(self, inputs_BT: Tensor, dx_ND: Tensor, normed_ND: Tensor, dlogits_NV: Tensor) -> None:
        """2·(gradient as embedding)·(gradient as head) = 2·Σ_ts (dx_t·normed_s)·dlogits_s[id of t]."""
        dx_BTD, normed_BTD = self._per_example(dx_ND), self._per_example(normed_ND)
        dlogits_BTV = self._per_example(dlogits_NV)
        B, T = inputs_BT.shape
        dlogits_BST = dlogits_BTV.gather(2, inputs_BT[:, None, :].expand(B, T, T))
        self._add("embedding_head", 2.0 * (normed_BTD @ dx_BTD.mT) * dlogits_BST)

    def sums(self, kinds: Sequence[str], device: torch.device) -> Tensor:
        """Σ_b |g_b/B|² by kind over the examples seen so far, zero if there were none, float64 [kinds]."""
        nothing = torch.zeros((), dtype=torch.float64, device=device)
        return torch.stack([self._sums.get(kind, nothing) for kind in kinds])

    def _per_example(self, x_ND: Tensor) -> Tensor:
        x_ND = x_ND.float() if x_ND.dtype == torch.bfloat16 else x_ND
        return x_ND.view(-1, self.context_length, x_ND.shape[-1])

    def _add(self, kind: str, terms: Tensor) -> None:
        total = terms.sum(dtype=torch.float64)
        self._sums[kind] = self._sums[kind] + total if kind in self._sums else total
