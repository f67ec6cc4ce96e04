"""Updates and examples to a loss at every batch of a sweep, under every rule for the learning rate.

A sweep is one model and one schedule whose loss along the way does not depend on its horizon, at several batches; its
curves are those of the raw weights, or of one average that was evaluated along the way. Each curve is inverted by
itself (`science.loss_curves`), then replicates are averaged in ln steps.

The peak learning rate at a batch B follows one of four rules. re_tuned: the one of all that were trained at B with the
fewest updates. none, sqrt, linear: that one at the reference batch, times (B/B_ref)^0, ^½, ^1, where the grid holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glidepath.science.critical_batch import StepNoise
from glidepath.science.loss_curves import monotone_curve, tokens_to_loss
from glidepath.science.replicates import ReplicateNoise, replicate_noise
from glidepath.study.averaging_config import BEST_WINDOW, RAW
from glidepath.study.batch_ramp import LR_EXPONENTS
from glidepath.study.batch_sweeps import HORIZON_FREE_KINDS, MIN_BATCHES
from glidepath.study.final_losses import open_to_fits

Floats = NDArray[np.float64]
PointStatus = Literal["reached", "not_reached", "before_first", "too_sparse", "unstable"]

RE_TUNED = "re_tuned"
RULES = (RE_TUNED, *LR_EXPONENTS)
SAME_LR = 1e-6
"""Relative difference up to which a learning rate of the grid is the carried one."""
MIN_EVALUATIONS = 3
SWEEP = ["model", "schedule"]
POINT = [*SWEEP, "batch_sequences", "peak_lr"]
CHOSEN = (("lowest", 1.0), ("half_tokens", 0.5), ("quarter_tokens", 0.25))
"""Targets that are chosen: their names, and tokens of the reference batch over those to the lowest."""


@dataclass(frozen=True)
class Curve:
    """Loss along the training of one replicate."""

    cell_id: str
    replicate: int
    tokens_seen: NDArray[np.int64]
    losses: Floats


@dataclass(frozen=True)
class Point:
    """The replicates at one batch and peak learning rate."""

    batch_sequences: int
    batch_tokens: int
    peak_lr: float
    curves: tuple[Curve, ...]

    def lowest_loss(self) -> float:
        """That all replicates reach."""
        return max(float(monotone_curve(c.tokens_seen, c.losses)[1][-1]) for c in self.curves)

    def ln_tokens_to(self, loss: float) -> Floats:
        """Of every replicate; -inf where it is there at its first evaluation, inf where never, NaN if not known."""
        found = np.concatenate([tokens_to_loss(c.tokens_seen, c.losses, loss) for c in self.curves])
        with np.errstate(divide="ignore"):
            ln_tokens: Floats = np.log(found)
        return ln_tokens

    def loss_at(self, tokens: float) -> float:
        """Mean over replicates, at their ends beyond them."""
        curves = [monotone_curve(c.tokens_seen, c.losses) for c in self.curves]
        return float(np.mean([np.interp(np.log(tokens), x, y) for x, y in curves]))


@dataclass(frozen=True)
class Sweep:
    """One schedule at several batches."""

    model: str
    schedule: str
    weights: str
    """raw, or the name of an average."""
    points: tuple[Point, ...]
    tried: dict[int, tuple[float, ...]]
    """Peak learning rates at every batch, ascending, unstable ones included."""
    completed: dict[int, tuple[float, ...]]
    """Those of them at which every replicate was; without a point where they were hardly evaluated."""

    @property
    def batches(self) -> list[int]:
        return sorted(self.tried)

    def at(self, batch_sequences: int) -> list[Point]:
        return [point for point in self.points if point.batch_sequences == batch_sequences]


@dataclass(frozen=True)
class Reached:
    """One batch under one rule and target; what is not known is NaN or empty."""

    batch_sequences: int
    batch_tokens: int
    peak_lr: float
    n_peak_lrs: int
    edge_of_grid: bool
    status: PointStatus
    ln_tokens: float
    n_replicates: int
    crossings: tuple[tuple[str, float], ...]
    """Cells and the tokens at which each is at the loss."""


@dataclass(frozen=True)
class StepsToLoss:
    """A sweep under one rule at one target."""

    sweep: Sweep
    lr_rule: str
    target: str
    """How the loss was chosen: `CHOSEN`, or given."""
    target_loss: float
    batches: tuple[Reached, ...]
    """Ascending."""
    noise: StepNoise | None

    @property
    def reached(self) -> list[Reached]:
        return [batch for batch in self.batches if batch.status == "reached"]


def steps_to_losses(
    runs: pd.DataFrame,
    evaluations: pd.DataFrame,
    averages: pd.DataFrame,
    reference_batch: int,
    target_losses: Sequence[float] | None,
) -> list[StepsToLoss]:
    """Every sweep of the study at every target and under every rule that the grid holds at three batches.

    Targets that are not given: the lowest loss that every batch reaches at one of its learning rates; and those that
    the reference batch has, at its best learning rate, with a half and a quarter of the tokens that it needs to it.
    """
    found: list[StepsToLoss] = []
    for sweep in sweeps(runs, evaluations, averages, reference_batch):
        given = [("given", loss) for loss in target_losses or ()]
        for target, loss in given or chosen_targets(sweep, reference_batch):
            found.extend(_under_rules(sweep, reference_batch, target, loss))
    return found


def sweeps(
    runs: pd.DataFrame, evaluations: pd.DataFrame, averages: pd.DataFrame, reference_batch: int
) -> Iterator[Sweep]:
    """Of horizon-free schedules at a fixed batch, three batches at least with the reference among them.

    Of cells that differ in their horizon only the longest. Raw losses are those of the validation subset along
    training; averaged ones those of all validation tokens; both of the first domain.
    """
    visible = runs[~runs["holdout"] & runs["schedule_kind"].isin(HORIZON_FREE_KINDS)]
    # Of a batch ramp, batch_sequences is only its end.
    fixed = visible[visible["total_steps"] * visible["batch_tokens"] == visible["token_horizon"]]
    cells = open_to_fits(fixed).sort_values("token_horizon").drop_duplicates([*POINT, "replicate"], keep="last")
    subset = evaluations[evaluations["eval_set"] == "subset"]
    raw = _first_domain(subset).assign(weights=RAW)
    # The best window is another average at every point.
    one_average = averages[averages["average"] != BEST_WINDOW]
    averaged = _first_domain(one_average).rename(columns={"average": "weights", "val_loss_averaged": "loss"})
    columns = ["cell_id", "weights", "tokens_seen", "loss"]
    losses = pd.concat([raw.rename(columns={"val_loss": "loss"})[columns], averaged[columns]])
    losses = losses[losses["loss"].notna()].merge(cells, on="cell_id")
    for (model, schedule, weights), rows in losses.groupby([*SWEEP, "weights"], sort=False):
        points = tuple(_points(rows))
        batches = sorted({point.batch_sequences for point in points})
        if len(batches) >= MIN_BATCHES and reference_batch in batches:
            tried, completed = (
                _peak_lrs(trained[(trained["model"] == model) & (trained["schedule"] == schedule)], batches)
                for trained in (fixed, cells)
            )
            yield Sweep(str(model), str(schedule), str(weights), points, tried, completed)


def _peak_lrs(cells: pd.DataFrame, batches: Sequence[int]) -> dict[int, tuple[float, ...]]:
    """Ascending, by batch."""
    rates = {batch: cells.loc[cells["batch_sequences"] == batch, "peak_lr"] for batch in batches}
    return {batch: tuple(sorted(float(lr) for lr in lrs.unique())) for batch, lrs in rates.items()}


def _first_domain(rows: pd.DataFrame) -> pd.DataFrame:
    """The domain that is written first: the one on which a study chooses."""
    return rows[rows["domain"] == rows["domain"].iloc[0]] if len(rows) else rows


def _points(rows: pd.DataFrame) -> Iterator[Point]:
    for _, here in rows.groupby(["batch_sequences", "peak_lr"]):
        curves = [
            Curve(
                str(cell_id),
                int(curve["replicate"].iloc[0]),
                curve["tokens_seen"].to_numpy(np.int64),
                curve["loss"].to_numpy(np.float64),
            )
            for cell_id, curve in here.sort_values(["replicate", "tokens_seen"]).groupby("cell_id", sort=False)
            if len(curve) >= MIN_EVALUATIONS
        ]
        if curves:
            first = here.iloc[0]
            yield Point(
                int(first["batch_sequences"]), int(first["batch_tokens"]), float(first["peak_lr"]), tuple(curves)
            )


def chosen_targets(sweep: Sweep, reference_batch: int) -> list[tuple[str, float]]:
    """Name and loss; only the lowest where the reference batch is there before a quarter of its tokens is evaluated."""
    lowest = max(min(point.lowest_loss() for point in sweep.at(batch)) for batch in sweep.batches)
    reference = sweep.at(reference_batch)
    at_rates = [point.ln_tokens_to(lowest) for point in reference]
    if any(_status(values) == "before_first" for values in at_rates):
        return [("lowest", lowest)]
    # A rate at which it is not known when the loss was reached leaves the choice to the others.
    known = [float(np.exp(np.mean(values))) for values in at_rates if _status(values) == "reached"]
    if not known:
        return [("lowest", lowest)]
    needed = min(known)
    first = max(int(curve.tokens_seen[0]) for point in reference for curve in point.curves)
    return [
        (name, lowest if share == 1.0 else min(point.loss_at(share * needed) for point in reference))
        for name, share in CHOSEN
        if share == 1.0 or share * needed > first
    ]


def _under_rules(sweep: Sweep, reference_batch: int, target: str, loss: float) -> Iterator[StepsToLoss]:
    ln_tokens = [point.ln_tokens_to(loss) for point in sweep.points]
    statuses = [_status(values) for values in ln_tokens]
    reached = [i for i, status in enumerate(statuses) if status == "reached"]
    means = np.full(len(sweep.points), np.nan)
    noise = None
    if reached:
        found = _replicate_noise([sweep.points[i] for i in reached], [ln_tokens[i] for i in reached])
        means[reached] = found.means
        noise = StepNoise.of(found)
    best = {batch: _fewest(sweep, batch, statuses, means) for batch in sweep.batches}

    def row(batch: int, i: int, edge: bool) -> Reached:
        point = sweep.points[i]
        return Reached(
            batch_sequences=batch,
            batch_tokens=point.batch_tokens,
            peak_lr=point.peak_lr,
            n_peak_lrs=len(sweep.tried[batch]),
            edge_of_grid=edge,
            status=statuses[i],
            ln_tokens=float(means[i]),
            n_replicates=len(point.curves),
            crossings=tuple(zip((c.cell_id for c in point.curves), np.exp(ln_tokens[i]).tolist(), strict=True))
            if statuses[i] == "reached"
            else (),
        )

    re_tuned = tuple(row(batch, i, _at_edge(sweep, batch, i)) for batch, i in best.items())
    yield StepsToLoss(sweep, RE_TUNED, target, loss, re_tuned, noise)
    at_reference = best[reference_batch]
    if statuses[at_reference] != "reached":
        return
    edge = _at_edge(sweep, reference_batch, at_reference)
    for rule, exponent in LR_EXPONENTS.items():
        rows = []
        for batch in sweep.batches:
            carried = sweep.points[at_reference].peak_lr * (batch / reference_batch) ** exponent
            held = [i for i, p in enumerate(sweep.points) if p.batch_sequences == batch and _same(p.peak_lr, carried)]
            if held:
                rows.append(row(batch, held[0], edge))
            elif any(_same(lr, carried) for lr in sweep.tried[batch]):
                rows.append(_without_point(sweep, batch, carried, edge))
        if len(rows) >= MIN_BATCHES:
            yield StepsToLoss(sweep, rule, target, loss, tuple(rows), noise)


def _status(ln_tokens: Floats) -> PointStatus:
    """Of a point: as good as the worst of its replicates, since the mean of the others would flatter it."""
    if (ln_tokens == np.inf).any():
        return "not_reached"
    if (ln_tokens == -np.inf).any():
        return "before_first"
    return "too_sparse" if np.isnan(ln_tokens).any() else "reached"


def _replicate_noise(points: Sequence[Point], ln_tokens: Sequence[Floats]) -> ReplicateNoise:
    """Every batch and learning rate is a position of its own: what replicates have in common is told from the rest."""
    replicates = sorted({curve.replicate for point in points for curve in point.curves})
    table = np.full((len(points), len(replicates)), np.nan)
    for i, (point, values) in enumerate(zip(points, ln_tokens, strict=True)):
        table[i, [replicates.index(curve.replicate) for curve in point.curves]] = values
    return replicate_noise(table, np.arange(len(points)))


def _fewest(sweep: Sweep, batch: int, statuses: Sequence[PointStatus], means: Floats) -> int:
    """Index of the point with the fewest updates at a batch; where none is known, of the one that comes nearest."""
    here = [i for i, point in enumerate(sweep.points) if point.batch_sequences == batch]
    for status in ("before_first", "reached", "too_sparse"):
        if having := [i for i in here if statuses[i] == status]:
            return min(having, key=lambda i: (means[i], sweep.points[i].lowest_loss()) if status == "reached" else i)
    return min(here, key=lambda i: sweep.points[i].lowest_loss())


def _at_edge(sweep: Sweep, batch: int, i: int) -> bool:
    return sweep.points[i].peak_lr in (sweep.tried[batch][0], sweep.tried[batch][-1])


def _same(a: float, b: float) -> bool:
    return abs(a / b - 1.0) <= SAME_LR


def _without_point(sweep: Sweep, batch: int, peak_lr: float, edge: bool) -> Reached:
    """A rate of the grid that has no point: hardly evaluated, or else diverged or excluded."""
    tokens = sweep.at(batch)[0].batch_tokens
    completed = any(_same(lr, peak_lr) for lr in sweep.completed[batch])
    status: PointStatus = "too_sparse" if completed else "unstable"
    return Reached(batch, tokens, peak_lr, len(sweep.tried[batch]), edge, status, np.nan, 0, ())


def frame(found: Sequence[StepsToLoss]) -> pd.DataFrame:
    """Rows of the table `steps_to_loss`."""
    rows: list[dict[str, Any]] = []
    for steps in found:
        sd = np.nan if steps.noise is None else float(np.sqrt(steps.noise.variance))
        for batch in steps.batches:
            known = batch.status == "reached"
            tokens = float(np.exp(batch.ln_tokens)) if known else np.nan
            rows.append(
                {
                    "model": steps.sweep.model,
                    "schedule": steps.sweep.schedule,
                    "weights": steps.sweep.weights,
                    "lr_rule": steps.lr_rule,
                    "target_loss": steps.target_loss,
                    "target": steps.target,
                    "batch_sequences": batch.batch_sequences,
                    "batch_tokens": batch.batch_tokens,
                    "peak_lr": batch.peak_lr,
                    "n_peak_lrs": batch.n_peak_lrs,
                    "edge_of_grid": batch.edge_of_grid,
                    "status": batch.status,
                    "steps": tokens / batch.batch_tokens,
                    "examples": tokens * batch.batch_sequences / batch.batch_tokens,
                    "tokens": tokens,
                    "ln_steps_se": sd / np.sqrt(batch.n_replicates) if known else np.nan,
                    "n_replicates": batch.n_replicates,
                }
            )
    return pd.DataFrame(rows)
