"""The laws a study can ask for, and which of its tables each is fitted to.

The Snakefile reads this list while it is parsed, so nothing here may import a numerical library.
"""

from __future__ import annotations

FINAL_LOSSES = ("runs", "block_losses")
"""Tables of laws that are fitted to the final losses."""
LOSS_CURVES = ("runs", "updates", "evaluations")
"""Tables of laws that are fitted to losses along training and the learning rate that was applied."""

LAW_TABLES: dict[str, tuple[str, ...]] = {
    "lr_optimum": FINAL_LOSSES,
    "lr_horizon": FINAL_LOSSES,
    "loss_horizon": FINAL_LOSSES,
    "loss_size_horizon": FINAL_LOSSES,
    "loss_data_constrained": FINAL_LOSSES,
    "isoflop": FINAL_LOSSES,
    "lr_transfer": FINAL_LOSSES,
    "lr_size_horizon": FINAL_LOSSES,
    "lr_batch_surface": FINAL_LOSSES,
    "schedule_features": ("runs", "updates"),
    "annealing": LOSS_CURVES,
    "multi_power": LOSS_CURVES,
    "convex_bound": LOSS_CURVES,
    "annealing_over_sizes": LOSS_CURVES,
    "multi_power_over_sizes": LOSS_CURVES,
    "temporal": ("runs", "updates", "position_losses"),
}
"""By the law's name: tables as in `results/<study>`, without the ending."""

IMPORT_LAWS: tuple[str, ...] = tuple(law for law in LAW_TABLES if law not in ("lr_transfer", "temporal"))
"""Laws that imported runs can be fitted with."""

DEFAULT_IMPORT_LAWS: tuple[str, ...] = tuple(law for law in IMPORT_LAWS if law != "multi_power_over_sizes")
"""Those they are fitted with where their file names none: each says of what it has not enough. The one that is left out
takes minutes on dozens of long curves."""
