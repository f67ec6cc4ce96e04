"""The rows of the card's tables: how far the target lies, what every law says of it, and further runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from glidepath.figures.text import compact, learning_rate, scientific
from glidepath.report.numbers import decimals_of, plain
from glidepath.study.recommendation import Extrapolation, LawAtTarget, NextCell, Prediction
from glidepath.study.units import duration

AXES = {
    "n_params_counted": "Size",
    "token_horizon": "Horizon",
    "batch_tokens": "Batch",
    "peak_lr": "Peak learning rate",
    "context_length": "Context",
}
UNITS = {
    "n_params_counted": "parameters",
    "token_horizon": "tokens",
    "batch_tokens": "tokens",
    "peak_lr": "",
    "context_length": "tokens",
}
KINDS = {
    "replicate": "another replicate",
    "horizon": "another horizon",
    "size": "another size",
    "peak_lr": "another learning rate",
}


@dataclass(frozen=True)
class Reach:
    """How far the target lies from what was trained, on one axis."""

    axis: str
    target: str
    trained: str
    verdict: str
    is_beyond: bool


@dataclass(frozen=True)
class LawRow:
    """One law that could predict the target's loss."""

    law: str
    predicted: str
    missed: str
    at_target: str
    hidden: str
    is_chosen: bool


@dataclass(frozen=True)
class NextRow:
    """One further run."""

    what: str
    run: str
    cost: str
    loss: str
    peak_lr: str


def reach_row(each: Extrapolation) -> Reach:
    """One axis of the extrapolation."""
    show = learning_rate if each.axis == "peak_lr" else lambda value: compact(float(round(value)))
    unit = f" {UNITS[each.axis]}" if UNITS[each.axis] else ""
    same = each.trained_low == each.trained_high
    trained = show(each.trained_low) if same else f"{show(each.trained_low)} to {show(each.trained_high)}"
    words = {
        "inside": "as trained" if same else "inside",
        "above": f"{each.factor:.3g} × beyond",
        "below": f"{each.factor:.3g} × below",
    }[each.verdict]
    return Reach(AXES[each.axis], f"{show(each.target)}{unit}", f"{trained}{unit}", words, each.verdict != "inside")


def law_rows(prediction: Prediction) -> Iterator[LawRow]:
    """The chosen law first."""
    for law in (prediction.chosen, *prediction.others):
        yield LawRow(
            law=law.law.replace("_", " "),
            predicted=f"{law.predicted_loss:.3f}",
            missed=_error(law.out_of_sample.root_mean_square_error),
            at_target=_error(law.law_error_sd),
            hidden=_hidden(law),
            is_chosen=law is prediction.chosen,
        )


def _error(error: float | None) -> str:
    return "not known" if error is None else plain(error, decimals_of(error))


def _hidden(law: LawAtTarget) -> str:
    scored = law.out_of_sample
    if scored.farthest_factor is None:
        return "too few points to hide one"
    points = "prediction" if scored.n_hidden == 1 else "predictions"
    return f"{scored.n_hidden} {points}, up to {scored.farthest_factor:.3g} × beyond"


def next_row(cell: NextCell) -> NextRow:
    """A further run, what it costs and what of the variances it removes."""
    rate = f", peak {' '.join(learning_rate(rate) for rate in cell.peak_lrs)}" if cell.peak_lrs else ""
    seed = f", replicate {cell.replicate}" if cell.replicate is not None else ""
    time = f" ({duration(3600 * cell.hours)})" if cell.hours is not None else ""
    share = cell.peak_lr_variance_removed
    return NextRow(
        what=KINDS[cell.what],
        run=f"{cell.model}, {compact(float(cell.token_horizon))} tokens, {cell.schedule}{rate}{seed}",
        cost=_cost(cell) + time,
        loss=f"{100 * cell.loss_variance_removed:.0f} %",
        peak_lr="" if share is None else f"{100 * share:.0f} %",
    )


def _cost(cell: NextCell) -> str:
    if cell.train_flops_exact is not None:
        return f"{scientific(cell.train_flops_exact)} FLOP"
    return f"{scientific(cell.train_flops_6nd)} FLOP (6ND)" if cell.train_flops_6nd is not None else ""
