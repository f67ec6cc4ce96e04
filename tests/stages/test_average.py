"""Averages of real snapshot files, against a twin that holds everything in memory at once."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from glidepath.corpus.store import TokenStore
from glidepath.stages import average as stage
from glidepath.stages.average_records import cell_points
from glidepath.study import tables
from glidepath.study.averages import AverageSpec
from glidepath.study.averaging_config import EmaScheme, LawaScheme, WindowScheme
from glidepath.study.identity import canonical_json
from glidepath.study.layout import segment_directory
from glidepath.training import averaged_losses, evaluation, snapshots
from glidepath.training.evaluation import block_losses
from glidepath.training.model import Decoder
from tests.training.small import counting_tokens, segment_spec

WHOLE = segment_spec(start=90, stop=100)
MODEL = WHOLE.trajectory.model
UPDATES = (80, 85, 90, 95, 100)
SPEC = AverageSpec(
    averaging_version=1, segment="tail", snapshot_at=UPDATES, evaluate_at=(95, 100), n_params_counted=None,
    schemes={
        "window_15": WindowScheme(kind="window", fraction=0.15),
        "ema_5": EmaScheme(kind="ema", timescale_fraction=0.05),
        "lawa_2": LawaScheme(kind="lawa", checkpoints=2, every_updates=10),
    },
)  # fmt: skip
Weights = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, Weights]:
    """Snapshots of two segments in the store: 80 … 90 of the trunk, 95 and 100 of its continuation."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TokenStore, "open", lambda _: counting_tokens())
    decoder = Decoder(MODEL, torch.device("cpu"))
    weights: dict[int, Weights] = {}
    for update in UPDATES:
        decoder.initialise(update)
        weights[update] = {name: tensor.numpy().copy() for name, tensor in decoder.weights.items()}
    write(weights, "trunk", UPDATES[:3])
    write(weights, "tail", UPDATES[3:])
    record = canonical_json({"spec": WHOLE.model_dump(mode="json")})
    Path(segment_directory("tail"), "segment.json").write_text(record, encoding="utf-8")
    return weights


def write(weights: dict[int, Weights], segment: str, updates: tuple[int, ...]) -> None:
    folder = Path("scratch") / segment
    folder.mkdir(parents=True)
    for update in updates:
        snapshots.save_part(folder, update, {name: torch.from_numpy(w) for name, w in weights[update].items()})
    parts = [snapshots.part_path(folder, update) for update in updates]
    snapshots.join(parts, Path(segment_directory(segment)) / "snapshots.safetensors", {})


FILES = [Path(segment_directory(segment)) / "snapshots.safetensors" for segment in ("trunk", "tail")]


def run(spec: AverageSpec = SPEC) -> tuple[pd.DataFrame, pd.DataFrame]:
    output = Path("out") / spec.average_id
    stage.main(argparse.Namespace(
        spec=spec.model_dump_json(), snapshots=FILES, corpus=Path("corpus"), output=output, threads=1, gpu_share=0
    ))  # fmt: skip
    losses = tables.read(tables.AVERAGE_LOSSES, output / "losses.parquet")
    return losses, tables.read(tables.AVERAGE_BLOCK_LOSSES, output / "block_losses.parquet")


def ema(*ages_over_timescale: float) -> list[float]:
    """Snapshots five updates apart: each holds e^(-age/τ) times as much as the last."""
    shares = np.exp(-np.array(ages_over_timescale))
    return list(shares / shares.sum())


# Shares of snapshots 80, 85, 90, 95, 100. The first six updates have half the batch: in tokens they lie at 77, 82, 87,
# 92 and 97 whole updates. A window of 15 % of 92 reaches back to 78.2, of 97 to 82.45; 5 % of them are 4.6 and 4.85.
BY_HAND = {
    ("window_15", 95): [0, 3.8 / 13.8, 5 / 13.8, 5 / 13.8, 0],
    ("window_15", 100): [0, 0, 4.55 / 14.55, 5 / 14.55, 5 / 14.55],
    ("ema_5", 95): [*ema(15 / 4.6, 10 / 4.6, 5 / 4.6, 0), 0],
    ("ema_5", 100): ema(20 / 4.85, 15 / 4.85, 10 / 4.85, 5 / 4.85, 0),
    ("lawa_2", 95): [0.5, 0, 0.5, 0, 0],
    ("lawa_2", 100): [0, 0, 0.5, 0, 0.5],
    ("raw", 95): [0, 0, 0, 1, 0],
    ("raw", 100): [0, 0, 0, 0, 1],
}


