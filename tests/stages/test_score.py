"""`glidepath score`: a real run against the intervals, and how often they held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glidepath.__main__ import main
from glidepath.study import tables
from glidepath.study.prediction_score import RealRun, Score, coverage, score
from tests.report.conftest import estimate, recommended, target_run
from tests.synthetic import Study

KEY: dict[str, str | float] = {"parameter": "K"}
RECOMMENDED = recommended(
    predicted_loss=tuple(
        estimate(3.0, half, level, "laws/loss_horizon/parameters", **KEY) for half, level in ((0.02, 0.5), (0.05, 0.9))
    )
)
N, TOKENS = RECOMMENDED.target.n_params_counted, RECOMMENDED.target.token_horizon


def scored(val_loss: float | None, name: str = "run", **fields: Any) -> Score:
    return score(RECOMMENDED, RealRun(name, val_loss, **fields), "0", "now")


@pytest.mark.parametrize(
    ("loss", "inside_50", "inside_90", "position"),
    [(3.0, True, True, 0.0), (3.019, True, True, 0.6251), (2.96, False, True, -1.316), (3.051, False, False, 1.6779)],
)
def test_inside_or_outside(loss: float, inside_50: bool, inside_90: bool, position: float) -> None:
    found = scored(loss)
    assert (found.inside_50, found.inside_90) == (inside_50, inside_90)
    assert found.position == pytest.approx(position, abs=1e-3)
    assert found.error == pytest.approx(loss - 3.0)


def test_what_was_done_otherwise_is_said() -> None:
    assert RECOMMENDED.peak_lr is not None
    exact = scored(
        3.0, n_params=N, token_horizon=TOKENS, peak_lr=RECOMMENDED.peak_lr.value, schedule=RECOMMENDED.schedule,
        batch_tokens=RECOMMENDED.batch_tokens,
    )  # fmt: skip
    assert exact.differences == exact.not_known == ()
    other = scored(
        3.0, n_params=N, token_horizon=1.03 * TOKENS, peak_lr=2 * RECOMMENDED.peak_lr.value, schedule="cosine_zero"
    )
    tokens, peak, schedule = other.differences
    assert tokens.startswith("tokens ")
    assert "1.03 times the recommended" in tokens
    assert "2 times the recommended" in peak
    assert other.not_known == ("batch_tokens",)
    assert schedule == "schedule cosine_zero, recommended linear_zero, not resolved from it"


@pytest.mark.parametrize(("field", "value"), [("n_params", 1.2 * N), ("token_horizon", 0.9 * TOKENS)])
def test_another_target_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match="is another target, of which it predicts nothing"):
        scored(3.0, **{field: value})


def test_nothing_predicted_and_a_diverged_run_are_refused() -> None:
    with pytest.raises(ValueError, match="predicts no loss with intervals"):
        score(recommended(predicted_loss=(), prediction=None), RealRun("run", 3.0), "0", "now")
    with pytest.raises(ValueError, match="not finite"):
        scored(float("nan"))


@pytest.mark.parametrize("field", ["n_params", "token_horizon", "peak_lr", "batch_tokens"])
def test_numbers_that_are_not_positive_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match="a positive number is needed"):
        scored(3.0, **{field: 0.0})


def of_targets(*inside: bool) -> list[Score]:
    """A run of as many targets."""
    return [
        scored(3.0 if held else 4.0, f"run {i}").model_copy(update={"target_token_horizon": TOKENS + i})
        for i, held in enumerate(inside)
    ]


def test_coverage_over_time() -> None:
    """Nine of ten inside the 90 %: the Clopper-Pearson interval of that share, from tables."""
    half, nine_tenths = coverage(of_targets(*[True] * 9, False))
    assert nine_tenths == "90 % intervals held 9 of 10 targets so far: 90 % (90 % interval 61 to 99 %)."
    assert "50 % intervals held 9 of 10" in half


def test_seeds_of_one_target_and_other_runs_than_recommended_are_no_further_trials() -> None:
    """Eight seeds that a wrong law misses together are one miss; the first of them that was as recommended counts."""
    other = scored(3.0, "other schedule", schedule="cosine_zero")
    seeds = [scored(4.0, f"seed {seed}") for seed in range(7)] + [scored(3.0, "lucky seed")]
    *_, nine_tenths, same, otherwise = coverage([other, *seeds])
    assert nine_tenths.startswith("90 % intervals held 0 of 1 target so far")
    assert same == ("Not counted: 7 runs of the same targets, which share the law's error; 1 inside the 90 % interval.")
    assert otherwise.startswith("Not counted: 1 run otherwise than recommended")
    assert list(coverage([other])) == [otherwise]


def test_a_run_that_diverged_is_outside() -> None:
    found = scored(None, peak_lr=RECOMMENDED.peak_lr.value if RECOMMENDED.peak_lr else None)
    assert (found.inside_50, found.inside_90, found.error, found.position) == (False, False, None, None)
    assert next(iter(coverage([found]))).startswith("50 % intervals held 0 of 1")


def written(tmp_path: Path) -> Path:
    file = tmp_path / "recommendation.json"
    file.write_text(json.dumps(RECOMMENDED.model_dump(mode="json")), encoding="utf-8")
    return file


def test_scores_add_up_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path)
    assert main(["score", "--recommendation", str(file), "--loss", "3.01", "--run", "a"]) == 0
    assert "so far" not in capsys.readouterr().out
    assert main(["score", "--recommendation", str(file), "--loss", "3.2", "--run", "b", "--tokens", str(TOKENS)]) == 0
    out = capsys.readouterr().out
    assert "Outside the 50 % interval, outside the 90 % interval." in out
    assert "90 % intervals held 1 of 1 target so far" in out
    assert "Not counted: 1 run of the same targets" in out
    lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    assert [Score.model_validate_json(line).inside_90 for line in lines] == [True, False]
    assert main(["score", "--recommendation", str(file), "--loss", "3.01", "--run", "a"]) == 2
    assert "would count twice" in capsys.readouterr().err
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 2
    assert main(["score", "--recommendation", str(file), "--diverged", "--run", "c"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("c: diverged, predicted 3.0000 nat/token.")
    assert "Not counted: 2 runs of the same targets" in out


def test_a_run_of_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One cell of the target's size and horizon is found by itself; of several one must be named."""
    file = written(tmp_path)
    study = Study(
        models={"m": N}, tokens_per_parameter=(target_run().tokens_per_parameter,), lr_factors=(1.0,), n_replicates=1
    )
    runs = study.tables()[0]
    runs["val_loss"] = [3.01, 3.3]
    for n, status in ((1, 0), (2, 2)):
        tables.write(tables.RUNS, runs.iloc[:n], tmp_path / "runs.parquet")
        assert main(["score", "--recommendation", str(file), "--results", str(tmp_path)]) == status
    assert "2 runs have the target's size and horizon: " in capsys.readouterr().err
    cell = str(runs["cell_id"].iloc[1])
    assert main(["score", "--recommendation", str(file), "--results", str(tmp_path), "--cell", cell]) == 0
    assert f"{cell}: 3.3000 nat/token" in capsys.readouterr().out
    assert main(["score", "--recommendation", str(file), "--results", str(tmp_path), "--cell", "x"]) == 2
    runs.loc[runs["cell_id"] == cell, ["status", "val_loss"]] = "diverged", float("nan")
    tables.write(tables.RUNS, runs, tmp_path / "runs.parquet")
    lost = ["--cell", cell, "--scores", str(tmp_path / "other.jsonl")]
    assert main(["score", "--recommendation", str(file), "--results", str(tmp_path), *lost]) == 0
    assert f"{cell}: diverged" in capsys.readouterr().out
    assert main(["score", "--recommendation", str(file), "--results", str(tmp_path), "--peak-lr", "0.1"]) == 2
