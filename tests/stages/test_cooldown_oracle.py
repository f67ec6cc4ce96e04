"""Trunks, branching points and cooldowns are found as they were planted; the command answers or refuses."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from glidepath.__main__ import main as glidepath
from glidepath.stages import cooldown_oracle
from glidepath.study import tables
from tests.stages import planted_averages as planted
from tests.stages.planted_averages import BATCH_TOKENS, ENDS, POINTS, Planted


def oracle(planted_study: Planted, store: Path, place: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two tables of the stage, which also stay under `place` as results."""
    planted_study.write(place)
    cooldown_oracle.main(
        argparse.Namespace(
            runs=place / "runs.parquet",
            updates=place / "updates.parquet",
            store=store,
            ci_level=0.9,
            output=place / "cooldown_oracle.parquet",
            scores=place / "cooldown_oracle_scores.parquet",
        )
    )
    return (
        tables.read(tables.COOLDOWN_ORACLE, place / "cooldown_oracle.parquet"),
        tables.read(tables.COOLDOWN_ORACLE_SCORES, place / "cooldown_oracle_scores.parquet"),
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store")
    planted.write_store(path)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oracle")


@pytest.fixture(scope="module")
def answers(store: Path, place: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return oracle(planted.study(), store, place)


def test_every_point_meets_every_schedule(answers: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    frame, _ = answers
    assert len(frame) == 6 * len(POINTS) * 2
    assert frame["average"].unique().tolist() == ["window_20"], (
        "the lower one, defined wherever a cooldown branches off"
    )
    real = frame[frame["calibrating"]]
    assert sorted(real["updates_done"].unique()) == list(ENDS[:2])
    assert len(real) == 6 * 2 * 2
    assert real["cooldown_cell_id"].is_unique


def test_features_are_those_planted(answers: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    real = answers[0][answers[0]["calibrating"]]
    np.testing.assert_allclose(real["loss_slope"], real["peak_lr"].map(planted.slope), rtol=1e-6)
    np.testing.assert_allclose(real["lag_tokens"], 0.1 * real["tokens_seen"])
    means = real["decay_shape"].map(dict(planted.SHAPES.values()))
    np.testing.assert_allclose(real["mean_lr_fraction"], means)
    assert set(real["end_tokens"]) == {100.0 * BATCH_TOKENS, 200.0 * BATCH_TOKENS}
    np.testing.assert_allclose(real["decay_fraction"], 0.2)


def test_the_planted_law_predicts_cooldowns_without_their_trunk(answers: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """The averaged weights lie LEFT·gain below where the cooldown ends: the drop is linear in the features."""
    frame, found = answers
    real = frame[frame["calibrating"]]
    assert (real["status"] == "held_out").all()
    np.testing.assert_allclose(real["val_loss_predicted"], real["val_loss_cooldown"], atol=2e-3)
    best = found[found["status"] == "best"]
    assert best["predictor"].tolist() == ["oracle", "oracle"]
    assert (found["n_trunks"] == 6).all()
    assert (found["n_cooldowns"] == 24).all()


def test_points_between_are_predicted_and_others_refused(answers: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    frame = answers[0].set_index("updates_done")
    for point in (90, 128):
        rows = frame.loc[point]
        assert (rows["status"] == "predicted").all()
        truth = [
            planted.cooled(row.tokens_seen, row.end_tokens, row.mean_lr_fraction, row.peak_lr, row.replicate)
            for row in rows.itertuples()
        ]
        np.testing.assert_allclose(rows["val_loss_predicted"], truth, atol=2e-3)
    assert (frame.loc[[64, 181, 200], "status"] == "refused").all()
    assert frame.loc[[64, 181], "reason"].str.startswith("branch_tokens_per_parameter").all()


def test_cooldowns_of_other_trunks_or_that_failed_do_not_calibrate(store: Path, tmp_path: Path) -> None:
    study = planted.study()
    runs = pd.DataFrame(study.runs)
    wsd = runs.index[runs["schedule_kind"] == "wsd"]
    study.runs[wsd[0]]["segments"] = f"elsewhere {study.runs[wsd[0]]['segments']}"
    study.runs[wsd[1]]["status"] = "diverged"
    # Shares the first segment only, and left the trunk later than that.
    study.runs[wsd[2]]["segments"] = study.runs[wsd[2]]["segments"].split()[0] + " other"
    study.runs[wsd[3]]["holdout"] = True
    frame, _ = oracle(study, store, tmp_path)
    gone = [study.runs[wsd[i]]["cell_id"] for i in range(3)]
    assert not frame["cooldown_cell_id"].isin(gone).any()
    hidden = frame[frame["cooldown_cell_id"] == study.runs[wsd[3]]["cell_id"]].iloc[0]
    assert not hidden["calibrating"]
    assert hidden["status"] == "predicted"
    assert hidden["val_loss_predicted"] == pytest.approx(hidden["val_loss_cooldown"], abs=2e-3)


def test_of_nested_trunks_the_longest_counts(store: Path, tmp_path: Path) -> None:
    study = planted.study()
    longest = study.runs[0]
    shorter = {"cell_id": "shorter", "total_steps": 161, "token_horizon": 161 * BATCH_TOKENS}
    shorter |= {name: " ".join(longest[name].split()[:2]) for name in ("segments", "averages")}
    study.runs.insert(0, longest | shorter)
    frame, _ = oracle(study, store, tmp_path)
    assert len(frame) == 6 * len(POINTS) * 2
    assert "shorter" not in set(frame["cell_id"])


@pytest.mark.parametrize("kept", ["constant", "wsd"])
def test_a_study_without_trunks_or_cooldowns_has_empty_tables(kept: str, store: Path, tmp_path: Path) -> None:
    study = planted.study()
    study.runs = [row for row in study.runs if row["schedule_kind"] == kept]
    frame, found = oracle(study, store, tmp_path)
    assert frame.empty
    assert found.empty


def ask(place: Path, **given: object) -> int:
    options = {"cell": "constant-lr0.02-r1", "updates": 128, "decay-fraction": 0.2, "decay-shape": "linear"} | given
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return glidepath(["cooldown", "--results", str(place), *words])


@pytest.mark.usefixtures("answers")
def test_the_command_says_what_the_table_says(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(place) == 0
    said = capsys.readouterr().out
    frame = tables.read(tables.COOLDOWN_ORACLE, place / "cooldown_oracle.parquet")
    where = (frame["cell_id"] == "constant-lr0.02-r1") & (frame["updates_done"] == 128)
    row = frame[where & (frame["decay_shape"] == "linear")].iloc[0]
    assert (
        f"{row['val_loss_predicted']:.4f} nat/token, 90 % interval {row['ci_low']:.4f} … {row['ci_high']:.4f}" in said
    )
    assert "24 cooldowns of 6 trunks, each predicted without its trunk" in said


@pytest.mark.usefixtures("answers")
def test_the_command_refuses_what_was_not_calibrated(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(place, updates=90, **{"decay-fraction": 0.5}) == 1
    assert capsys.readouterr().out.startswith("refused: decay_fraction 0.5: the calibrating cooldowns have 0.2 … 0.2")
    assert ask(place, **{"decay-shape": "cosine"}) == 1
    assert "refused: decay_shape cosine to 0" in capsys.readouterr().out


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cell": "nobody"}, "--cell nobody: no constant cell with averages"),
        ({"updates": 100}, "--updates 100: averages of this cell were evaluated after 32, 45"),
        ({"decay-fraction": 1.5}, "--decay-fraction 1.5"),
    ],
)
def test_the_command_names_what_is_wrong(
    place: Path, given: dict[str, object], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(place, **given) == 2
    assert says in capsys.readouterr().err
