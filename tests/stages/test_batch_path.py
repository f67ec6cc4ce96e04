"""From a measured noise scale to the keys of a batch path."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import TypeAdapter

from glidepath.__main__ import main as command_line
from glidepath.stages import batch_path
from glidepath.study import tables
from glidepath.study.batch_ramp import BatchRamp, Stages, batch_of_every_update
from tests.figures import planted

CONTEXT, HORIZON, AT_END = 64, 2_000_000, 80.0
PEAKS = (0.004, 0.008)


def runs(**changes: Any) -> pd.DataFrame:
    """Two replicates at each of two learning rates, the higher one better; a longer cell that is not probed."""
    rows = [
        {
            "cell_id": f"m-constant-lr{peak:g}-r{replicate}",
            "model": "m",
            "schedule": "constant",
            "batch_sequences": 8,
            "tokens_per_parameter": 20.0,
            "peak_lr": peak,
            "replicate": replicate,
            "context_length": CONTEXT,
            "token_horizon": HORIZON,
            "val_loss": 3.0 - peak,
            "status": "completed",
            "reason": "",
            **changes,
        }
        for peak in PEAKS
        for replicate in (0, 1)
    ]
    return planted.filled(tables.RUNS, [*rows, {**rows[0], "cell_id": "m-linear", "schedule": "linear", "val_loss": 1}])


def noise_scale(exponent: float = 0.5, error: float = 0.02, untrusted: int = 0, scatter: float = 0.0) -> pd.DataFrame:
    """Eight windows of every constant cell that follow a power law; one learning rate's noise scale is twice as
    large."""
    random = np.random.default_rng(1)
    rows = []
    for run in runs().to_dict("records"):
        if run["schedule"] != "constant":
            continue
        for group, factor in (("total", 1.0), ("norm", 0.5)):
            for window, tokens in enumerate(np.linspace(0.1, 1, 8) * HORIZON):
                scale = AT_END * factor * (tokens / HORIZON) ** exponent * (2.0 if run["peak_lr"] == 0.004 else 1.0)
                scale *= float(np.exp(scatter * random.standard_normal()))
                rows.append(
                    {
                        "cell_id": run["cell_id"],
                        "group": group,
                        "window": window,
                        "tokens_seen": round(tokens),
                        "noise_scale_sequences": -5.0 if window < untrusted else scale,
                        "noise_scale_tokens": scale * CONTEXT,
                        "noise_scale_tokens_se": error * scale * CONTEXT,
                        "status": "untrusted" if window < untrusted else "ok",
                    }
                )
    return planted.filled(tables.NOISE_SCALE, rows)


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    batch_path.add_arguments(parser)
    return parser.parse_args(["--noise-scale", "n.parquet", "--runs", "r.parquet", *given])


def derived(text: str) -> Stages:
    """What a study reads in the block."""
    found = TypeAdapter(BatchRamp).validate_python(yaml.safe_load(text)["batch"])
    assert isinstance(found, Stages)
    return found


ROOT_TO_8 = ("--schedule", "constant", "--batch-sequences", "8", "--multiple-of", "2")


def test_the_block_is_the_path_of_the_planted_growth() -> None:
    """√u of 8 in steps of 2: from 1/16, 1/4 and 9/16 on."""
    text = batch_path.block(noise_scale(), runs(), arguments(*ROOT_TO_8))
    stages = derived(text)
    np.testing.assert_allclose(stages.milestones, [1 / 16, 1 / 4, 9 / 16], rtol=1e-5)
    assert stages.batch_fractions == (0.25, 0.5, 0.75)
    assert set(batch_of_every_update(stages, 8, 6400)) == {2, 4, 6, 8}
    comments = [line for line in text.splitlines() if line.startswith("#")]
    # The replicates of the better learning rate, and no others.
    assert [line[4:] for line in comments[1:3]] == ["m-constant-lr0.008-r0", "m-constant-lr0.008-r1"]
    assert "16 of 16 windows (trusted)" in comments[0]
    assert "80 sequences of 64 tokens x (tokens / 2000000)^0.500" in comments[3]
    assert "the shape is measured" in comments[4]


def test_with_a_multiplier_the_level_is_measured_too() -> None:
    """A tenth of 80·√u is 8·√u; of half of that (the norm layers) the batch ends at 4."""
    same = batch_path.block(noise_scale(), runs(), arguments(*ROOT_TO_8, "--multiplier", "0.1"))
    assert derived(same) == derived(batch_path.block(noise_scale(), runs(), arguments(*ROOT_TO_8)))
    norm = ("--schedule", "constant", "--multiplier", "0.1", "--group", "norm")
    with pytest.raises(ValueError, match=r"ends at 4 and never gets to 8.*raise --multiplier"):
        batch_path.block(noise_scale(), runs(), arguments(*norm, "--batch-sequences", "8"))
    to_4 = derived(batch_path.block(noise_scale(), runs(), arguments(*norm, "--batch-sequences", "4")))
    np.testing.assert_allclose(to_4.milestones, [1 / 16, 1 / 4, 9 / 16], rtol=1e-5)
    # Over four times the tokens it has doubled once more.
    long = ("--batch-sequences", "8", "--token-horizon", str(4 * HORIZON))
    np.testing.assert_allclose(
        derived(batch_path.block(noise_scale(), runs(), arguments(*norm, *long))).milestones[-1], 49 / 64, rtol=1e-5
    )


def test_named_cells_and_untrusted_windows() -> None:
    named = ("--cells", "m-constant-lr0.004-r1", "--batch-sequences", "8")
    text = batch_path.block(noise_scale(untrusted=3), runs(), arguments(*named))
    assert "5 of 8 windows (trusted)" in text
    assert "160 sequences of 64 tokens" in text


def test_growth_that_is_not_resolved_needs_to_be_asked_for() -> None:
    flat = noise_scale(exponent=0.05, error=0.3)
    with pytest.raises(ValueError, match=r"tokens\^0.05, 90 % interval -.*not resolved.*--allow-unresolved"):
        batch_path.block(flat, runs(), arguments(*ROOT_TO_8))
    assert "NOT resolved above 0" in batch_path.block(flat, runs(), arguments(*ROOT_TO_8, "--allow-unresolved"))
    with pytest.raises(ValueError, match=r"tokens\^-0.5.*there is no case for a growing batch"):
        batch_path.block(noise_scale(exponent=-0.5), runs(), arguments(*ROOT_TO_8, "--allow-unresolved"))


@pytest.mark.parametrize(
    ("given", "changes", "says"),
    [
        (("--cells", "m-constant-lr0.04-r1"), {}, "no such cell_id.*the nearest are"),
        (("--cells", "m-linear"), {}, "the cells have no window of it, but of none"),
        (("--schedule", "linear"), {}, "none of its cells is probed and completed; probed are cells of constant"),
        (("--schedule", "constant"), {"status": "diverged", "reason": "at 7"}, "none of its cells is probed and"),
        (("--cells", "m-constant-lr0.004-r1"), {"status": "diverged", "reason": "diverged at update 7"}, "at update 7"),
        (("--schedule", "constant", "--group", "head"), {}, "but of norm, total"),
        (("--schedule", "constant", "--multiple-of", "3"), {}, "no multiple of 3. Change --batch-sequences"),
    ],
)
def test_what_cannot_be_derived_is_refused(given: tuple[str, ...], changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        batch_path.block(noise_scale(), runs(**changes), arguments("--batch-sequences", "8", *given))


def test_windows_that_cannot_be_trusted_are_refused() -> None:
    with pytest.raises(ValueError, match="no one of 16 windows can be trusted"):
        batch_path.block(noise_scale(untrusted=8), runs(), arguments(*ROOT_TO_8))
    with pytest.raises(ValueError, match=r"2 windows of noise scale.*Probe more often"):
        batch_path.block(
            noise_scale(untrusted=6), runs(), arguments("--cells", "m-constant-lr0.004-r1", "--batch-sequences", "8")
        )


def test_the_command_prints_the_block_and_refuses_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.write(tables.RUNS, runs(), tmp_path / "runs.parquet")
    tables.write(tables.NOISE_SCALE, noise_scale(), tmp_path / "noise_scale.parquet")
    command = ["batch-path", "--noise-scale", str(tmp_path / "noise_scale.parquet")]
    command += ["--runs", str(tmp_path / "runs.parquet"), *ROOT_TO_8]
    assert command_line(command) == 0
    assert derived(capsys.readouterr().out).batch_fractions == (0.25, 0.5, 0.75)
    assert command_line([*command, "--group", "head"]) == 2
    assert "glidepath batch-path: --group head" in capsys.readouterr().err
