"""convex_bound: the last-iterate bound of Schaipp et al. (2025) through the study's loss curves.

Formula and parameters: science/laws/convex_bound.py; what is fitted to what, hidden and predicted: laws/curve_law.py.
"""

from functools import partial

from glidepath.laws.curve_tables import fit_curve_law

fit = partial(fit_curve_law, "convex_bound")
"""Fit every model, batch and peak learning rate; score by hiding schedules and the longest horizon."""
