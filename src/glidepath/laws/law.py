"""What the laws share: their settings, their tables, and the optimum of every sweep with its bootstrap."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.science.optimum import Optimum, optimum, vertices
from glidepath.science.replicates import interval
from glidepath.study import tables
from glidepath.study.final_losses import GROUP, SWEEP, FinalLosses

Floats = NDArray[np.float64]
SPANS_HORIZONS = 0.0
EXTRAPOLATION = 4.0
"""Laws in the horizon are drawn up to so many times the longest one."""
GRID_POINTS = 25


@dataclass(frozen=True)
class Settings:
    """How a law is fitted."""

    reference_schedule: str
    ci_level: float
    n_bootstrap: int
    seed: int


@dataclass
class LawTables:
    """Rows of the three tables of a law."""

    settings: Settings
    resampling_unit: str
    parameters: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)

    def parameter(
        self,
        group: dict[str, Any],
        horizon: float,
        name: str,
        value: float,
        samples: Floats,
        n_points: int,
        status: str,
    ) -> None:
        """One parameter with its bootstrap samples; no interval unless the fit is converged.

        `se` is half the central 68.3 % interval: few replicates make tails in which a standard deviation does not
        settle.
        """
        known = status == "converged"
        low, high = interval(samples, self.settings.ci_level) if known else (np.nan, np.nan)
        one_low, one_high = interval(samples, 0.6827) if known else (np.nan, np.nan)
        self.parameters.append(
            {
                **group,
                "tokens_per_parameter": horizon,
                "parameter": name,
                "value": value,
                "se": (one_high - one_low) / 2,
                "ci_low": low,
                "ci_high": high,
                "ci_level": self.settings.ci_level,
                "n_points": n_points,
                "n_bootstrap": int(np.isfinite(samples).sum()),
                "resampling_unit": self.resampling_unit,
                "status": status,
            }
        )

    def prediction(
        self,
        group: dict[str, Any],
        horizon: float,
        x_name: str,
        x: Floats,
        quantity: str,
        values: Floats,
        samples: Floats,
        extrapolated: NDArray[np.bool_],
    ) -> None:
        """A curve with its band: values [n], samples [n_bootstrap, n]."""
        for i, at in enumerate(x):
            low, high = interval(samples[:, i], self.settings.ci_level)
            self.predictions.append(
                {
                    **group,
                    "tokens_per_parameter": horizon,
                    "x_name": x_name,
                    "x": float(at),
                    "quantity": quantity,
                    "value": float(values[i]),
                    "ci_low": low,
                    "ci_high": high,
                    "ci_level": self.settings.ci_level,
                    "extrapolated": bool(extrapolated[i]),
                }
            )

    def score(
        self,
        group: dict[str, Any],
        holdout: str,
        quantity: str,
        predicted: Floats,
        observed: Floats,
        baseline: Floats,
        *,
        low: Floats | None = None,
        high: Floats | None = None,
        hidden: Sequence[str] | None = None,
    ) -> None:
        """Predictions of hidden points against what was observed; `baseline` is what no law would say.

        low and high are the ends of each point's interval for a single new run; a NaN end is open. Points without any
        end are not counted as covered or not. `hidden` names every point (`point_name`), so that laws with other groups
        can be compared on the same ones.
        """
        errors = predicted - observed
        spread = float(((observed - observed.mean()) ** 2).sum())
        covered = np.nan
        if low is not None and high is not None and (told := np.isfinite(low) | np.isfinite(high)).any():
            # Comparisons with NaN are false: an open end never excludes.
            covered = float((~(observed < low) & ~(observed > high))[told].mean())
        self.scores.append(
            {
                **group,
                "holdout": holdout,
                "quantity": quantity,
                "n_hidden": len(observed),
                "mean_absolute_error": float(np.abs(errors).mean()),
                "root_mean_square_error": float(np.sqrt((errors**2).mean())),
                "mean_relative_error": float((np.abs(errors) / observed).mean()),
                "worst_relative_error": float((np.abs(errors) / observed).max()),
                "r_squared": 1 - float((errors**2).sum()) / spread if spread > 0 else np.nan,
                "baseline_mean_absolute_error": float(np.abs(baseline - observed).mean()),
                "covered": covered,
                "ci_level": self.settings.ci_level,
                "hidden": None if hidden is None else digest(hidden),
                "status": "scored",
            }
        )

    def not_scored(self, group: dict[str, Any], holdout: str, quantity: str, reason: str) -> None:
        """Say why nothing could be hidden and predicted."""
        told = {**group, "holdout": holdout, "quantity": quantity, "n_hidden": 0, "status": reason}
        told |= {"ci_level": self.settings.ci_level, "hidden": None}
        self.scores.append(dict.fromkeys(tables.LAW_SCORES.names, np.nan) | told)

    def frames(self) -> dict[tables.Table, pd.DataFrame]:
        """The three tables."""
        rows = (self.parameters, self.predictions, self.scores)
        return {
            table: pd.DataFrame(found, columns=table.names)
            for table, found in zip(tables.LAW_TABLES, rows, strict=True)
        }


def point_name(group: Mapping[Any, Any], token_horizon: float, epochs: float, peak_lrs: Iterable[float]) -> str:
    """What a hidden point of a `GROUP` is called, whichever law is asked for it: the best of these peak learning
    rates."""
    numbers = [token_horizon, epochs, *peak_lrs]
    return "|".join([*(str(group[key]) for key in GROUP), *(f"{number:.9g}" for number in numbers)])


def digest(names: Iterable[str]) -> str:
    """Of a set of points in any order; digests of parts add up to that of the whole (`added`)."""
    return added(hashlib.blake2b(name.encode(), digest_size=8).hexdigest() for name in names)


def added(digests: Iterable[str]) -> str:
    """Digest of several sets together."""
    return f"{sum(int(one, 16) for one in digests) % 2**64:016x}"


@dataclass(frozen=True)
class Sweep:
    """One sweep over peak learning rates, with its optimum and the optima of the bootstrap."""

    group: dict[str, Any]
    tokens_per_parameter: float
    token_horizon: float
    epochs: float
    """Horizon over unique tokens; NaN where it is not known."""
    n_params_counted: int
    train_flops: float
    """Of one run; NaN where it is not told."""
    trunk: str
    """Of the run of lowest loss; empty where it is not told."""
    peak_lrs: Floats
    losses: Floats
    optimum: Optimum
    samples: Floats
    """Resampled losses of the sweep, shape [n_bootstrap, peak_lrs]."""
    lr_samples: Floats
    """Optimal learning rate of each; 0 or infinite where it lies far off the grid, on that side.

    NaN without replicates.
    """
    loss_samples: Floats
    """Loss at the optimum of each, or at the best learning rate of the grid if the optimum is at an edge."""
    curvature_samples: Floats

    @property
    def name(self) -> str:
        return point_name(self.group, self.token_horizon, self.epochs, self.peak_lrs)


FAR_OFF = 2.0
"""A bootstrap vertex more than this factor outside the grid is no estimate."""


def sweeps(losses: FinalLosses, settings: Settings) -> list[Sweep]:
    """Every sweep of the study: one per model, schedule, batch, horizon and number of epochs."""
    resampled = losses.resampled(settings.n_bootstrap, settings.seed)
    found = []
    # Of a run without a size nothing is known in tokens per parameter.
    points = losses.points[losses.points["tokens_per_parameter"].notna()]
    for key, cells in points.groupby(SWEEP, sort=False, dropna=False):
        cells = cells.sort_values("peak_lr")
        peak_lrs = cells["peak_lr"].to_numpy()
        values = cells["val_loss"].to_numpy()
        best = optimum(peak_lrs, values)
        samples = resampled[:, cells.index]
        if best.status == "failed":  # too few learning rates for a parabola, or, in imported runs, none known
            lr, lowest, curvature = np.full((3, len(samples)), np.nan)
        else:
            lr, lowest, curvature = vertices(peak_lrs[best.used], samples[:, best.used])
        # A vertex far off the grid, or a parabola that opens downwards, says on which side the optimum lies, no more.
        falling = samples[:, -1] < samples[:, 0]
        beyond = np.where(np.isnan(lr), np.where(falling, np.inf, 0.0), np.where(lr < peak_lrs.min(), 0.0, np.inf))
        near = (lr > peak_lrs.min() / FAR_OFF) & (lr < peak_lrs.max() * FAR_OFF)
        found.append(
            Sweep(
                group=dict(zip(GROUP, key, strict=False)),
                tokens_per_parameter=float(cells["tokens_per_parameter"].iloc[0]),
                token_horizon=float(cells["token_horizon"].iloc[0]),
                epochs=float(cells["epochs"].astype("float64").iloc[0]),
                n_params_counted=int(cells["n_params_counted"].iloc[0]),
                train_flops=float(cells["train_flops_exact"].astype("float64").iloc[0]),
                trunk="" if pd.isna(trunk := cells["trunk_id"].iloc[int(values.argmin())]) else str(trunk),
                peak_lrs=peak_lrs,
                losses=values,
                optimum=best,
                samples=samples,
                lr_samples=np.where(np.isnan(samples[:, 0]), np.nan, np.where(near, lr, beyond)),
                loss_samples=lowest if best.status == "converged" else samples[:, int(values.argmin())],
                curvature_samples=curvature,
            )
        )
    return found


FRESH_EPOCHS = 4.0
"""Up to so many epochs repeated text is worth nearly as much as fresh text (Muennighoff et al. 2023, section 5)."""


REPEATED_LEFT_OUT = "n_repeated_left_out"
"""Parameter row of the sweeps that are not, where there are any."""


def fresh_sweeps(found: list[Sweep]) -> tuple[list[Sweep], int]:
    """Sweeps of at most `FRESH_EPOCHS` or of unknown epochs, all if there are none, and the number left out.

    For the sweeps of one law that knows nothing of repetition: its horizon counts a repeated token as a fresh one.
    """
    kept = [sweep for sweep in found if not sweep.epochs > FRESH_EPOCHS]
    return (kept, len(found) - len(kept)) if kept else (found, 0)


DECLARED = "declared"
"""Holdout of the scores on cells that the configuration hides from fits."""


def hidden_sweeps(hidden: FinalLosses | None, settings: Settings) -> list[Sweep]:
    """Sweeps of the cells that the configuration hides; one sample of each, since they are only compared with."""
    return sweeps(hidden, replace(settings, n_bootstrap=1)) if hidden else []


def by_group(found: list[Sweep]) -> Iterator[tuple[dict[str, Any], list[Sweep]]]:
    """Sweeps of one model, schedule and batch, by ascending horizon."""
    groups: dict[tuple[Any, ...], list[Sweep]] = {}
    for sweep in found:
        groups.setdefault(tuple(sweep.group.values()), []).append(sweep)
    for members in groups.values():
        yield members[0].group, sorted(members, key=lambda sweep: sweep.token_horizon)
