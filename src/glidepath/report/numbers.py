"""Numbers rounded to their uncertainty."""

from __future__ import annotations

import math

from glidepath.figures.text import learning_rate

MINUS = "−"


def signed(value: float, decimals: int) -> str:
    """With its sign; a rounded zero has none."""
    text = f"{abs(value):.{decimals}f}"
    return text if float(text) == 0 else f"{MINUS if value < 0 else '+'}{text}"


def plain(value: float, decimals: int) -> str:
    """With a proper minus sign."""
    text = f"{abs(value):.{decimals}f}"
    return f"{MINUS}{text}" if value < 0 and float(text) != 0 else text


def decimals_of(uncertainty: float, *, most: int = 5) -> int:
    """Decimals that leave the uncertainty two significant digits; three where it is not known."""
    if not (math.isfinite(uncertainty) and uncertainty > 0):
        return 3
    return min(max(1 - math.floor(math.log10(uncertainty)), 0), most)


def difference(value: float, standard_error: float) -> str:
    """−0.0123 ± 0.0015; without an error −0.012 (error unknown)."""
    if not math.isfinite(standard_error):
        return f"{signed(value, 3)} (error unknown)"
    decimals = decimals_of(standard_error)
    return f"{signed(value, decimals)} ± {standard_error:.{decimals}f}"


def estimate(value: float, standard_error: float) -> str:
    """3.456 ± 0.012; without an error 3.456."""
    if not math.isfinite(standard_error):
        return plain(value, 3)
    decimals = decimals_of(standard_error)
    if standard_error >= 100:
        unit = 10 ** (math.floor(math.log10(standard_error)) - 1)
        value, standard_error = unit * round(value / unit), unit * round(standard_error / unit)
    return f"{plain(value, decimals)} ± {standard_error:.{decimals}f}"


def interval(value: float, low: float, high: float) -> str:
    """3.05 [3.01, 3.09]; without an interval only the value."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{plain(value, 3)} [interval not identified]"
    decimals = decimals_of((high - low) / 2)
    return f"{plain(value, decimals)} [{plain(low, decimals)}, {plain(high, decimals)}]"


def rate_interval(value: float, low: float, high: float) -> str:
    """A learning rate as it is typed: 3.2e-3 [2.8e-3, 3.7e-3]."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{learning_rate(value)} [interval not identified]"
    return f"{learning_rate(value)} [{learning_rate(low)}, {learning_rate(high)}]"


def percent_of(value: float, uncertainty: float = math.nan) -> str:
    """A fraction in percent: −0.35 %."""
    decimals = min(decimals_of(100 * uncertainty), 2) if math.isfinite(uncertainty) else 2
    return f"{signed(100 * value, decimals)}\N{NO-BREAK SPACE}%"
