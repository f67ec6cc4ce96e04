"""Names, initial values and the tables of the parametrisations."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from glidepath.study.forward_constants import logits_multiplier, residual_multiplier
from glidepath.training.model import Decoder
from glidepath.training.parameters import Layout, Multipliers, initial_values, multipliers, parameters
from tests.training.small import model_spec


def test_layer_types_take_up_the_flat_buffer() -> None:
    """Norms lie together; attention and feed-forward take turns, a stretch for each per block."""
    for tied, outer in ((False, ["embedding"]), (True, ["embedding_head"])):
        spec = model_spec(tied_embeddings=tied, qk_norm=True, d_model=16, d_head=6)
        layout = Layout(spec)
        types = [s.layer_type for s in layout.stretches]
        assert types == [*outer, *["attention", "feed_forward"] * 2, *([] if tied else ["head"]), "norm"]
        assert layout.layer_types == ["norm", "attention", "feed_forward", *outer, *([] if tied else ["head"])]
        flat = torch.zeros(layout.size)
        for p, view in zip(layout.parameters, layout.views(flat).values(), strict=True):
            view.fill_(1.0 + layout.layer_types.index(p.layer_type))
        for s in layout.stretches:
            inside = flat[s.begin : s.end]
            assert set(inside.unique().tolist()) - {0.0} == {1.0 + layout.layer_types.index(s.layer_type)}
        assert sum(p.size for p in layout.parameters) == int(flat.count_nonzero())


def group_multipliers(**changes: Any) -> dict[str, Multipliers]:
    """By parameter name; two layers, d_model 16."""
    spec = model_spec(**{"d_model": 16, "qk_norm": True, **changes})
    return {p.name: multipliers(spec, p) for p in parameters(spec)}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"parametrization": "sp"}, {"parametrization": "mup", "base_width": 16}),
        ({"parametrization": "sp"}, {"parametrization": "completep", "base_width": 16, "base_depth": 2}),
        (
            {"parametrization": "mup", "base_width": 4},
            {"parametrization": "completep", "base_width": 4, "base_depth": 2},
        ),
    ],
    ids=["mup is sp at m = 1", "completep is sp at m = l = 1", "completep is mup at l = 1"],
)
def test_parametrisations_agree_at_their_base(tied: bool, one: dict[str, Any], other: dict[str, Any]) -> None:
    a, b = (model_spec(d_model=16, tied_embeddings=tied, **changes) for changes in (one, other))
    assert [multipliers(a, p) for p in parameters(a)] == [multipliers(b, p) for p in parameters(b)]
    assert (logits_multiplier(a), residual_multiplier(a)) == (logits_multiplier(b), residual_multiplier(b))
    assert residual_multiplier(a) == 1.0
    for name, values in initial_values(a, 5).items():
        assert torch.equal(values, initial_values(b, 5)[name])


def test_mup_table_at_four_times_the_base_width() -> None:
    groups = group_multipliers(parametrization="mup", base_width=4)
    assert groups["blocks.0.qkv"] == Multipliers(lr=0.25, weight_decay=4.0, eps=0.25)
    assert groups["head"] == Multipliers(lr=0.25, weight_decay=4.0, eps=1.0)
    assert groups["embedding"] == Multipliers(lr=1.0, weight_decay=1.0, eps=0.25)
    assert groups["blocks.1.q_norm"] == groups["final_norm"] == Multipliers(lr=1.0, weight_decay=0.0, eps=0.25)
    tied = group_multipliers(parametrization="mup", base_width=4, tied_embeddings=True)
    assert tied["embedding"] == Multipliers(lr=1.0, weight_decay=1.0, eps=0.25)
    stds = {p.name: p.init_std for p in parameters(model_spec(parametrization="mup", base_width=4, d_model=16))}
    assert stds["head"] == 0.05 / 4
    assert stds["blocks.0.qkv"] == 1.0 / 4


def test_completep_table_at_four_times_the_base_width_and_twice_the_depth() -> None:
    """Dey et al. 2025, Table 1 with α = 1: depth changes residual branches and the epsilon inside of blocks
    only."""
    changes = {"parametrization": "completep", "base_width": 4, "base_depth": 1}
    assert residual_multiplier(model_spec(**changes)) == 0.5
    groups, mup = group_multipliers(**changes), group_multipliers(**{**changes, "parametrization": "mup"})
    for name, group in groups.items():
        depth = 0.5 if name.startswith("blocks.") else 1.0
        assert group == replace(mup[name], eps=mup[name].eps * depth)
    assert groups["blocks.0.down"].eps == groups["blocks.1.attention_norm"].eps == 0.125
    assert groups["final_norm"].eps == groups["embedding"].eps == 0.25


@pytest.mark.parametrize(
    "larger", [{"d_model": 128, "n_head": 16, "d_ff": 512}, {"n_layer": 8}], ids=["width", "depth"]
)
def test_epsilon_follows_the_gradients(larger: dict[str, Any]) -> None:
    """The rule behind the epsilon columns: at four times the width or the depth gradients keep their size in
    units of the multiplied epsilon."""

    def gradients_per_epsilon(**changes: Any) -> dict[str, float]:
        spec = model_spec(**{
            "parametrization": "completep", "base_width": 32, "d_model": 32, "n_head": 4, "d_head": 8, "d_ff": 128,
            "init_std_embedding": 1.0, "init_std_head": 0.02, **changes,
        })  # fmt: skip
        decoder = Decoder(spec, dtype=torch.float64)
        decoder.initialise(3)
        ids = torch.randint(0, 23, (64, 13), generator=torch.Generator().manual_seed(0))
        decoder.accumulate_gradients(ids[:, :-1], ids[:, 1:], 1.0 / (64 * 12))
        return {
            p.name: decoder.gradients[p.name].square().mean().sqrt().item() / multipliers(spec, p).eps
            for p in parameters(spec)
        }

    base, other = gradients_per_epsilon(), gradients_per_epsilon(**larger)
    for name, value in base.items():
        assert 0.6 < other[name] / value < 1.6, name


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
    for tied, parametrization in itertools.product((False, True), ("sp", "mup", "completep")):
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
