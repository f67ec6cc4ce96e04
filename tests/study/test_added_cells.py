"""What further cells cost beside a study, and the YAML that has them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from glidepath.study.added_cells import AddedCell, Costs, with_cells
from glidepath.study.config import parse_study
from glidepath.study.section import StudyError
from glidepath.study.segments import plan

TEXT = """
study: added
corpus:
  domains:
    - {name: t, use: training, source: {kind: python_environment}, validation_fraction: 0.05, validation_tokens: 8192}
  tokenizer: {kind: train_bpe, vocab_size: 512}
models: {s: {depth: 1, width: 32, head_width: 16, context_length: 64}}
schedules:
  wsd: {kind: wsd, decay_fraction: 0.2, decay_shape: linear, final_lr_fraction: 0}
  constant: {kind: constant}
warmup: {steps: 32}
grid:
  - {models: [s], schedules: [wsd], peak_lrs: [0.004], tokens_per_parameter: [40], replicates: [0]}
analysis: {reference_schedule: wsd}
target: {model: s, tokens_per_parameter: 80}
"""
STUDY = parse_study(yaml.safe_load(TEXT), "test")
CELL = AddedCell("s", "wsd", 0.004, 30.0, 8, 0)


def flops(*cells: AddedCell) -> float:
    """Of the study with these cells, planned whole."""
    whole = parse_study(yaml.safe_load(with_cells(TEXT, cells)), "test") if cells else STUDY
    return sum(segment.train_flops_exact for segment in plan(whole, "c", 512).segments.values())


@pytest.mark.parametrize(
    "cell", [CELL, replace(CELL, tokens_per_parameter=60.0), replace(CELL, peak_lr=0.002), replace(CELL, replicate=1)]
)
def test_a_cell_costs_what_the_planner_says_of_the_whole_study(cell: AddedCell) -> None:
    assert Costs(STUDY, "c", 512).added(cell) == pytest.approx(flops(cell) - flops())


def test_a_cooldown_from_a_trunk_costs_its_own_updates_only() -> None:
    """A decay of 20 % of 30 tokens per parameter: its stable phase lies on the trunk of the cell at 40."""
    alone = flops(replace(CELL, replicate=7)) - flops()
    assert Costs(STUDY, "c", 512).added(CELL) / alone == pytest.approx(0.2, abs=0.01)


def test_what_is_there_costs_nothing_and_cells_share_with_each_other() -> None:
    costs = Costs(STUDY, "c", 512)
    assert costs.added(replace(CELL, tokens_per_parameter=40.0)) == 0.0
    first, second = replace(CELL, replicate=1), replace(CELL, replicate=1, schedule="constant")
    assert costs.added(first) + costs.added(second, [first]) == pytest.approx(flops(first, second) - flops())
    assert costs.added(second, [first]) < costs.added(second)


def test_a_cell_that_cannot_be_planned_is_beyond_price() -> None:
    assert Costs(STUDY, "c", 512).added(replace(CELL, tokens_per_parameter=0.1)) == float("inf")


def test_a_cell_that_does_not_fit_the_study_is_refused() -> None:
    with pytest.raises(StudyError, match="cosine"):
        with_cells(TEXT, [replace(CELL, schedule="cosine")])
