"""Averages of real snapshot files, against a twin that holds everything in memory at once."""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from glidepath.corpus.store import TokenStore
from glidepath.science import schedules
from glidepath.science.schedules import Stage
from glidepath.stages import average as stage
from glidepath.stages.average import averages, load_average
from glidepath.study import tables
from glidepath.study.averages import AverageSpec
from glidepath.study.layout import segment_directory
from glidepath.training import snapshots
from glidepath.training.evaluation import block_losses
from glidepath.training.model import Decoder
from tests.training.small import counting_tokens, model_spec

MODEL = model_spec()
UPDATES = (80, 85, 90, 95, 100)
SPEC = AverageSpec(
    cell_id="cell", model=MODEL, snapshot_at=UPDATES, batch_sequences=(Stage(4, 100),), segments=("trunk", "tail"),
    window_fractions=(0.1, 0.2), ema_timescale_fractions=(0.05,),
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
    return weights


def write(weights: dict[int, Weights], segment: str, updates: tuple[int, ...]) -> None:
    folder = Path("scratch") / segment
    folder.mkdir(parents=True)
    for update in updates:
        snapshots.save_part(folder, update, {name: torch.from_numpy(w) for name, w in weights[update].items()})
    parts = [snapshots.part_path(folder, update) for update in updates]
    snapshots.join(parts, Path(segment_directory(segment)) / "snapshots.safetensors", {})


def run(spec: AverageSpec = SPEC) -> None:
    stage.main(argparse.Namespace(
        spec=spec.model_dump_json(), corpus=Path("corpus"), output=Path("out"), threads=1, gpu_share=0
    ))  # fmt: skip


def ema_twin(updates: tuple[int, ...], timescale: float) -> NDArray[np.float64]:
    """Every moment of training belongs to the snapshot that ends its interval and weighs exp(-age/timescale)."""
    edges = (2 * updates[0] - updates[1], *updates)
    moments = [np.linspace(a, b, 20_001)[1:] - (b - a) / 40_000 for a, b in pairwise(edges)]
    masses = [float(np.exp((m - updates[-1]) / timescale).mean() * np.ptp(m)) for m in moments]
    return np.array(masses) / sum(masses)


WEIGHTS_OF = {
    ("window", 0.1, 0.0): np.array([0, 0, 1, 1, 1]) / 3,
    ("window", 0.2, 0.0): np.ones(5) / 5,
    ("ema", 0.2, 0.05): ema_twin(UPDATES, 5.0),
}


def twin(kept: dict[int, Weights], weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Σ w_i θ_i in float64, all of it in memory."""
    return {
        name: sum(w * kept[update][name].astype(np.float64) for w, update in zip(weights, UPDATES, strict=True))
        for name in kept[UPDATES[0]]
    }  # fmt: skip


def test_averages_are_those_of_a_float64_twin(kept: dict[int, Weights]) -> None:
    decoder = Decoder(MODEL, torch.device("cpu"))
    found = list(averages(SPEC))
    assert [(a.scheme, a.window_fraction, a.ema_timescale_fraction) for a in found] == list(WEIGHTS_OF)
    for average, weights in zip(found, WEIGHTS_OF.values(), strict=True):
        load_average(decoder, stage._snapshots(SPEC), average)
        for name, expected in twin(kept, weights).items():
            np.testing.assert_allclose(decoder.weights[name].numpy(), expected, rtol=1e-6, atol=1e-7)


def test_losses_are_those_of_the_twins_weights(kept: dict[int, Weights]) -> None:
    run()
    losses = tables.read(tables.AVERAGE_LOSSES, Path("out/losses.parquet")).set_index("averaging_scheme")
    blocks = tables.read(tables.AVERAGE_BLOCK_LOSSES, Path("out/block_losses.parquet"))
    assert losses["window_checkpoints"].tolist() == [3, 5, 5]
    assert losses["window_fraction"].tolist() == [0.1, 0.2, 0.2]
    assert losses["checkpoint_interval_steps"].tolist() == [5, 5, 5]
    assert (losses["updates_done"] == 100).all()
    assert (losses["tokens_seen"] == 4800).all()
    decoder = Decoder(MODEL, torch.device("cpu"))
    for (scheme, window, timescale), weights in WEIGHTS_OF.items():
        for name, expected in twin(kept, weights).items():
            decoder.weights[name].copy_(torch.from_numpy(expected))
        by_hand = block_losses(decoder, counting_tokens().validation("counting"))
        rows = blocks[(blocks["averaging_scheme"] == scheme) & (blocks["window_fraction"] == window)]
        rows = rows[rows["ema_timescale_fraction"] == timescale]
        assert rows["block"].tolist() == list(range(len(by_hand)))
        np.testing.assert_allclose(rows["loss"], by_hand, rtol=1e-6)
        mine = losses[(losses.index == scheme) & (losses["window_fraction"] == window)]["val_loss_averaged"]
        assert mine.tolist() == pytest.approx([by_hand.mean(dtype=np.float64)], rel=1e-6)


@pytest.mark.usefixtures("kept")
def test_a_cell_that_diverged_before_its_end_has_no_averages() -> None:
    run(SPEC.model_copy(update={"snapshot_at": (*UPDATES, 105)}))
    for table in (tables.AVERAGE_LOSSES, tables.AVERAGE_BLOCK_LOSSES):
        assert tables.read(table, Path(f"out/{table.name}.parquet")).empty


# -- which snapshots a window holds


def spaced(total: int, span: float, n: int) -> tuple[int, ...]:
    """Snapshots as the planner lays them."""
    return tuple(round(total - span * total / (n - 1) * i) for i in reversed(range(n)))


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, Any]:
    span, n = draw(st.sampled_from([0.05, 0.1, 0.15, 0.2, 0.3, 0.35, 0.6])), draw(st.integers(2, 15))
    total = draw(st.integers(int((n - 1) / span) + 1, 5000))
    held = draw(st.integers(1, n - 1))
    return {"total": total, "span": span, "n": n, "held": held}


@given(layout=layouts())
@example({"total": 170, "span": 0.35, "n": 4, "held": 3})
def test_a_window_holds_the_snapshots_of_its_length_with_both_ends(layout: dict[str, Any]) -> None:
    """A window of k intervals has k + 1 snapshots, however the updates were rounded."""
    span, n, held = layout["span"], layout["n"], layout["held"]
    window = span * held / (n - 1)
    updates = spaced(layout["total"], span, n)
    spec = SPEC.model_copy(
        update={
            "snapshot_at": updates,
            "batch_sequences": (Stage(7, layout["total"]),),
            "window_fractions": (window,),
            "ema_timescale_fractions": (),
        }
    )
    (average,) = averages(spec)
    assert average.updates == updates[-held - 1 :]
    assert average.weights.tolist() == pytest.approx([1 / (held + 1)] * (held + 1))


# -- a batch ramp

RAMP = (Stage(1, 40), Stage(4, 10), Stage(8, 15))
"""200 sequences in 65 updates: the first fifth of the tokens takes 40 of them."""
RAMP_AT = (20, 40, 50, 55, 60, 65)
"""Snapshots after 20, 40, 80, 120, 160 and 200 sequences."""
RAMPED = SPEC.model_copy(
    update={
        "snapshot_at": RAMP_AT,
        "batch_sequences": RAMP,
        "window_fractions": (0.2, 0.6, 0.8),
        "ema_timescale_fractions": (0.1,),
    }
)


def test_windows_and_memories_of_a_ramp_are_of_tokens() -> None:
    """A window of 0.6 reaches back to sequence 80, one of 0.8 to sequence 40; in updates they would reach 26 and 13."""
    *windows, ema = averages(RAMPED)
    assert [average.updates for average in windows] == [RAMP_AT[-2:], RAMP_AT[-4:], RAMP_AT[-5:]]
    assert ema.window_fraction == pytest.approx(180 / 200)
    np.testing.assert_allclose(ema.weights, ema_twin((20, 40, 80, 120, 160, 200), 0.1 * 200), rtol=1e-6)


def test_the_tokens_of_a_ramp_are_those_it_trained(kept: dict[int, Weights]) -> None:
    """72 updates of 2 sequences of 12 tokens and 28 of 4: 3072 tokens, not 100 times the final batch."""
    assert set(UPDATES) <= set(kept)
    run(SPEC.model_copy(update={"batch_sequences": (Stage(2, 72), Stage(4, 28))}))
    losses = tables.read(tables.AVERAGE_LOSSES, Path("out/losses.parquet"))
    assert (losses["tokens_seen"] == (72 * 2 + 28 * 4) * 12).all()


@given(
    ramp=st.lists(st.tuples(st.integers(1, 12), st.integers(10, 60)), min_size=1, max_size=4),
    n=st.integers(2, 6),
    span=st.sampled_from([0.2, 0.35, 0.6]),
    held=st.integers(1, 5),
)
def test_a_window_of_a_ramp_holds_the_snapshots_of_its_length(
    ramp: list[tuple[int, int]], n: int, span: float, held: int
) -> None:
    """Snapshots as the planner lays them: the update nearest to each place."""
    stages = tuple(Stage(*stage) for stage in ramp)
    at = schedules.positions(schedules.batches(stages))
    interval = span / (n - 1)
    updates = tuple(int(np.argmin(np.abs(at - (1.0 - interval * i) * at[-1]))) for i in reversed(range(n)))
    assume(len(set(updates)) == n and held < n)
    fields = {"snapshot_at": updates, "batch_sequences": stages, "window_fractions": (interval * held,)}
    (window, *_) = averages(SPEC.model_copy(update=fields))
    assert window.updates == updates[-held - 1 :]
