"""Published data that a checkout may have beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "shared/reference/data"


def reference_data(name: str) -> Path:
    """File or folder `name` of the published data; skips the test where it is absent."""
    found = FOLDER / name
    if not found.exists():
        pytest.skip(f"the published data {name} are not beside this checkout (shared/reference/data)")
    return found
