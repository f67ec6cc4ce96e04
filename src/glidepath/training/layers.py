"""The layers of the decoder, each as a pair of functions: forward, and backward written out.

The backward pass is written by hand for three reasons. At 10⁴–10⁷ parameters on a CPU autograd, its copies and its
small kernels cost up to a tenth of the step in the leanest model, more in others (benchmarks/README.md). Per-example
gradient norms need the input and the output gradient of every layer, which are simply at hand here. And
`torch.compile` sees one plain function.

What makes it fast on a CPU: weight gradients are accumulated by the product itself, results are written where the
next kernel wants them, and buffers that nobody reads again are overwritten, as the function says.

Matrices may be held in a lower precision than the residual stream: `linear` casts to the dtype of its weight.

Shape legend: N = B·T tokens, B sequences, T tokens per sequence, D d_model (or any last dimension), H heads,
K d_head, F d_ff, O outputs, V vocabulary.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from glidepath.study.forward_constants import NORM_EPSILON

QUERY_BLOCK = 64
HAS_ONEDNN = torch._C._has_mkldnn
HAS_TRITON = importlib.util.find_spec("triton") is not None
LONGEST_KERNEL_ROW = 16384
"""D beyond which the registers that a program of `norm_kernel.py` has no longer hold a row."""

FeedForwardKind = Literal["swiglu", "gelu"]
NormKind = Literal["rmsnorm", "layernorm"]
SavedNorm = tuple[Tensor, Tensor]
SavedActivation = tuple[Tensor, ...]
AttentionBackward = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def linear(x_ND: Tensor, weight_OD: Tensor) -> Tensor:
    """y = x·Wᵀ, in the dtype of W."""
    return _product(x_ND.to(weight_OD.dtype), weight_OD)


def linear_backward(dy_NO: Tensor, weight_OD: Tensor) -> Tensor:
    """dx = dy·W."""
    return _product(dy_NO.to(weight_OD.dtype), weight_OD.t())


def _product(a_NI: Tensor, b_OI: Tensor) -> Tensor:
    """a·bᵀ. Float32 on a CPU by oneDNN, which `torch.mm` does not ask: on AMD it is up to a fifth faster than
    MKL. A compiler chooses for itself."""
    if HAS_ONEDNN and a_NI.dtype == torch.float32 and _runs_as_written(a_NI):
        y_NO: Tensor = torch.ops.mkldnn._linear_pointwise(a_NI, b_OI, None, "none", [], "")
        return y_NO
    return a_NI @ b_OI.t()


def _runs_as_written(x: Tensor) -> bool:
    """On a CPU and not seen by a compiler, which has no use for kernels chosen by hand and fuses what it
    reads."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def accumulate_linear_gradient(gradient_OD: Tensor, dy_NO: Tensor, x_ND: Tensor) -> None:
    """gradient += dyᵀ·x. Computed as its transpose, which MKL does up to a third faster when O is much larger
    than D; then it is also faster to add afterwards, else the product itself adds."""
    x_DN = x_ND.to(dy_NO.dtype).t()
    outputs, inputs = gradient_OD.shape
    if gradient_OD.dtype == dy_NO.dtype and outputs <= 4 * inputs:
        gradient_OD.t().addmm_(x_DN, dy_NO)
    else:
        gradient_OD.t().add_(x_DN @ dy_NO)


def norm(kind: NormKind, x_D: Tensor, gain_D: Tensor) -> tuple[Tensor, SavedNorm]:
    """y = x̂·gain with x̂ = x/√(mean x² + ε) over the last dimension; `layernorm` first subtracts the mean of
    x.

    Returns y and what the backward pass needs.
    """
    x_D = x_D.to(gain_D.dtype)
    if kind == "layernorm":
        x_D = x_D - x_D.mean(-1, keepdim=True)
    length = torch.linalg.vector_norm(x_D, dim=-1, keepdim=True)
    inverse_rms = length.square_().mul_(1.0 / x_D.shape[-1]).add_(NORM_EPSILON).rsqrt_()
    xhat_D = x_D * inverse_rms
    return xhat_D * gain_D, (xhat_D, inverse_rms)


