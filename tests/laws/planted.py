"""Synthetic studies as the laws take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from glidepath.laws.law import LawTables, Settings
from glidepath.laws.predictors import Floats, Points
from glidepath.study import tables
from glidepath.study.final_losses import FinalLosses, final_losses
from tests.synthetic import BATCH_TOKENS, Study

LEVEL = 0.9
N_STUDIES = 40
N_SAMPLES = 100


def settings(seed: int = 0, n_bootstrap: int = 100) -> Settings:
    return Settings("cosine", LEVEL, n_bootstrap, seed)


def losses_of(study: Study) -> FinalLosses:
    return final_losses(*study.tables())


def noisy(study: Study, sd: float = 0.003, n: int = N_STUDIES) -> Iterator[tuple[int, FinalLosses]]:
    """The same study in many worlds."""
    for seed in range(n):
        yield seed, losses_of(study.noisy(sd, seed))


def tokens(tokens_per_parameter: float, n_params: int = 1_000_000) -> int:
    return round(tokens_per_parameter * n_params / BATCH_TOKENS) * BATCH_TOKENS


def points(loss: Callable[[Floats], Floats], horizons: Floats, sd: float = 0.0, seed: int = 0) -> Points:
    """One size; two replicates of noise sd."""
    random = np.random.default_rng(seed)
    own = sd / np.sqrt(2)
    measured = loss(horizons) + own * random.standard_normal(len(horizons))
    samples = measured + own * random.standard_normal((N_SAMPLES, len(horizons)))
    return Points(np.full(len(horizons), 1e6), horizons * 1e6, measured, samples)


def parameters(law: LawTables) -> pd.DataFrame:
    return valid(law)[tables.LAW_PARAMETERS]


def scores(law: LawTables) -> pd.DataFrame:
    return valid(law)[tables.LAW_SCORES]


def valid(law: LawTables) -> dict[tables.Table, pd.DataFrame]:
    """The frames, whose keys are unique and complete."""
    frames = law.frames()
    for table, frame in frames.items():
        assert frame.columns.tolist() == table.names
        assert not frame[table.key].isna().any(axis=None)
        assert not frame[table.key].duplicated().any()
    return frames


def one(frame: pd.DataFrame, **where: Any) -> pd.Series:
    """The only row with these values."""
    rows = frame
    for key, value in where.items():
        rows = rows[rows[key] == value]
    assert len(rows) == 1, f"{len(rows)} rows with {where}"
    return rows.iloc[0]


def covered(row: pd.Series, truth: float) -> bool:
    return bool(row["ci_low"] <= truth <= row["ci_high"])


def assert_nominal(hits: list[bool], effective: int) -> None:
    """Coverage of at least the level less three binomial standard deviations of `effective` independent intervals."""
    allowed = 3 * (LEVEL * (1 - LEVEL) / effective) ** 0.5
    assert np.mean(hits) > LEVEL - allowed, f"{np.mean(hits):.3f} of {len(hits)} intervals cover"


def assert_same(a: LawTables, b: LawTables) -> None:
    for left, right in zip(a.frames().values(), b.frames().values(), strict=True):
        pd.testing.assert_frame_equal(left, right)
