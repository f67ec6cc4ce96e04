"""What a user gets wrong, through the doors a user takes: each refusal names key, value, rule and remedy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from glidepath.__main__ import main
from glidepath.study.config import parse_study
from tests.study.studies import GOOD, MISSING, changed

REPOSITORY = Path(__file__).parents[2]
REMEDY = (
    r"(Correct|Remove|Add|Write|Give|Keep|Choose|Change|Raise|Lower|Shorten|Widen|Use|Put|Set|Make|Sort|correct|remove|add|give"
    r"|write|rename|raise|choose|move|narrow)\b"
)


@dataclass(frozen=True)
class Bad:
    """One mutation of the good study and what its refusal must say."""

    name: str
    path: str
    value: Any
    says: tuple[str, ...]


BAD = (
    Bad("unknown key", "analisys", {}, ("analisys", "no such key")),
    Bad("unknown nested key", "models.d16.widht", 16, ("models.d16.widht = 16", "no such key")),
    Bad("unknown key of a source", "corpus.domains.0.source.path", "x", ("corpus.domains.0.source.path = 'x'",)),
    Bad("missing section", "corpus", MISSING, ("corpus", "required")),
    Bad("missing key", "target.model", MISSING, ("target.model", "required")),
    Bad("missing kind", "corpus.tokenizer", {"vocab_size": 300}, ("corpus.tokenizer", "kind is required")),
    Bad("unknown kind", "corpus.domains.1.source.kind", "web", ("corpus.domains.1.source", "'web'", "'files'")),
    Bad("1e-3 as text", "grid.0.peak_lrs", ["1e-3"], ("grid.0.peak_lrs.0 = '1e-3'", "number", "1.0e-3")),
    Bad("number in quotes", "models.d16.width", "16", ("models.d16.width = '16'", "whole number")),
    Bad("fraction for a whole number", "models.d16.depth", 1.5, ("models.d16.depth = 1.5", "whole number")),
    Bad("bool for int", "models.d16.depth", True, ("models.d16.depth = True", "whole number")),
    Bad("bool for int in corpus", "corpus.domains.0.max_bytes", True, ("max_bytes = True", "whole number")),
    Bad("number for bool", "grid.0.holdout", 1, ("grid.0.holdout = 1", "true or false")),
    Bad("number for text", "study", 7, ("study = 7", "text")),
    Bad("a value for a list", "grid.0.peak_lrs", 0.01, ("grid.0.peak_lrs = 0.01", "a list is needed")),
    Bad("a value for a mapping", "optimizer", "adamw", ("optimizer = 'adamw'", "a mapping is needed")),
    Bad("a list for a mapping", "models", ["d16"], ("models = ['d16']", "a mapping is needed")),
    Bad("negative seed", "grid.0.replicates", [-1], ("grid.0.replicates.0 = -1", "greater than or equal to 0")),
    Bad(
        "a seed beyond integers", "grid.0.replicates", [10**20], ("replicates.0 = 100000000000000000000", "9007199254")
    ),
    Bad("too many evaluations", "evaluation", {"points_per_octave": 10**6}, ("points_per_octave = 1000000", "100")),
    Bad("no snapshot", "averaging.snapshots.per_octave", 0, ("averaging.snapshots.per_octave = 0", "greater than 0")),
    Bad("an empty section", "optimizer", None, ("optimizer = None", "a mapping is needed")),
    Bad("negative", "warmup.steps", -1, ("warmup.steps = -1", "greater than or equal to 0")),
    Bad("zero peak", "grid.0.peak_lrs.1", 0, ("grid.0.peak_lrs.1 = 0", "greater than 0")),
    Bad("NaN", "optimizer", {"weight_decay": float("nan")}, ("optimizer.weight_decay = nan", "finite")),
    Bad("infinite", "grid.0.tokens_per_parameter", [float("inf")], ("tokens_per_parameter.0 = inf", "finite")),
    Bad("fraction above 1", "schedules.linear_0.final_lr_fraction", 1.5, ("final_lr_fraction = 1.5", "1")),
    Bad("unknown schedule kind", "schedules.wsd.kind", "wsdd", ("schedules.wsd.kind = 'wsdd'", "'cosine'")),
    Bad("empty axis", "grid.0.schedules", [], ("grid.0.schedules = []", "at least one")),
    Bad("empty grid", "grid", [], ("grid = []", "at least one")),
    Bad("no models", "models", {}, ("models = {}", "at least one")),
    Bad("repeated axis value", "grid.0.peak_lrs", [0.01, 1.0e-2], ("grid.0.peak_lrs", "0.01 is given twice")),
    Bad("repeated block", "grid", GOOD["grid"] * 2, ("grid", "given twice, as entries 0 and 1")),
    Bad("bad study name", "study", "My study/1", ("study = 'My study/1'", "lower-case")),
    Bad("name too long", "study", "x" * 41, ("study = 'xxx", "at most 40")),
    Bad("bad model name", "models", {"D 16": GOOD["models"]["d16"]}, ("models.D 16 = 'D 16'", "lower-case")),
    Bad("heads do not fit", "models.d16.head_width", 6, ("models.d16", "width 16", "head_width 6", "multiple")),
    Bad("odd heads", "models.d16", {"depth": 1, "width": 15, "head_width": 5}, ("head_width 5 is odd", "even")),
    Bad("wsd of two lengths", "schedules.wsd.decay_steps", 9, ("decay_fraction 0.2", "decay_steps 9", "exactly one")),
    Bad("wsd of no length", "schedules.wsd.decay_fraction", MISSING, ("schedules.wsd", "exactly one")),
    Bad("wsd of no shape", "schedules.wsd.decay_shape", MISSING, ("schedules.wsd.decay_shape", "the key is required")),
    Bad("linear with a wsd key", "schedules.linear_0.decay_steps", 5, ("decay_steps = 5", "there is no such key")),
    Bad(
        "constant with a floor",
        "schedules.constant.final_lr_fraction",
        0.1,
        ("final_lr_fraction = 0.1", "there is no such key"),
    ),
    Bad(
        "decay to nowhere",
        "schedules.linear_0.final_lr_fraction",
        MISSING,
        ("schedules.linear_0.final_lr_fraction", "required"),
    ),
    Bad("polynomial of no exponent", "schedules.linear_0.kind", "polynomial", ("exponent None", "needs it")),
    Bad("exponent of a line", "schedules.linear_0.exponent", 2, ("exponent 2", "kind linear", "only kind polynomial")),
    Bad("exponential to zero", "schedules.linear_0.kind", "exponential", ("final_lr_fraction 0", "never gets there")),
    Bad("refreshed too often", "schedules.linear_0.refreshes", 400, ("refreshes 400", "at most one per update")),
    Bad("power of no exponent", "schedules.wsd.decay_shape", "power", ("decay_exponent None", "needs it")),
    Bad(
        "milestones alone",
        "schedules.wsd",
        {"kind": "step", "milestones": [0.5, 0.75], "lr_fractions": [0.1]},
        ("milestones has 2", "lr_fractions 1", "equally long"),
    ),
    Bad(
        "milestones unsorted",
        "schedules.wsd",
        {"kind": "step", "milestones": [0.7, 0.5], "lr_fractions": [0.1, 0.01]},
        ("milestones has 0.5 after 0.7", "Sort them"),
    ),
    Bad(
        "a step to zero",
        "schedules.wsd",
        {"kind": "step", "milestones": [0.7], "lr_fractions": [0]},
        ("lr_fractions has 0", "wasted"),
    ),
    Bad(
        "cooldowns overlap",
        "schedules.wsd",
        {"kind": "wsd_s", "ends": [0.5, 0.55], "decay_fraction": 0.2, "decay_shape": "linear", "final_lr_fraction": 0},
        ("begins before the end 0.5", "Lower decay_fraction"),
    ),
    Bad(
        "too many cycles",
        "schedules.wsd",
        {"kind": "cyclic", "cycles": 90, "cycle_shape": "linear", "final_lr_fraction": 0.1, "restart": False},
        ("90 cycles in 128 updates", "Lower cycles"),
    ),
    Bad(
        "points begin late",
        "schedules.wsd",
        {"kind": "points", "unit": "fraction", "interpolation": "linear", "points": [[0.1, 1], [1, 0]]},
        ("points.0 is at 0.1", "Put it at 0"),
    ),
    Bad(
        "points begin with nothing",
        "schedules.wsd",
        {"kind": "points", "unit": "fraction", "interpolation": "linear", "points": [[0, 0], [1, 1]]},
        ("points.0 has the multiplier 0", "positive"),
    ),
    Bad(
        "points of no file",
        "schedules.wsd",
        {"kind": "points", "unit": "fraction", "interpolation": "linear", "file": "nowhere.csv"},
        ("nowhere.csv cannot be read", "Give an existing"),
    ),
    Bad(
        "a ramp beyond 1",
        "schedules.linear_0.batch",
        {"kind": "linear", "start_fraction": 1.5},
        ("batch.start_fraction = 1.5", "less than 1"),
    ),
    Bad("two beta2", "optimizer", {"adam_beta2_half_life_tokens": 1.0e6}, ("adam_beta2 0.95", "exactly one")),
    Bad(
        "time-scale of no policy",
        "optimizer",
        {"weight_decay_timescale_fraction": 0.2},
        ("weight_decay_policy coupled", "Set them"),
    ),
    Bad(
        "policy of no time-scale",
        "optimizer",
        {"weight_decay_policy": "constant_timescale", "weight_decay": None},
        ("weight_decay_timescale_fraction None", "Set them"),
    ),
    Bad("two warm-ups", "warmup.fraction", 0.1, ("steps 4 and fraction 0.1 given", "exactly one")),
    Bad("no warm-up", "warmup", {}, ("nothing given", "exactly one")),
    Bad("longer than the horizon", "warmup.steps", 10_000, ("10000 updates of warmup", "longer than its horizon")),
    Bad("horizon below an update", "grid.0.tokens_per_parameter", [0.001], ("0.001", "less than half an update")),
    Bad("horizon without end", "grid.0.tokens_per_parameter", [1.0e12], ("1e+12", "more than the 10000000")),
    Bad("infinite in tokens", "grid.0.tokens_per_parameter", [1.0e306], ("1e+306", "more than the 10000000")),
    Bad("infinite target", "target.tokens_per_parameter", 1.0e306, ("target: ", "1e+306", "more than the 10000000")),
    Bad("warm-up in tokens too long", "warmup", {"tokens": 10**9}, ("3906250 updates of warmup", "horizon has 132")),
    Bad("warm-up and decay overlap", "warmup", {"fraction": 0.9}, ("schedule wsd", "119 updates", "at least 26 after")),
    Bad("all of it a warm-up", "warmup", {"fraction": 1}, ("warmup.fraction = 1", "less than 1")),
    Bad("decay below an update", "schedules.wsd.decay_fraction", 1.0e-5, ("decay_fraction 1e-05", "half an update")),
    Bad("unknown model in grid", "grid.0.models", ["d32"], ("grid.0.models", "'d32'", "not one of d16")),
    Bad("unknown schedule in grid", "grid.0.schedules", ["cosine"], ("grid.0.schedules", "'cosine'", "not one of")),
    Bad("averaged but not trained", "averaging.schedules", ["cosine"], ("averaging.schedules", "add it to the grid")),
    Bad("probed but not trained", "noise_scale.schedules", ["cosine"], ("noise_scale.schedules", "add it to the grid")),
    Bad("unknown reference", "analysis.reference_schedule", "cosine", ("reference_schedule", "'cosine'", "not one of")),
    Bad("unknown law", "analysis.laws", ["chinchilla"], ("analysis.laws.0 = 'chinchilla'", "'lr_optimum'")),
    Bad("target not defined", "target.model", "d64", ("target.model", "'d64'", "not one of d16")),
    Bad("target batch not trained", "target.batch_sequences", 8, ("target.batch_sequences 8", "[4]")),
    Bad("target below an update", "target.tokens_per_parameter", 0.001, ("target: ", "0.001", "half an update")),
    Bad("everything held out", "grid.0.holdout", True, ("grid has holdout: true in every block", "nothing is left")),
    Bad(
        "snapshots between updates",
        "averaging.snapshots.per_octave",
        7,
        ("first_update 32 is not a multiple of per_octave 7", "whole updates"),
    ),
    Bad("a spike that is not averaged", "spikes", {"clean": "constant", "spiked": ["wsd"]}, ("spikes.spiked", "'wsd'")),
    Bad("a spike without a pair", "spikes", {"clean": "warm", "spiked": ["wsd"]}, ("spikes.clean names 'warm'",)),
    Bad(
        "a spike that is its own pair",
        "spikes",
        {"clean": "constant", "spiked": ["constant"]},
        ("spikes: spiked has 'constant', which is also clean",),
    ),
    Bad("nothing to average", "averaging.schemes", {}, ("averaging.schemes = {}", "at least one")),
    Bad("a scheme that is unknown", "averaging.schemes", {"a": {"kind": "mean"}}, ("schemes.a.kind = 'mean'", "'ema'")),
    Bad(
        "more than all of it",
        "averaging.schemes",
        {"a": {"kind": "window", "fraction": 1.5}},
        ("averaging.schemes.a.fraction = 1.5", "less than or equal to 1"),
    ),
    Bad(
        "a name that the tables need",
        "averaging.schemes",
        {"raw": {"kind": "window", "fraction": 0.5}},
        ("schemes has 'raw'", "another name"),
    ),
    Bad(
        "checkpoints that are not kept",
        "averaging.schemes",
        {"a": {"kind": "lawa", "checkpoints": 3, "every_updates": 10}},
        ("schemes.a.every_updates 10", "not a multiple of 4"),
    ),
    Bad(
        "an EMA of two memories",
        "averaging.schemes",
        {"a": {"kind": "ema", "timescale_fraction": 0.1, "timescale_tokens": 1000}},
        ("timescale_fraction 0.1 and timescale_tokens 1000", "exactly one"),
    ),
    Bad(
        "a decay of what is no average of updates",
        "schedules.constant.kind",
        "schedule_free",
        ("constant, of kind schedule_free, with averaging.schemes.like_linear_20", "Remove one"),
    ),
    Bad(
        "a decay that never ends",
        "averaging.schemes",
        {"a": {"kind": "emulated_decay", "fraction": 0.2, "shape": "exponential"}},
        ("exponential never reaches zero", "another shape"),
    ),
    Bad(
        "a power of nothing",
        "averaging.schemes",
        {"a": {"kind": "emulated_decay", "fraction": 0.2, "shape": "power"}},
        ("shape power with exponent None", "has an exponent"),
    ),
    Bad(
        "smoothings of one name",
        "noise_scale.smoothing_decays",
        [0.9, 0.9000000001],
        ("noise_scale.smoothing_decays", "0.9 and 0.9000000001", "both named 0.9"),
    ),
    Bad("subset below a sequence", "evaluation", {"subset_tokens": 63}, ("subset_tokens 63", "context_length 64")),
    Bad("subset beyond validation", "evaluation", {"subset_tokens": 20_000}, ("subset_tokens 20000", "16384")),
    Bad("one validation block", "corpus.domains.1.validation_tokens", 64, ("validation_tokens 64", "two sequences")),
    Bad("vocabulary beyond the dtype", "corpus.tokenizer.vocab_size", 2**32 + 1, ("vocab_size = 4294967297", "2")),
    Bad("vocabulary below the bytes", "corpus.tokenizer.vocab_size", 100, ("vocab_size 100", "256 bytes")),
    Bad("no training text", "corpus.domains", GOOD["corpus"]["domains"][1:], ("use: training", "nothing to train on")),
    Bad("nothing held out", "corpus.domains.0.validation_fraction", MISSING, ("validation_fraction is None", "0.5")),
    Bad("no such files", "corpus.domains.0.source", {"kind": "files", "paths": ["no/*.txt"]}, ("'no/*.txt'",)),
    Bad(
        "name on the Hub is empty",
        "corpus.domains.0.source",
        {"kind": "huggingface", "name": ""},
        ("name = ''", "text"),
    ),
    Bad(
        "no such directory", "corpus.domains.0.source", {"kind": "huggingface", "name": "./no"}, ("'./no'", "Hub name")
    ),
    Bad("no files named", "corpus.domains.0.source", {"kind": "files", "paths": []}, ("paths is empty", "data/*.txt")),
    Bad(
        "too much held out", "corpus.domains.0.validation_fraction", 0.7, ("validation_fraction is 0.7", "at most 0.5")
    ),
    Bad("two domains of a name", "corpus.domains.1.name", "python", ("domain names ['python']", "rename")),
    Bad("bad domain name", "corpus.domains.0.name", "Py", ("corpus.domains.0.name = 'Py'", "lower-case")),
    Bad(
        "a fraction where all is held out",
        "corpus.domains.1.validation_fraction",
        0.1,
        ("validation_fraction 0.1 has no meaning", "use: validation"),
    ),
    Bad("not a tokenizer", "corpus.tokenizer", {"kind": "file", "path": "LICENSE"}, ("'LICENSE'", "tokenizer.json")),
    Bad("no such tokenizer", "corpus.tokenizer", {"kind": "file", "path": "no.json"}, ("'no.json'", "not a file")),
)


def assert_is_a_refusal(message: str, bad: Bad) -> None:
    """One paragraph that names what is wrong and what to do."""
    assert "Traceback" not in message
    assert "\n" not in message.strip()
    for words in bad.says:
        assert words in message
    assert message.count("at least one entry") == (bad.says[-1] == "at least one")
    assert re.search(REMEDY, message), message
    assert "pydantic" not in message


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_plan_refuses(bad: Bad, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(changed((bad.path, bad.value))))
    assert main(["plan", str(path), "--no-calibration"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert_is_a_refusal(printed.err, bad)


@pytest.mark.workflow
@pytest.mark.xdist_group("dry runs")
@pytest.mark.parametrize(
    "name",
    [
        "unknown key",
        "1e-3 as text",
        "longer than the horizon",
        "no such files",
        "target below an update",
    ],
)
def test_snakemake_refuses_before_anything_runs(name: str, tmp_path: Path) -> None:
    bad = next(bad for bad in BAD if bad.name == name)
    done = dry_run(tmp_path, yaml.safe_dump(changed((bad.path, bad.value))))
    assert done.returncode != 0
    lines = (done.stdout + done.stderr).splitlines()
    assert not [line for line in lines if line.startswith(("Traceback", "StudyError", "ValueError"))]
    assert_is_a_refusal(next(line for line in lines if bad.says[0] in line), bad)


def dry_run(directory: Path, study: str) -> subprocess.CompletedProcess[str]:
    path = directory / "study.yaml"
    path.write_text(study)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--dry-run"]
    return subprocess.run(
        [*command, "--cores", "1", "--directory", str(directory), "--configfile", str(path), "--quiet"],
        cwd=directory,
        env={**os.environ, "XDG_CACHE_HOME": str(directory / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )


def check(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    status = main(["plan", str(path), "--no-calibration"])
    message = capsys.readouterr().err
    assert "\n" not in message.strip()
    return status, message


def test_a_missing_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(tmp_path / "absent.yaml"), "--no-calibration"]) == 2
    assert "absent.yaml cannot be read: No such file or directory. Give" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("study: [", "is not YAML"),
        ("study: a\nstudy: b\n", "the key 'study' is given twice"),
        ("- study\n", "is list, not a mapping of keys"),
        ("", "is NoneType, not a mapping"),
        ("study: 2026-13-01\n", "is not YAML: month must be in 1..12"),
        ("1: study\n", "1 = 1: a key is text"),
    ],
)
def test_what_is_no_study_is_refused(text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, message = check(text, tmp_path, capsys)
    assert status == 2
    assert says in message


def test_text_that_is_not_unicode_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"study: \xff\n")
    assert main(["plan", str(path), "--no-calibration"]) == 2
    assert "is not YAML" in capsys.readouterr().err


def test_a_cell_cannot_be_both_hidden_and_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = [*GOOD["grid"], {**GOOD["grid"][0], "peak_lrs": [0.02], "holdout": True}]
    status, message = check(yaml.safe_dump(changed(("grid", both))), tmp_path, capsys)
    assert status == 2
    assert "grid.1.holdout True" in message


def test_all_faults_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = yaml.safe_dump(changed(("study", 7), ("models.d16.depth", 0)))
    _, message = check(text, tmp_path, capsys)
    assert "study = 7" in message
    assert "models.d16.depth = 0" in message


def test_anchors_and_merges_are_yaml_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = yaml.safe_dump(changed(("models", MISSING)))
    models = (
        "models:\n"
        "  d16: &small {depth: 1, width: 16, head_width: 8, context_length: 64}\n"
        "  d32: {<<: *small, width: 32}\n"
    )
    assert check(text + models, tmp_path, capsys)[0] == 0


def test_the_good_study_is_good() -> None:
    assert parse_study(GOOD, "of the test").models["d16"].d_ff == 48


def test_a_round_trip_through_json_changes_nothing() -> None:
    study = parse_study(GOOD, "of the test")
    assert parse_study(study.model_dump(mode="json"), "given as JSON") == study
