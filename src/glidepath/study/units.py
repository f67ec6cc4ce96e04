"""Amounts as a person reads them on a terminal."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """`42 s`, `7 min` or `3.2 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(n_bytes: float) -> str:
    """`83 kB`, `1.2 MB` or `40 GB`."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if n_bytes >= 0.9995 * unit:
            return f"{n_bytes / unit:.2g} {name}" if n_bytes < 99.5 * unit else f"{n_bytes / unit:.0f} {name}"
    return f"{n_bytes / 1e3:.0f} kB"
