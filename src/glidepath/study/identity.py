"""Content addresses: canonical JSON and its digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any

DIGEST_LENGTH = 10
"""Hex digits kept: 40 bits, a collision among 10,000 segments has probability 5e-5."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; refuses NaN and infinity.

    Raises ValueError for a number that JSON cannot hold and TypeError for an object that is not plain data.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(value: Any) -> str:
    """First hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:DIGEST_LENGTH]
