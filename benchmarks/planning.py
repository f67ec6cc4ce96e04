"""How long the planner takes: it runs whenever the Snakefile is parsed.

    python benchmarks/planning.py [--cells 1000]

A grid of 10 schedules × 5 peak learning rates × 4 horizons × replicates, on one small model and without a corpus.
Printed: cells, segments, and seconds of its parts, each the best of three.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glidepath.study.averages import average_specs
from glidepath.study.budget import budget
from glidepath.study.budget_words import described
from glidepath.study.config import parse_study
from glidepath.study.segments import plan
from glidepath.study.speed import Conditions

ROUNDS = 3
VOCAB_SIZE = 512
CELLS_PER_REPLICATE = 10 * 5 * 4


def study(replicates: int) -> dict[str, Any]:
    """A study as its YAML would give it."""
    wsd = {
        f"wsd_{percent}_{shape}": {
            "kind": "wsd",
            "final_lr_fraction": 0,
            "decay_fraction": percent / 100,
            "decay_shape": shape,
        }
        for percent in (10, 20)
        for shape in ("linear", "cosine", "one_minus_sqrt")
    }
    schedules = {
        **wsd,
        "constant": {"kind": "constant"},
        "linear_0": {"kind": "linear", "final_lr_fraction": 0},
        "linear_10": {"kind": "linear", "final_lr_fraction": 0.1},
        "cosine_10": {"kind": "cosine", "final_lr_fraction": 0.1},
    }
    return {
        "study": "planning",
        "corpus": {
            "domains": [
                {"name": "python", "source": {"kind": "python_environment"}, "validation_fraction": 0.1},
            ],
            "tokenizer": {"kind": "train_bpe", "vocab_size": VOCAB_SIZE},
        },
        "models": {"d32": {"depth": 2, "width": 32}},
        "schedules": schedules,
        "warmup": {"steps": 10},
        "grid": [
            {
                "models": ["d32"],
                "schedules": sorted(schedules),
                "peak_lrs": [0.002, 0.004, 0.008, 0.016, 0.032],
                "tokens_per_parameter": [10, 20, 40, 80],
                "replicates": list(range(replicates)),
            }
        ],
        "averaging": {"schedules": ["constant"]},
        "noise_scale": {"schedules": ["constant"]},
        "analysis": {"reference_schedule": "cosine_10"},
        "target": {"model": "d32", "tokens_per_parameter": 320},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000)
    data = study(max(1, round(parser.parse_args().cells / CELLS_PER_REPLICATE)))
    config = parse_study(data, "of the benchmark")
    planned = plan(config, "0123456789", VOCAB_SIZE)
    conditions = Conditions(cores=2, threads=1, warm=True, gpu=False)
    print(described(budget(config, planned, conditions, {}, Path.cwd())))
    updates = sum(cell.total_steps for cell in planned.cells)
    print(f"{len(planned.cells)} cells, {len(planned.segments)} segments, {updates} updates")
    parts: dict[str, Callable[[], object]] = {
        "validate the study": lambda: parse_study(data, "of the benchmark"),
        "plan": lambda: plan(config, "0123456789", VOCAB_SIZE),
        "specifications as JSON": lambda: [segment.spec.to_json() for segment in planned.segments.values()],
        "averages": lambda: average_specs(planned, config.averaging),
        "budget": lambda: budget(config, planned, conditions, {}, Path.cwd()),
    }
    for name, work in parts.items():
        print(f"{name:24} {best_seconds(work):6.2f} s")


def best_seconds(work: Callable[[], object]) -> float:
    """Shortest of a few runs."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


if __name__ == "__main__":
    main()
