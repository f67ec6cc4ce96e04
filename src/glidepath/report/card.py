"""The card at the top of the report: the recommendation, in a dozen words each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from glidepath.figures.text import compact, learning_rate, scientific
from glidepath.figures.text import interval as interval_words
from glidepath.report.answer import Rows, Sure, ends, is_known, source_rows
from glidepath.report.numbers import decimals_of, interval, plain, signed
from glidepath.study.recommendation import (
    Averaging,
    BatchPath,
    Estimate,
    Extrapolation,
    LawAtTarget,
    LrMistake,
    NextCell,
    Prediction,
    Recommendation,
)
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
STRIP_WIDTH = 640.0
STRIP_MARGIN = 0.12
"""Of the widest interval, on either side of it."""


@dataclass(frozen=True)
class Value:
    """One recommended number with what qualifies it."""

    name: str
    text: str
    detail: str = ""


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
class Tick:
    """A law's prediction on the strip."""

    x: float
    law: str
    is_chosen: bool


@dataclass(frozen=True)
class Strip:
    """The intervals of the predicted loss drawn to scale, in units of `STRIP_WIDTH`."""

    wide: tuple[float, float]
    narrow: tuple[float, float]
    ticks: tuple[Tick, ...]
    labels: tuple[tuple[float, str, str], ...]
    """Position, text and anchor: the ends of the wide interval and the predicted loss."""
    width: float = STRIP_WIDTH


@dataclass(frozen=True)
class NextRow:
    """One further run."""

    what: str
    run: str
    cost: str
    loss: str
    peak_lr: str


@dataclass(frozen=True)
class Card:
    """What the template shows of the recommendation."""

    sure: Sure | None
    """None: one schedule and nothing to compare it with, though all else is measured."""
    target: str
    summary: tuple[Value, ...]
    strip: Strip | None
    uncertainty: str
    reaches: tuple[Reach, ...]
    laws: tuple[LawRow, ...]
    next_rows: tuple[NextRow, ...]
    how_sure: tuple[str, ...]
    warnings: tuple[str, ...]
    sources: tuple[Rows, ...]
    provenance: str


def card(recommended: Recommendation) -> Card:
    """The recommendation in words."""
    mistake = recommended.factor_2_lr_cost
    estimates = (
        recommended.peak_lr,
        mistake.double if mistake else None,
        recommended.noise_scale_tokens,
        recommended.critical_batch_tokens,
        recommended.batch_path.tokens_saved_fraction if recommended.batch_path else None,
        *recommended.predicted_loss,
    )
    sources = [rows for estimate in estimates if estimate for rows in source_rows(estimate)]
    prediction = recommended.prediction
    return Card(
        sure=_sure(recommended),
        target=_target(recommended),
        summary=tuple(_values(recommended)),
        strip=_strip(recommended),
        uncertainty=_uncertainty(prediction) if prediction else "",
        reaches=tuple(_reach(each) for each in recommended.extrapolation),
        laws=tuple(_laws(prediction)) if prediction else (),
        next_rows=tuple(_next(cell) for cell in recommended.next_cells),
        how_sure=recommended.how_sure,
        warnings=recommended.warnings,
        sources=tuple(dict.fromkeys(sources)),
        provenance=_provenance(recommended),
    )


def _target(recommended: Recommendation) -> str:
    target = recommended.target
    size = f"{compact(float(target.n_params_counted))} parameters"
    named = f"{target.model} ({size} counted)" if target.model else f"a model of {size}"
    updates = f" in {target.total_steps:,} updates" if target.total_steps else ""
    return (
        f"For {named} at {target.tokens_per_parameter:.4g} tokens per parameter: "
        f"{compact(float(target.token_horizon))} tokens{updates}."
    )