def test_losses_are_those_of_a_float64_twin(kept: dict[int, Weights]) -> None:
    losses, blocks = run()
    assert len(losses) == 2 * len(BY_HAND)
    decoder = Decoder(MODEL, torch.device("cpu"))
    for (name, point), shares in BY_HAND.items():
        for parameter, weight in decoder.weights.items():
            parts = [s * kept[u][parameter].astype(np.float64) for s, u in zip(shares, UPDATES, strict=True)]
            weight.copy_(torch.from_numpy(np.sum(parts, axis=0)))
        for domain, bytes_per_token in (("counting", 2.0), ("other", 3.0)):
            by_hand = block_losses(decoder, counting_tokens().validation(domain))
            this = (blocks["average"] == name) & (blocks["updates_done"] == point) & (blocks["domain"] == domain)
            assert blocks[this]["block"].tolist() == list(range(len(by_hand)))
            np.testing.assert_allclose(blocks[this]["loss"], by_hand, rtol=1e-6)
            of_it = (losses["average"] == name) & (losses["updates_done"] == point) & (losses["domain"] == domain)
            (row,) = losses[of_it].to_dict("records")
            assert row["val_loss"] == pytest.approx(by_hand.mean(dtype=np.float64), rel=1e-6)
            assert row["bits_per_byte"] == pytest.approx(row["val_loss"] / np.log(2) / bytes_per_token)
            assert row["tokens_seen"] == (point - 3) * 8 * 12
            assert row["window_checkpoints"] == np.count_nonzero(shares)


@pytest.mark.usefixtures("kept")
def test_what_an_average_is_stands_beside_its_loss() -> None:
    losses, _ = run()
    this = (losses["average"] == "lawa_2") & (losses["updates_done"] == 95) & (losses["domain"] == "other")
    (row,) = losses[this].to_dict("records")
    assert (row["averaging_scheme"], row["window_checkpoints"]) == ("lawa", 2)
    assert row["effective_checkpoints"] == pytest.approx(2.0)
    assert row["window_tokens"] == 10 * 96
    assert row["window_fraction"] == pytest.approx(10 / 92)
    assert row["lag_tokens"] == pytest.approx(10 * 96)


@pytest.mark.usefixtures("kept")
def test_the_records_of_a_chain_are_put_together() -> None:
    _, blocks = run()
    points = cell_points(SPEC.average_id, Path("out"))
    assert points.losses["updates_done"].unique().tolist() == [95, 100]
    expected = blocks[(blocks["average"] == "ema_5") & (blocks["updates_done"] == 95) & (blocks["domain"] == "other")]
    np.testing.assert_array_equal(points.blocks(95, "ema_5", "other"), expected["loss"])
    raw = blocks[(blocks["average"] == "raw") & (blocks["updates_done"] == 100) & (blocks["domain"] == "counting")]
    np.testing.assert_array_equal(points.raw(100, "counting"), raw["loss"])
    with pytest.raises(KeyError):
        points.raw(90, "counting")


@pytest.mark.usefixtures("kept")
def test_a_cell_that_diverged_has_averages_up_to_there() -> None:
    losses, _ = run(SPEC.model_copy(update={"snapshot_at": (*UPDATES, 105), "evaluate_at": (95, 105)}))
    assert losses["updates_done"].unique().tolist() == [95]
    losses, blocks = run(SPEC.model_copy(update={"snapshot_at": (*UPDATES, 105), "evaluate_at": (105,)}))
    assert losses.empty
    assert blocks.empty


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of evaluations from here on, one entry each."""
    found: list[int] = []
    evaluate = evaluation.block_losses
    monkeypatch.setattr(averaged_losses, "block_losses", lambda *a: (found.append(1), evaluate(*a))[1])
    return found


@pytest.mark.usefixtures("kept")
def test_what_has_been_measured_of_a_segment_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another point, and another window by a name that was there: all else is known at 95 and 100."""
    first, first_blocks = run()
    evaluations = counted(monkeypatch)
    schemes = {**SPEC.schemes, "window_15": WindowScheme(kind="window", fraction=0.2)}
    more = SPEC.model_copy(update={"evaluate_at": (90, 95, 100), "schemes": schemes})
    again, again_blocks = run(more)
    # On two domains: raw weights, ema and lawa at 90, and the window, which is another now, at all three points.
    assert len(evaluations) == 2 * (3 + 3)
    alone = tables.read(tables.AVERAGE_LOSSES, Path("out") / more.average_id / "losses.parquet")
    for before, after in ((first, again), (first_blocks, again_blocks)):
        same = after[(after["average"] != "window_15") & (after["updates_done"] >= 95)]
        keys = [key for key in ("updates_done", "domain", "average", "block") if key in before]
        left = before[before["average"] != "window_15"].sort_values(keys).reset_index(drop=True)
        pd.testing.assert_frame_equal(same.sort_values(keys).reset_index(drop=True), left)
    assert alone["domain"].iloc[0] == "counting"
    assert alone["updates_done"].is_monotonic_increasing


@pytest.mark.usefixtures("kept")
def test_other_snapshots_or_another_version_are_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    evaluations = counted(monkeypatch)
    run(SPEC.model_copy(update={"averaging_version": 2}))
    assert len(evaluations) == 2 * len(BY_HAND)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("before", ['{"segments": ["trunk", "tail"]}', "", "[]"])
def test_what_another_version_has_described_is_left_alone(before: str) -> None:
    folder = Path("out/tail-of-another-version")
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(before, encoding="utf-8")
    losses, _ = run()
    assert len(losses) == 2 * len(BY_HAND)
