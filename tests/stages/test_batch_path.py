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
from scipy import stats

from glidepath.__main__ import main as command_line
from glidepath.stages import batch_path
from glidepath.study import tables
from glidepath.study.batch_ramp import BatchRamp, Stages, batch_of_every_update
from tests.figures import planted

CONTEXT, HORIZON, AT_END = 64, 2_000_000, 80.0
PEAKS = (0.004, 0.008)


def cell(**changes: Any) -> dict[str, Any]:
    return {
        "cell_id": "m-constant-lr0.008-r0",
        "model": "m",
        "schedule": "constant",
        "batch_sequences": 8,
        "tokens_per_parameter": 20.0,
        "peak_lr": 0.008,
        "replicate": 0,
        "context_length": CONTEXT,
        "token_horizon": HORIZON,
        "val_loss": 2.992,
        "status": "completed",
        "reason": "",
        "holdout": False,
        **changes,
    }


def runs(*more: dict[str, Any], **changes: Any) -> pd.DataFrame:
    """Two replicates at each of two learning rates, the higher one better; a longer cell that is not probed."""
    rows = [
        cell(cell_id=f"m-constant-lr{peak:g}-r{replicate}", peak_lr=peak, replicate=replicate, val_loss=3.0 - peak)
        | changes
        for peak in PEAKS
        for replicate in (0, 1)
    ]
    linear = {**rows[0], "cell_id": "m-linear", "schedule": "linear", "val_loss": 1}
    return planted.filled(tables.RUNS, [*rows, linear, *more])


def probed(*cell_ids: str) -> pd.DataFrame:
    """More probed cells, whose noise scale does not grow."""
    one = noise_scale()
    one = one[one["cell_id"] == "m-constant-lr0.008-r0"].assign(grad_sq_norm_true=3.0)
    return pd.concat([noise_scale(), *(one.assign(cell_id=cell_id) for cell_id in cell_ids)], ignore_index=True)


