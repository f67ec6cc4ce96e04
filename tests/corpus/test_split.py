"""De-duplication and split: equal content has one fate, decided by nothing else, and a leak is seen."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from corpus_texts import files_domain, validated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glidepath.corpus.split import Divider, Split, training_documents_held_out
from glidepath.corpus.spool import BUCKET_BITS, HEAD, Spool, read_heads
from glidepath.study.corpus_config import Domain

FEW = st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.integers(0, 1), st.booleans()), max_size=40)


def heads_of(documents: list[bytes]) -> np.ndarray:
    """The index of documents as one sorted bucket, all of domain 0."""
    heads = np.zeros(len(documents), HEAD)
    digests = sorted((hashlib.sha256(document).digest(), len(document)) for document in documents)
    for row, (digest, length) in enumerate(digests):
        heads["digest"][row] = np.frombuffer(digest, ">u8")
        heads["length"][row] = length
    return heads


def domain(**changes) -> Domain:
    return validated(files_domain("a.txt", **changes)).domains[0]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(documents=FEW)
def test_every_content_has_one_training_or_validation_document(tmp_path: Path, documents):
    """Against Python sets, with equal documents within and across two domains."""
    domains = [domain(), domain(name="other", validation_fraction=0.5)]
    with Spool(tmp_path) as spool:
        for content, number, _ in documents:
            spool.add(content, number, 0, declared_validation=False)
    divider = Divider.of(domains)
    kept: list[bytes] = []
    for bucket in range(2**BUCKET_BITS):
        heads = read_heads(tmp_path, bucket)
        splits = divider.divide(heads)
        kept += [row["digest"].tobytes() for row in heads[splits != Split.DUPLICATE]]
        assert not len(training_documents_held_out(heads, splits))
        assert set(splits.tolist()) <= {Split.TRAIN, Split.VALIDATION, Split.DUPLICATE}
    contents = {content for content, _, _ in documents}
    assert kept == sorted(hashlib.sha256(content).digest() for content in contents)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(documents=FEW)
def test_a_leak_is_seen_exactly_when_there_is_one(tmp_path: Path, documents):
    """With declared validation documents among the others, against Python sets."""
    with Spool(tmp_path) as spool:
        for content, number, declared in documents:
            spool.add(content, number, 0, declared)
    domains = [domain(), domain(name="other")]
    divider = Divider.of(domains)
    training: set[bytes] = set()
    validation: set[bytes] = set()
    leaks: set[bytes] = set()
    for bucket in range(2**BUCKET_BITS):
        heads = read_heads(tmp_path, bucket)
        splits = divider.divide(heads)
        training |= {row["digest"].tobytes() for row in heads[splits == Split.TRAIN]}
        validation |= {row["digest"].tobytes() for row in heads[splits == Split.VALIDATION]}
        leaks |= {row["digest"].tobytes() for row in heads[training_documents_held_out(heads, splits)]}
    declared_contents = {hashlib.sha256(content).digest() for content, _, declared in documents if declared}
    assert declared_contents <= validation
    assert leaks == training & validation


def test_the_check_looks_at_the_outcome():
    heads = heads_of([b"a", b"a", b"b"])
    same = np.flatnonzero((heads["digest"][1:] == heads["digest"][:-1]).all(axis=1))[0]
    splits = np.full(3, Split.TRAIN, np.int8)
    assert training_documents_held_out(heads, splits).tolist() == []
    splits[same + 1] = Split.VALIDATION
    assert training_documents_held_out(heads, splits).tolist() == [same]


def test_share_held_out_and_independence_of_the_order():
    """Of 20,000 documents 5 % ± 4 standard errors, in the first half of the order as in the second."""
    heads = heads_of([str(i).encode() for i in range(20_000)])
    held_out = Divider.of([domain(validation_fraction=0.05)]).divide(heads) == Split.VALIDATION
    standard_error = (0.05 * 0.95 / 10_000) ** 0.5
    for half in (held_out[:10_000], held_out[10_000:]):
        assert half.mean() == pytest.approx(0.05, abs=4 * standard_error)


def test_a_larger_fraction_holds_out_the_same_documents_and_more():
    heads = heads_of([str(i).encode() for i in range(1_000)])
    small, large = (
        Divider.of([domain(validation_fraction=fraction)]).divide(heads) == Split.VALIDATION for fraction in (0.05, 0.2)
    )
    assert (large | ~small).all()


@pytest.mark.parametrize("cut", [0, 3, 7])
def test_max_bytes_keeps_a_prefix_of_the_order_across_buckets(cut: int):
    """Seven documents of 10 bytes and a bound of 45: four are used, wherever a bucket ends."""
    heads = heads_of([f"{i:010}".encode() for i in range(7)])
    divider = Divider.of([domain(max_bytes=45)])
    splits = np.concatenate([divider.divide(heads[:cut]), divider.divide(heads[cut:])])
    assert (splits == Split.UNUSED).tolist() == [False] * 4 + [True] * 3