def _sure(recommended: Recommendation) -> Sure | None:
    """The weakest link: no interval, then extrapolation, then a schedule that cannot be told from others."""
    if not recommended.predicted_loss and recommended.peak_lr is None:
        return "not measured"
    known = [estimate for estimate in (recommended.peak_lr, *recommended.predicted_loss) if estimate]
    if not all(is_known(estimate) for estimate in known):
        return "not resolved"
    if any(each.verdict != "inside" for each in recommended.extrapolation) or recommended.horizon_extrapolation > 1.001:
        return "extrapolated"
    if recommended.n_schedules_compared == 1:
        return None
    return "not resolved" if recommended.equivalent_schedules else "resolved"


def _values(recommended: Recommendation) -> Iterator[Value]:
    others, target = recommended.equivalent_schedules, recommended.target
    for estimate in recommended.predicted_loss[-1:]:
        ranges = "; ".join(_range(each) for each in recommended.predicted_loss)
        yield Value("Predicted loss", _loss(estimate), ranges)
    if not recommended.predicted_loss:
        yield Value("Predicted loss", "not measured", "no loss law holds here")
    told = f"not resolved from {', '.join(others)}" if others else "resolved from the others"
    if recommended.n_schedules_compared == 1:
        told = "the only one trained there"
    yield Value("Schedule", recommended.schedule, "given by the target" if target.schedule else told)
    yield Value("Peak learning rate", *_peak_lr(recommended))
    if recommended.factor_2_lr_cost:
        yield from _mistakes(recommended.factor_2_lr_cost)
    batch = recommended.batch_tokens
    yield Value("Batch", f"{compact(float(batch))} tokens" if batch else "not given", _measured_batches(recommended))
    if recommended.batch_path:
        yield Value("Batch that grows", recommended.batch_path.schedule, _saving(recommended.batch_path))
    decay = recommended.weight_decay
    yield Value("Weight decay", "not known" if decay is None else f"{decay:.3g}")
    yield Value("Averaging", *_averaging(recommended.averaging))


def _peak_lr(recommended: Recommendation) -> tuple[str, str]:
    best, given = recommended.peak_lr, recommended.target.peak_lr
    if best is None:
        return (learning_rate(given), "given by the target; none is known of the runs") if given else ("not known", "")
    if given:
        return learning_rate(given), f"given by the target; best {learning_rate(best.value)}, {_range_of_rate(best)}"
    return learning_rate(best.value), _range_of_rate(best)


def _mistakes(cost: LrMistake) -> Iterator[Value]:
    if cost.shape == "parabola":
        yield Value(
            "If that is off by a factor of 2", _added(cost.double), _worth(cost.double, cost.double_tokens_fraction)
        )
        return
    yield Value("If it is twice the best", _added(cost.double), _worth(cost.double, cost.double_tokens_fraction))
    yield Value("If it is half the best", _added(cost.half), _worth(cost.half, cost.half_tokens_fraction))


def _added(estimate: Estimate) -> str:
    value, low, high = ends(estimate)
    return f"{signed(value, decimals_of((high - low) / 2))} nat/token"


def _worth(cost: Estimate, tokens: Estimate | None) -> str:
    worth = f"; worth {_range_in_percent(tokens)} of the tokens" if tokens else ""
    return f"{_range(cost)}{worth}"


def _loss(estimate: Estimate) -> str:
    return f"{interval(*ends(estimate)).split(' [')[0]} nat/token"


def _range(estimate: Estimate) -> str:
    value, low, high = ends(estimate)
    if not is_known(estimate):
        return "interval not identified"
    _, bracket = interval(value, low, high).split(" [")
    return f"{interval_words(estimate.ci_level)} [{bracket}"


def _range_of_rate(estimate: Estimate) -> str:
    _, low, high = ends(estimate)
    if not is_known(estimate):
        return "interval not identified"
    return f"{interval_words(estimate.ci_level)} [{learning_rate(low)}, {learning_rate(high)}]"


def _range_of_tokens(estimate: Estimate) -> str:
    value, low, high = (float(f"{end:.2g}") for end in ends(estimate))
    known = f" [{compact(low)}, {compact(high)}]" if is_known(estimate) else ""
    return f"{compact(value)}{known} tokens"


