"""What a study would cost: the sentence before anything runs."""

from __future__ import annotations

import re

from glidepath.study.budget import summary
from glidepath.study.cells import flops_per_token, param_counts
from tests.study.studies import GOOD, MISSING, planned, study

ONE = {**GOOD["grid"][0], "peak_lrs": [0.01], "tokens_per_parameter": [20]}
QUIET = (("averaging", MISSING), ("noise_scale", MISSING))


def numbers(*changes: tuple[str, object]) -> list[str]:
    text = summary(study(*changes), planned(*changes))
    found = re.fullmatch(
        r"good: (\d+) cells in (\d+) training jobs, (\S+)M tokens, (\S+) FLOP; without shared prefixes (\S+) FLOP, "
        r"(\S+) times as much; (\S+) GB of states and snapshots",
        text,
    )
    assert found, text
    return list(found.groups())


def test_by_hand() -> None:
    """Constant and wsd share 212 of their 264 updates of 256 tokens; linear decay stands alone."""
    updates = 212 + 52 + 52 + 264
    flops = flops_per_token(planned().cells[0].trajectory.model)
    changes = (("grid", [ONE]), *QUIET)
    n_params = param_counts(planned().cells[0].trajectory.model).n_params_total
    assert numbers(*changes) == [
        "3",
        "4",
        f"{updates * 256 / 1e6:.4g}",
        f"{updates * 256 * flops:.4g}",
        f"{3 * 264 * 256 * flops:.4g}",
        f"{3 * 264 / updates:.2f}",
        f"{4 * 3 * 4 * n_params / 1e9:.2g}",
    ]


def test_snapshots_take_disk() -> None:
    states, snapshots = 4 * 3, 5
    quiet, kept = (float(numbers(("grid", [ONE]), *more)[-1]) for more in (QUIET, ()))
    assert abs(kept / quiet - (states + snapshots) / states) < 0.05


def test_nothing_shared_saves_nothing() -> None:
    alone = {**ONE, "schedules": ["linear_0"]}
    *_, saved, _ = numbers(("grid", [alone]), ("analysis.reference_schedule", "linear_0"), *QUIET)
    assert saved == "1.00"
