"""The YAML of a study: models, their warm-up and their optimizer."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from glidepath.study.section import Count, Flag, NonNegative, Number, Positive, Section


class ModelConfig(Section):
    """One model size. `depth` and `width` are the dial; the rest follows unless it is given."""

    depth: Count
    """Decoder layers."""
    width: Count
    """d_model [features]; a multiple of head_width."""
    head_width: Count = 16
    """d_head [features]; even, since rotary positions turn pairs of features."""
    feed_forward: Literal["swiglu", "gelu"] = "swiglu"
    """Feed-forward block."""
    feed_forward_width: Count | None = None
    """d_ff [features]; null: 4 × width for gelu, 8/3 × width rounded up to a multiple of 16 for swiglu."""
    context_length: Count = 128
    """Tokens per sequence."""
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    """Neither has a bias."""
    tied_embeddings: Flag = False
    """The head uses the embedding matrix."""
    qk_norm: Flag = False
    """Normalise queries and keys per head."""
    rope_base: Positive = 10_000.0
    """Base of the rotary frequencies."""
    parametrization: Literal["sp", "mup", "completep"] = "mup"
    """Standard; muP: learning rate and initialisation scale with width / base_width; CompleteP: residual branches also
    scale with depth / base_depth."""
    base_width: Count = 64
    """Width at which mup and completep equal sp [features]."""
    base_depth: Count = 2
    """Depth at which completep equals mup [layers]."""
    init_std_embedding: Positive = 0.5
    """Standard deviation of the embedding at initialisation."""
    init_std_hidden: Positive = 1.0
    """Standard deviation of hidden matrices × sqrt(fan_in)."""
    init_std_head: Positive = 0.05
    """Standard deviation of an untied head at base_width."""
    zero_init_output_projections: Flag = True
    """Attention and feed-forward output projections start at zero."""

    @property
    def d_ff(self) -> int:
        if self.feed_forward_width is not None:
            return self.feed_forward_width
        return 4 * self.width if self.feed_forward == "gelu" else 16 * math.ceil(8 * self.width / 3 / 16)

    @model_validator(mode="after")
    def _heads(self) -> ModelConfig:
        if self.width % self.head_width:
            raise ValueError(
                f"width {self.width} is not a multiple of head_width {self.head_width}: every head has the "
                f"same width. Choose a width that is a multiple of {self.head_width}, or another head_width"
            )
        if self.head_width % 2:
            raise ValueError(
                f"head_width {self.head_width} is odd: rotary positions turn pairs of features. Choose an "
                "even head_width"
            )
        return self


class WarmupConfig(Section):
    """Linear rise to the peak: exactly one of three keys, which are three units."""

    steps: NonNegative | None = None
    """[updates]"""
    tokens: NonNegative | None = None
    """[tokens], rounded up to whole updates."""
    fraction: Annotated[Number, Field(ge=0, lt=1)] | None = None
    """Of each cell's own horizon; trunks of different horizons then share nothing."""

    @model_validator(mode="after")
    def _one(self) -> WarmupConfig:
        given = {key: value for key, value in self if value is not None}
        if len(given) != 1:
            listed = " and ".join(f"{key} {value}" for key, value in given.items()) or "nothing"
            raise ValueError(
                f"{listed} given: exactly one of steps, tokens, fraction is needed, because they are different "
                f"units. {'Keep one' if given else 'Add one'}"
            )
        return self


class OptimizerConfig(Section):
    """AdamW with decoupled weight decay."""

    adam_beta1: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    """Decay of the first moment per update."""
    adam_beta2: Annotated[Number, Field(ge=0, lt=1)] | None = 0.95
    """Decay of the second moment per update (or null, and give adam_beta2_half_life_tokens)."""
    adam_beta2_half_life_tokens: Positive | None = None
    """Half-life of the second moment [tokens], whatever the batch: beta2 = 2^(-batch tokens / half-life)."""
    adam_eps: Positive = 1.0e-8
    """Added to the root of the second moment."""
    weight_decay: Annotated[Number, Field(ge=0)] | None = 0.1
    """Decoupled weight decay; null for the policy constant_timescale."""
    weight_decay_policy: Literal["coupled", "independent", "constant_timescale"] = "coupled"
    """How an update shrinks matrices. coupled: by lr × weight_decay, as torch does; independent: by lr / peak_lr ×
    weight_decay, whatever the peak; constant_timescale: by lr × λ with λ such that the time-scale 1/(peak_lr × λ) is
    weight_decay_timescale_fraction of each cell's horizon."""
    weight_decay_timescale_fraction: Positive | None = None
    """constant_timescale only: memory of the weights, over the horizon."""
    grad_clip_norm: Positive | None = 1.0
    """Threshold of the global gradient norm; null is off."""

    @model_validator(mode="after")
    def _one_beta2(self) -> OptimizerConfig:
        if (self.adam_beta2 is None) == (self.adam_beta2_half_life_tokens is None):
            raise ValueError(
                f"adam_beta2 {self.adam_beta2} and adam_beta2_half_life_tokens {self.adam_beta2_half_life_tokens}: "
                "exactly one of them is needed, the other null. Give one"
            )
        return self

    @model_validator(mode="after")
    def _fields_of_policy(self) -> OptimizerConfig:
        if self.weight_decay_policy == "independent" and "weight_decay" not in self.model_fields_set:
            raise ValueError(
                "weight_decay is missing for weight_decay_policy independent: the default is meant for coupled and "
                "would shrink weights by a tenth in every update. Give one, say 1.0e-4"
            )
        by_timescale = self.weight_decay_policy == "constant_timescale"
        if by_timescale != (self.weight_decay is None) or by_timescale != bool(self.weight_decay_timescale_fraction):
            raise ValueError(
                f"weight_decay {self.weight_decay} and weight_decay_timescale_fraction "
                f"{self.weight_decay_timescale_fraction} with weight_decay_policy {self.weight_decay_policy}: "
                "constant_timescale needs the fraction and weight_decay: null, the others a weight_decay only. "
                "Set them so"
            )
        return self
