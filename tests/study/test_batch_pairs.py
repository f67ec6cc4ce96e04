"""A batch path is compared with the schedule that is equal but for it."""

from __future__ import annotations

from typing import Any

from glidepath.study.batch_pairs import BatchPair, batch_pairs
from tests.study.studies import GOOD, study

RAMP = {"kind": "linear", "start_fraction": 0.25}
STAGES = {"kind": "stages", "milestones": [0.5], "batch_fractions": [0.5], "lr_scaling": "sqrt"}


def pairs(named: dict[str, Any], trained: list[str]) -> tuple[BatchPair, ...]:
    block = {**GOOD["grid"][0], "schedules": trained}
    return batch_pairs(
        study(
            ("schedules", {**GOOD["schedules"], **named}),
            ("grid", [GOOD["grid"][0], block]),
            ("warmup", {"tokens": 512}),
        )
    )


def test_every_path_has_its_fixed_schedule() -> None:
    named = {
        "ramped": {**GOOD["schedules"]["linear_0"], "batch": RAMP},
        "other_end": {"kind": "linear", "final_lr_fraction": 0.1, "batch": RAMP},
        "staged": {**GOOD["schedules"]["wsd"], "batch": STAGES},
        # Equal to linear_0 too, but after it.
        "linear_again": GOOD["schedules"]["linear_0"],
        "not_trained": {**GOOD["schedules"]["linear_0"], "batch": STAGES},
    }
    found = pairs(named, ["ramped", "other_end", "staged", "linear_again"])
    assert found == (BatchPair("ramped", "linear_0"), BatchPair("staged", "wsd"))


def test_a_study_without_paths_has_no_pairs() -> None:
    assert batch_pairs(study()) == ()
