"""The predicted loss on the card: its intervals drawn to scale, and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass

from glidepath.report.answer import ends, is_known
from glidepath.report.numbers import decimals_of, plain
from glidepath.study.recommendation import Prediction, Recommendation

STRIP_WIDTH = 640.0
STRIP_MARGIN = 0.12
"""Of the widest interval, on either side of it."""


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


def strip(recommended: Recommendation) -> Strip | None:
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


def uncertainty(prediction: Prediction) -> str:
    """What the interval is made of."""
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
