"""Tables that figures must cope with: a whole study, and studies that lack something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tests.figures import planted

Tables = dict[str, pd.DataFrame]


def _all_diverged() -> Tables:
    runs = planted.runs(schedules=("cosine_10", "constant"), replicates=1)
    runs = runs.assign(status="diverged", val_loss=np.nan, bits_per_byte=np.nan)
    return planted.study_tables(runs)


def _without(*names: str) -> Tables:
    tables = planted.study_tables(planted.runs(horizons=(5.0, 20.0), replicates=1))
    empty = planted.empty_tables()
    return {name: empty[name] if name.startswith(names) else table for name, table in tables.items()}


def _no_intervals() -> Tables:
    """Every interval null, every optimum at the edge of its grid."""
    tables = planted.study_tables(planted.runs(horizons=(5.0, 20.0), replicates=1))
    for name in (
        "comparisons",
        *(name for name in tables if name.startswith("laws/") and not name.endswith("scores")),
    ):
        tables[name] = tables[name].assign(ci_low=np.nan, ci_high=np.nan)
    for name in [name for name in tables if name.endswith("/parameters")]:
        tables[name] = tables[name].assign(status="edge_of_grid")
    tables["comparisons"] = tables["comparisons"].assign(
        standard_error=np.nan, minimum_detectable_difference=np.nan, verdict="not resolved", edge_of_grid=True
    )
    return tables


def _negative_noise() -> Tables:
    tables = planted.study_tables(planted.runs(horizons=(20.0,)))
    scale = tables["noise_scale"]
    early = scale["window"] < 3
    tables["noise_scale"] = scale.assign(
        noise_scale_tokens=scale["noise_scale_tokens"].where(~early, -500.0),
        status=scale["status"].where(~early, "untrusted"),
    )
    return tables


CASES: dict[str, Callable[[], Tables]] = {
    "whole": lambda: planted.study_tables(planted.runs()),
    "nothing": planted.empty_tables,
    "two_models_three_batches": lambda: planted.study_tables(
        planted.runs(
            models={"small": 100_000, "large": 300_000},
            batches=(4, 8, 16),
            schedules=("constant", "cosine_10", "wsd_sqrt"),
            horizons=(5.0, 20.0),
            replicates=1,
        )
    ),
    "two_widths": lambda: planted.study_tables(
        planted.runs(
            models={"narrow": 100_000, "wide": 100_000},
            widths={"narrow": 64, "wide": 128},
            schedules=("constant", "linear_zero", "wsd_sqrt"),
            horizons=(10.0,),
        )
    ),
    "one_cell_each": lambda: planted.study_tables(planted.runs(horizons=(10.0,), replicates=1)),
    "one_schedule": lambda: planted.study_tables(planted.runs(schedules=("wsd_sqrt",), replicates=1)),
    "all_diverged": _all_diverged,
    "no_measurements": lambda: _without(
        "averages", "noise_scale", "comparisons", "laws/", "updates", "evaluations", "batch_saving"
    ),
    "no_intervals": _no_intervals,
    "negative_noise": _negative_noise,
}


@pytest.fixture(scope="session")
def tables_of() -> Callable[[str], Tables]:
    """Tables by the name of the case; built once."""
    built: dict[str, Tables] = {}

    def build(case: str) -> Tables:
        if case not in built:
            built[case] = CASES[case]()
        return built[case]

    return build
