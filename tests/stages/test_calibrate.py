"""Calibration by real jobs of a tiny shape, and the prediction that comes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glidepath.corpus.store import TokenStore
from glidepath.stages import calibrate
from glidepath.stages.plan import speeds
from glidepath.study.speed import Conditions, Workload, kept_file, read_speeds, workloads
from glidepath.training.batches import n_sequences
from tests.study.studies import planned

PLAIN = Conditions(cores=1, threads=1, warm=False, gpu=False)
WARM = Conditions(cores=2, threads=1, warm=True, gpu=False)


def workload(conditions: Conditions = WARM) -> Workload:
    ((one,),) = workloads(planned(), conditions).values()
    return one


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(calibrate.SERVER_VARIABLE, raising=False)


def test_a_shape_is_measured_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs side by side through a warm server that ends with the measurement."""
    monkeypatch.setattr(calibrate, "SECONDS", 0.05)
    plan = planned()
    found = speeds(plan, WARM, calibrate=True)
    speed = found[workload().digest]
    assert speed.device == "cpu"
    # A model of 4,000 weights and 256 tokens: between a tenth of a millisecond and a tenth of a second.
    assert 1e-4 < speed.update_seconds < 0.1
    assert 0.5 * speed.update_seconds < speed.probed_update_seconds < 20 * speed.update_seconds
    assert 1e-8 < speed.evaluation_token_seconds < 1e-3
    assert 0 < speed.save_seconds < 1
    # Not the imports of the server, which only the trial waits for.
    assert 0.01 < speed.job_seconds < 5
    assert read_speeds(kept_file()) == found
    monkeypatch.setattr(calibrate, "measure", lambda _: pytest.fail("it is known already"))
    assert speeds(plan, WARM, calibrate=True) == found
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if _is_our_server(path)]


def _is_our_server(cmdline: Path) -> bool:
    """Of this process: tests beside this one may be calibrating too."""
    try:
        ours = f"PPid:\t{os.getpid()}\n" in (cmdline.parent / "status").read_text()
        return ours and b"glidepath-calibration-" in cmdline.read_bytes()
    except OSError:
        return False


def test_nothing_is_measured_unless_asked() -> None:
    assert speeds(planned(), WARM, calibrate=False) == {}
    assert not kept_file().exists()


def test_an_update_that_is_too_large_is_measured_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the batch is affordable: it is counted twice. A model of which not one sequence is, is left out."""
    asked = workload(PLAIN)
    runs: list[tuple[int, int]] = []

    def run(jobs: calibrate.Jobs, updates: int) -> dict[str, float | str]:
        runs.append((jobs.sequences, updates))
        parts = dict.fromkeys(("evaluation_token_seconds", "save_seconds", "job_seconds"), 1.0)
        return {"device": "cpu", "update_seconds": 2.0, "probed_update_seconds": 3.0, **parts}

    monkeypatch.setattr(calibrate.Jobs, "run", run)
    one = calibrate.flops_per_token(asked.model) * asked.model.context_length
    monkeypatch.setattr(calibrate, "LARGEST_UPDATE_FLOPS", 2.5 * one)
    (speed,) = calibrate.measure([asked]).values()
    assert (speed.update_seconds, speed.probed_update_seconds, speed.save_seconds) == (4.0, 6.0, 1.0)
    assert [sequences for sequences, _ in runs] == [2, 2]
    monkeypatch.setattr(calibrate, "LARGEST_UPDATE_FLOPS", 0.5 * one)
    assert calibrate.measure([asked]) == {}


def test_a_measurement_that_fails_is_not_known_and_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Heads of an odd width cannot be rotated: the job fails, and the next model is measured all the same."""
    monkeypatch.setattr(calibrate, "SECONDS", 0.05)
    good = workload(PLAIN)
    bad = good.model_copy(update={"model": good.model.model_copy(update={"d_head": 7})})
    assert list(calibrate.measure([bad, good])) == [good.digest]
    said = capsys.readouterr().err
    assert said.startswith("warning: the speed of 1 layers of width 16 stays unknown: a training job of the")
    assert "Traceback" in said


@pytest.mark.parametrize("context_length", [64, 16_384, 20_000, 300_000])
def test_at_least_one_context_is_evaluated(context_length: int) -> None:
    model = workload().model.model_copy(update={"context_length": context_length})
    tokens = TokenStore.open(calibrate._token_store(Path.cwd(), model))
    blocks = n_sequences(len(tokens.validation(calibrate.DOMAIN)), context_length)
    assert blocks * context_length == calibrate._evaluated_tokens(context_length) >= 16_384
    assert n_sequences(len(tokens.train), context_length) >= 1


def test_the_environment_is_left_alone() -> None:
    before = dict(os.environ)
    with calibrate.service(False, Path.cwd()) as environment:
        assert calibrate.SERVER_VARIABLE not in environment
    assert dict(os.environ) == before
