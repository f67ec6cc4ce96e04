"""Names, initial values and the muP table."""

from __future__ import annotations

import itertools

import pytest
import torch

from glidepath.study.specs import OptimizerSpec
from glidepath.training.optimizer import AdamW
from glidepath.training.parameters import (
    Layout,
    initial_values,
    logits_multiplier,
    parameter_groups,
    parameters,
)
from tests.training.small import model_spec


@pytest.mark.parametrize("tied", [False, True])
def test_mup_equals_sp_at_the_base_width(tied: bool) -> None:
    sp, mup = (model_spec(parametrization=p, base_width=16, d_model=16, tied_embeddings=tied) for p in ("sp", "mup"))
    assert parameter_groups(sp) == parameter_groups(mup)
    assert logits_multiplier(sp) == logits_multiplier(mup) == 1.0
    for name, values in initial_values(sp, 5).items():
        assert torch.equal(values, initial_values(mup, 5)[name])


def test_mup_table_at_four_times_the_base_width() -> None:
    groups = parameter_groups(model_spec(parametrization="mup", base_width=4, d_model=16))
    assert (groups["matrix"].lr, groups["matrix"].weight_decay) == (0.25, 4.0)
    assert (groups["head"].lr, groups["head"].weight_decay) == (0.25, 4.0)
    assert (groups["embedding"].lr, groups["embedding"].weight_decay) == (1.0, 1.0)
    assert groups["norm"].weight_decay == 0.0
    stds = {p.name: p.init_std for p in parameters(model_spec(parametrization="mup", base_width=4, d_model=16))}
    assert stds["head"] == 0.05 / 4
    assert stds["blocks.0.qkv"] == 1.0 / 4


def test_a_tied_head_moves_its_factor_to_the_logits() -> None:
    assert logits_multiplier(model_spec(parametrization="mup", base_width=4, tied_embeddings=True)) == 0.25
    assert logits_multiplier(model_spec(parametrization="mup", base_width=4)) == 1.0


def test_initial_values_are_a_function_of_spec_and_seed() -> None:
    spec = model_spec(zero_init_output_projections=True)
    first, again, other = initial_values(spec, 1), initial_values(spec, 1), initial_values(spec, 2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embedding"], other["embedding"])
    assert not first["blocks.0.down"].any()
    assert not first["blocks.1.attention_out"].any()


def test_initial_standard_deviations() -> None:
    values = initial_values(model_spec(d_model=256, n_head=4, d_head=64, vocab_size=512), 0)
    assert values["embedding"].std().item() == pytest.approx(0.5, rel=0.02)
    assert values["head"].std().item() == pytest.approx(0.05, rel=0.02)
    assert values["blocks.0.qkv"].std().item() == pytest.approx(256**-0.5, rel=0.02)


def test_groups_cover_the_flat_buffer_once_and_views_do_not_overlap() -> None:
    for tied, parametrization in itertools.product((False, True), ("sp", "mup")):
        layout = Layout(model_spec(tied_embeddings=tied, parametrization=parametrization, qk_norm=True))
        assert layout.groups[0].begin == 0
        assert layout.groups[-1].end == layout.size
        assert all(a.end == b.begin for a, b in itertools.pairwise(layout.groups))
        flat = torch.zeros(layout.size)
        for view in layout.views(flat).values():
            view += 1.0
        assert flat.max().item() == 1.0
        assert flat.sum().item() == sum(p.size for p in layout.parameters)


def test_odd_heads_are_refused() -> None:
    with pytest.raises(ValueError, match=r"d_head = 5.*even"):
        parameters(model_spec(d_head=5))


def test_zero_epsilon_is_refused() -> None:
    flat = torch.zeros(16)
    spec = OptimizerSpec(adam_beta1=0.9, adam_beta2=0.95, adam_eps=0.0, grad_clip_norm=None)
    with pytest.raises(ValueError, match=r"adam_eps = 0"):
        AdamW(spec, flat, flat.clone(), [])
