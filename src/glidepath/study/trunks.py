"""Which cooldown belongs to which training."""

from __future__ import annotations

from itertools import takewhile
from typing import Any, Protocol


class Row(Protocol):
    """A row of `runs` or `plan`."""

    def __getitem__(self, column: str, /) -> Any: ...


def leaves_chain(cell: Row, cooldown: Row) -> bool:
    """Whether a cell is another one's training up to its own decay, and then cools down.

    They share segments, and so every bit, at least up to where the decay begins; to
    have begun alike is not enough.
    """
    chains = zip(cell["segments"].split(), cooldown["segments"].split(), strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], chains))
    ends = [int(end) for end in cooldown["segment_ends"].split()]
    begin = cooldown["total_steps"] - cooldown["decay_steps"]
    return shared > 0 and ends[shared - 1] >= begin
