"""`glidepath batch-saving` on a study in which a ramp saves what was planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from glidepath.__main__ import main
from glidepath.study import tables
from tests.figures.planted import filled
from tests.synthetic import run

BATCH, HORIZON = 4096, 2_000_000 // 4096 * 4096
REPLICATES = {0: 0.0, 1: 0.03, 2: -0.02}
"""What a replicate adds to every loss."""
SAVED = {0.01: 0.2, 0.02: -0.1, 0.04: 0.1}
"""By the peak learning rate of the ramp, over the fixed batch at the same one."""
EXCESS = {0.01: 0.05, 0.02: 0.0, 0.04: 0.04}
"""Of the fixed batch, by its peak learning rate."""


def losses(tokens: np.ndarray, schedule: str, peak_lr: float, replicate: int) -> np.ndarray:
    stretched = tokens / (1 - SAVED[peak_lr]) if schedule == "ramped" else tokens
    return np.asarray(2 + 2 * (stretched / HORIZON) ** -0.3 + EXCESS[peak_lr] + REPLICATES[replicate])


def batches(schedule: str) -> np.ndarray:
    """The ramp makes half of its tokens in updates of half the size."""
    if schedule != "ramped":
        return np.full(HORIZON // BATCH, BATCH)
    small = np.full(HORIZON // BATCH, BATCH // 2)
    return np.concatenate([small, np.full((HORIZON - int(small.sum())) // BATCH, BATCH)])


def study(replicates: tuple[int, ...] = (0, 1, 2), lost: str = "") -> dict[str, pd.DataFrame]:
    runs, updates, evaluations, blocks = [], [], [], []
    for schedule in ("linear", "ramped", "other"):
        for peak_lr in SAVED:
            for replicate in replicates:
                cell_id = f"{schedule}-{peak_lr}-{replicate}"
                applied = batches(schedule)
                seen = applied.cumsum()
                last = len(applied)
                at = np.unique([*np.geomspace(32, last, 50).astype(int), last])
                curve = losses(seen[at - 1], schedule, peak_lr, replicate)
                cell = run(
                    cell_id=cell_id, model="m", schedule=schedule, peak_lr=peak_lr, replicate=replicate,
                    tokens_per_parameter=20.0, batch_sequences=32, token_horizon=HORIZON, val_loss=float(curve[-1]),
                    status="diverged" if cell_id == lost else "completed", device="cpu",
                    tokens_per_second=HORIZON / (0.01 * last + 1e-5 * HORIZON),
                )  # fmt: skip
                # `run` takes all updates for equal.
                runs.append({**cell, "total_steps": last})
                updates += [
                    {"cell_id": cell_id, "step": i, "tokens_seen": t, "batch_tokens": b}
                    for i, (t, b) in enumerate(zip(seen, applied, strict=True))
                ]
                common = {"cell_id": cell_id, "domain": "python"}
                evaluations += [
                    # The blocks evaluated along training are easier than all of them.
                    {
                        **common,
                        "updates_done": k,
                        "tokens_seen": seen[k - 1],
                        "eval_set": "subset",
                        "val_loss": loss - 0.1,
                    }
                    for k, loss in zip(at, curve, strict=True)
                ]
                end = {
                    **common,
                    "updates_done": last,
                    "tokens_seen": HORIZON,
                    "eval_set": "full",
                    "val_loss": curve[-1],
                }
                evaluations += [
                    end,
                    {**end, "domain": "c", "val_loss": 9.0},
                    {**end, "domain": "c", "eval_set": "subset"},
                ]
                blocks += [
                    {**common, "block": block, "loss": np.float32(curve[-1] + (block - 0.5))} for block in (0, 1)
                ]
    return {
        "runs": pd.DataFrame(runs, columns=tables.RUNS.names),
        "updates": filled(tables.UPDATES, updates),
        "evaluations": filled(tables.EVALUATIONS, evaluations),
        "block_losses": pd.DataFrame(blocks),
    }


def saving(tmp_path: Path, frames: dict[str, pd.DataFrame], *pairs: str) -> pd.DataFrame:
    command = ["batch-saving", "--ci-level", "0.9", "--output", str(tmp_path / "batch_saving.parquet")]
    for table in (tables.RUNS, tables.UPDATES, tables.EVALUATIONS, tables.BLOCK_LOSSES):
        path = tmp_path / f"{table.name}.parquet"
        tables.write(table, frames[table.name], path)
        command += [f"--{table.name.replace('_', '-')}", str(path)]
    assert main([*command, "--pairs", *(pairs or ("ramped=linear",))]) == 0
    return tables.read(tables.BATCH_SAVING, tmp_path / "batch_saving.parquet")


def test_a_planted_saving_at_every_learning_rate_and_at_the_best_ones(tmp_path: Path) -> None:
    found = saving(tmp_path, study())
    assert set(found["schedule"] + found["fixed_schedule"]) == {"rampedlinear"}
    ends = found[found["at"] == "end"]
    equal = ends[ends["lr_choice"] == "equal"].set_index("peak_lr")
    for peak_lr, saved in SAVED.items():
        assert equal.loc[peak_lr, "tokens_saved_fraction"] == pytest.approx(saved, abs=1e-3)
        assert equal.loc[peak_lr, "status"] == ("saves tokens" if saved > 0 else "costs tokens")
        along = found[(found["at"] == "curve") & (found["lr_choice"] == "equal") & (found["peak_lr"] == peak_lr)]
        assert len(along) == 100
        np.testing.assert_allclose(along["tokens_saved_fraction"], saved, atol=0.01)
    assert equal["n_replicates"].tolist() == [3, 3, 3]
    # The fixed batch is best at 0.02, the ramp at 0.01.
    (best,) = ends[ends["lr_choice"] == "best"].to_dict("records")
    finals = {lr: losses(np.array([HORIZON]), "ramped", lr, 0)[0] for lr in SAVED}
    assert best["peak_lr"] == min(finals, key=finals.__getitem__)
    assert best["fixed_peak_lr"] == 0.02
    assert best["edge_of_grid"]
    # Replicates are the same shift in both: the paired difference is the planted one, without error.
    assert best["loss_difference"] == pytest.approx(finals[best["peak_lr"]] - 4.0, abs=1e-6)
    assert best["loss_difference_se"] == pytest.approx(0.0, abs=1e-6)
    assert found.loc[found["at"] == "curve", "loss_difference"].isna().all()


def lose(frames: dict[str, pd.DataFrame], *lost: str) -> dict[str, pd.DataFrame]:
    """Without the cells, as if they had never been asked for."""
    return {name: frame[~frame["cell_id"].isin(lost)] for name, frame in frames.items()}


def best_end(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> dict[str, object]:
    found = saving(tmp_path, frames)
    (best,) = found[(found["lr_choice"] == "best") & (found["at"] == "end")].to_dict("records")
    return {str(name): value for name, value in best.items()}


def test_a_learning_rate_with_a_lucky_seed_alone_is_not_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replicate 2 is the easiest: where it stands alone, the loss of the fixed batch is the lowest of all."""
    monkeypatch.setitem(REPLICATES, 2, -0.2)
    best = best_end(tmp_path, lose(study(), *(f"linear-0.04-{replicate}" for replicate in (0, 1))))
    assert best["fixed_peak_lr"] == 0.02
    assert best["n_replicates"] == 3
    assert best["status"] == "saves tokens"


