"""The coordinate check: how much activations and weights move in a few updates, at one size of the model.

Yang et al. 2022 (Tensor Programs V, arXiv 2203.03466), appendix D.1 "Verifying Implementation of muP via Coordinate
Checking"; Dey et al. 2025 (CompleteP, arXiv 2505.01618) for depth. A parametrisation transfers hyperparameters over a
size only if every activation's change from initialisation keeps its size when the model grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from glidepath.study.coordinates import CoordinateCheckSpec
from glidepath.study.specs import ModelSpec
from glidepath.training.batches import TokenStore, batch
from glidepath.training.model import Activations, Decoder
from glidepath.training.optimizer import AdamW, clip_gradients

Row = dict[str, object]


def coordinates(
    spec: CoordinateCheckSpec, model: ModelSpec, replicate: int, tokens: TokenStore, device: torch.device
) -> Iterator[Row]:
    """Train a few updates of one model; its rows of the table `coordinate_check`.

    At initialisation (updates_done 0) and after every update asked for, on the same validation sequences of the first
    domain. With x(s) an activation and W(s) a weight after s updates, and rms the root mean square over all its numbers
    (of all blocks):

        rms = rms(x(s))    rms_change = rms(x(s) - x(0))    and the same of W;
        rms_effect = rms(ΔW·x(s)), ΔW = W(s) - W(0), with x(s) the input of that matrix

    The effect is what the change of a weight does to its own output [as the activation]: for a matrix it compares sizes
    as the spectral norm does, weighted with the inputs that occur. For an embedding x is the tokens; gains of norms
    have none (null).

    Raises ValueError when the validation text of the first domain holds fewer sequences than asked for.
    """
    path = spec.path.arrays()
    decoder = Decoder(model, device=device)
    groups = decoder.layout.groups
    optimizer = AdamW(spec.optimizer, decoder.flat_weights, decoder.flat_gradients, groups, path)
    decoder.initialise(replicate)
    inputs_BT = torch.from_numpy(_validation_inputs(tokens, model.context_length, spec.validation_sequences)).to(device)
    initial_weights = decoder.flat_weights.clone()
    with torch.inference_mode():
        initial = decoder.activations(inputs_BT)

    def measured(updates_done: int) -> list[Row]:
        with torch.inference_mode():
            now = decoder.activations(inputs_BT)
            rows = [*_activation_rows(now, initial), *_weight_rows(decoder, initial_weights, inputs_BT, now)]
        return [{"updates_done": updates_done, **row} for row in rows]

    yield from measured(0)
    for step in range(spec.path.updates):
        first, n = int(path.positions[step]), int(path.batch_sequences[step])
        ids_BT = torch.from_numpy(batch(tokens.train, replicate, first, n, model.context_length)).to(device)
        decoder.flat_gradients.zero_()
        decoder.accumulate_gradients(ids_BT[:, :-1], ids_BT[:, 1:], 1.0 / (n * model.context_length))
        clip_gradients(decoder.flat_gradients, spec.optimizer.grad_clip_norm)
        optimizer.update(step)
        if step + 1 in spec.record_after:
            yield from measured(step + 1)


def _validation_inputs(tokens: TokenStore, context_length: int, n: int) -> NDArray[np.int64]:
    """The first n sequences of the first validation domain, [n, context_length]."""
    domain, T = tokens.domains[0], context_length
    held_out = np.asarray(tokens.validation(domain)[: n * T]).astype(np.int64)
    if len(held_out) < n * T:
        raise ValueError(
            f"coordinate_check.validation_sequences {n}: the validation text of {domain} holds {len(held_out) // T} "
            f"sequences of {T} tokens. Lower it or raise corpus.domains.0.validation_tokens"
        )
    return held_out.reshape(n, T)


PLACES: Mapping[str, Callable[[Activations], list[Tensor]]] = {
    "embedding": lambda found: [found.embedding_ND],
    "attention": lambda found: found.attention_ND,
    "feed_forward": lambda found: found.feed_forward_ND,
    "residual": lambda found: [found.residual_ND],
    "logits": lambda found: [found.logits_NV],
}


def _activation_rows(now: Activations, initial: Activations) -> Iterator[Row]:
    for place, at in PLACES.items():
        changes = [a - b for a, b in zip(at(now), at(initial), strict=True)]
        yield {
            "quantity": "activation", "place": place,
            "rms": rms(at(now)), "rms_change": rms(changes), "rms_effect": None,
        }  # fmt: skip


def _weight_rows(decoder: Decoder, initial_weights: Tensor, inputs_BT: Tensor, now: Activations) -> Iterator[Row]:
    changes = decoder.layout.views(decoder.flat_weights - initial_weights)
    head_input = now.matrix_inputs[decoder.head_name] * decoder.logits_multiplier
    matrix_inputs = {**now.matrix_inputs, decoder.head_name: head_input}
    for kind in decoder.layout.kinds:
        names = [parameter.name for parameter in decoder.layout.of_kind(kind)]
        if kind == "norm":
            effects = []
        elif kind == "embedding":
            effects = [F.embedding(inputs_BT.flatten(), changes["embedding"])]
        else:
            effects = [matrix_inputs[name] @ changes[name].t() for name in names]
        yield {
            "quantity": "weight", "place": kind,
            "rms": rms([decoder.weights[name] for name in names]), "rms_change": rms([changes[name] for name in names]),
            "rms_effect": rms(effects) if effects else None,
        }  # fmt: skip


def rms(parts: list[Tensor]) -> float:
    """Root mean square over all numbers of all parts, summed in float64."""
    squares = sum(float(part.double().square().sum()) for part in parts)
    return float(np.sqrt(squares / sum(part.numel() for part in parts)))
