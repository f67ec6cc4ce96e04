"""What every check of a log finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Fault:
    """One fault: its kind, where it is, and in words what it is and what follows."""

    kind: str
    first: float
    last: float
    count: int
    detail: str
    done: str
