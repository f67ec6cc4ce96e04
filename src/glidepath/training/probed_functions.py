"""The autograd functions of `probed_modules.py`: what torch's layers compute, and in the backward pass besides the
squared gradient norm of every example.

Each takes one tensor more than its layer, `leaf`, of B+1 numbers that nobody reads. Its gradient is where the squared
norms leave the backward pass, with a 1 behind them that counts uses. A weight gradient is the sum of the matrices of
the examples where these are formed ("simultaneous", Gray et al. 2024, arXiv 2411.00999): then there is no second
product. Otherwise there are the ordinary product and the Gram form (`per_example.py`, which chooses).

Products run in the precision of their operands, norms in float32 at least.

Shape legend: B examples, T tokens (or whatever lies between the first and the last dimension), D inputs, O outputs,
V vocabulary, I inputs or tokens.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from glidepath.training.per_example import (
    bias_sq_norms,
    embedding_sq_norms,
    gain_sq_norms,
    gram_is_cheaper,
    gram_sq_norms,
    square_sums,
    weight_gradients,
)

NUMBERS_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 26}
"""Of the matrices of examples, how many are formed at once: 1 MiB, 256 MiB."""


class Linear(torch.autograd.Function):
    """x·Wᵀ + c. A tied head also takes the ids [B, T] of the embedding and its carrier, whose gradient becomes the rows
    of this layer's gradient that belong to the ids."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_OD: Tensor,
        bias_O: Tensor | None,
        leaf: Tensor,  # noqa: ARG004
        ids_BT: Tensor | None,
        carrier_BTD: Tensor | None,  # noqa: ARG004
    ) -> Tensor:
        ctx.save_for_backward(x, weight_OD, ids_BT)
        return F.linear(x, weight_OD, bias_O)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_OD, ids_BT = ctx.saved_tensors
        needs_dx, needs_dweight, needs_dbias, *_ = ctx.needs_input_grad
        B = dy.shape[0]
        dx = dweight_OD = dbias_O = rows_BTD = None
        with torch.autocast(dy.device.type, enabled=False):
            x_BTD, dy_BTO = x.reshape(B, -1, x.shape[-1]), dy.reshape(B, -1, dy.shape[-1])
            squares_B = torch.zeros(B, dtype=torch.float64, device=dy.device)
            if needs_dx:
                dx = dy @ weight_OD
            if needs_dweight:
                gradient = _with_gram if _gram_is_cheaper(x_BTD, dy_BTO) else _simultaneously
                dweight_DO, of_weight_B, rows_BTD = gradient(x_BTD, dy_BTO, ids_BT)
                dweight_OD = dweight_DO.t().to(weight_OD.dtype)
                squares_B += of_weight_B
            if needs_dbias:
                dbias_O = dy_BTO.sum((0, 1))
                squares_B += bias_sq_norms(dy_BTO)
        return dx, dweight_OD, dbias_O, _told(squares_B), None, rows_BTD


def _gram_is_cheaper(x_BTD: Tensor, dy_BTO: Tensor) -> bool:
    device_type = dy_BTO.device.type
    return gram_is_cheaper(x_BTD.shape[1], x_BTD.shape[2], dy_BTO.shape[2], device_type, spares_product=True)


