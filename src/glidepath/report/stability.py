"""Where training became unstable: evidence for the choice of a peak learning rate."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from glidepath.figures.text import learning_rate
from glidepath.report.answer import Evidence, rows, where
from glidepath.study.exclusion import EXCLUDED_ABOVE_BEST


def stability(runs: pd.DataFrame, group: tuple[str, int], schedule: str) -> Iterator[Evidence]:
    """Spikes, divergence and exclusion of one schedule's cells, all horizons together; group is (model, batch)."""
    key: dict[str, str | float | list[str]] = {
        "model": group[0],
        "batch_sequences": group[1],
        "schedule": schedule,
    }
    cells = where(runs, **key)
    if cells.empty:
        return
    parts = [
        _lost(cells, "diverged", "diverged"),
        _lost(cells, "excluded", f"ended more than {EXCLUDED_ABOVE_BEST:g} nat/token above the best of their sweep"),
        _spiking(cells),
    ]
    yield Evidence(f"Stability of {schedule}: {'; '.join(parts)}.", (rows("runs", **key),))


def _lost(cells: pd.DataFrame, status: str, what: str) -> str:
    lost = cells[cells["status"] == status]
    if lost.empty:
        return f"no cell {what}"
    return f"{len(lost)} of {len(cells)} cells {what}, from peak {learning_rate(lost['peak_lr'].min())} on"


def _spiking(cells: pd.DataFrame) -> str:
    judged = cells[cells["n_loss_spikes"].notna()]
    if judged.empty:
        return "too few updates were logged to count loss spikes"
    spiking = judged[judged["n_loss_spikes"] > 0]
    if spiking.empty:
        return f"no loss spike in {len(judged)} cells"
    return (
        f"{int(spiking['n_loss_spikes'].sum())} loss spikes in {len(spiking)} of {len(judged)} cells, from peak "
        f"{learning_rate(spiking['peak_lr'].min())} on, the largest {spiking['largest_loss_spike'].max():.2g} nat/token"
    )
