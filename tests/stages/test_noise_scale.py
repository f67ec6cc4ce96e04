"""`glidepath noise-scale`: sums over groups and windows along training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from glidepath.__main__ import main
from glidepath.study import tables

CONTEXT, BATCH = 64, 4
NORMS = {"norm": (2.0, 1.0), "matrix": (10.0, 3.0), "embedding": (5.0, 2.0), "head": (8.0, 4.0)}
"""Squared norms of one sequence's gradient and of the batch's, by group."""


def statistics(n_probes: int, wobble: float = 0.0, batch: int = BATCH) -> pd.DataFrame:
    rows = [
        {
            "cell_id": "cell", "step": 10 * i, "tokens_seen": (10 * i + 1) * CONTEXT * batch, "group": group,
            "grad_sq_norm_small": small + wobble * (-1) ** i, "grad_sq_norm_big": big,
            "small_batch_tokens": CONTEXT, "big_batch_tokens": CONTEXT * batch,
        }
        for i in range(n_probes)
        for group, (small, big) in NORMS.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=tables.GRADIENT_STATISTICS.names)


def noise_scale(tmp_path: Path, frame: pd.DataFrame, windows: int = 2) -> pd.DataFrame:
    tables.write(tables.GRADIENT_STATISTICS, frame, tmp_path / "in.parquet")
    arguments = ["--statistics", tmp_path / "in.parquet", "--windows", windows, "--output", tmp_path / "out.parquet"]
    assert main(["noise-scale", *map(str, arguments)]) == 0
    return tables.read(tables.NOISE_SCALE, tmp_path / "out.parquet")


def test_every_group_by_hand(tmp_path: Path) -> None:
    """|G|² = (4·big - small)/3, trΣ = (small - big)·4/3; norms of groups add, their noise scales do not."""
    found = noise_scale(tmp_path, statistics(8))
    norms = NORMS | {"body": (12.0, 4.0), "total": (25.0, 10.0)}
    assert set(found["group"]) == set(norms)
    for group, (small, big) in norms.items():
        rows = found[found["group"] == group]
        assert rows["window"].tolist() == [0, 1]
        np.testing.assert_allclose(rows["grad_sq_norm_true"], (4 * big - small) / 3)
        np.testing.assert_allclose(rows["grad_noise_trace"], (small - big) * 4 / 3)
        np.testing.assert_allclose(rows["noise_scale_sequences"], 4 * (small - big) / (4 * big - small))
        np.testing.assert_allclose(rows["noise_scale_tokens"], CONTEXT * 4 * (small - big) / (4 * big - small))
        assert rows["n_probes"].tolist() == [4, 4]
        # Steps 0 to 30 and 40 to 70.
        assert rows["tokens_seen"].tolist() == [16 * CONTEXT * BATCH, 56 * CONTEXT * BATCH]
        assert (rows["noise_scale_tokens_se"] < 1e-6).all()
        assert set(rows["status"]) == {"ok"}


def test_errors_are_in_tokens(tmp_path: Path) -> None:
    """Jackknife by hand over four probes of the group norm: small is 2 ± 0.5 in turn."""
    rows = noise_scale(tmp_path, statistics(4, 0.5), 1).query("group == 'norm'")
    small = np.array([2.5, 1.5, 2.5, 1.5])
    left_out = np.array([np.delete(small, i).mean() for i in range(4)])
    ratios = 4 * (left_out - 1) / (4 - left_out)
    expected = CONTEXT * np.sqrt(3 / 4 * ((ratios - ratios.mean()) ** 2).sum())
    assert rows["noise_scale_tokens_se"].item() == pytest.approx(expected)


def test_fewer_windows_where_probes_are_few(tmp_path: Path) -> None:
    assert set(noise_scale(tmp_path, statistics(7), 5)["n_probes"]) == {7}
    assert noise_scale(tmp_path, statistics(3), 5).empty


def test_a_batch_of_one_sequence_says_nothing(tmp_path: Path) -> None:
    assert noise_scale(tmp_path, statistics(8, batch=1)).empty


def test_a_growing_batch(tmp_path: Path) -> None:
    """The batch doubles half way within one window, the truth stays: big = |G|² + trΣ/B."""
    frame = statistics(8)
    frame["grad_sq_norm_small"] = 1.0 + 6.0
    batch = np.where(frame["step"] < 40, 4, 8)
    frame["grad_sq_norm_big"] = 1.0 + 6.0 / batch
    frame["big_batch_tokens"] = CONTEXT * batch
    rows = noise_scale(tmp_path, frame, 1)
    np.testing.assert_allclose(rows.query("group == 'matrix'")["noise_scale_sequences"], 6.0)
    np.testing.assert_allclose(rows.query("group == 'total'")["grad_sq_norm_true"], 4.0)


def test_no_signal_is_untrusted(tmp_path: Path) -> None:
    frame = statistics(8)
    frame["grad_sq_norm_big"] = frame["grad_sq_norm_small"] / 5
    rows = noise_scale(tmp_path, frame)
    assert (rows["noise_scale_tokens"] < 0).all()
    assert set(rows["status"]) == {"untrusted"}


def test_nothing_was_probed(tmp_path: Path) -> None:
    assert noise_scale(tmp_path, tables.empty(tables.GRADIENT_STATISTICS)).empty
