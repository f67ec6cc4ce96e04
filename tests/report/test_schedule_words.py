"""Every schedule has a phrase that says what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from glidepath.report.overview import facts
from glidepath.report.schedule_words import in_words
from glidepath.study.config import read_study
from glidepath.study.schedule_config import ScheduleConfig
from tests.figures import planted as tables
from tests.study.studies import planned

ROOT = Path(__file__).parents[2]
PARSE = TypeAdapter(ScheduleConfig).validate_python
RAMP = {"kind": "linear", "start_fraction": 0.25, "until": 0.5}
STAGES = {"kind": "stages", "milestones": [0.2, 0.5], "batch_fractions": [0.25, 0.5]}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"kind": "constant"}, "no decay"),
        ({"kind": "schedule_free"}, "no decay, schedule-free AdamW"),
        (
            {"kind": "plateau", "factor": 0.3, "patience": 2, "evaluate_every_updates": 40, "min_lr_fraction": 0.01},
            "times 0.3 after more than 2 evaluations without improvement, 40 updates apart, never below 0.01 of the "
            "peak",
        ),
        ({"kind": "cosine", "final_lr_fraction": 0.1}, "cosine to 0.1 of the peak"),
        ({"kind": "polynomial", "final_lr_fraction": 0, "exponent": 1.5}, "(1 − u)^1.5 to zero"),
        ({"kind": "rex", "final_lr_fraction": 0, "refreshes": 10}, "rex to zero, held 10 times"),
        ({"kind": "inverse_sqrt"}, "inverse square root, whatever the horizon"),
        (
            {"kind": "step", "milestones": [0.5, 0.75], "lr_fractions": [0.1, 0.01]},
            "0.1 of the peak from 50 %, 0.01 of the peak from 75 %",
        ),
        (
            {"kind": "wsd", "final_lr_fraction": 0, "decay_fraction": 0.2, "decay_shape": "one_minus_sqrt"},
            "last 20 %, 1 − √ to zero",
        ),
        (
            {"kind": "wsd", "final_lr_fraction": 0.1, "decay_steps": 30, "decay_shape": "power", "decay_exponent": 2},
            "last 30 updates, (1 − u)^2 to 0.1 of the peak",
        ),
        (
            {"kind": "wsd_s", "ends": [0.5], "decay_fraction": 0.1, "decay_shape": "linear", "final_lr_fraction": 0},
            "last 10 % before each of 50 %, 100 %, linear to zero",
        ),
        (
            {"kind": "cyclic", "cycles": 3, "cycle_shape": "cosine", "final_lr_fraction": 0, "restart": True},
            "3 × cosine to zero, back to the peak at once",
        ),
        (
            {
                "kind": "one_cycle", "cycle_shape": "linear", "rise_fraction": 0.3, "initial_lr_fraction": 0.04,
                "final_lr_fraction": 0,
            },
            "linear rise from 0.04 of the peak until 30 %, then to zero",
        ),
        (
            {"kind": "points", "unit": "fraction", "interpolation": "linear", "points": [[0, 1], [1, 0.5]]},
            "by 2 points in fractions of the horizon, lines in between",
        ),
        (
            {"kind": "linear", "final_lr_fraction": 0, "batch": RAMP},
            "linear to zero; batch growing from 25 % of its end, linearly until 50 %",
        ),
        (
            {"kind": "constant", "batch": STAGES},
            "no decay; batch 25 % of its end, 50 % from 20 %, 100 % from 50 %",
        ),
        (
            {"kind": "constant", "batch": {**STAGES, "lr_scaling": "sqrt"}},
            "no decay; batch 25 % of its end, 50 % from 20 %, 100 % from 50 %, learning rate times the root of the "
            "batch",
        ),
    ],
)  # fmt: skip
def test_words(keys: dict[str, Any], words: str) -> None:
    assert in_words(PARSE(keys)) == words


def test_no_two_schedules_of_the_gallery_have_the_same_words() -> None:
    gallery = read_study(ROOT / "config" / "schedules.yaml").schedules
    words = {name: in_words(schedule) for name, schedule in gallery.items()}
    assert len(set(words.values())) == len(gallery)
    assert not [name for name, said in words.items() if "nan" in said or "None" in said]


def test_the_design_names_ramps_where_it_names_batches() -> None:
    """A ramped cell has fewer sequences than its batch until the ramp ends."""
    ramped = {"kind": "linear", "final_lr_fraction": 0, "batch": RAMP}
    study = planned(("schedules.linear_0", ramped), ("warmup", {"fraction": 0.1}))
    found = {fact.name: fact.text for fact in facts(tables.runs(schedules=("constant",)), study)}
    assert "constant (no decay)" in found["Schedules"]
    assert "linear_0 (linear to zero; batch growing from 25 %" in found["Schedules"]
    assert found["Batches"] == "8 sequences per update, where the ramp ends in linear_0"
    fixed = {fact.name: fact.text for fact in facts(tables.runs(schedules=("constant",)), planned())}
    assert fixed["Batches"] == "8 sequences per update"
