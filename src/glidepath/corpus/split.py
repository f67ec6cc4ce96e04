"""Which document is trained on, held out, a duplicate or not used: decided by its content alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from glidepath.corpus.spool import Heads
from glidepath.study.corpus_config import Domain


class Split(IntEnum):
    """What becomes of a document."""

    TRAIN = 0
    VALIDATION = 1
    DUPLICATE = 2
    """An equal document comes before it, in the order of domains and then of files."""
    UNUSED = 3
    """Beyond `max_bytes` of its domain."""


@dataclass(frozen=True)
class Divider:
    """Divides the documents of one bucket after the other."""

    domains: Sequence[Domain]
    used_bytes: NDArray[np.int64]
    """Text already used, by domain and by whether it was declared validation [bytes]; shape [domains, 2]."""

    @classmethod
    def of(cls, domains: Sequence[Domain]) -> Divider:
        """A divider that has used nothing yet."""
        return cls(domains, np.zeros((len(domains), 2), np.int64))

    def divide(self, heads: Heads) -> NDArray[np.int8]:
        """The `Split` of every document of a bucket in the order of `spool.read_heads`; adds to `used_bytes`.

        A document is held out if it is declared so or if the second word of its hash is below
        validation_fraction·2⁶⁴. The first word decides the order, so a held-out document may stand anywhere
        in it.
        """
        splits = np.full(len(heads), Split.TRAIN, np.int8)
        splits[_is_duplicate(heads)] = Split.DUPLICATE
        for number, domain in enumerate(self.domains):
            for declared in (0, 1):
                own = (heads["domain"] == number) & (heads["declared_validation"] == declared)
                rows = np.flatnonzero(own & (splits != Split.DUPLICATE))
                used = self.used_bytes[number, declared] + np.cumsum(heads["length"][rows].astype(np.int64))
                kept = len(rows) if domain.max_bytes is None else int(np.searchsorted(used, domain.max_bytes, "right"))
                splits[rows[kept:]] = Split.UNUSED
                splits[rows[:kept][_is_held_out(heads[rows[:kept]], domain, bool(declared))]] = Split.VALIDATION
                # The bound is reached once: what comes after a document that was too much is unused as well.
                self.used_bytes[number, declared] = used[-1] if len(used) else self.used_bytes[number, declared]
        return splits


def training_documents_held_out(heads: Heads, splits: NDArray[np.int8]) -> NDArray[np.intp]:
    """Rows of training documents whose content also is a validation document's: none, in a sound corpus.

    Looks at the outcome, not at the rules that led to it.
    """
    digest = np.ascontiguousarray(heads["digest"]).view("S32").reshape(-1)
    training = splits == Split.TRAIN
    return np.flatnonzero(training & np.isin(digest, digest[splits == Split.VALIDATION]))


def _is_duplicate(heads: Heads) -> NDArray[np.bool_]:
    """Equal content among the declared validation documents, or among the others, after the first of its
    kind.

    Across the two it is no duplicate: a document that the user holds out and also trains on must be refused.
    """
    same = np.zeros(len(heads), np.bool_)
    same[1:] = (heads["digest"][1:] == heads["digest"][:-1]).all(axis=1)
    same[1:] &= heads["declared_validation"][1:] == heads["declared_validation"][:-1]
    return same


def _is_held_out(heads: Heads, domain: Domain, declared: bool) -> NDArray[np.bool_]:
    if declared or domain.validation_fraction is None:
        return np.full(len(heads), declared)
    threshold = np.uint64(int(domain.validation_fraction * 2**64))
    return np.asarray(heads["digest"][:, 1] < threshold)
