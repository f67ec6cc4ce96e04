"""The schedule, model and sweeps that everything said of a target rests on, and the schedules not told from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from glidepath.laws.law import FRESH_EPOCHS, Settings, Sweep, by_group, fresh_sweeps, sweeps
from glidepath.laws.schedule_comparison import comparisons
from glidepath.laws.size_points import architectures_of, parts
from glidepath.study.final_losses import FinalLosses

MIN_SCHEDULES, MIN_LEARNING_RATES, MIN_HORIZONS = 2, 3, 3
CARRYING = ("mup", "completep")
"""Parametrizations that carry learning rates from one size to another."""


@dataclass(frozen=True)
class Choice:
    """The model, horizon and schedule that the recommendation rests on, with all horizons of that schedule."""

    model: str
    n_params: int
    tokens_per_parameter: float
    schedule: str
    batch_sequences: int
    n_schedules: int
    """Schedules trained there, the chosen one included."""
    horizons: list[Sweep]
    """Ascending."""
    all_sizes: list[Sweep]
    """Every sweep of that schedule and batch, and of models that differ from the chosen one in size alone."""
    part: str
    """What laws over sizes call those models (`size_points.parts`)."""
    parametrization: str | None
    warnings: tuple[str, ...]
    """What is doubtful about the runs that everything rests on."""

    @property
    def inside(self) -> list[Sweep]:
        """The horizons whose optimum lies inside its grid."""
        return [sweep for sweep in self.horizons if sweep.optimum.status == "converged"]

    @property
    def group(self) -> dict[str, str | float | int]:
        """Key of its rows in the tables of the laws."""
        return {"model": self.model, "schedule": self.schedule, "batch_sequences": self.batch_sequences}


def choose(
    losses: FinalLosses,
    settings: Settings,
    model: str,
    batch_sequences: int,
    wanted: str | None = None,
    architecture: str = "",
) -> Choice:
    """The schedule of lowest loss at the longest horizon with at least two schedules, or the one that is wanted.

    At the target's model if it was studied: two schedules, three learning rates and three horizons at least. Else at
    the largest model that was, since muP carries learning rates over width; else at the target's or the largest model
    trained with that batch. Models of the target's architecture (empty: not known) come before others.

    Sweeps of more than `FRESH_EPOCHS` are left out where a schedule has others: the laws know nothing of repetition.
    Raises ValueError when nothing was trained with that batch, or with the schedule wanted, or no size is known.
    """
    points = _points(losses, batch_sequences, wanted)
    of_wanted = points if wanted is None else points[points["schedule"] == wanted]
    same = of_wanted["architecture"].isin([architecture] if architecture else [])
    of_wanted = of_wanted[same] if same.any() else of_wanted
    by_size = [str(name) for name in of_wanted.sort_values("n_params_counted")["model"].unique()]
    studied = [name for name in by_size if _studied(points[points["model"] == name])]
    if model not in (studied or by_size):
        model = studied[-1] if studied else by_size[-1]
    points = points[points["model"] == model]
    of_wanted = points if wanted is None else points[points["schedule"] == wanted]
    schedules_at = points.groupby("tokens_per_parameter")["schedule"].nunique()
    schedules_at = schedules_at[schedules_at.index.isin(of_wanted["tokens_per_parameter"])]
    compared = schedules_at[schedules_at >= min(2, schedules_at.max())]
    horizon = float(compared.index.max())
    at_horizon = points[points["tokens_per_parameter"] == horizon]
    schedule = wanted or str(at_horizon.sort_values("val_loss")["schedule"].iloc[0])
    group = {"model": model, "schedule": schedule, "batch_sequences": batch_sequences}
    of_schedule = [
        sweep
        for sweep in sweeps(losses, settings)
        if (sweep.group["schedule"], sweep.group["batch_sequences"]) == (schedule, batch_sequences)
    ]
    found, n_repeated = fresh_sweeps(of_schedule)
    horizons = next(members for key, members in by_group(found) if key == group)
    architectures = architectures_of(losses)
    part, alike = next(
        (label, kinds) for label, kinds in parts(found, architectures).items() if architectures[model] in kinds
    )
    warnings = []
    if n_repeated:
        warnings.append(
            f"{n_repeated} of {len(of_schedule)} sweeps of {schedule} repeat their text more than {FRESH_EPOCHS:g} "
            f"times and are left out: the laws take every token for a fresh one."
        )
    others = sorted({str(s.group["model"]) for s in found if architectures[s.group["model"]] not in alike})
    if others:
        warnings.append(
            f"{', '.join(others)}: of another architecture than {model}. Laws over sizes are fitted without them."
        )
    parametrization = points["parametrization"].iloc[0]
    return Choice(
        model,
        int(points["n_params_counted"].iloc[0]),
        horizon,
        schedule,
        batch_sequences,
        at_horizon["schedule"].nunique(),
        horizons,
        [sweep for sweep in found if architectures[sweep.group["model"]] in alike],
        part,
        None if pd.isna(parametrization) else str(parametrization),
        tuple(warnings),
    )


def _points(losses: FinalLosses, batch_sequences: int, wanted: str | None) -> pd.DataFrame:
    """Points with that batch whose size and horizon are known."""
    points = losses.points[losses.points["batch_sequences"] == batch_sequences]
    if points.empty:
        raise ValueError(
            f"target.batch_sequences {batch_sequences}: no cell with that batch is completed and open to fits. "
            f"Choose a batch that was trained"
        )
    if wanted is not None and wanted not in set(points["schedule"]):
        raise ValueError(
            f"target.schedule {wanted!r}: no run with that schedule is completed and open to fits, there are "
            f"{', '.join(map(repr, sorted(points['schedule'].unique())))}. Name one of them or leave it out"
        )
    points = points[points["n_params_counted"].notna() & points["tokens_per_parameter"].notna()]
    if points.empty or (wanted is not None and wanted not in set(points["schedule"])):
        raise ValueError(
            "the size of no run in question is known, and the laws of final losses go by size and horizon. Give "
            "n_params_total or n_params_non_embedding of the runs"
        )
    fresh = ~(points["epochs"].astype("float64") > FRESH_EPOCHS)
    return points[fresh | ~fresh.groupby(points["schedule"]).transform("any")]


def _studied(points: pd.DataFrame) -> bool:
    return bool(
        points["schedule"].nunique() >= MIN_SCHEDULES
        and points["peak_lr"].nunique() >= MIN_LEARNING_RATES
        and points["tokens_per_parameter"].nunique() >= MIN_HORIZONS
    )


def equivalent(losses: FinalLosses, choice: Choice, ci_level: float) -> tuple[str, ...]:
    """Schedules that are not told from the chosen one where it was chosen, by their loss."""
    if losses.blocks.shape[1] > 1:
        here = _where_chosen(comparisons(losses, choice.schedule, ci_level), choice)
        return tuple(here[here["verdict"] == "not resolved"].sort_values("difference")["schedule"])
    # Imported runs have no losses by block to pair: replicates alone tell, and without them nothing does.
    best = _where_chosen(losses.points, choice).groupby("schedule")["val_loss"].min().sort_values()
    noise = losses.noise
    sd = np.hypot(noise.own_sd, noise.position_sd) if noise.degrees_of_freedom else np.inf
    away = (best - best[choice.schedule]).abs() < 2 * np.sqrt(2) * sd
    return tuple(str(name) for name in best.index[away] if name != choice.schedule)


def _where_chosen(rows: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    return rows[
        (rows["model"] == choice.model)
        & (rows["tokens_per_parameter"] == choice.tokens_per_parameter)
        & (rows["batch_sequences"] == choice.batch_sequences)
    ]
