"""convex_bound: the last-iterate bound of Schaipp et al. (2025) through the study's loss curves.

Formula and parameters: science/laws/convex_bound.py; what is fitted to what, hidden and predicted: laws/curve_law.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from glidepath.laws.curve_law import CurveLawTables, fit_curve_law
from glidepath.laws.law import Settings


def fit(tables: Mapping[str, pd.DataFrame], settings: Settings) -> CurveLawTables:
    """Fit every model, batch and peak learning rate; score by hiding schedules and the longest horizon."""
    return fit_curve_law("convex_bound", tables, settings)
