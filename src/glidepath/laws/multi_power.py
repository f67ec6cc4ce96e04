"""multi_power: the multi-power law of Luo et al. (2025) through the study's loss curves.

Formula and parameters: science/laws/multi_power.py; what is fitted to what, hidden and predicted: laws/curve_law.py.
"""

from functools import partial

from glidepath.laws.curve_tables import fit_curve_law

fit = partial(fit_curve_law, "multi_power")
"""Fit every model, batch and peak learning rate; score by hiding schedules and the longest horizon."""
