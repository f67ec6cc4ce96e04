"""A real run held against the recommendation that was made for it, and how often such intervals held so far."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy import stats

from glidepath.study.recommendation import Estimate, Part, Recommendation

TARGET_TOLERANCE = 0.05
"""A size or horizon that differs by more is another target."""
SAME = 0.02
"""What differs by less is as recommended."""


@dataclass(frozen=True)
class RealRun:
    """What is known of a run that was made; None where it is not."""

    name: str
    val_loss: float
    """[nat/token]"""
    n_params: float | None = None
    token_horizon: float | None = None
    peak_lr: float | None = None
    schedule: str | None = None
    batch_tokens: float | None = None


class Score(Part):
    """One line of scores.jsonl."""

    run: str
    study: str
    recommendation_sha256: str
    scored_at: str
    val_loss: float
    predicted_loss: float
    error: float
    """Real less predicted [nat/token]."""
    inside_50: bool
    inside_90: bool
    position: float
    """The error in units of its expected size: the half width of the 90 % interval on that side is 1.645."""
    differences: tuple[str, ...]
    """What was done otherwise than recommended, and what is not known of the run."""


def score(recommended: Recommendation, real: RealRun, sha256: str, now: str) -> Score:
    """Whether the loss lies within the intervals. Raises ValueError without them, for a loss that is not finite, and
    for a run of another size or horizon: the interval is that of the target."""
    levels = {round(100 * each.ci_level): each for each in recommended.predicted_loss}
    narrow, wide = (_known(levels.get(level)) for level in (50, 90))
    if narrow is None or wide is None:
        raise ValueError(
            f"the recommendation of {recommended.study} predicts no loss with intervals: there is nothing to score"
        )
    if not math.isfinite(real.val_loss):
        raise ValueError(f"the loss {real.val_loss} of {real.name} is not finite: a run that diverged has no score")
    target = recommended.target
    for what, value, wanted in (
        ("parameters", real.n_params, target.n_params_counted),
        ("tokens", real.token_horizon, target.token_horizon),
    ):
        if value is not None and abs(math.log(value / wanted)) > math.log1p(TARGET_TOLERANCE):
            raise ValueError(
                f"{real.name} has {value:.4g} {what}, the recommendation is for {wanted:.4g}: more than "
                f"{100 * TARGET_TOLERANCE:.0f} % apart is another target, of which it predicts nothing. Make the "
                f"recommendation for that one"
            )
    (low_50, high_50), (low_90, high_90) = narrow, wide
    predicted = levels[90].value
    error = real.val_loss - predicted
    half = (high_90 - predicted) if error > 0 else (predicted - low_90)
    return Score(
        run=real.name,
        study=recommended.study,
        recommendation_sha256=sha256,
        scored_at=now,
        val_loss=real.val_loss,
        predicted_loss=predicted,
        error=error,
        inside_50=low_50 <= real.val_loss <= high_50,
        inside_90=low_90 <= real.val_loss <= high_90,
        position=1.645 * error / half if half > 0 else math.copysign(math.inf, error) if error else 0.0,
        differences=tuple(_differences(recommended, real)),
    )


def _known(estimate: Estimate | None) -> tuple[float, float] | None:
    if estimate is None or estimate.ci_low is None or estimate.ci_high is None:
        return None
    return estimate.ci_low, estimate.ci_high


def _differences(recommended: Recommendation, real: RealRun) -> Iterator[str]:
    target = recommended.target
    launched_at = target.peak_lr or (recommended.peak_lr.value if recommended.peak_lr else None)
    numbers = (
        ("parameters", real.n_params, target.n_params_counted),
        ("tokens", real.token_horizon, target.token_horizon),
        ("peak_lr", real.peak_lr, launched_at),
        ("batch_tokens", real.batch_tokens, recommended.batch_tokens),
    )
    for what, value, wanted in numbers:
        if value is None:
            yield f"{what} of the run not known"
        elif wanted and abs(math.log(value / wanted)) > SAME:
            yield f"{what} {value:.4g}, {value / wanted:.3g} times the recommended {wanted:.4g}"
    if real.schedule is None:
        yield "schedule of the run not known"
    elif real.schedule != recommended.schedule:
        equivalent = ", not resolved from it" if real.schedule in recommended.equivalent_schedules else ""
        yield f"schedule {real.schedule}, recommended {recommended.schedule}{equivalent}"


def coverage(scores: Sequence[Score]) -> Iterator[str]:
    """How many runs lay within each interval, with a 90 % interval of that share (Clopper-Pearson)."""
    for level, inside in ((50, [s.inside_50 for s in scores]), (90, [s.inside_90 for s in scores])):
        found = stats.binomtest(sum(inside), len(inside)).proportion_ci(0.9)
        share = sum(inside) / len(inside)
        yield (
            f"{level} % intervals held {sum(inside)} of {len(inside)} runs so far: {100 * share:.0f} % "
            f"(90 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %)."
        )