def test_where_a_learning_rate_with_fewer_replicates_is_better_the_best_is_at_an_edge(tmp_path: Path) -> None:
    """The ramp is best at 0.01; here that has one replicate, and 0.04 lies between others."""
    wider = {0.005: 0.0, 0.08: 0.0}
    with pytest.MonkeyPatch.context() as patch:
        for peak_lr, saved in wider.items():
            patch.setitem(SAVED, peak_lr, saved)
            patch.setitem(EXCESS, peak_lr, 0.3)
        frames = study()
        all_there = best_end(tmp_path, frames)
        assert (all_there["peak_lr"], all_there["edge_of_grid"]) == (0.01, False)
        one_left = best_end(tmp_path, lose(frames, "ramped-0.01-1", "ramped-0.01-2"))
    assert (one_left["peak_lr"], one_left["edge_of_grid"], one_left["n_replicates"]) == (0.04, True, 3)


def test_updates_and_seconds_are_those_of_the_path(tmp_path: Path) -> None:
    """At equal tokens the ramp makes 1.5 times the updates; 0.01 s each and 1e-5 s a token were planted."""
    found = saving(tmp_path, study())
    (end,) = found[(found["at"] == "end") & (found["lr_choice"] == "equal") & (found["peak_lr"] == 0.02)].to_dict(
        "records"
    )
    updates, fixed_updates = len(batches("ramped")), HORIZON // BATCH
    assert end["tokens_path"] == HORIZON
    assert end["updates_path"] == updates
    assert end["updates_fixed"] == pytest.approx(end["tokens_fixed"] / BATCH)
    assert end["updates_saved_fraction"] == pytest.approx(1 - updates / end["updates_fixed"], abs=1e-3)
    seconds = 0.01 * updates + 1e-5 * HORIZON
    theirs = (0.01 * fixed_updates + 1e-5 * HORIZON) * end["tokens_fixed"] / HORIZON
    assert end["seconds_saved_fraction"] == pytest.approx(1 - seconds / theirs, abs=1e-3)


def test_a_learning_rate_that_lost_a_replicate_is_in_no_pair(tmp_path: Path) -> None:
    found = saving(tmp_path, study(lost="ramped-0.04-1"))
    assert set(found.loc[found["lr_choice"] == "equal", "peak_lr"]) == {0.01, 0.02}


def test_one_replicate_has_a_value_and_no_interval(tmp_path: Path) -> None:
    found = saving(tmp_path, study(replicates=(0,)))
    assert (found["status"] == "one replicate").all()
    assert found["tokens_saved_fraction"].notna().all()
    assert found["tokens_saved_fraction_low"].isna().all()


def test_a_study_in_which_nothing_finished_has_no_pair(tmp_path: Path) -> None:
    frames = study(replicates=(0,))
    frames["runs"] = frames["runs"].assign(status="diverged")
    assert saving(tmp_path, frames).empty
    assert saving(tmp_path, study(replicates=(0,)), "nothing=linear").empty
