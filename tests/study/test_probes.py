"""Which probed cells can have a noise scale is known when they are planned."""

from __future__ import annotations

import pytest

from glidepath.study.section import StudyError
from tests.study.studies import GOOD, planned

BLOCK = {**GOOD["grid"][0], "peak_lrs": [0.01], "tokens_per_parameter": [20]}
"""264 updates of four sequences, or 1056 of one."""


def grid(*batches: int, **changes: object) -> tuple[str, object]:
    return "grid", [{**BLOCK, "batch_sequences": list(batches), **changes}]


def test_four_probes_of_all_layers_are_needed() -> None:
    assert any(cell.probed for cell in planned(grid(4), ("noise_scale.every_updates", 66)).cells)
    with pytest.raises(
        StudyError,
        match=r"^noise_scale\.every_updates 67: d16-constant-lr0\.01-tpp20-b4-r0-\w+ has 264 updates, .* at 3 of them "
        r".* needs 4\. Lower it",
    ):
        planned(grid(4), ("noise_scale.every_updates", 67))


def test_cells_that_are_not_probed_may_be_short() -> None:
    short = {**BLOCK, "schedules": ["linear_0"], "tokens_per_parameter": [1]}
    assert len(planned(("grid", [BLOCK, short]), ("noise_scale.every_updates", 66)).cells) == 4


def test_a_sweep_may_begin_at_a_batch_of_one() -> None:
    """That cell has no noise scale; alone it leaves nothing to probe."""
    sweep = planned(grid(1, 4))
    assert {cell.batch_sequences for cell in sweep.cells if cell.probed} == {1, 4}
    with pytest.raises(StudyError, match=r"^noise_scale\.schedules constant: .* one sequence.* Add a value"):
        planned(grid(1), ("target.batch_sequences", 1))


def test_probes_while_a_ramp_has_one_sequence_do_not_count() -> None:
    """422 updates of one sequence, then 159 of four: of four probes two say something."""
    ramp = {"kind": "stages", "milestones": [0.4], "batch_fractions": [0.25]}
    ramped = (
        grid(4, schedules=["constant"]),
        ("warmup", {"fraction": 0.02}),
        ("schedules.constant", {"kind": "constant", "batch": ramp}),
        ("averaging", None),
    )
    assert planned(*ramped, ("noise_scale.every_updates", 36)).cells[0].total_steps == 582
    with pytest.raises(StudyError, match=r"^noise_scale\.every_updates 145: .* has 582 updates, .* at 2 of them"):
        planned(*ramped, ("noise_scale.every_updates", 145))
