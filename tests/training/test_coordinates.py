"""The coordinate check: activations are those of the model, changes are what they are called, and the
parametrisations behave as their theory says."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from glidepath.science import schedules
from glidepath.stages.coordinate_check import check, slopes
from glidepath.study.coordinates import CoordinateCheckSpec
from glidepath.study.specs import ModelSpec, OptimizerSpec, PathSpec
from glidepath.training.coordinates import coordinates, rms
from glidepath.training.layers import linear, norm
from glidepath.training.model import Decoder
from tests.training.small import CPU, counting_tokens, model_spec

TOKENS = counting_tokens()
FIXED_DEPTH, FIXED_WIDTH = 2, 32


def sized(width: int, depth: int, **changes: Any) -> ModelSpec:
    """Heads of 8 features, base width 16, base depth 2, output projections that start at zero."""
    shape = {"d_model": width, "n_layer": depth, "n_head": width // 8, "d_head": 8, "d_ff": 4 * width}
    given = {"base_width": 16, "base_depth": FIXED_DEPTH, "zero_init_output_projections": True}
    return model_spec(**{**shape, **given, **changes})


def spec(models: list[ModelSpec], **changes: Any) -> CoordinateCheckSpec:
    """Ten updates of eight sequences at a learning rate so low that changes add up rather than saturate."""
    lr = changes.pop("peak_lr", 1e-3)
    sequences = 80
    path = PathSpec(
        batch_sequences=schedules.batch_path([8] * 10),
        lr=schedules.constant(lr, sequences),
        weight_decay=schedules.constant(0.0, sequences),
        adam_beta1=schedules.constant(0.9, sequences),
        adam_beta2=schedules.constant(0.95, sequences),
    )
    plain = {
        "models": models, "replicates": (0, 1, 2), "path": path, "peak_lr": lr, "record_after": (1, 10),
        "optimizer": OptimizerSpec(kind="adamw", adam_eps=1e-8, grad_clip_norm=1.0),
        "validation_sequences": 4, "fixed_depth": FIXED_DEPTH, "fixed_width": FIXED_WIDTH, "tolerance": 0.25,
        "ci_level": 0.9,
    }  # fmt: skip
    return CoordinateCheckSpec.model_validate({**plain, **changes})


MODELS = list(
    product(["rmsnorm", "layernorm"], ["swiglu", "gelu"], [False, True], [("sp", 2), ("mup", 2), ("completep", 3)])
)


@pytest.mark.parametrize(("kind", "feed_forward", "tied", "scaling"), MODELS)
def test_activations_are_those_of_the_model(kind: str, feed_forward: str, tied: bool, scaling: tuple[str, int]) -> None:
    """The end of the stream, normed and multiplied by the head, is the logits; and so is what each block adds."""
    parametrization, depth = scaling
    model = model_spec(
        norm=kind, feed_forward=feed_forward, tied_embeddings=tied, parametrization=parametrization, n_layer=depth
    )
    decoder = Decoder(model, dtype=torch.float64)
    decoder.initialise(3)
    inputs = torch.from_numpy(np.random.default_rng(0).integers(0, 23, (2, 12)))
    found = decoder.activations(inputs)
    torch.testing.assert_close(found.logits_NV, decoder.logits(inputs))
    normed, _ = norm(model.norm, found.residual_ND, decoder.weights["final_norm"])
    logits = linear(normed, decoder.weights[decoder.head_name]) * decoder.logits_multiplier
    torch.testing.assert_close(logits, found.logits_NV)
    assert len(found.attention_ND) == len(found.feed_forward_ND) == depth
    matrices = {p.name for p in decoder.layout.parameters if p.kind in ("matrix", "head", "embedding_head")}
    assert set(found.matrix_inputs) == matrices


def test_root_mean_square_by_hand() -> None:
    assert rms([torch.tensor([3.0, 4.0]), torch.zeros(2)]) == pytest.approx(2.5)


def test_at_initialisation_nothing_has_changed() -> None:
    frame = pd.DataFrame(coordinates(spec([]), sized(16, 2), 0, TOKENS, torch.device("cpu")))
    first = frame[frame["updates_done"] == 0]
    assert (first["rms_change"] == 0).all()
    assert (first["rms_effect"].dropna() == 0).all()
    # Output projections start at zero.
    assert (first.loc[first["place"].isin(["attention", "feed_forward"]), "rms"] == 0).all()


def test_the_first_update_changes_every_weight_by_the_learning_rate() -> None:
    """Adam's first update is lr·sign(g): of a matrix under mup lr/m. Tokens that do not occur are left as they are."""
    lr, found = 2.0**-10, {}
    for parametrization in ("sp", "mup"):
        model = sized(64, 2, parametrization=parametrization, zero_init_output_projections=False)
        frame = pd.DataFrame(coordinates(spec([], peak_lr=lr), model, 0, TOKENS, torch.device("cpu")))
        weights = frame[(frame["updates_done"] == 1) & (frame["quantity"] == "weight")].set_index("place")
        found[parametrization] = weights["rms_change"] / lr
    for parametrization, m in (("sp", 1), ("mup", 4)):
        assert found[parametrization]["matrix"] == pytest.approx(1 / m, rel=0.02)
        assert found[parametrization]["head"] == pytest.approx(1 / m, rel=0.02)
        assert found[parametrization]["norm"] == pytest.approx(1, rel=0.02)


