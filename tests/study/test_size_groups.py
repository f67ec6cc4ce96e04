"""Which models differ in size alone."""

from __future__ import annotations

from typing import Any

import pytest

from glidepath.stages.cells import plan_frame
from glidepath.study.cells import model_spec
from glidepath.study.model_config import ModelConfig
from glidepath.study.size_groups import architecture, size_groups
from tests.study.studies import planned


def of(vocab_size: int = 320, **keys: Any) -> str:
    return architecture(model_spec(ModelConfig.model_validate({"depth": 2, "width": 64, **keys}), vocab_size))


@pytest.mark.parametrize("feed_forward", ["swiglu", "gelu"])
@pytest.mark.parametrize("width", [16, 32, 48, 80, 128, 1024])
def test_sizes_of_one_architecture(feed_forward: str, width: int) -> None:
    """Though the default of swiglu is 3, 3, 2.67, 2.8, 2.75 and 2.67 times these widths."""
    assert of(width=width, depth=7, vocab_size=512, feed_forward=feed_forward) == of(feed_forward=feed_forward)


@pytest.mark.parametrize(
    "change",
    [
        {"feed_forward": "gelu"},
        {"feed_forward_width": 256},
        {"norm": "layernorm"},
        {"tied_embeddings": True},
        {"qk_norm": True},
        {"head_width": 32},
        {"context_length": 256},
        {"parametrization": "sp"},
        {"base_width": 32},
        {"init_std_hidden": 0.5},
        {"zero_init_output_projections": False},
    ],
)
def test_other_architectures(change: dict[str, Any]) -> None:
    assert of(**change) != of()


def test_a_base_shape_that_the_parametrisation_does_not_use_makes_no_difference() -> None:
    assert of(parametrization="sp", base_width=16, base_depth=8) == of(parametrization="sp")
    assert of(base_depth=8) == of()
    assert of(parametrization="completep", base_depth=8) != of(parametrization="completep")


def test_models_that_differ_in_more_than_size_are_not_compared() -> None:
    """Two widths of each of two architectures at 655,360 tokens: two groups, and not one of four models."""
    d16 = {"depth": 1, "width": 16, "head_width": 8, "context_length": 64}
    models = {"d16": d16, "d32": {**d16, "width": 32}}
    models |= {f"{name}_tied": {**keys, "tied_embeddings": True} for name, keys in models.items()}
    n_params = {16: 4 * 16**2 + 3 * 16 * 48 + 3 * 16, 32: 4 * 32**2 + 3 * 32 * 96 + 3 * 32}
    grid = [
        {
            "models": [name], "schedules": ["constant"], "peak_lrs": [0.01], "batch_sequences": [4],
            "tokens_per_parameter": [655_360 / n_params[keys["width"]]],
        }
        for name, keys in models.items()
    ]  # fmt: skip
    target = {"model": "d16", "tokens_per_parameter": 200, "batch_sequences": 4}
    rows = plan_frame(planned(("models", models), ("grid", grid), ("target", target)), {}, 1_000_000)
    found = {tuple(group.members["model"]): group.label for group in size_groups(rows)}
    assert set(found) == {("d16", "d32"), ("d16_tied", "d32_tied")}
    assert len(set(found.values())) == 2
