"""Answers and a page from the planted study."""

from __future__ import annotations

import pandas as pd
import pytest

from glidepath.report.answer import Target
from tests.figures import planted

Tables = dict[str, pd.DataFrame]

TARGET = Target(
    model="small",
    tokens_per_parameter=planted.TARGET,
    batch_sequences=planted.BATCH,
    batch_tokens=planted.BATCH * planted.CONTEXT,
    token_horizon=round(planted.TARGET * planted.N_PARAMS),
    reference_schedule=planted.REFERENCE,
    schedule="linear_zero",
)


@pytest.fixture(scope="session")
def whole() -> Tables:
    return planted.study_tables(planted.runs())


@pytest.fixture(scope="session")
def noisy() -> Tables:
    """Differences with an error larger than themselves."""
    tables = planted.study_tables(planted.runs(horizons=(5.0, 20.0), replicates=1))
    tables["comparisons"] = planted.comparisons(tables["runs"], se=0.08)
    tables["averages"] = tables["averages"].assign(gap_to_cooldown_sem=0.5)
    return tables
