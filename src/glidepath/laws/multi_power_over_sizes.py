"""multi_power_over_sizes: the law of Luo et al. (2025) with the size in it, through loss curves of several sizes.

Formula and parameters: science/laws/multi_power.py, N as the study counts parameters; which runs are one law's:
laws/curve_groups.py; what is hidden and predicted: laws/curve_law.py.
"""

from functools import partial

from glidepath.laws.curve_tables import fit_curve_law

fit = partial(fit_curve_law, "multi_power_over_sizes")
"""Fit every batch and peak learning rate over the sizes of an architecture; score by hiding schedules, the longest
horizon, the largest size, and what it has beside one schedule."""