def test_the_effect_of_a_head_is_a_part_of_the_logits_change() -> None:
    """Logits change by ΔW·x(s) + W(0)·Δx: without a second part, from a head that starts at zero, by the effect."""
    model = sized(32, 2, init_std_head=0.0)
    frame = pd.DataFrame(coordinates(spec([]), model, 0, TOKENS, torch.device("cpu")))
    last = frame[frame["updates_done"] == 10].set_index("place")
    assert last.loc["head", "rms_effect"] == pytest.approx(last.loc["logits", "rms_change"], rel=1e-5)


def test_more_validation_sequences_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match=r"validation_sequences 40: .* holds 10 sequences of 12 tokens. Lower it"):
        list(coordinates(spec([], validation_sequences=40), sized(16, 2), 0, TOKENS, torch.device("cpu")))


@pytest.fixture(scope="module")
def growth() -> pd.DataFrame:
    """Slopes of the change after ten updates, against widths 16 to 128 and depths 2 to 16."""
    sizes = [(16, 2), (32, 2), (64, 2), (128, 2), (32, 4), (32, 8), (32, 16)]
    models = [sized(*size, parametrization=name) for name in ("sp", "mup", "completep") for size in sizes]
    asked = spec(models)
    found = slopes(check(asked, TOKENS, CPU), asked)
    found = found[(found["quantity"] == "activation") & (found["updates_done"] == 10)]
    return found.set_index(["varied", "parametrization", "place"])["slope"].unstack("place")


# In the limit, exponents are multiples of 1/2 (Yang et al. 2022, appendix J): below 1/4 the nearest is 0, above 1/4 it
# is not. Sums of n aligned terms grow as n, of n independent ones as √n.


def test_sp_grows_with_width_and_mup_does_not(growth: pd.DataFrame) -> None:
    """Under sp every weight moves by lr, whatever the width: a matrix then adds lr·width to what it gives. A part of
    that is not aligned and falls as 1/√width under mup, which is why the slope there may be below zero but not above:
    its bounds are -1/2 and the tolerance."""
    for place in ("attention", "feed_forward", "residual", "logits"):
        assert growth.loc[("d_model", "sp"), place] > 0.5
        for name in ("mup", "completep"):
            assert -0.5 < growth.loc[("d_model", name), place] < 0.25
            assert growth.loc[("d_model", "sp"), place] - growth.loc[("d_model", name), place] > 0.5
    assert growth.loc["d_model", "embedding"].abs().max() < 0.25


def test_completep_is_flat_in_depth_and_mup_is_not(growth: pd.DataFrame) -> None:
    """Blocks that learn from one loss add aligned terms to the stream: depth of them without 1/depth."""
    assert growth.loc[("n_layer", "completep")].abs().max() < 0.25
    for name in ("sp", "mup"):
        assert growth.loc[("n_layer", name), "residual"] > 0.5
