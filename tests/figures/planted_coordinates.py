"""A coordinate check whose slopes are planted: rms_change = level·(size/smallest)^slope, replicates 10 % apart."""

from __future__ import annotations

from itertools import product
from typing import Any

import pandas as pd

from glidepath.study import tables

WIDTHS, DEPTHS = (16, 32, 64), (2, 4, 8)
LEVELS = {"embedding": 0.01, "attention": 0.02, "feed_forward": 0.03, "residual": 0.06, "logits": 0.2}
TOLERANCE = 0.25


def slope(varied: str, parametrization: str, place: str) -> float:
    """1 where theory lets a place grow, else 0."""
    if place == "embedding":
        return 0.0
    if varied == "d_model":
        return float(parametrization == "sp")
    return float(parametrization != "completep" and place in ("residual", "logits"))


def coordinate_tables() -> dict[str, pd.DataFrame]:
    """Both tables."""
    return {"coordinate_check": _found(), "coordinate_slopes": _slopes()}


def _found() -> pd.DataFrame:
    sizes = [("d_model", width, WIDTHS[0], (width, DEPTHS[0])) for width in WIDTHS]
    sizes += [("n_layer", depth, DEPTHS[0], (WIDTHS[0], depth)) for depth in DEPTHS[1:]]
    rows: list[dict[str, Any]] = []
    for parametrization, (varied, size, smallest, (d_model, n_layer)), replicate in product(
        ("sp", "mup", "completep"), sizes, range(2)
    ):
        for updates_done, place in product((0, 1, 10), LEVELS):
            change = LEVELS[place] * (size / smallest) ** slope(varied, parametrization, place) * updates_done / 10
            rows.append(
                {
                    "parametrization": parametrization, "d_model": d_model, "n_layer": n_layer, "replicate": replicate,
                    "updates_done": updates_done, "quantity": "activation", "place": place, "peak_lr": 1e-3, "rms": 1.0,
                    "rms_change": change * (1.0 + 0.1 * replicate), "rms_effect": None,
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=tables.COORDINATE_CHECK.names).astype({"rms_effect": "float64"})


def _slopes() -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for parametrization, varied, updates_done, place in product(
        ("sp", "mup", "completep"), ("d_model", "n_layer"), (1, 10), LEVELS
    ):
        value = slope(varied, parametrization, place)
        rows.append(
            {
                "parametrization": parametrization, "varied": varied, "updates_done": updates_done,
                "quantity": "activation", "place": place, "measure": "rms_change", "slope": value, "slope_se": 0.02,
                "ci_low": value - 0.04, "ci_high": value + 0.04, "ci_level": 0.9, "degrees_of_freedom": 4,
                "tolerance": TOLERANCE, "verdict": "grows" if value else "stable",
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=tables.COORDINATE_SLOPES.names)