def noise_scale(exponent: float = 0.5, error: float = 0.02, untrusted: int = 0) -> pd.DataFrame:
    """Eight windows of 16 probes of every constant cell, ratios of means of a power law; one learning rate's noise
    scale is twice as large. Of so many windows at the end |G|² is not told from zero, found below and above by
    turns."""
    edges = np.linspace(0.5 / 128, 1 + 0.5 / 128, 9)
    begin, end = edges[:-1], edges[1:]
    rows = []
    for run in runs().to_dict("records"):
        if run["schedule"] != "constant":
            continue
        for group, factor in (("total", 1.0), ("norm", 0.5)):
            level = AT_END * factor * (2.0 if run["peak_lr"] == 0.004 else 1.0)
            inverse = (end ** (1 - exponent) - begin ** (1 - exponent)) / ((1 - exponent) * (end - begin) * level)
            lost = np.arange(8) >= 8 - untrusted
            # Replicates are off by as much to either side.
            sign = (-1.0) ** (np.arange(8) + run["replicate"])
            inverse = np.where(lost, inverse + 1.5 * sign / level, inverse)
            se = error / level
            for window in range(8):
                scale = 1.0 / inverse[window]
                rows.append(
                    {
                        "cell_id": run["cell_id"],
                        "group": group,
                        "window": window,
                        "tokens_seen": round((begin[window] + end[window]) / 2 * HORIZON),
                        "n_probes": 16,
                        "n_blocks": 8,
                        "grad_sq_norm_true": 3.0 * inverse[window],
                        "grad_noise_trace": 3.0,
                        "noise_scale_sequences": scale,
                        "ci_low_sequences": 1.0 / (inverse[window] + stats.t.ppf(0.95, 7) * se),
                        "ci_level": 0.9,
                        "status": "untrusted" if lost[window] else "ok",
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
    np.testing.assert_allclose(stages.milestones, [1 / 16, 1 / 4, 9 / 16], rtol=1e-3)
    assert stages.batch_fractions == (0.25, 0.5, 0.75)
    assert set(batch_of_every_update(stages, 8, 6400)) == {2, 4, 6, 8}
    comments = [line for line in text.splitlines() if line.startswith("#")]
    # The replicates of the better learning rate, and no others.
    assert [line[4:] for line in comments[1:3]] == ["m-constant-lr0.008-r0", "m-constant-lr0.008-r1"]
    assert "16 windows (0 of them untrusted on their own)" in comments[0]
    assert "80 sequences of 64 tokens x (tokens / 2000000)^0.500" in comments[3]
    assert "the shape is measured" in comments[4]


def test_with_a_multiplier_the_level_is_measured_too() -> None:
    """A tenth of 80·√u is 8·√u, just less so that 8 is enough; half of that, of the norm layers, ends at 4."""
    same = batch_path.block(noise_scale(), runs(), arguments(*ROOT_TO_8, "--multiplier", "0.0999"))
    np.testing.assert_allclose(derived(same).milestones, [1 / 16, 1 / 4, 9 / 16], rtol=5e-3)
    norm = ("--schedule", "constant", "--multiplier", "0.0999", "--group", "norm")
    with pytest.raises(ValueError, match=r"ends at 4 and never gets to 8.*raise --multiplier"):
        batch_path.block(noise_scale(), runs(), arguments(*norm, "--batch-sequences", "8"))
    to_4 = derived(batch_path.block(noise_scale(), runs(), arguments(*norm, "--batch-sequences", "4")))
    np.testing.assert_allclose(to_4.milestones, [1 / 16, 1 / 4, 9 / 16], rtol=5e-3)
    # Over four times the tokens it has doubled once more.
    long = ("--batch-sequences", "8", "--token-horizon", str(4 * HORIZON))
    np.testing.assert_allclose(
        derived(batch_path.block(noise_scale(), runs(), arguments(*norm, *long))).milestones[-1], 49 / 64, rtol=5e-3
    )


def test_named_cells() -> None:
    text = batch_path.block(
        noise_scale(), runs(), arguments("--cells", "m-constant-lr0.004-r1", "--batch-sequences", "8")
    )
    assert "8 windows" in text
    assert "160 sequences of 64 tokens" in text


def test_untrusted_windows_take_part_with_their_signs() -> None:
    """Half of the windows, the late ones, are off by 1.5 of the noise scale's inverse at the end, to either side."""
    windows = noise_scale(error=0.5, untrusted=4)
    assert (windows["noise_scale_sequences"] < 0).any()
    text = batch_path.block(windows, runs(), arguments(*ROOT_TO_8, "--ci-level", "0.5", "--allow-unresolved"))
    assert "16 windows (8 of them untrusted on their own)" in text
    np.testing.assert_allclose(derived(text).milestones, [1 / 16, 1 / 4, 9 / 16], rtol=0.1)


def test_one_sweep_is_chosen_and_never_mixed() -> None:
    """A larger model, another batch and held-out or diverged cells have lower losses, and a noise scale that does not
    grow."""
    better = {"val_loss": 1.0}
    large = cell(cell_id="large", model="large", **better)
    wide = cell(cell_id="wide", batch_sequences=32, **better)
    hidden = [cell(cell_id=f"hidden-{r}", peak_lr=0.016, replicate=r, holdout=True, **better) for r in (0, 1)]
    survived = [
        *(cell(cell_id=f"survived-{r}", peak_lr=0.032, replicate=r, **better) for r in (0, 1)),
        cell(cell_id="lost", peak_lr=0.032, replicate=2, status="diverged", reason="at 7"),
    ]
    lucky = cell(cell_id="lucky", peak_lr=0.002, replicate=1, **better)
    names = ("large", "wide", "hidden-0", "hidden-1", "survived-0", "survived-1", "lost", "lucky")
    right = batch_path.block(noise_scale(), runs(), arguments(*ROOT_TO_8))
    for left_out in (hidden, survived, [lucky]):
        assert batch_path.block(probed(*names), runs(*left_out), arguments(*ROOT_TO_8)) == right
    for one, option, value, says in (
        (large, "--model", "m", "probed with model large, m.*Choose with --model, or name --cells"),
        (wide, "--probed-batch-sequences", "8", "probed with batch_sequences 8, 32.*--probed-batch-sequences"),
    ):
        with pytest.raises(ValueError, match=says):
            batch_path.block(probed(*names), runs(one), arguments(*ROOT_TO_8))
        assert batch_path.block(probed(*names), runs(one), arguments(*ROOT_TO_8, option, value)) == right
    with pytest.raises(ValueError, match=r"--model huge: probed cells of constant have large, m. Take one"):
        batch_path.block(probed(*names), runs(large), arguments(*ROOT_TO_8, "--model", "huge"))
    named = ("--cells", "m-constant-lr0.008-r0", "large", "--batch-sequences", "8")
    with pytest.raises(ValueError, match="--cells are of models m, large"):
        batch_path.block(probed(*names), runs(large), arguments(*named))


def test_of_several_horizons_the_longest_is_taken() -> None:
    short = cell(cell_id="short", tokens_per_parameter=10.0, token_horizon=HORIZON // 2, val_loss=1.0)
    right = batch_path.block(noise_scale(), runs(), arguments(*ROOT_TO_8))
    assert batch_path.block(probed("short"), runs(short), arguments(*ROOT_TO_8)) == right


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--batch-sequences", "0"), "--batch-sequences 0: it is at least 2"),
        (("--batch-sequences", "-8"), "--batch-sequences -8: it is at least 2"),
        (("--min-batch-sequences", "0"), "--min-batch-sequences 0: it is at least 1"),
        (("--multiple-of", "0"), "--multiple-of 0: it is at least 1"),
        (("--multiple-of", "-1"), "--multiple-of -1: it is at least 1"),
        (("--multiplier", "-1"), "--multiplier -1: it is positive"),
        (("--multiplier", "0"), "--multiplier 0: it is positive"),
        (("--multiplier", "inf"), "--multiplier inf: it is positive"),
        (("--token-horizon", "-5", "--multiplier", "1"), "--token-horizon -5: it is at least 1"),
        (("--token-horizon", "0"), "--token-horizon 0: it is at least 1"),
        (("--ci-level", "1.5"), "--ci-level 1.5: it lies between 0 and 1"),
        (("--ci-level", "0"), "--ci-level 0: it lies between 0 and 1"),
        (("--ci-level", "nan"), "--ci-level nan: it lies between 0 and 1"),
    ],
)
def test_arguments_without_sense_are_refused(given: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        batch_path.block(noise_scale(), runs(), arguments(*ROOT_TO_8, *given))


def test_what_chooses_in_a_schedule_does_not_go_with_cells() -> None:
    named = ("--cells", "m-constant-lr0.004-r1", "--batch-sequences", "8", "--model", "m")
    with pytest.raises(ValueError, match="--model m: --cells say already which cells"):
        batch_path.block(noise_scale(), runs(), arguments(*named))


def test_growth_that_is_not_resolved_needs_to_be_asked_for() -> None:
    flat = noise_scale(exponent=0.05, error=0.5)
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
        (
            ("--schedule", "linear"),
            {},
            "none of its cells is probed, completed and open to fits; such cells are of constant",
        ),
        (
            ("--schedule", "constant"),
            {"status": "diverged", "reason": "at 7"},
            "none of its cells is probed, completed",
        ),
        (("--cells", "m-constant-lr0.004-r1"), {"status": "diverged", "reason": "diverged at update 7"}, "at update 7"),
        (("--schedule", "constant", "--group", "head"), {}, "but of norm, total"),
        (("--schedule", "constant", "--multiple-of", "3"), {}, "no multiple of 3. Change --batch-sequences"),
    ],
)
def test_what_cannot_be_derived_is_refused(given: tuple[str, ...], changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        batch_path.block(noise_scale(), runs(**changes), arguments("--batch-sequences", "8", *given))


def test_windows_that_say_nothing_are_refused() -> None:
    below = noise_scale().assign(grad_sq_norm_true=-1.0, ci_low_sequences=np.nan)
    with pytest.raises(ValueError, match=r"16 windows: 0 windows of known error.*Probe more often"):
        batch_path.block(below, runs(), arguments(*ROOT_TO_8))
    below["ci_low_sequences"] = 90.0
    with pytest.raises(ValueError, match=r"no noise scale above zero.*Probe more often"):
        batch_path.block(below, runs(), arguments(*ROOT_TO_8))
    named = ("--cells", "m-constant-lr0.004-r1", "--batch-sequences", "8")
    few = noise_scale()
    for windows, says in ((1, "one window only"), (2, "2 windows of noise scale")):
        with pytest.raises(ValueError, match=says):
            batch_path.block(few[few["window"] < windows], runs(), arguments(*named))


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
