"""Logs that say less than they seem to, and configurations about runs that are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glidepath.interop.run_lr import interpolated
from tests.stages.test_import_runs import CSV, SCHEDULED, imported, line, log, refused, whole


def test_a_declared_warm_up_holds_between_the_first_two_logged_learning_rates() -> None:
    # Cosine of 1000 updates with 50 of warm-up, logged every 200.
    steps = np.arange(0, 1000, 200)
    truth = np.minimum((np.arange(1000) + 1) / 50, 1.0)
    found = interpolated(steps, truth[steps], 1000, 50)
    np.testing.assert_allclose(found.lr, truth)
    assert found.held_behind == 199
    # Without it, the rise seems to last four times as long.
    assert interpolated(steps, truth[steps], 1000, None).lr[49] < 0.3


def test_a_learning_rate_that_is_flat_before_its_first_log_is_said_to_be_held() -> None:
    steps = np.array([9, 19, 29])
    assert interpolated(steps, np.full(3, 0.1), 30, None).held == 9
    assert interpolated(steps, np.array([0.3, 0.2, 0.1]), 30, None).held == 9
    assert interpolated(steps, np.array([0.1, 0.2, 0.3]), 30, None).held == 0
    assert interpolated(steps, np.full(3, 0.1), 30, 0).held == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("runs: [", "holdout: [aa]\nruns: ["), "holdout.0 = 'aa' matches none of 1 runs. The nearest names are 'a'."),
        (("runs: [", "runs: [{match: b*, excluded: bad}, "), "runs.0.match = 'b*' matches none of 1 runs"),
        (("runs: [", "runs: [{regex: 'b(?P<peak_lr>.)'}, "), "runs.0.regex = 'b(?P<peak_lr>.)' matches none of 1 runs"),
        (
            ("runs: [", "analysis: {reference_schedule: x}\nruns: ["),
            "reference_schedule = 'x' is the schedule of no run",
        ),
        (
            ("runs: [", "target: {n_params: 1.0, token_horizon: 1.0, schedule: x}\nruns: ["),
            "target.schedule = 'x' is the schedule of no run. The nearest names are 'unknown'",
        ),
        (
            ("run: {kind: file}", "run: {kind: file}\n    where: {lr: 2}"),
            "dropped 10, and 0 have no run; lr has '0.001'.",
        ),
    ],
)
def test_names_of_nothing_are_refused(
    tmp_path: Path, change: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log(tmp_path / "logs/a.csv", whole())
    assert message in refused(tmp_path, CSV.replace(*change), capsys)
    assert not (tmp_path / "results/runs.parquet").exists()


COMMAS = "step;loss;val;lr;tokens\n" + "".join(
    f"{step};{3 + step / 1e4:.4f};3,000;0,003;{step}.000,0\n".replace(".", ",", 1) for step in range(10, 110, 10)
)


def test_decimal_commas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/a.csv").write_text(COMMAS)
    message = refused(tmp_path, CSV, capsys)
    assert "10 of 10 rows cannot be read, the first is loss '3,0010' in row 1" in message
    assert "a comma before decimals is said with decimal" in message
    found = imported(tmp_path, CSV.replace("format: csv", "format: csv\n    decimal: ','"))
    assert found.updates["train_loss"].dropna().tolist() == [3 + step / 1e4 for step in range(10, 110, 10)]
    assert found.runs.loc["a", ["val_loss", "peak_lr", "token_horizon"]].tolist() == [3.0, 0.003, 100_000]


def test_a_log_one_update_longer_than_its_schedule_holds_the_last_learning_rate(tmp_path: Path) -> None:
    config = SCHEDULED.replace("run: {kind: file}", "run: {kind: file}\n    lr: {kind: schedule}")
    config = config.replace("warmup_steps: 20", "warmup_steps: 20, total_steps: 100")
    log(tmp_path / "logs/longer.csv", [*whole(), line(101)])
    log(tmp_path / "logs/much.csv", [*whole(), line(110)])
    log(tmp_path / "logs/whole.csv", whole())
    found = imported(tmp_path, config)
    assert (found.runs["status"] == "completed").all()
    assert (found.found("longer"), found.found("much"), found.found("whole")) == ({"lr_held"}, {"missing_lr"}, set())
    lr = found.of("updates", "longer")["lr"].to_numpy()
    assert len(lr) == 101
    assert lr[100] == lr[99] > 0
    assert found.of("updates", "much")["lr"].isna().all()


def test_a_restarted_run_with_few_evaluations_is_not_taken_for_unsorted(tmp_path: Path) -> None:
    """Three restarts over ten evaluations are many; over all rows they are few."""
    rows = [*range(1, 31), *range(20, 51), *range(40, 71), *range(60, 101)]
    last = {step: i for i, step in enumerate(rows)}
    values = [2.0 if last[step] == i else 9.0 for i, step in enumerate(rows)]
    log(
        tmp_path / "logs/a.csv",
        [line(step, v, v if step % 10 == 0 else None) for step, v in zip(rows, values, strict=True)],
    )
    found = imported(tmp_path, CSV)
    assert found.found("a") == {"restarted"}
    assert (found.of("updates", "a")["train_loss"].dropna() == 2.0).all()
    assert (found.of("evaluations", "a")["val_loss"] == 2.0).all()


def test_evaluation_sets_in_columns_are_several_sources(tmp_path: Path) -> None:
    log(tmp_path / "logs/a.csv", [f"{step},{3 + step / 100},{4 + step / 100}" for step in (10, 20)], "step,c4,wiki")
    source = "{name: %s, format: csv, paths: [logs/a.csv], run: {kind: file}, columns: {step: step, val_loss: %s}%s}"
    sources = [source % (name, name, f", domain: {name}") for name in ("c4", "wiki")]
    found = imported(tmp_path, "imports: mine\nsources: [" + ", ".join(sources) + "]")
    assert found.evaluations.groupby("domain")["val_loss"].agg(list).to_dict() == {"c4": [3.1, 3.2], "wiki": [4.1, 4.2]}
    assert found.runs.loc["a", "val_loss"] == 3.2
    (told,) = found.findings.loc[found.findings["finding"] == "evaluation_sets", "done"]
    assert told == "runs are compared and laws fitted by c4, the first one"


def test_evaluation_sets_one_after_another_are_no_restarts(tmp_path: Path) -> None:
    log(tmp_path / "logs/a.csv", [f"{name},{s},3.{s}" for name in ("c4", "wiki") for s in (10, 20)], "set,step,val")
    columns = "{step: step, val_loss: val, domain: set}"
    found = imported(tmp_path, CSV.split("    columns")[0] + f"    columns: {columns}\n")
    assert found.evaluations.groupby("domain")["val_loss"].agg(list).to_dict() == {"c4": [3.1, 3.2], "wiki": [3.1, 3.2]}
    assert found.rows["used"].all()


def test_a_header_with_spaces_before_its_quotes(tmp_path: Path) -> None:
    log(tmp_path / "logs/a.csv", whole(), 'step, "loss", "val", lr, tokens')
    assert imported(tmp_path, CSV).runs.loc["a", "val_loss"] == 3.0


def test_why_runs_are_left_out_is_counted_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(tmp_path / "logs/a.csv", whole())
    for name, length in (("b", 5), ("c", 7)):
        log(tmp_path / f"logs/{name}.csv", whole()[:length])
    imported(tmp_path, CSV.replace("warmup_steps: 0", "warmup_steps: 0, total_steps: 100"))
    out = capsys.readouterr().out
    assert out.startswith(
        "3 runs: 2 excluded, 1 completed; 0 held out\n2 of them: the log ends after update 50 of 100\n"
    )
