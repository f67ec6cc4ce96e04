"""Does the optimal learning rate hold at other widths and depths? Evidence where the study asked for it."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from glidepath.report.answer import Condition, Evidence, Tables, rows
from glidepath.report.numbers import interval

LR_TRANSFER = "laws/lr_transfer/parameters"
SLOPES = "coordinate_slopes"
DIMENSIONS = {"d_model": "width", "n_layer": "depth"}


def transfer(tables: Tables, schedule: str) -> Iterator[Evidence]:
    """Shift of the optimum per doubling, and what the coordinate check found; nothing for a table that is not
    there."""
    if LR_TRANSFER in tables:
        yield from _shifts(tables[LR_TRANSFER], schedule)
    if SLOPES in tables and len(tables[SLOPES]):
        yield from _coordinates(tables[SLOPES])


def _shifts(parameters: pd.DataFrame, schedule: str) -> Iterator[Evidence]:
    """A sentence per group of models that differ in one dimension."""
    found = parameters[(parameters["schedule"] == schedule) & parameters["value"].notna()]
    for _, row in found.iterrows():
        dimension = "width" if "width" in row["parameter"] else "depth"
        yield Evidence(
            f"{row['model']}: per doubling of the {dimension} log2 of the optimal peak moves by "
            f"{interval(row['value'], row['ci_low'], row['ci_high'])}; 0 is transfer.",
            (rows(LR_TRANSFER, model=row["model"], schedule=schedule, parameter=row["parameter"]),),
        )


def _coordinates(slopes: pd.DataFrame) -> Iterator[Evidence]:
    """A sentence per parametrisation and dimension: which activations change alike at every size."""
    key: dict[str, Condition] = {
        "quantity": "activation",
        "measure": "rms_change",
        "updates_done": int(slopes["updates_done"].max()),
    }
    for name, value in key.items():
        slopes = slopes[slopes[name] == value]
    for (varied, parametrization), found in slopes.groupby(["varied", "parametrization"], sort=False):
        by_verdict = {
            verdict: ", ".join(found.loc[found["verdict"] == verdict, "place"].str.replace("_", "-"))
            for verdict in ("stable", "grows", "shrinks", "not resolved")
        }
        said = "; ".join(f"{verdict}: {places}" for verdict, places in by_verdict.items() if places)
        yield Evidence(
            f"Change of activations after {key['updates_done']} updates against {DIMENSIONS[str(varied)]} under "
            f"{parametrization}: {said}.",
            (rows(SLOPES, varied=str(varied), parametrization=str(parametrization), **key),),
        )
