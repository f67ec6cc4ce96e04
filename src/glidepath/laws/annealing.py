"""annealing: the annealing law of Tissue et al. (2024) through the study's loss curves.

Formula and parameters: science/laws/annealing.py; what is fitted to what, hidden and predicted: laws/curve_law.py.
"""

from functools import partial

from glidepath.laws.curve_tables import fit_curve_law

fit = partial(fit_curve_law, "annealing")
"""Fit every model, batch and peak learning rate; score by hiding schedules and the longest horizon."""