def _range_in_percent(estimate: Estimate) -> str:
    value, low, high = (plain(100 * end, 1) for end in ends(estimate))
    return f"{value} % [{low}, {high}]" if is_known(estimate) else f"{value} %"


def _measured_batches(recommended: Recommendation) -> str:
    noise, critical = recommended.noise_scale_tokens, recommended.critical_batch_tokens
    words = [f"critical batch{_of_another(critical, recommended)} {_range_of_tokens(critical)}"] if critical else []
    words.append(f"noise scale near the end {_range_of_tokens(noise)}" if noise else "noise scale not measured")
    return "; ".join(words)


def _of_another(estimate: Estimate, recommended: Recommendation) -> str:
    """Which schedule was measured, where it is not the recommended one."""
    schedule = estimate.sources[0].key["schedule"]
    return "" if schedule == recommended.schedule else f" of {schedule}"


def _saving(path: BatchPath) -> str:
    tried = f", the best of {path.n_tried} paths tried" if path.n_tried > 1 else ""
    return (
        f"at peak learning rate {learning_rate(path.peak_lr)} saves {_range_in_percent(path.tokens_saved_fraction)} of "
        f"the tokens{tried}"
    )


def _averaging(averaging: Averaging) -> tuple[str, str]:
    if averaging.average is not None:
        share = plain(100 * (averaging.window_fraction or 0.0), 0)
        return averaging.average, f"{averaging.window_checkpoints} snapshots over the last {share} % of the horizon"
    return "none", "the schedule decays" if averaging.gain else "not measured"


def _strip(recommended: Recommendation) -> Strip | None:
    """None without both intervals."""
    if recommended.prediction is None or not all(is_known(estimate) for estimate in recommended.predicted_loss):
        return None
    narrow, wide = sorted(recommended.predicted_loss, key=lambda estimate: estimate.ci_level)
    value, low, high = ends(wide)
    laws = (recommended.prediction.chosen, *recommended.prediction.others)
    # A law far outside would leave nothing to see of the interval.
    shown = [law for law in laws if low - (high - low) < law.predicted_loss < high + (high - low)]
    left = min(low, *(law.predicted_loss for law in shown)) if shown else low
    right = max(high, *(law.predicted_loss for law in shown)) if shown else high
    margin = STRIP_MARGIN * (right - left)

    def at(loss: float) -> float:
        return round(STRIP_WIDTH * (loss - left + margin) / (right - left + 2 * margin), 1)

    decimals = decimals_of((high - low) / 2)
    return Strip(
        wide=(at(low), at(high)),
        narrow=(at(ends(narrow)[1]), at(ends(narrow)[2])),
        ticks=tuple(Tick(at(law.predicted_loss), law.law, law is laws[0]) for law in shown),
        labels=(
            (at(low), plain(low, decimals), "end"),
            (at(value), plain(value, decimals), "middle"),
            (at(high), plain(high, decimals), "start"),
        ),
    )


def _uncertainty(prediction: Prediction) -> str:
    parts = prediction.uncertainty
    named = (
        ("the law's form", parts.law),
        ("its parameters", parts.parameters),
        ("one run's noise", parts.run),
        ("the peak learning rate", parts.peak_lr),
    )
    listed = ", ".join(f"{name} {value:.2g}" for name, value in named if value is not None)
    text = f"One standard deviation of each part of the interval, nat/token: {listed}."
    if parts.evaluation is not None:
        text += f" The parameters' part holds {parts.evaluation:.2g} of the validation text."
    return text


def _reach(each: Extrapolation) -> Reach:
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


def _laws(prediction: Prediction) -> Iterator[LawRow]:
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


def _next(cell: NextCell) -> NextRow:
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


def _provenance(recommended: Recommendation) -> str:
    made = recommended.provenance
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    digests = ", ".join(f"{name} {digest[:12]}" for name, digest in made.tables.items())
    return f"Written {made.written_at} by {versions}, from {digests}."
