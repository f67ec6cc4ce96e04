"""annealing_over_sizes: equation 7 of Tissue et al. (2024), through loss curves of several sizes.

Formula and parameters: science/laws/annealing.py, N as the study counts parameters; which runs are one law's:
laws/curve_groups.py; what is hidden and predicted: laws/curve_law.py.
"""

from functools import partial

from glidepath.laws.curve_tables import fit_curve_law

fit = partial(fit_curve_law, "annealing_over_sizes")
"""Fit every batch and peak learning rate over the sizes of an architecture; score by hiding schedules, the longest
horizon, the largest size, and what it has beside one schedule."""
