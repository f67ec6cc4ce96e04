"""Small studies as plain data, to be changed and planned."""

from __future__ import annotations

import copy
from typing import Any

from glidepath.study.config import StudyConfig, parse_study
from glidepath.study.segments import Plan, plan

CORPUS_ID = "0123456789"
VOCAB_SIZE = 320

GOOD: dict[str, Any] = {
    "study": "good",
    "corpus": {
        "domains": [
            {
                "name": "python",
                "use": "training",
                "source": {"kind": "python_environment"},
                "max_bytes": 4_000_000,
                "validation_fraction": 0.1,
                "validation_tokens": 16_384,
            },
            {"name": "c", "use": "validation", "source": {"kind": "c_headers"}, "validation_tokens": 4096},
        ],
        "tokenizer": {"kind": "train_bpe", "vocab_size": VOCAB_SIZE},
    },
    "models": {"d16": {"depth": 1, "width": 16, "head_width": 8, "context_length": 64}},
    "schedules": {
        "constant": {"kind": "constant"},
        "linear_0": {"kind": "linear", "final_lr_fraction": 0},
        "wsd": {"kind": "wsd", "final_lr_fraction": 0, "decay_fraction": 0.2, "decay_shape": "linear"},
    },
    "warmup": {"steps": 4},
    "grid": [
        {
            "models": ["d16"],
            "schedules": ["constant", "linear_0", "wsd"],
            "peak_lrs": [0.01, 0.02],
            "tokens_per_parameter": [10, 20],
            "batch_sequences": [4],
        }
    ],
    "averaging": {"schedules": ["constant"], "snapshots": {"first_update": 32, "per_octave": 8}},
    "noise_scale": {"schedules": ["constant"], "every_updates": 8},
    "analysis": {"reference_schedule": "constant"},
    "target": {"model": "d16", "tokens_per_parameter": 40, "batch_sequences": 4},
}

MISSING = object()


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The good study with some keys, named by dotted paths, set to other values or (MISSING) removed."""
    data = copy.deepcopy(GOOD)
    for path, value in changes:
        *parents, last = path.split(".")
        place: Any = data
        for part in parents:
            place = place[int(part) if isinstance(place, list) else part]
        key: Any = int(last) if isinstance(place, list) else last
        if value is MISSING:
            del place[key]
        else:
            place[key] = value
    return data


def study(*changes: tuple[str, Any]) -> StudyConfig:
    return parse_study(changed(*changes), "of the test")


def planned(*changes: tuple[str, Any]) -> Plan:
    return plan(study(*changes), CORPUS_ID, VOCAB_SIZE)
