"""The backward pass of RMSNorm and LayerNorm on a GPU, with the gradient of the gain by example: one pass over memory.

Per-example norms of norm layers (Gray et al. 2024, arXiv 2411.00999) need Σ_t dy_bt·x̂_bt for every example b, from
the two tensors that the backward pass reads anyway. A program takes some consecutive rows of one example, never of
two, writes their dx and keeps the sum of their dy·x̂ in registers; these partial sums are added up afterwards. No
atomics, so the result is the same bit for bit in every run.

It runs in the decoder's eager passes on a GPU (`layers.norm_backward`). Within `torch.compile` it does not, since a
compiler fuses the formula itself; nor in `probed_functions.py`, where norms keep no x̂. Rows beyond what registers hold
take the plain formula.

Needs Triton, which comes with torch's builds for GPUs: import this module where tensors are on one. With
TRITON_INTERPRET=1 set before Triton is imported it runs on a CPU, slowly.

Shape legend: N rows, of which N/B consecutive ones belong to each of B examples (tokens, or tokens x heads), D the
normalised dimension, C chunks of an example.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from glidepath.training.layers import LONGEST_KERNEL_ROW, NormKind

PROGRAMS = 2048
"""Aimed at: several waves on a large GPU, so that the last one matters little; partial sums stay small beside dy."""
TILE = 2048
"""Numbers of one operand that a program holds at once, unless a row is longer: 16 for each of 4 x 32 threads."""


def norm_backward(
    kind: NormKind,
    dy_ND: Tensor,
    gain_D: Tensor,
    xhat_ND: Tensor,
    inverse_rms_N1: Tensor,
    n_examples: int,
    onto_ND: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(dx, gradient of the gain by example [B, D]); the formula is that of `layers.norm_backward`.

    dx = (dx̂ - x̂·mean(dx̂·x̂))/rms with dx̂ = dy·gain, minus its mean over D for `layernorm`; it is added to `onto` in
    place if that is given, else has the dtype of the gain. dy and x̂ may be of lower precision than the gain:
    arithmetic and sums are float32, or float64 if the gain is. Nothing but `onto` is overwritten.

    Raises ValueError if rows do not divide into examples or are longer than `layers.LONGEST_KERNEL_ROW`.
    """
    N, D = dy_ND.shape
    if n_examples < 1 or N % n_examples:
        raise ValueError(f"n_examples = {n_examples}: must divide the {N} rows, since every example has as many")
    if D > LONGEST_KERNEL_ROW:
        raise ValueError(
            f"D = {D}: a row must fit into registers, which {LONGEST_KERNEL_ROW} numbers do; use layers.norm_backward"
        )
    rows = N // n_examples
    # Plain arithmetic: a compiler may hand over N and B as symbols.
    block_d = 1 << (D - 1).bit_length()
    block_rows = max(1, TILE // block_d)
    blocks = -(-rows // block_rows)
    chunk_blocks = -(-blocks // min(-(-PROGRAMS // n_examples), blocks))
    chunks = -(-blocks // chunk_blocks)
    dtype = torch.float64 if gain_D.dtype == torch.float64 else torch.float32
    dy_ND, xhat_ND = _rows_of_neighbours(dy_ND), _rows_of_neighbours(xhat_ND)
    dx_ND = torch.empty_like(dy_ND, dtype=gain_D.dtype) if onto_ND is None else onto_ND
    if dx_ND.stride(-1) != 1:
        raise ValueError(
            f"onto has strides {dx_ND.stride()}: the numbers of a row must be neighbours; make it contiguous"
        )
    dgain_BCD = torch.empty(n_examples, chunks, D, dtype=dtype, device=dy_ND.device)
    _kernel[(n_examples, chunks)](
        dy_ND, gain_D.contiguous(), xhat_ND, inverse_rms_N1.contiguous(), dx_ND, dgain_BCD,
        rows, chunk_blocks * block_rows, D, dy_ND.stride(0), xhat_ND.stride(0), dx_ND.stride(0),
        CENTRED=kind == "layernorm", ADD=onto_ND is not None,
        BLOCK_ROWS=block_rows, BLOCK_D=block_d, num_warps=min(32, max(4, block_rows * block_d // 512)),
    )  # fmt: skip
    return dx_ND, dgain_BCD.sum(1)


def _rows_of_neighbours(x_ND: Tensor) -> Tensor:
    return x_ND if x_ND.stride(-1) == 1 else x_ND.contiguous()


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    dy_ptr, gain_ptr, xhat_ptr, inverse_rms_ptr, dx_ptr, dgain_ptr,
    rows, chunk_rows, D, dy_stride, xhat_stride, dx_stride,
    CENTRED: tl.constexpr, ADD: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
) -> Any:  # fmt: skip
    """One chunk of one example: program (b, c) of a grid [B, C]."""
    dtype = tl.float64 if gain_ptr.dtype.element_ty == tl.float64 else tl.float32
    example, chunk = tl.program_id(0), tl.program_id(1)
    columns = tl.arange(0, BLOCK_D)
    inside = columns < D
    gain = tl.load(gain_ptr + columns, mask=inside, other=0.0).to(dtype)
    # Summed over rows once, at the end: within the loop that would make threads wait for each other.
    dgain = tl.zeros((BLOCK_ROWS, BLOCK_D), dtype)
    for first in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, rows), BLOCK_ROWS):
        of_example = first + tl.arange(0, BLOCK_ROWS)
        row = (example * rows + of_example).to(tl.int64)
        exists = of_example < rows
        mask = exists[:, None] & inside[None, :]
        dy = tl.load(dy_ptr + row[:, None] * dy_stride + columns[None, :], mask=mask, other=0.0).to(dtype)
        xhat = tl.load(xhat_ptr + row[:, None] * xhat_stride + columns[None, :], mask=mask, other=0.0).to(dtype)
        inverse_rms = tl.load(inverse_rms_ptr + row, mask=exists, other=0.0).to(dtype)
        dgain += dy * xhat
        dxhat = dy * gain[None, :]
        dx = dxhat - xhat * (tl.sum(dxhat * xhat, axis=1) / D)[:, None]
        if CENTRED:
            dx -= (tl.sum(dx, axis=1) / D)[:, None]
        dx *= inverse_rms[:, None]
        place = dx_ptr + row[:, None] * dx_stride + columns[None, :]
        if ADD:
            dx += tl.load(place, mask=mask, other=0.0).to(dtype)
        tl.store(place, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    partial = (example * tl.num_programs(1) + chunk).to(tl.int64) * D + columns
    tl.store(dgain_ptr + partial, tl.sum(dgain, axis=0), mask=inside)
