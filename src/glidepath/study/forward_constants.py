"""Numbers of the forward pass that follow from a model's specification: training and export must agree on them."""

from __future__ import annotations

from glidepath.study.specs import ModelSpec

NORM_EPSILON = 1e-5
"""ε of every norm, added to the mean square before the root."""


def width_ratio(spec: ModelSpec) -> float:
    """m of `training/parameters.py`: d_model / base_width under `mup` and `completep`, 1 under `sp`."""
    return 1.0 if spec.parametrization == "sp" else spec.d_model / spec.base_width


def residual_multiplier(spec: ModelSpec) -> float:
    """What the output of each residual branch is multiplied by: 1/l = base_depth / n_layer under `completep`,
    else 1."""
    return spec.base_depth / spec.n_layer if spec.parametrization == "completep" else 1.0


def logits_multiplier(spec: ModelSpec) -> float:
    """What the logits are multiplied by: 1/m for a tied head under `mup` and `completep`, else 1."""
    return 1.0 / width_ratio(spec) if spec.tied_embeddings else 1.0
