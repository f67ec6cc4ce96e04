"""What the final weights of each schedule are an average of: evidence for the choice of a schedule."""

from __future__ import annotations

from collections.abc import Iterator

from glidepath.figures import select
from glidepath.figures.text import compact, learning_rate
from glidepath.report.answer import Evidence, Tables, rows

GROUP = "matrix"


def memory(tables: Tables) -> Iterator[Evidence]:
    """One sentence over the cells that figure update_coefficients draws; none without weight decay."""
    view = tables["ema_view"]
    view = view[(view["group"] == GROUP) & (view["status"] == "ok")].drop(columns="status")
    cells = select.one_per_schedule(select.among(tables["runs"], view)).merge(view, on="cell_id")
    if cells.empty:
        return
    cells = cells.sort_values("effective_updates", ascending=False)
    first = cells.iloc[0]
    parts = [
        f"{row['schedule']} {compact(round(row['effective_updates']))} updates "
        f"({100 * row['effective_updates'] / row['total_steps']:.0f} %), initialisation "
        f"{100 * row['initial_coefficient']:.2g} %"
        for _, row in cells.iterrows()
    ]
    yield Evidence(
        f"With AdamW the final weights are an average of updates. At peak {learning_rate(first['peak_lr'])} and "
        f"{first['tokens_per_parameter']:g} tokens per parameter of {first['model']}, hidden matrices effectively "
        f"average: {'; '.join(parts)}.",
        (rows("ema_view", cell_id=list(cells["cell_id"]), group=GROUP),),
    )
