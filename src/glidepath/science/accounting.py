"""Parameters and training FLOPs of the decoder, in every counting convention that the tables carry.

The decoder: embedding [V, d]; per layer a norm, packed query-key-value [d -> 3·n_head·d_head], output
projection [n_head·d_head -> d], optionally a norm of queries and of keys over the head's features, a norm,
a feed-forward block (gelu: d -> d_ff -> d; swiglu: d -> 2·d_ff and d_ff -> d); a final norm; a head [V, d]
of its own or tied to the embedding. Nothing has a bias; a norm, rmsnorm or layernorm alike, has one gain
per feature. Positions are rotary and cost no parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FeedForward = Literal["swiglu", "gelu"]

# Matrices of one feed-forward block, in units of d·d_ff.
FEED_FORWARD_MATRICES: dict[str, int] = {"swiglu": 3, "gelu": 2}


@dataclass(frozen=True)
class ParamCounts:
    """Parameters of a model by three conventions."""

    n_params_total: int
    """Every parameter once; a tied head is the embedding and counts once."""
    n_params_non_embedding: int
    """Without the embedding and without an untied head: hidden matrices and norm gains (Kaplan et al.
    2020)."""
    n_params_matrices_and_head: int
    """Hidden matrices and the head, tied or not: what a token is multiplied with (nanochat's scaling
    count)."""


def param_counts(
    *,
    n_layer: int,
    d_model: int,
    n_head: int,
    d_head: int,
    d_ff: int,
    vocab_size: int,
    feed_forward: FeedForward,
    tied_embeddings: bool,
    qk_norm: bool,
) -> ParamCounts:
    """Parameters of the decoder [parameters].

    Raises ValueError for a size below one.
    """
    matrices = n_layer * matrix_params_per_layer(
        d_model=d_model, n_head=n_head, d_head=d_head, d_ff=d_ff, feed_forward=feed_forward
    )
    refuse_below_one(n_layer=n_layer, vocab_size=vocab_size)
    gains = n_layer * (2 * d_model + (2 * d_head if qk_norm else 0)) + d_model
    table = vocab_size * d_model
    return ParamCounts(
        n_params_total=matrices + gains + table * (1 if tied_embeddings else 2),
        n_params_non_embedding=matrices + gains,
        n_params_matrices_and_head=matrices + table,
    )


def train_flops_per_token(
    *,
    n_layer: int,
    d_model: int,
    n_head: int,
    d_head: int,
    d_ff: int,
    context_length: int,
    vocab_size: int,
    feed_forward: FeedForward,
) -> float:
    """FLOPs of forward and backward per training token [FLOP/token], every matrix product counted.

    forward = 2·(hidden matrices + V·d) + n_layer · 2·2·n_head·d_head·(T + 1)/2,    training = 3 · forward,

    a multiplication and an addition counted as two. Attention counts the unmasked pairs only: a token at
    position t looks at t + 1 keys, (T + 1)/2 on average over a sequence of T, once for the scores and once
    for the values. (PaLM and Chinchilla count all T keys; a kernel that computes masked pairs does up to
    twice these attention FLOPs.) The backward pass costs two products for each of the forward's. The
    embedding is a look-up and counts nothing; norms, rotary positions, activations, softmax, the optimizer
    and any recomputation are left out: below 1 % from d_model 512 on, a few per cent at d_model 64.

    Raises ValueError for a size below one.
    """
    matrices = n_layer * matrix_params_per_layer(
        d_model=d_model, n_head=n_head, d_head=d_head, d_ff=d_ff, feed_forward=feed_forward
    )
    refuse_below_one(n_layer=n_layer, vocab_size=vocab_size, context_length=context_length)
    attention = n_layer * 2.0 * n_head * d_head * (context_length + 1)
    return 3.0 * (2.0 * (matrices + vocab_size * d_model) + attention)


def train_flops_6nd(n_params: int, tokens: int) -> float:
    """6·N·D [FLOP]: the rule of thumb of Kaplan et al. 2020, with N in whichever convention the caller names.

    Raises ValueError for a count below one.
    """
    refuse_below_one(n_params=n_params, tokens=tokens)
    return 6.0 * n_params * tokens


def matrix_params_per_layer(*, d_model: int, n_head: int, d_head: int, d_ff: int, feed_forward: FeedForward) -> int:
    """Entries of the hidden matrices of one layer: 4·d·n_head·d_head of attention, 2 or 3 times d·d_ff of
    feed-forward.

    Raises ValueError for a size below one or an unknown feed-forward block.
    """
    refuse_below_one(d_model=d_model, n_head=n_head, d_head=d_head, d_ff=d_ff)
    if feed_forward not in FEED_FORWARD_MATRICES:
        raise ValueError(f"feed_forward is {feed_forward!r}; choose one of {sorted(FEED_FORWARD_MATRICES)}")
    return 4 * d_model * n_head * d_head + FEED_FORWARD_MATRICES[feed_forward] * d_model * d_ff


def refuse_below_one(**sizes: int) -> None:
    """Raise ValueError naming the first size below one."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")
