"""The one rule by which a cell is kept out of comparisons and fits though it reached its end.

Diverged cells have no final loss (`training.loop.has_diverged`: loss or gradient norm not finite, or a loss above
2·ln V). A cell that survives far above its sweep, on the plateau of a model that learnt next to nothing, would bend a
parabola or a power law as much as all others together (Bjorck et al. 2024, section 3, leave out such runs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

EXCLUDED_ABOVE_BEST = 1.0
"""[nat/token]"""
SWEEP = ["model", "schedule", "batch_sequences", "tokens_per_parameter"]
"""Cells that agree in these differ in peak learning rate and replicate only."""


def with_exclusions(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with status excluded, and why in `reason`, for completed cells more than `EXCLUDED_ABOVE_BEST` above the
    lowest final loss of their sweep.

    Comparisons and fits take completed cells only (`study.final_losses`), so a cell is judged once, where the table is
    written.
    """
    completed = runs["status"] == "completed"
    best = runs["val_loss"].astype("float64").where(completed).groupby([runs[name] for name in SWEEP]).transform("min")
    above = runs["val_loss"].astype("float64") - best
    out = completed & (above > EXCLUDED_ABOVE_BEST)
    why = [
        f"final loss {excess:.2f} nat/token above the best of its sweep, more than {EXCLUDED_ABOVE_BEST:g}"
        for excess in above[out]
    ]
    judged = runs.copy()
    judged.loc[out, "status"] = "excluded"
    judged.loc[out, "reason"] = why
    return judged
