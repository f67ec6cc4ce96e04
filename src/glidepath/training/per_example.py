"""Squared gradient norms of single examples (sequences), from the operands of the ordinary backward pass.

Gray et al. 2024 (arXiv 2411.00999). For y = x·Wᵀ + c the gradient of example b is Σ_t dy_bt ⊗ x_bt; its squared
norm is taken either from that matrix ("simultaneous") or, without it, as Σ_ts (x_bt·x_bs)(dy_bt·dy_bs) ("Gram", Li et
al. 2022). For a bias it is |Σ_t dy_bt|², for a gain |Σ_t dy_bt·x̂_bt|². An embedding is a linear layer whose inputs are
one-hot. Norms add over parameters, but the two uses of a tied embedding share one parameter: there |a + h|² needs the
cross term 2·a·h as well, which in a small model is 1–2 % of the whole.

A loss that is a mean over B examples gives every example's gradient divided by B. With g_b the gradient of example b's
own loss, mean_b |g_b|² is then B·Σ_b of what is returned here, B being that of the whole batch, not of a micro-batch.

Products are formed in the precision of their operands, but at least float32; results are float64, summed from float32
sums over one dimension.

Shape legend: B sequences, T tokens, D inputs, O outputs, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOVED_NUMBER_FLOPS = {"cpu": 16.0, "cuda": 300.0}
"""FLOPs of a product in the time in which memory takes or gives one number. Measured on a CPU core (90 GFLOP/s); for
GPUs half of what an H100's figures for bfloat16 and its memory come to, not measured."""
GRAM_BLOCKS = 4
GRAM_SHARE = (GRAM_BLOCKS + 1) / (2 * GRAM_BLOCKS)
"""Of the pairs of tokens, those that the blocks of `gram_sq_norms` compute."""
ROW = 4096
"""Numbers whose squares are summed in float32: their sum is exact to 1e-6."""


def linear_weight_sq_norms(x_BTD: Tensor, dy_BTO: Tensor) -> Tensor:
    """|Σ_t dy_bt ⊗ x_bt|² of a matrix with inputs x and output gradients dy, float64 [B], in the cheaper form."""
    _, tokens, inputs = x_BTD.shape
    if gram_is_cheaper(tokens, inputs, dy_BTO.shape[2], x_BTD.device.type):
        return gram_sq_norms(x_BTD, dy_BTO)
    return square_sums(weight_gradients(x_BTD, dy_BTO))


def gram_is_cheaper(tokens: int, inputs: int, outputs: int, device_type: str, spares_product: bool = False) -> bool:
    """Whether the Gram form costs less than the simultaneous one; `spares_product` where the latter's sum over examples
    takes the place of the weight gradient's own product, whose 2·T·D·O it then saves.

    Cost of an example in FLOPs, as Table 1 of Gray et al. counts them, plus numbers written and read again:

        simultaneous   2·T·D·O + 2·D·O          + c·2·D·O
        Gram           s·T²·(2·D + 2·O + 2)     + c·4·s·T²

    with c = `MOVED_NUMBER_FLOPS` and s = `GRAM_SHARE`, since its matrices are symmetric. Storage alone, 2·T² < D·O,
    would choose the Gram form for a head of 32 x 50,000 at 512 tokens, where it costs ten times as much.
    """
    c = MOVED_NUMBER_FLOPS[device_type]
    simultaneous = inputs * outputs * ((0 if spares_product else 2 * tokens) + 2 + 2 * c)
    gram = GRAM_SHARE * tokens**2 * (2 * inputs + 2 * outputs + 2 + 4 * c)
    return gram < simultaneous


def weight_gradients(x_BTD: Tensor, dy_BTO: Tensor) -> Tensor:
    """The gradient of every example for a matrix, transposed: Σ_t x_bt ⊗ dy_bt, [B, D, O]."""
    return _products(x_BTD.to(dy_BTO.dtype).mT, dy_BTO)


