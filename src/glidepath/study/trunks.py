"""Which cooldown belongs to which training."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any


def leaves_chain(cell: Mapping[str, Any], cooldown: Mapping[str, Any]) -> bool:
    """Whether a cell is another one's training up to its own decay, and then cools down.

    Both are rows of `runs` or `plan`. They share segments, and so every bit, at least up to where the decay begins; to
    have begun alike is not enough.
    """
    chains = zip(cell["segments"].split(), cooldown["segments"].split(), strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], chains))
    ends = [int(end) for end in cooldown["segment_ends"].split()]
    begin = cooldown["total_steps"] - cooldown["decay_steps"]
    return shared > 0 and ends[shared - 1] >= begin
