"""Planted sweeps of batches as figures and report read them: the real laws on losses with a known critical batch."""

from __future__ import annotations

from functools import cache

import pandas as pd

from glidepath.laws import critical_batch, steps_to_loss
from tests.laws.planted_sweeps import REFERENCE, Planted, noise_scale

LEVEL = 0.9


@cache
def sweep_tables(study: Planted | None = None, targets: tuple[float, ...] = ()) -> dict[str, pd.DataFrame]:
    """Two replicates; the grid holds the root rule everywhere and the others at every other batch."""
    study = study or Planted(factors=tuple(2.0**i for i in range(-4, 4)), replicates=2, own_sd=0.02, shared_sd=0.02)
    runs, evaluations, averages = study.runs_and_losses()
    found = steps_to_loss.steps_to_losses(runs, evaluations, averages, REFERENCE, targets)
    cells = [f"constant-b{REFERENCE}-lr0.01-r{replicate}" for replicate in range(study.replicates)]
    noise = noise_scale(cells, tokens=[10**5, 10**6, 10**7], values=[700.0, 1500.0, 2500.0])
    return {
        "steps_to_loss": steps_to_loss.frame(found),
        "critical_batch": critical_batch.frame(found, noise, REFERENCE, LEVEL),
    }
