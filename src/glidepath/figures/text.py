"""Numbers as text, for figures and report: short, and as they are typed where they are typed."""

from __future__ import annotations

import math


def scientific(value: float) -> str:
    """A power of ten in plain text: 3e+14 as 3·10¹⁴."""
    mantissa, exponent = f"{value:.1e}".split("e")
    digits = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{float(mantissa):g}·10{digits}"


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit in which a time of this size reads well: seconds per unit, and its name."""
    for size, name in ((7200.0, "h"), (120.0, "min")):
        if seconds >= size:
            return (3600.0 if name == "h" else 60.0), name
    return 1.0, "s"


def compact(value: float) -> str:
    """A count with three digits and a suffix: 512, 1024, 1.31M."""
    if float(value).is_integer() and abs(value) < 10_000:
        return f"{value:.0f}"
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def learning_rate(value: float) -> str:
    """As it is typed in a configuration: 4e-3, 1.5e-3."""
    if not value > 0:
        return "0"
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = f"{value / 10**exponent:.2g}"
    if mantissa == "10":
        mantissa, exponent = "1", exponent + 1
    return f"{mantissa}e{exponent}"


def interval(level: float) -> str:
    """What a bar or a band is: 90 % interval."""
    return f"{100 * level:.0f}\N{NO-BREAK SPACE}% interval" if math.isfinite(level) else "interval"
