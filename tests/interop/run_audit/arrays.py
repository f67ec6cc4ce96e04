"""Short names for what the tests of faults write often."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glidepath.interop.run_audit.fault import Fault

Floats = NDArray[np.float64]


def floats(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def only(faults: list[Fault]) -> Fault:
    (fault,) = faults
    return fault