def _simultaneously(x_BTD: Tensor, dy_BTO: Tensor, ids_BT: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """The weight gradient (transposed), the squared norms of its examples, and of each example the rows of some ids.

    A few examples at once: on a CPU their matrices stay in the cache, anywhere they take little memory.
    """
    B, _, D = x_BTD.shape
    n = max(1, NUMBERS_AT_ONCE[x_BTD.device.type] // (D * dy_BTO.shape[2]))
    sums: list[Tensor] = []
    squares, rows = [], []
    for first in range(0, B, n):
        some = slice(first, first + n)
        dweights_BDO = weight_gradients(x_BTD[some], dy_BTO[some])
        sums = [sums[0].add_(dweights_BDO.sum(0)) if sums else dweights_BDO.sum(0)]
        squares.append(square_sums(dweights_BDO))
        if ids_BT is not None:
            rows.append(_rows_of_ids(ids_BT[some], dweights_BDO))
    return sums[0], torch.cat(squares), torch.cat(rows) if rows else None


def _with_gram(x_BTD: Tensor, dy_BTO: Tensor, ids_BT: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """The same without the matrices of the examples."""
    dweight_DO = x_BTD.flatten(0, 1).t() @ dy_BTO.flatten(0, 1)
    rows_BTD = None if ids_BT is None else at_least_float32(_rows_of_ids(ids_BT, dy_BTO)) @ at_least_float32(x_BTD)
    return dweight_DO, gram_sq_norms(x_BTD, dy_BTO), rows_BTD


def _rows_of_ids(ids_BT: Tensor, x_BIV: Tensor) -> Tensor:
    """x_b[:, id] for every id of an example, [B, T, I]."""
    return x_BIV.gather(2, ids_BT[:, None, :].expand(-1, x_BIV.shape[1], -1)).mT


class Embedding(torch.autograd.Function):
    """The rows of ids [B, …]."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight_VD: Tensor, leaf: Tensor) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(ids)
        ctx.vocab_size = weight_VD.shape[0]
        return F.embedding(ids, weight_VD)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        return None, _embedding_gradient(ids, dy, ctx.vocab_size), _told(embedding_sq_norms(*_by_example(ids, dy)))


class TiedEmbedding(torch.autograd.Function):
    """`Embedding`, and the carrier: zeros that take no memory and that only the head's backward pass makes use of.

    The squared norm of the sum of both uses' gradients is |e|² + |h|² + 2·e·h. The gradient of the carrier are the rows
    of h that belong to the ids, [B, T, D]: the embedding's backward pass has them in time, in one graph.
    """

    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight_VD: Tensor, leaf: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG004
        ctx.save_for_backward(ids)
        ctx.vocab_size = weight_VD.shape[0]
        ctx.set_materialize_grads(False)
        y = F.embedding(ids, weight_VD)
        zero = torch.zeros((), dtype=at_least_float32(y).dtype, device=y.device)
        return y, zero.expand(ids.shape[0], ids[0].numel(), y.shape[-1])

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, rows_BTD: Tensor | None) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        if dy is None:
            return None, None, None
        ids_BT, dy_BTD = _by_example(ids, dy)
        squares_B = embedding_sq_norms(ids_BT, dy_BTD)
        if rows_BTD is not None:
            squares_B = squares_B + 2.0 * (dy_BTD * rows_BTD).sum(2).sum(1, dtype=torch.float64)
        return None, _embedding_gradient(ids, dy, ctx.vocab_size), _told(squares_B)


def _embedding_gradient(ids: Tensor, dy: Tensor, vocab_size: int) -> Tensor:
    return torch.ops.aten.embedding_dense_backward(dy, ids, vocab_size, -1, False)  # type: ignore[no-any-return]


def _by_example(ids: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """ids_BT, dy_BTD."""
    return ids.flatten(1), dy.reshape(ids.shape[0], -1, dy.shape[-1])


class RMSNorm(torch.autograd.Function):
    """x̂·gain with x̂ = x/√(mean x² + ε) over the dimensions of the gain; backward as `layers.norm_backward`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, leaf: Tensor, eps: float) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(x, gain)
        ctx.eps = eps
        return F.rms_norm(x, gain.shape, gain, eps)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, gain = ctx.saved_tensors
        with torch.autocast(dy.device.type, enabled=False):
            x_BTD, dy_BTD = _rows(x, gain), _rows(dy, gain)
            inverse_rms_BT1 = torch.rsqrt(x_BTD.square().mean(-1, keepdim=True) + ctx.eps)
            xhat_BTD = x_BTD * inverse_rms_BT1
            dgain_terms_BTD = dy_BTD * xhat_BTD
            dgain_BD = dgain_terms_BTD.sum(1)
            dx = None
            if ctx.needs_input_grad[0]:
                gain_D = gain.flatten().to(dy_BTD.dtype)
                projection_BT1 = (dgain_terms_BTD @ gain_D).unsqueeze(-1) / gain_D.shape[0]
                dx_BTD = (dy_BTD * gain_D).addcmul_(xhat_BTD, projection_BT1, value=-1.0).mul_(inverse_rms_BT1)
                dx = dx_BTD.to(x.dtype).view(x.shape)
        return dx, _like(dgain_BD.sum(0), gain), _told(gain_sq_norms(dgain_BD)), None


class LayerNorm(torch.autograd.Function):
    """x̂·gain + bias with x̂ = (x - mean x)/√(variance + ε) over the dimensions of the gain."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gain: Tensor,
        bias: Tensor | None,
        leaf: Tensor,  # noqa: ARG004
        eps: float,
    ) -> Tensor:
        y, mean, inverse_rms = torch.native_layer_norm(x, gain.shape, gain, bias, eps)
        ctx.save_for_backward(x, gain, bias, mean, inverse_rms)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, bias, mean, inverse_rms = ctx.saved_tensors
        needs_dx, needs_dgain, needs_dbias, *_ = ctx.needs_input_grad
        with torch.autocast(dy.device.type, enabled=False):
            x_BTD, dy_BTD = _rows(x, gain), _rows(dy, gain)
            B, T, D = x_BTD.shape
            mean_BT1, inverse_rms_BT1 = mean.view(B, T, 1).to(x_BTD.dtype), inverse_rms.view(B, T, 1).to(x_BTD.dtype)
            dx = dgain = dbias = None
            squares_B = torch.zeros(B, dtype=torch.float64, device=dy.device)
            if needs_dx:
                gain_D = gain.flatten().to(dy_BTD.dtype)
                dx_BTD = torch.ops.aten.native_layer_norm_backward(
                    dy_BTD, x_BTD, [D], mean_BT1, inverse_rms_BT1, gain_D, None, [True, False, False]
                )[0]
                dx = dx_BTD.to(x.dtype).view(x.shape)
            if needs_dgain:
                dgain_BD = ((x_BTD - mean_BT1) * inverse_rms_BT1).mul_(dy_BTD).sum(1)
                dgain = _like(dgain_BD.sum(0), gain)
                squares_B += gain_sq_norms(dgain_BD)
            if needs_dbias:
                dbias_BD = dy_BTD.sum(1)
                dbias = _like(dbias_BD.sum(0), bias)
                squares_B += square_sums(dbias_BD)
        return dx, dgain, dbias, _told(squares_B), None


def _rows(x: Tensor, gain: Tensor) -> Tensor:
    """[B, T, D] with the normalised dimensions as one, at least float32."""
    return at_least_float32(x).reshape(x.shape[0], -1, gain.numel())


def _like(x_D: Tensor, parameter: Tensor) -> Tensor:
    return x_D.to(parameter.dtype).view(parameter.shape)


def at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype.itemsize < 4 else x


def _told(sq_norms_B: Tensor) -> Tensor:
    """The gradient of a leaf: the squared norms, and one use."""
    return F.pad(sq_norms_B, (0, 1), value=1.0)
