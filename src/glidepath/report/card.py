"""The card at the top of the report: the recommendation, in a dozen words each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from glidepath.figures.text import compact, learning_rate
from glidepath.figures.text import interval as interval_words
from glidepath.report.answer import Rows, Sure, ends, is_known, source_rows
from glidepath.report.numbers import interval, plain
from glidepath.study.recommendation import Averaging, BatchPath, Estimate, Recommendation


@dataclass(frozen=True)
class Value:
    """One recommended number with what qualifies it."""

    name: str
    text: str
    detail: str = ""


@dataclass(frozen=True)
class Card:
    """What the template shows of the recommendation."""

    sure: Sure
    target: str
    summary: tuple[Value, ...]
    how_sure: tuple[str, ...]
    warnings: tuple[str, ...]
    sources: tuple[Rows, ...]


def card(recommended: Recommendation) -> Card:
    """The recommendation in words."""
    target = recommended.target
    estimates = (
        recommended.peak_lr,
        recommended.factor_2_lr_cost,
        recommended.noise_scale_tokens,
        recommended.critical_batch_tokens,
        recommended.batch_path.tokens_saved_fraction if recommended.batch_path else None,
        *recommended.predicted_loss,
    )
    sources = [rows for estimate in estimates if estimate for rows in source_rows(estimate)]
    return Card(
        sure=_sure(recommended),
        target=f"For {target.model} ({compact(float(target.n_params_counted))} parameters counted) at "
        f"{target.tokens_per_parameter:g} tokens per parameter: {compact(float(target.token_horizon))} "
        f"tokens in {target.total_steps:,} updates.",
        summary=tuple(_values(recommended)),
        how_sure=recommended.how_sure,
        warnings=recommended.warnings,
        sources=tuple(dict.fromkeys(sources)),
    )


def _sure(recommended: Recommendation) -> Sure:
    """The weakest link: no interval, then extrapolation, then a schedule that cannot be told from others."""
    if not is_known(recommended.peak_lr):
        return "not resolved"
    if recommended.horizon_extrapolation > 1.001:
        return "extrapolated"
    return "not resolved" if recommended.equivalent_schedules else "resolved"


def _values(recommended: Recommendation) -> Iterator[Value]:
    others = recommended.equivalent_schedules
    yield Value(
        "Schedule",
        recommended.schedule,
        f"not resolved from {', '.join(others)}" if others else "resolved from the others",
    )
    yield Value("Peak learning rate", learning_rate(recommended.peak_lr.value), _range_of_rate(recommended.peak_lr))
    if recommended.factor_2_lr_cost:
        yield Value(
            "If that is off by a factor of 2",
            _loss(recommended.factor_2_lr_cost),
            _range(recommended.factor_2_lr_cost),
        )
    yield Value("Batch", f"{compact(float(recommended.batch_tokens))} tokens", _measured_batches(recommended))
    if recommended.batch_path:
        yield Value("Batch that grows", recommended.batch_path.schedule, _saving(recommended.batch_path))
    yield Value("Weight decay", f"{recommended.weight_decay:.3g}")
    yield Value("Averaging", *_averaging(recommended.averaging))
    for estimate in recommended.predicted_loss[-1:]:
        ranges = "; ".join(_range(each) for each in recommended.predicted_loss)
        yield Value("Predicted loss", _loss(estimate), ranges)
    if not recommended.predicted_loss:
        yield Value("Predicted loss", "not measured", "no loss law holds here")
    yield Value("Horizon", f"{recommended.horizon_extrapolation:.3g} × the longest trained")


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