def norm_backward(
    kind: NormKind, dy_D: Tensor, gain_D: Tensor, saved: SavedNorm, n_examples: int, onto_D: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """dx = (dx̂ - x̂·mean(dx̂·x̂))/rms with dx̂ = dy·gain, minus its mean for `layernorm`; overwrites dy.

    Examples follow one another in the first dimension. Returns dx, added to `onto` in place if that is given, and the
    gradient of the gain by example, Σ_t dy·x̂, [B, D]. It is formed so always, and not only where the norms of single
    examples are asked for: the sum over examples is the gradient, so that asking costs a square of [B, D] and changes
    no bit.
    """
    xhat_D, inverse_rms = saved
    if takes_norm_kernel(dy_D.device, gain_D.shape[0]):
        return _norm_backward_by_kernel(kind, dy_D, gain_D, saved, n_examples, onto_D)
    dy_D = dy_D.to(gain_D.dtype)
    dgain_terms_D = dy_D * xhat_D
    projection = (dgain_terms_D @ gain_D).mul_(-1.0 / gain_D.shape[-1]).unsqueeze(-1)
    dx_D = dy_D.mul_(gain_D).addcmul_(xhat_D, projection)
    if kind == "layernorm":
        dx_D -= dx_D.mean(-1, keepdim=True)
    dx_D = dx_D.mul_(inverse_rms) if onto_D is None else onto_D.addcmul_(dx_D, inverse_rms)
    by_example = dgain_terms_D.view(n_examples, -1, *dgain_terms_D.shape[1:])
    return dx_D, by_example.sum(tuple(range(1, by_example.dim() - 1)))


def takes_norm_kernel(device: torch.device, D: int) -> bool:
    """Whether `norm_backward` is a pass of `norm_kernel.py` there; a compiler fuses what it reads by itself."""
    on_gpu = device.type == "cuda" and HAS_TRITON
    return on_gpu and D <= LONGEST_KERNEL_ROW and not torch.compiler.is_compiling()


def _norm_backward_by_kernel(
    kind: NormKind, dy_D: Tensor, gain_D: Tensor, saved: SavedNorm, n_examples: int, onto_D: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`norm_backward` in one pass over memory."""
    from glidepath.training import norm_kernel

    xhat_D, inverse_rms = saved
    D = gain_D.shape[0]
    dx_ND, dgain_BD = norm_kernel.norm_backward(
        kind,
        dy_D.reshape(-1, D),
        gain_D,
        xhat_D.reshape(-1, D),
        inverse_rms.reshape(-1, 1),
        n_examples,
        onto_D,
    )
    return dx_ND.view(dy_D.shape), dgain_BD


def rotary_table(context_length: int, d_head: int, base: float, device: torch.device) -> Tensor:
    """Angles t·base^(-2k/d_head) of rotary embedding (Su et al. 2021, eq. 15) as (cos, sin), float64 [T, 1,
    d_head/2, 2]."""
    frequencies = base ** (-torch.arange(0, d_head, 2, dtype=torch.float64) / d_head)
    angles = torch.arange(context_length, dtype=torch.float64)[:, None] * frequencies
    return torch.stack([angles.cos(), angles.sin()], dim=-1)[:, None].contiguous().to(device)


def head_by_head(x_BTHK: Tensor) -> Tensor:
    """The same numbers laid out as attention and `rotate` are fastest: all of one head together."""
    return x_BTHK.transpose(1, 2).contiguous().transpose(1, 2)


def rotate(x_BTHK: Tensor, table: Tensor, inverse: bool = False) -> Tensor:
    """Turn the neighbouring pairs (2k, 2k+1) of every head by the angle of their position, or back; overwrites x.

    As a complex product, one pass over memory, where torch has one (CPU, float32 and float64); else spelled
    out, which a compiler fuses.
    """
    if x_BTHK.dtype != torch.bfloat16 and _runs_as_written(x_BTHK):
        turn = torch.view_as_complex(table)
        torch.view_as_complex(_pairs(x_BTHK)).mul_(turn.conj() if inverse else turn)
        return x_BTHK
    return x_BTHK.copy_(rotate_spelled_out(x_BTHK, table, inverse))


def rotate_spelled_out(x_BTHK: Tensor, table: Tensor, inverse: bool = False) -> Tensor:
    """`rotate` in real arithmetic, at the precision of the table."""
    cos, sin = table.unbind(-1)
    sin = -sin if inverse else sin
    even, odd = _pairs(x_BTHK).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def _pairs(x_BTHK: Tensor) -> Tensor:
    return x_BTHK.view(*x_BTHK.shape[:-1], -1, 2)


def causal_attention(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor) -> tuple[Tensor, AttentionBackward]:
    """softmax(q·kᵀ/√K, causal)·v. Returns o_BTHK and the function that takes do to (dq, dk, dv), all of that
    shape.

    On a CPU batched products beat the fused kernel of torch at the context lengths of small studies
    (benchmarks/training.py); elsewhere torch chooses its kernel (flash for bf16 on a GPU).
    """
    if q_BTHK.device.type == "cpu" and q_BTHK.dtype != torch.bfloat16:
        return explicit_attention(q_BTHK, k_BTHK, v_BTHK)
    return fused_attention(q_BTHK, k_BTHK, v_BTHK)


def explicit_attention(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor) -> tuple[Tensor, AttentionBackward]:
    """`causal_attention` as batched matrix products, keeping the attention weights.

    Queries go in blocks of 64, each against the keys up to its own end: what causality hides beyond is not
    computed. Batched products are written to tensors of their own and added or copied from there: MKL does a whole
    batch at once only if the result is contiguous.
    """
    B, T, H, K = q_BTHK.shape
    scale = K**-0.5
    q, k, v = (x.transpose(1, 2).reshape(B * H, T, K) for x in (q_BTHK, k_BTHK, v_BTHK))
    o_BTHK = torch.empty_like(q_BTHK, memory_format=torch.contiguous_format)
    hidden_TT = torch.full((T, T), float("-inf"), dtype=q.dtype).triu_(1)
    blocks: list[tuple[int, int, Tensor]] = []
    for begin in range(0, T, QUERY_BLOCK):
        end = min(begin + QUERY_BLOCK, T)
        scores = torch.baddbmm(hidden_TT[begin:end, :end], q[:, begin:end], k[:, :end].mT, alpha=scale)
        weights = torch.softmax(scores, -1, out=scores)
        o_BTHK[:, begin:end] = (weights @ v[:, :end]).view(B, H, end - begin, K).transpose(1, 2)
        blocks.append((begin, end, weights))

    def backward(do_BTHK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        do = do_BTHK.transpose(1, 2).reshape(B * H, T, K)
        dq = torch.empty_like(q)
        dk = dv = torch.empty(0)
        for begin, end, weights in reversed(blocks):  # the last sees all keys: it writes what the others add to
            dweights = do[:, begin:end] @ v[:, :end].mT
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype, grad_input=dweights)
            dq[:, begin:end] = _scaled_bmm(dscores, k[:, :end], scale)
            dk_block, dv_block = _scaled_bmm(dscores.mT, q[:, begin:end], scale), weights.mT @ do[:, begin:end]
            if end == T:
                dk, dv = dk_block, dv_block
            else:
                dk[:, :end] += dk_block
                dv[:, :end] += dv_block
        dq_BTHK, dk_BTHK, dv_BTHK = (x.view(B, H, T, K).transpose(1, 2) for x in (dq, dk, dv))
        return dq_BTHK, dk_BTHK, dv_BTHK

    return o_BTHK, backward


def _scaled_bmm(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """scale·a·b, batch by batch."""
    return torch.baddbmm(a.new_empty(1), a, b, beta=0.0, alpha=scale)


def fused_attention(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor) -> tuple[Tensor, AttentionBackward]:
    """`causal_attention` by the kernel that torch chooses; its backward comes from autograd, through
    `torch.func.vjp`, which a compiler can follow."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    o_BTHK, *rest = torch.func.vjp(attend, q_BTHK, k_BTHK, v_BTHK)
    backward: AttentionBackward = rest[0]
    return o_BTHK, backward


def feed_forward_activation(kind: FeedForwardKind, h_NF: Tensor) -> tuple[Tensor, SavedActivation]:
    """gelu: x·Φ(x), the exact form (on a CPU three times as fast as the tanh form). swiglu: silu(gate)·up of
    (gate, up).

    Returns it and what the backward pass needs.
    """
    if kind == "gelu":
        return F.gelu(h_NF), (h_NF,)
    gate_NF, up_NF = h_NF.chunk(2, dim=-1)
    silu_NF = F.silu(gate_NF)
    return silu_NF * up_NF, (h_NF, silu_NF)


def feed_forward_activation_backward(kind: FeedForwardKind, da_NF: Tensor, saved: SavedActivation) -> Tensor:
    """dh, of the shape of h; overwrites da."""
    if kind == "gelu":
        (h_NF,) = saved
        return torch.ops.aten.gelu_backward.grad_input(da_NF, h_NF, grad_input=da_NF)  # type: ignore[no-any-return]
    h_NF, silu_NF = saved
    gate_NF, up_NF = h_NF.chunk(2, dim=-1)
    if not _runs_as_written(h_NF):
        return torch.cat([torch.ops.aten.silu_backward(da_NF * up_NF, gate_NF), da_NF * silu_NF], dim=-1)
    dh_NF = torch.empty_like(h_NF)
    dgate_NF, dup_NF = dh_NF.chunk(2, dim=-1)
    torch.mul(da_NF, silu_NF, out=dup_NF)
    torch.ops.aten.silu_backward.grad_input(da_NF.mul_(up_NF), gate_NF, grad_input=dgate_NF)
    return dh_NF


def cross_entropy(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Loss of every token [nats], float32 or float64: logΣexp(z) - z_target."""
    logits_NV = logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
    return F.cross_entropy(logits_NV, targets_N, reduction="none")


def cross_entropy_with_gradient(logits_NV: Tensor, targets_N: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Loss of every token, and d(scale·Σ loss)/dlogits = scale·(softmax(z) - onehot(target)); overwrites the
    logits.

    logΣexp(z) is read off the largest logit and its probability, log p_max = z_max - logΣexp(z): p_max ≥ 1/V,
    so that nothing underflows however small the probability of the target is.
    """
    logits_NV = logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
    targets_N1 = targets_N[:, None]
    z_target_N1, z_max_N1 = logits_NV.gather(1, targets_N1), logits_NV.amax(-1, keepdim=True)
    p_NV = torch.softmax(logits_NV, -1, out=logits_NV)
    losses_N1 = z_max_N1 - p_NV.amax(-1, keepdim=True).log_() - z_target_N1
    p_NV.scatter_add_(1, targets_N1, p_NV.new_full((1, 1), -1.0).expand_as(targets_N1))
    return losses_N1.squeeze(1), p_NV.mul_(scale)
