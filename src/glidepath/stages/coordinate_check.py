"""The coordinate check: train a few updates at every size asked for, and say what grows with width or depth."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glidepath.corpus.store import TokenStore
from glidepath.science.slopes import Slope, log_log_slope
from glidepath.study import tables
from glidepath.study.coordinates import CoordinateCheckSpec
from glidepath.training.coordinates import coordinates
from glidepath.training.device import Machine, configure, placed

KEYS = ["parametrization", "updates_done", "quantity", "place"]
MEASURES = (("activation", "rms_change"), ("weight", "rms_change"), ("weight", "rms_effect"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spec", required=True, help="what to train, as canonical JSON")
    parser.add_argument("--corpus", type=Path, required=True, help="directory of the tokenised corpus")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu-share", type=int, default=100, help="percent of a GPU, where there is one; 0: the cores")
    parser.add_argument("--output", type=Path, required=True, help="coordinate_check.parquet")
    parser.add_argument("--slopes", type=Path, required=True, help="coordinate_slopes.parquet")


def main(args: argparse.Namespace) -> None:
    spec = CoordinateCheckSpec.model_validate_json(args.spec)
    with placed(args.gpu_share) as place:
        machine = Machine(place, args.threads, micro_batch_sequences=None, compile=False, compile_cache=None)
        found = check(spec, TokenStore.open(args.corpus), machine)
    tables.write(tables.COORDINATE_CHECK, found, args.output)
    tables.write(tables.COORDINATE_SLOPES, slopes(found, spec), args.slopes)


def check(spec: CoordinateCheckSpec, tokens: TokenStore, machine: Machine) -> pd.DataFrame:
    """The table `coordinate_check`: a row per model, replicate, update recorded and place."""
    device = configure(machine)
    rows = [
        {
            "parametrization": model.parametrization,
            "d_model": model.d_model,
            "n_layer": model.n_layer,
            "replicate": replicate,
            "peak_lr": spec.peak_lr,
            **row,
        }
        for model, replicate in product(spec.models, spec.replicates)
        for row in coordinates(spec, model, replicate, tokens, device)
    ]
    return pd.DataFrame(rows, columns=tables.COORDINATE_CHECK.names)


def slopes(found: pd.DataFrame, spec: CoordinateCheckSpec) -> pd.DataFrame:
    """The table `coordinate_slopes`, from the other table."""
    rows: list[dict[str, Any]] = []
    for varied, fixed, at in (("d_model", "n_layer", spec.fixed_depth), ("n_layer", "d_model", spec.fixed_width)):
        along = found[(found[fixed] == at) & (found["updates_done"] > 0)]
        for _, group in along.groupby(KEYS, sort=False):
            if group[varied].nunique() > 1:
                rows.extend(_slope_rows(group, varied, spec))
    return pd.DataFrame(rows, columns=tables.COORDINATE_SLOPES.names)


def _slope_rows(group: pd.DataFrame, varied: str, spec: CoordinateCheckSpec) -> Iterator[dict[str, Any]]:
    keys: dict[str, Any] = {name: group[name].iloc[0] for name in KEYS}
    for quantity, measure in MEASURES:
        # Norms have no effect.
        if quantity != keys["quantity"] or group[measure].isna().all():
            continue
        slope = log_log_slope(group[varied].to_numpy(np.float64), group[measure].to_numpy(np.float64))
        low, high = slope.interval(spec.ci_level)
        yield {
            **keys,
            "varied": varied,
            "measure": measure,
            "slope": slope.slope,
            "slope_se": slope.standard_error,
            "ci_low": low,
            "ci_high": high,
            "ci_level": spec.ci_level,
            "degrees_of_freedom": slope.degrees_of_freedom,
            "tolerance": spec.tolerance,
            "verdict": _verdict(slope, quantity, measure, spec),
        }


def _verdict(slope: Slope, quantity: str, measure: str, spec: CoordinateCheckSpec) -> str:
    return "" if (quantity, measure) == ("weight", "rms_change") else slope.verdict(spec.tolerance, spec.ci_level)
