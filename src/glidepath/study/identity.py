"""Content addresses: canonical JSON and its digest, and what a file is known by."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

DIGEST_LENGTH = 10
"""Hex digits kept: 40 bits, a collision among 10,000 segments has probability 5e-5."""
FINGERPRINT_BLOCKS = 8
FINGERPRINT_BLOCK_BYTES = 65_536


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; refuses NaN and infinity.

    Raises ValueError for a number that JSON cannot hold and TypeError for an object that is not plain data.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(value: Any) -> str:
    """First hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:DIGEST_LENGTH]


def fingerprint(path: Path) -> list[int | str]:
    """Size [bytes] and SHA-256 of evenly spaced blocks, the first and the last among them; of all of a small
    file.
    """
    size = path.stat().st_size
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        if size <= FINGERPRINT_BLOCKS * FINGERPRINT_BLOCK_BYTES:
            sha256.update(file.read())
        else:
            for block in range(FINGERPRINT_BLOCKS):
                file.seek(block * (size - FINGERPRINT_BLOCK_BYTES) // (FINGERPRINT_BLOCKS - 1))
                sha256.update(file.read(FINGERPRINT_BLOCK_BYTES))
    return [size, sha256.hexdigest()]
