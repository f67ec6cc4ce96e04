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
    val_loss: float | None
    """[nat/token]; None: it diverged."""
    n_params: float | None = None
    token_horizon: float | None = None
    peak_lr: float | None = None
    schedule: str | None = None
    batch_tokens: float | None = None


class Score(Part):
    """One line of scores.jsonl."""

    run: str
    study: str
    target_n_params: int
    target_token_horizon: int
    recommendation_sha256: str
    scored_at: str
    val_loss: float | None
    """Null: the run diverged, which is outside of every interval."""
    predicted_loss: float
    error: float | None
    """Real less predicted [nat/token]."""
    inside_50: bool
    inside_90: bool
    position: float | None
    """The error in units of its expected size: the half width of the 90 % interval on that side is 1.645. Null too
    where that width is 0."""
    differences: tuple[str, ...]
    """What was done otherwise than recommended."""
    not_known: tuple[str, ...]
    """What is not known of the run, and taken to be as recommended."""

    @property
    def target(self) -> tuple[str, int, int]:
        """What its error in common with other runs is of: study, size and horizon."""
        return self.study, self.target_n_params, self.target_token_horizon


def score(recommended: Recommendation, real: RealRun, sha256: str, now: str) -> Score:
    """Whether the loss lies within the intervals. Raises ValueError without them, for a loss that is not finite, a
    number that is not positive, and a run of another size or horizon: the interval is that of the target."""
    levels = {round(100 * each.ci_level): each for each in recommended.predicted_loss}
    narrow, wide = (_known(levels.get(level)) for level in (50, 90))
    if narrow is None or wide is None:
        raise ValueError(
            f"the recommendation of {recommended.study} predicts no loss with intervals: there is nothing to score"
        )
    if real.val_loss is not None and not math.isfinite(real.val_loss):
        raise ValueError(
            f"the loss {real.val_loss} of {real.name} is not finite: a run that diverged has none. Give --diverged"
        )
    for what, value in (
        ("parameters", real.n_params), ("tokens", real.token_horizon), ("peak_lr", real.peak_lr),
        ("batch_tokens", real.batch_tokens),
    ):  # fmt: skip
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(
                f"{real.name} has {what} {value:g}: a positive number is needed. Leave out what is not known"
            )
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
    predicted = levels[90].value
    differences, not_known = _differences(recommended, real)
    return Score(
        run=real.name,
        study=recommended.study,
        target_n_params=target.n_params_counted,
        target_token_horizon=target.token_horizon,
        recommendation_sha256=sha256,
        scored_at=now,
        val_loss=real.val_loss,
        predicted_loss=predicted,
        error=None if real.val_loss is None else real.val_loss - predicted,
        inside_50=_inside(real.val_loss, narrow),
        inside_90=_inside(real.val_loss, wide),
        position=_position(real.val_loss, predicted, wide),
        differences=tuple(differences),
        not_known=tuple(not_known),
    )


def _inside(val_loss: float | None, interval: tuple[float, float]) -> bool:
    return val_loss is not None and interval[0] <= val_loss <= interval[1]


def _position(val_loss: float | None, predicted: float, wide: tuple[float, float]) -> float | None:
    if val_loss is None:
        return None
    half = wide[1] - predicted if val_loss > predicted else predicted - wide[0]
    return 1.645 * (val_loss - predicted) / half if half > 0 else None


def _known(estimate: Estimate | None) -> tuple[float, float] | None:
    if estimate is None or estimate.ci_low is None or estimate.ci_high is None:
        return None
    return estimate.ci_low, estimate.ci_high


def _differences(recommended: Recommendation, real: RealRun) -> tuple[list[str], list[str]]:
    """What is otherwise than recommended, and what is not known of the run though something was recommended."""
    target = recommended.target
    launched_at = target.peak_lr or (recommended.peak_lr.value if recommended.peak_lr else None)
    numbers = (
        ("parameters", real.n_params, target.n_params_counted),
        ("tokens", real.token_horizon, target.token_horizon),
        ("peak_lr", real.peak_lr, launched_at),
        ("batch_tokens", real.batch_tokens, recommended.batch_tokens),
    )
    differences, not_known = [], []
    for what, value, wanted in numbers:
        if not wanted:
            continue
        if value is None:
            not_known.append(what)
        elif abs(math.log(value / wanted)) > SAME:
            differences.append(f"{what} {value:.4g}, {value / wanted:.3g} times the recommended {wanted:.4g}")
    if real.schedule is None:
        not_known.append("schedule")
    elif real.schedule != recommended.schedule:
        equivalent = ", not resolved from it" if real.schedule in recommended.equivalent_schedules else ""
        differences.append(f"schedule {real.schedule}, recommended {recommended.schedule}{equivalent}")
    return differences, not_known


def coverage(scores: Sequence[Score]) -> Iterator[str]:
    """How many predictions held: a 90 % interval of that share (Clopper-Pearson), and what was not counted.

    One trial per target: runs of one target share the error of the law, whatever their seeds, and recommendations made
    anew from the same runs share it too. Its trial is the first run that was recorded as recommended: the intervals
    are those of one run, which the mean of several would meet too often and the worst too rarely.
    """
    as_recommended = [score for score in scores if not score.differences]
    trials = list({score.target: score for score in reversed(as_recommended)}.values())
    if trials:
        for level, held in ((50, sum(s.inside_50 for s in trials)), (90, sum(s.inside_90 for s in trials))):
            found = stats.binomtest(held, len(trials)).proportion_ci(0.9)
            yield (
                f"{level} % intervals held {held} of {_counted(len(trials), 'target')} so far: "
                f"{100 * held / len(trials):.0f} % (90 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %)."
            )
    for what, left_out, why in (
        ("of the same targets", [s for s in as_recommended if s not in trials], "which share the law's error"),
        ("otherwise than recommended", [s for s in scores if s.differences], "which the intervals are not of"),
    ):
        if left_out:
            yield (
                f"Not counted: {_counted(len(left_out), 'run')} {what}, {why}; {sum(s.inside_90 for s in left_out)} "
                f"inside the 90 % interval."
            )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
