"""What the section `coordinate_check` asks for, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from glidepath.study.config import StudyError
from glidepath.study.coordinates import coordinate_check_spec
from glidepath.study.figure_list import figures_of
from tests.study.studies import VOCAB_SIZE, study

SECTION: dict[str, Any] = {"model": "d16", "widths": [16, 32, 64], "depths": [1, 2, 4], "peak_lr": 0.01}


def section(**changes: Any) -> tuple[str, Any]:
    return "coordinate_check", {**SECTION, **changes}


def test_every_size_is_trained_once_under_every_parametrisation() -> None:
    spec = coordinate_check_spec(study(section()), VOCAB_SIZE)
    assert spec is not None
    # The model itself, width 16 and depth 1, is on both axes.
    sizes = {(16, 1), (32, 1), (64, 1), (16, 2), (16, 4)}
    found = [(model.parametrization, model.d_model, model.n_layer) for model in spec.models]
    assert sorted(found) == sorted((name, *size) for name in ("sp", "mup", "completep") for size in sizes)
    assert (spec.fixed_width, spec.fixed_depth) == (16, 1)
    for model in spec.models:
        assert (model.d_head, model.n_head) == (8, model.d_model // 8)
        # 8/3 of the width, rounded up to a multiple of 16.
        assert model.d_ff == {16: 48, 32: 96, 64: 176}[model.d_model]


def test_every_update_is_alike_and_without_decay() -> None:
    spec = coordinate_check_spec(study(section(record_after=[2, 5], batch_sequences=4)), VOCAB_SIZE)
    assert spec is not None
    path = spec.path.arrays()
    np.testing.assert_array_equal(path.lr, np.full(5, 0.01))
    np.testing.assert_array_equal(path.weight_decay, np.zeros(5))
    np.testing.assert_array_equal(path.batch_sequences, np.full(5, 4))
    np.testing.assert_array_equal(path.adam_beta2, np.full(5, 0.95))


def test_a_half_life_in_tokens_is_that_of_the_checks_batch() -> None:
    """Four sequences of 64 tokens: 256 tokens, a quarter of the half-life."""
    optimizer = {"adam_beta2": None, "adam_beta2_half_life_tokens": 1024}
    spec = coordinate_check_spec(study(section(batch_sequences=4), ("optimizer", optimizer)), VOCAB_SIZE)
    assert spec is not None
    np.testing.assert_allclose(spec.path.arrays().adam_beta2, 0.5**0.25)


def test_a_study_without_it_has_no_check_and_no_figure() -> None:
    assert coordinate_check_spec(study(), VOCAB_SIZE) is None
    assert not {"coordinate_check", "lr_transfer"} & set(figures_of(study()))
    assert "coordinate_check" in figures_of(study(section()))
    asked = study(("analysis", {"reference_schedule": "constant", "laws": ["lr_transfer"]}))
    assert "lr_transfer" in figures_of(asked)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "d17"}, r"coordinate_check.model names 'd17', which is not one of d16. Correct"),
        ({"widths": [16, 20]}, r"coordinate_check.widths has 20, .* heads keep their width. Choose a multiple of 8"),
        ({"widths": [16]}, r"coordinate_check.widths: 16 is the only size: a slope needs two"),
        ({"depths": [2]}, r"coordinate_check.depths: 2 is the only size"),
        ({"validation_sequences": 257}, r"validation_sequences 257 of 64 tokens are more than .* 16384"),
        ({"tolerance": 0.5}, r"coordinate_check.tolerance = 0.5"),
        ({"record_after": [2, 2]}, r"coordinate_check.record_after: 2 is given twice"),
        ({"widths": [], "depths": []}, r"widths and depths are both empty: there is nothing to check"),
    ],
)
def test_refusals_name_key_value_and_remedy(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        study(section(**changes))


def test_a_fixed_inner_width_is_refused() -> None:
    with pytest.raises(StudyError, match="has feed_forward_width 40: it must grow with the width"):
        study(section(), ("models.d16.feed_forward_width", 40))
