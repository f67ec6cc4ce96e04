"""The recommended numbers on the card, each with what qualifies it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from glidepath.figures.text import compact, learning_rate
from glidepath.figures.text import interval as interval_words
from glidepath.report.answer import ends, is_known
from glidepath.report.numbers import decimals_of, interval, plain, signed
from glidepath.study.recommendation import Averaging, BatchPath, Estimate, LrMistake, Recommendation


@dataclass(frozen=True)
class Value:
    """One recommended number with what qualifies it."""

    name: str
    text: str
    detail: str = ""


def values(recommended: Recommendation) -> Iterator[Value]:
    """The recommended numbers in the order of the card."""
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
