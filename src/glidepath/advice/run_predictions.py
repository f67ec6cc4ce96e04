"""Final losses of single runs, as every law that can says them: of runs that were hidden, or that were not made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from glidepath.advice.at_target import at_target
from glidepath.advice.choice import choose
from glidepath.advice.loss import LossAtTarget
from glidepath.advice.regret import NOT_MEASURED
from glidepath.advice.said import Said
from glidepath.laws.law import Floats, Settings
from glidepath.science.replicates import interval
from glidepath.study import tables
from glidepath.study.final_losses import FinalLosses

LEVELS = (50, 90)


@dataclass(frozen=True)
class Asked:
    """A run whose final loss is wanted."""

    name: str
    n_params: float
    tokens: float
    """Either NaN where it is not known."""
    schedule: str
    """Of the runs that were fitted."""
    batch_sequences: int
    model: str = ""
    """Its name, where it is one of those fitted."""
    peak_lr: float | None = None
    """None: the best one."""
    val_loss: float = np.nan
    """What it came to; NaN where that is not known."""


def hidden_runs(runs: pd.DataFrame) -> Iterator[Asked]:
    """The completed runs that were hidden from fits."""
    for _, run in runs[(runs["status"] == "completed") & runs["holdout"]].iterrows():
        yield Asked(
            name=str(run["cell_id"]),
            n_params=_number(run["n_params_counted"]),
            tokens=_number(run["token_horizon"]),
            schedule=str(run["schedule"]),
            batch_sequences=int(run["batch_sequences"]),
            model=str(run["model"]),
            peak_lr=None if pd.isna(run["peak_lr"]) else float(run["peak_lr"]),
            val_loss=float(run["val_loss"]),
        )


def _number(value: Any) -> float:
    return np.nan if pd.isna(value) else float(value)


def run_predictions(losses: FinalLosses, asked: Iterable[Asked], settings: Settings) -> pd.DataFrame:
    """A row per run and law, the believed one first; a run that no law can say anything of has one row that says why.

    The interval of the believed law is that of a single run: parameters, the law's error out of sample carried to the
    run's distance, noise, and a peak learning rate off the best one. Other laws have none: they are there to be
    compared. What such a learning rate costs in the median is added to all of them.
    """
    rows: list[dict[str, Any]] = []
    for run in asked:
        known = {
            "run": run.name, "model": run.model, "schedule": run.schedule, "batch_sequences": run.batch_sequences,
            "n_params_counted": run.n_params, "token_horizon": run.tokens, "peak_lr": _number(run.peak_lr),
            "val_loss": run.val_loss,
        }  # fmt: skip
        try:
            found = _predicted(losses, run, settings)
        except ValueError as refusal:
            found, why = None, str(refusal)
        else:
            why = (
                "three horizons of that model, or three sizes at three horizons (not all at one number of tokens per "
                "parameter, unless the run has it too), with losses that fall, are needed"
            )
        if found is None:
            rows.append(known | {"law": "none", "believed": False, "reason": why})
            continue
        for said in found.said:
            rows.append(known | _row(found, said, run.val_loss))
    return pd.DataFrame(rows, columns=tables.RUN_PREDICTIONS.names).astype({"believed": bool, "reason": str})


def _predicted(losses: FinalLosses, run: Asked, settings: Settings) -> LossAtTarget | None:
    for name, value in (("size", run.n_params), ("horizon", run.tokens)):
        if not np.isfinite(value):
            raise ValueError(f"its {name} is not known, which every law of final losses goes by")
    choice = choose(losses, settings, run.model, run.batch_sequences, run.schedule)
    return at_target(choice, losses, settings, run.n_params, run.tokens, run.peak_lr).loss


def _row(found: LossAtTarget, said: Said, val_loss: float) -> dict[str, Any]:
    believed = said is found.said[0]
    value = found.said_by(said)
    samples: Floats = found.samples if believed else np.empty(0)
    row: dict[str, Any] = {
        "law": said.predictor.name,
        "believed": believed,
        "val_loss_predicted": value,
        "error": value - val_loss,
        "extrapolation": float(np.exp(said.reach)),
        "reason": NOT_MEASURED if believed and NOT_MEASURED in found.warnings else "",
    }
    for level in LEVELS:
        low, high = interval(samples, level / 100) if len(samples) else (np.nan, np.nan)
        row |= {f"low_{level}": low, f"high_{level}": high}
    return row
