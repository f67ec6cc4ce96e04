"""How far planted optima move with the size, and which models are compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import lr_transfer
from glidepath.study import tables
from glidepath.study.final_losses import FinalLosses, final_losses
from glidepath.study.size_groups import size_groups
from tests.laws.planted import assert_nominal, covered, one, parameters, scores, settings, valid
from tests.synthetic import run

LRS = 1e-3 * 2.0 ** np.arange(-4, 5)
WIDTHS = (32, 64, 128)
BLOCKS = 8


def study(
    shifts: dict[str, float],
    *,
    widths: tuple[int, ...] = WIDTHS,
    horizons: tuple[int, ...] = (51200, 51200, 51200),
    noise: float = 0.0,
    seed: int = 0,
    depth_of: dict[int, int] | None = None,
) -> FinalLosses:
    """Loss 3 + 0.05·ln(lr/lr*)², lr* = 1e-3·(width/64)^shift, two replicates, one sweep per parametrisation and
    width."""
    random = np.random.default_rng(seed)
    rows, blocks = [], []
    for parametrization, shift in shifts.items():
        for width, horizon in zip(widths, horizons, strict=True):
            for lr in LRS:
                for replicate in range(2):
                    model = f"{parametrization}_{width}"
                    loss = 3 + 0.05 * np.log(lr / (1e-3 * (width / 64) ** shift)) ** 2
                    loss += noise * random.standard_normal()
                    cell_id = f"{model}-{lr:g}-{replicate}"
                    rows.append(
                        run(
                            cell_id=cell_id, model=model, parametrization=parametrization,
                            architecture=parametrization, d_model=width,
                            n_layer=(depth_of or {}).get(width, 2), d_head=16, context_length=64, schedule="linear_0",
                            schedule_kind="linear", n_params_counted=width**2, peak_lr=lr, batch_sequences=8,
                            tokens_per_parameter=horizon / width**2, token_horizon=horizon, replicate=replicate,
                            val_loss=loss,
                        )
                    )  # fmt: skip
                    block = {"cell_id": cell_id, "domain": "held_out", "block": np.arange(BLOCKS), "loss": loss}
                    blocks.append(pd.DataFrame(block).astype({"loss": "float32"}))
    return final_losses(pd.DataFrame(rows, columns=tables.RUNS.names), pd.concat(blocks))


LABEL = "{0}, n_layer 2, d_head 16, context 64, architecture {0}"
SHIFT = "log2_shift_per_width_doubling"


def test_planted_shifts_are_exact_without_noise() -> None:
    law = lr_transfer.fit(study({"sp": -1.0, "mup": 0.0}), settings())
    found = parameters(law)
    assert len(found) == 2
    for parametrization, shift in (("sp", -1.0), ("mup", 0.0)):
        row = one(found, model=LABEL.format(parametrization), parameter=SHIFT)
        assert row["value"] == pytest.approx(shift, abs=1e-6)
        assert (row["status"], row["n_points"]) == ("converged", 3)
    line = valid(law)[tables.LAW_PREDICTIONS]
    sp = line[line["model"] == LABEL.format("sp")]
    np.testing.assert_allclose(sp["value"], 1e-3 * (sp["x"] / 64) ** -1.0, rtol=1e-6)
    assert set(sp["x_name"]) == {"d_model"}


def test_the_largest_width_is_predicted_and_carrying_over_is_not_where_the_optimum_moves() -> None:
    found = scores(lr_transfer.fit(study({"sp": -1.0, "mup": 0.0}), settings()))
    sp, mup = (one(found, model=LABEL.format(name)) for name in ("sp", "mup"))
    assert sp["mean_absolute_error"] < 1e-9
    # The optimum halves from 1e-3 to 0.5e-3.
    assert sp["baseline_mean_absolute_error"] == pytest.approx(0.5e-3, rel=1e-6)
    assert mup["baseline_mean_absolute_error"] < 1e-9


def test_intervals_cover() -> None:
    hits = []
    for seed in range(40):
        losses = study({"sp": -1.0, "mup": 0.0}, noise=0.01, seed=seed)
        found = parameters(lr_transfer.fit(losses, settings(seed)))
        for parametrization, shift in (("sp", -1.0), ("mup", 0.0)):
            hits.append(covered(one(found, model=LABEL.format(parametrization)), shift))
    assert_nominal(hits, 80)


def test_depths_at_one_width_are_compared_too() -> None:
    """Widths that all differ, each with a depth of its own: nothing differs in one dimension alone."""
    points = study({"mup": 0.0}, depth_of={32: 1, 64: 2, 128: 4}).points
    assert list(size_groups(points)) == []
    swapped = points.rename(columns={"d_model": "n_layer", "n_layer": "d_model"}).assign(d_model=64)
    (group,) = size_groups(swapped)
    assert (group.varied, group.fixed, group.members["size"].tolist()) == ("n_layer", 64, [32, 64, 128])
    assert group.label == "mup, d_model 64, d_head 16, context 64, architecture mup"


def test_architectures_are_fitted_apart() -> None:
    """Two widths of each of two: the optimum of the tied ones halves, of the others it stays."""
    losses = study({"mup": 0.0, "sp": -1.0}, widths=(32, 64), horizons=(51200, 51200))
    losses.points["architecture"] = losses.points["parametrization"].map({"mup": "untied", "sp": "tied"})
    losses.points["parametrization"] = "mup"
    found = parameters(lr_transfer.fit(losses, settings()))
    for name, shift in (("untied", 0.0), ("tied", -1.0)):
        label = f"mup, n_layer 2, d_head 16, context 64, architecture {name}"
        assert one(found, model=label)["value"] == pytest.approx(shift, abs=1e-6)


def test_only_sizes_at_one_token_horizon_are_compared() -> None:
    losses = study({"mup": 0.0}, widths=(32, 64, 128, 256), horizons=(50_000, 50_500, 100_000, 40_000))
    (group,) = size_groups(losses.points)
    assert group.members["model"].tolist() == ["mup_32", "mup_64"]


def test_an_optimum_at_the_edge_takes_no_part() -> None:
    """At widths 32 and 128 the optimum is 256 times off, outside the grid."""
    found = parameters(lr_transfer.fit(study({"sp": -8.0}), settings()))
    assert found["status"].tolist() == ["edge_of_grid"]
    assert found["value"].isna().all()