def gram_sq_norms(x_BTD: Tensor, dy_BTO: Tensor) -> Tensor:
    """`linear_weight_sq_norms` in the Gram form: a few rows of the symmetric matrices of pairs of tokens at a time, up
    to their own end, and pairs of two blocks doubled."""
    x_BTD = x_BTD.to(dy_BTO.dtype)
    T = x_BTD.shape[1]
    size = -(-T // GRAM_BLOCKS)
    parts_B = []
    for begin in range(0, T, size):
        end = min(begin + size, T)
        pairs_BsT = _products(x_BTD[:, begin:end], x_BTD[:, :end].mT)
        by_token_BT = (pairs_BsT * _products(dy_BTO[:, begin:end], dy_BTO[:, :end].mT)).sum(1)
        parts_B.append(by_token_BT[:, begin:].sum(1, dtype=torch.float64))
        if begin > 0:
            parts_B.append(2.0 * by_token_BT[:, :begin].sum(1, dtype=torch.float64))
    return torch.stack(parts_B).sum(0)


def bias_sq_norms(dy_BTO: Tensor) -> Tensor:
    """|Σ_t dy_bt|² of the bias of a linear layer or a norm, float64 [B]."""
    return square_sums(_at_least_float32(dy_BTO).sum(1))


def gain_sq_norms(dgain_BD: Tensor) -> Tensor:
    """|Σ_t dy_bt·x̂_bt|² of the gain of a norm, whose backward pass has formed these sums, float64 [B]."""
    return square_sums(dgain_BD)


def embedding_sq_norms(inputs_BT: Tensor, dx_BTD: Tensor) -> Tensor:
    """Σ_ids |Σ_{t: inputs_bt = id} dx_bt|² of an embedding, from the gradients dx of its outputs, float64 [B].

    One row per token, not per id of the vocabulary: each token is added to the row of its id's first place in order.
    """
    B, T, D = dx_BTD.shape
    row_BT = torch.searchsorted(inputs_BT.sort(1).values, inputs_BT.contiguous())
    row_BT += T * torch.arange(B, device=row_BT.device)[:, None]
    dx_BTD = _at_least_float32(dx_BTD)
    rows_ND = dx_BTD.new_zeros(B * T, D).index_add_(0, row_BT.flatten(), dx_BTD.reshape(B * T, D))
    return square_sums(rows_ND.view(B, T, D))


def tied_cross_terms(inputs_BT: Tensor, dx_BTD: Tensor, normed_BTD: Tensor, dlogits_BTV: Tensor) -> Tensor:
    """2·(gradient as embedding)·(gradient as head) = 2·Σ_ts (dx_bt·normed_bs)·dlogits_bs[inputs_bt], float64 [B]."""
    B, T = inputs_BT.shape
    dlogits_BST = dlogits_BTV.gather(2, inputs_BT[:, None, :].expand(B, T, T))
    products_BST = _products(normed_BTD.to(dx_BTD.dtype), dx_BTD.mT)
    return 2.0 * (products_BST * dlogits_BST).sum(2).sum(1, dtype=torch.float64)


def square_sums(x_B: Tensor) -> Tensor:
    """Σ x² over all dimensions but the first, float64 [B]; reads x once.

    In float32 (at least) over rows of the last dimension, and over what is longer than a row in pieces: in one sum of
    10⁷ squares a CPU loses 7e-4 of them, since it adds small numbers to ever larger sums.
    """
    if x_B.dim() == 1:
        x_B = x_B[:, None]
    whole = x_B.shape[-1] - x_B.shape[-1] % ROW
    if whole == 0:
        return _row_square_sums(x_B)
    in_rows_B = _row_square_sums(x_B[..., :whole].view(*x_B.shape[:-1], -1, ROW))
    return in_rows_B if whole == x_B.shape[-1] else in_rows_B + _row_square_sums(x_B[..., whole:])


def _row_square_sums(x_B: Tensor) -> Tensor:
    dtype = torch.float64 if x_B.dtype == torch.float64 else torch.float32
    squares: Tensor = torch.linalg.vector_norm(x_B, dim=-1, dtype=dtype).double().square()
    return squares.flatten(1).sum(1) if squares.dim() > 1 else squares


def _products(a_BIJ: Tensor, b_BJK: Tensor) -> Tensor:
    """a·b example by example, at least float32: a GPU sums products of bfloat16 in float32 and is asked to give them
    so."""
    if a_BIJ.dtype.itemsize < 4 and a_BIJ.device.type == "cuda":
        return torch.bmm(a_BIJ, b_BJK, out_dtype=torch.float32)
    return _at_least_float32(a_BIJ) @ _at_least_float32(b_BJK)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype.itemsize < 4 else x
