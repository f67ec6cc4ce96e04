"""`glidepath noise-scale`: sums over layer types, and windows along training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from glidepath.__main__ import main
from glidepath.study import tables

CONTEXT, BATCH, EVERY = 64, 4, 10
NORMS = {
    "norm": (2.0, 1.0),
    "attention": (4.0, 1.5),
    "feed_forward": (6.0, 2.0),
    "embedding": (5.0, 2.0),
    "head": (8.0, 4.0),
}
"""Squared norms of one sequence's gradient and of the batch's, by layer type."""
SUMS = {"matrix": (10.0, 3.5), "body": (12.0, 4.5), "total": (25.0, 10.5)}


def statistics(
    n_probes: int, wobble: float = 0.0, batch: int = BATCH, norm_every: int = EVERY, after: int = 0
) -> pd.DataFrame:
    """All layers at every EVERY-th update, the norm layers at every `norm_every`-th, up to `after` updates later."""
    rows = [
        {
            "cell_id": "cell", "step": step, "tokens_seen": (step + 1) * CONTEXT * batch, "group": group,
            "grad_sq_norm_small": small + wobble * (-1) ** (step // norm_every), "grad_sq_norm_big": big,
            "small_batch_tokens": CONTEXT, "big_batch_tokens": CONTEXT * batch,
        }
        for step in range(0, EVERY * (n_probes - 1) + after + 1, norm_every)
        for group, (small, big) in NORMS.items()
        if group == "norm" or step % EVERY == 0
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=tables.GRADIENT_STATISTICS.names)


def noise_scale(tmp_path: Path, frame: pd.DataFrame, windows: int = 2) -> pd.DataFrame:
    tables.write(tables.GRADIENT_STATISTICS, frame, tmp_path / "in.parquet")
    arguments = ["--statistics", tmp_path / "in.parquet", "--windows", windows, "--ci-level", 0.9]
    assert main(["noise-scale", *map(str, arguments), "--output", str(tmp_path / "out.parquet")]) == 0
    return tables.read(tables.NOISE_SCALE, tmp_path / "out.parquet")


def test_every_layer_type_and_sum_by_hand(tmp_path: Path) -> None:
    """|G|² = (4·big - small)/3, trΣ = (small - big)·4/3; norms of layer types add, their noise scales do not."""
    found = noise_scale(tmp_path, statistics(8))
    norms = NORMS | SUMS
    assert set(found["group"]) == set(norms)
    for group, (small, big) in norms.items():
        rows = found[found["group"] == group]
        assert rows["window"].tolist() == [0, 1]
        np.testing.assert_allclose(rows["grad_sq_norm_true"], (4 * big - small) / 3)
        np.testing.assert_allclose(rows["grad_noise_trace"], (small - big) * 4 / 3)
        np.testing.assert_allclose(rows["noise_scale_sequences"], 4 * (small - big) / (4 * big - small))
        np.testing.assert_allclose(rows["noise_scale_tokens"], CONTEXT * 4 * (small - big) / (4 * big - small))
        assert rows["n_probes"].tolist() == [4, 4]
        assert rows["n_blocks"].tolist() == [4, 4]
        # Steps 0 to 30 and 40 to 70.
        assert rows["tokens_seen"].tolist() == [16 * CONTEXT * BATCH, 56 * CONTEXT * BATCH]
        assert (rows["noise_scale_tokens_se"] < 1e-6).all()
        np.testing.assert_allclose(rows["ci_low"], rows["noise_scale_tokens"], rtol=1e-6)
        np.testing.assert_allclose(rows["ci_high"], rows["noise_scale_tokens"], rtol=1e-6)
        assert set(rows["status"]) == {"ok"}


def test_errors_are_in_tokens(tmp_path: Path) -> None:
    """Jackknife by hand over four probes of the group norm: small is 2 ± 0.5 in turn."""
    rows = noise_scale(tmp_path, statistics(4, 0.5), 1).query("group == 'norm'")
    small = np.array([2.5, 1.5, 2.5, 1.5])
    left_out = np.array([np.delete(small, i).mean() for i in range(4)])
    ratios = 4 * (left_out - 1) / (4 - left_out)
    expected = CONTEXT * np.sqrt(3 / 4 * ((ratios - ratios.mean()) ** 2).sum())
    assert rows["noise_scale_tokens_se"].item() == pytest.approx(expected)
    assert rows["ci_low"].item() == pytest.approx(CONTEXT * rows["ci_low_sequences"].item())
    assert rows["ci_high"].item() == pytest.approx(CONTEXT * rows["ci_high_sequences"].item())
    assert rows["ci_low"].item() < rows["noise_scale_tokens"].item() < rows["ci_high"].item()
    assert rows["ci_level"].item() == 0.9


def test_norm_layers_alone_have_more_probes_in_the_same_windows(tmp_path: Path) -> None:
    """All layers at 0, 10, … 70; the norm layers at every second update up to 78: windows part at update 40."""
    found = noise_scale(tmp_path, statistics(8, norm_every=2, after=8))
    norm, total = (found[found["group"] == group] for group in ("norm", "total"))
    assert total["n_probes"].tolist() == [4, 4]
    assert norm["n_probes"].tolist() == [20, 20]
    assert norm["tokens_seen"].tolist() == [20 * CONTEXT * BATCH, 60 * CONTEXT * BATCH]
    np.testing.assert_allclose(total["noise_scale_sequences"], 4 * 14.5 / 17)


def test_norm_layers_where_all_layers_are_hardly_probed(tmp_path: Path) -> None:
    """All layers at 0 and 10: too few for a window. The norm layers have windows of their own probes."""
    found = noise_scale(tmp_path, statistics(2, norm_every=1))
    assert set(found["group"]) == {"norm"}
    assert found["n_probes"].tolist() == [6, 5]


@pytest.mark.parametrize("stop", [0, EVERY])
def test_norm_layers_alone_are_no_total(tmp_path: Path, stop: int) -> None:
    """The other layer types were never probed, or only while the batch was one sequence."""
    frame = statistics(8, norm_every=1)
    frame = frame[(frame["group"] == "norm") | (frame["step"] < stop)]
    frame.loc[frame["step"] < stop, "big_batch_tokens"] = CONTEXT
    found = noise_scale(tmp_path, frame, 1)
    assert found["group"].tolist() == ["norm"]
    assert found["n_probes"].item() == 71 - stop


def test_a_layer_type_whose_norms_are_no_numbers_is_missing_in_every_sum(tmp_path: Path) -> None:
    frame = statistics(8)
    frame.loc[frame["group"] == "head", "grad_sq_norm_big"] = np.inf
    assert set(noise_scale(tmp_path, frame, 1)["group"]) == set(NORMS) - {"head"}


def test_sums_only_where_all_layers_were_probed(tmp_path: Path) -> None:
    """The embedding is missing at two of the updates: sums are of the other six, attention of all."""
    frame = statistics(8)
    frame = frame[~((frame["group"] == "embedding") & frame["step"].isin([20, 70]))]
    found = noise_scale(tmp_path, frame, 1).set_index("group")
    assert found["n_probes"].to_dict() == dict.fromkeys(NORMS | SUMS, 6) | dict.fromkeys(
        ("norm", "attention", "feed_forward", "head"), 8
    )
    assert found.loc["total", "grad_sq_norm_true"] == pytest.approx(17 / 3)


def test_correlated_probes_have_blocks(tmp_path: Path) -> None:
    """The batch's norm wanders with a memory of ten probes. Errors are over blocks, and larger than in any order."""
    frame = statistics(400)
    random = np.random.default_rng(0)
    wander = np.zeros(400)
    for i in range(1, 400):
        wander[i] = 0.9 * wander[i - 1] + 0.1 * random.standard_normal()
    frame["grad_sq_norm_big"] *= 1 + 0.5 * np.repeat(wander, len(NORMS))
    total = noise_scale(tmp_path, frame).query("group == 'total'")
    assert (total["block_probes"] > 10).all()
    assert (total["n_blocks"] == 200 // total["block_probes"]).all()
    shuffled = frame.assign(grad_sq_norm_big=0.0)
    order = np.random.default_rng(1).permutation(400)
    shuffled["grad_sq_norm_big"] = frame["grad_sq_norm_big"].to_numpy().reshape(400, -1)[order].ravel()
    independent = noise_scale(tmp_path, shuffled).query("group == 'total'")
    assert (independent["block_probes"] == 1).all()
    assert total["noise_scale_tokens_se"].mean() > 2 * independent["noise_scale_tokens_se"].mean()


def test_fewer_windows_where_probes_are_few(tmp_path: Path) -> None:
    assert set(noise_scale(tmp_path, statistics(7), 5)["n_probes"]) == {7}
    assert noise_scale(tmp_path, statistics(3), 5).empty


def test_a_batch_of_one_sequence_says_nothing(tmp_path: Path) -> None:
    assert noise_scale(tmp_path, statistics(8, batch=1)).empty


def test_a_run_that_diverges_has_windows_up_to_there(tmp_path: Path) -> None:
    frame = statistics(9)
    frame.loc[frame["step"] == 80, "grad_sq_norm_big"] = np.inf
    frame.loc[(frame["step"] == 70) & (frame["group"] == "head"), "grad_sq_norm_small"] = np.nan
    found = noise_scale(tmp_path, frame, 1).set_index("group")
    assert found.loc["attention", "n_probes"] == 8
    assert found.loc["total", "n_probes"] == 7
    assert found["grad_sq_norm_true"].notna().all()


def test_a_growing_batch(tmp_path: Path) -> None:
    """The batch goes from one sequence, which says nothing, to 4 and 8; the truth stays: big = |G|² + trΣ/B."""
    frame = statistics(9)
    frame["grad_sq_norm_small"] = 1.0 + 6.0
    batch = np.select([frame["step"] == 0, frame["step"] < 50], [1, 4], 8)
    frame["grad_sq_norm_big"] = 1.0 + 6.0 / batch
    frame["big_batch_tokens"] = CONTEXT * batch
    rows = noise_scale(tmp_path, frame, 1).set_index("group")
    assert rows.loc["total", "n_probes"] == 8
    assert rows.loc["attention", "noise_scale_sequences"] == pytest.approx(6.0)
    assert rows.loc["total", "grad_sq_norm_true"] == pytest.approx(5.0)


def test_no_signal_is_untrusted_and_has_no_upper_bound(tmp_path: Path) -> None:
    """The batch's norm is what noise alone leaves, and a little more or less."""
    frame = statistics(8)
    frame["grad_sq_norm_big"] = frame["grad_sq_norm_small"] / np.where(frame["step"] % 20, 4.2, 4.1)
    rows = noise_scale(tmp_path, frame)
    assert (rows["noise_scale_tokens"] < 0).all()
    assert set(rows["status"]) == {"untrusted"}
    frame["grad_sq_norm_big"] = frame["grad_sq_norm_small"] / np.where(frame["step"] % 20, 4.2, 3.7)
    rows = noise_scale(tmp_path, frame)
    assert (rows["noise_scale_tokens"] > 0).all()
    assert set(rows["status"]) == {"untrusted"}
    assert rows["ci_high"].isna().all()
    assert (rows["ci_low"] > 0).all()


def test_nothing_was_probed(tmp_path: Path) -> None:
    assert noise_scale(tmp_path, tables.empty(tables.GRADIENT_STATISTICS)).empty
