"""Content addresses: what is equal has one, what differs has two, and none ever moves by itself."""

from __future__ import annotations

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glidepath.study.identity import DIGEST_LENGTH, canonical_json, digest
from glidepath.study.specs import SegmentSpec
from tests.study.studies import planned

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_by_hand() -> None:
    text = '{"a":[1,2.5,null],"b":"\\u03b1"}'
    assert canonical_json({"b": "α", "a": [1, 2.5, None]}) == text
    assert digest({"b": "α", "a": (1, 2.5, None)}) == hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


@given(value=st.dictionaries(st.text(), PLAIN, max_size=4))
def test_the_order_of_keys_does_not_count(value: dict[str, object]) -> None:
    assert digest(dict(reversed(value.items()))) == digest(value)


def test_numbers_count_to_the_last_bit() -> None:
    assert digest(3.0e-3) == digest(0.003)
    assert digest(0.003) != digest(math.nextafter(0.003, 1.0))


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]])
def test_numbers_that_json_has_not_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        digest(value)


def test_what_is_not_plain_data_is_refused() -> None:
    with pytest.raises(TypeError):
        digest({1, 2})


def test_a_specification_comes_back_from_its_json() -> None:
    """It travels as text to the job, which must train what was planned, under the name that was planned."""
    for name, segment in planned().segments.items():
        back = SegmentSpec.model_validate_json(segment.spec.to_json())
        assert back == segment.spec
        assert back.to_json() == segment.spec.to_json()
        assert name.endswith(f"-u{back.start}-{back.stop}-{back.digest}")


def test_names_that_are_on_disk_stay() -> None:
    """If this moves, every user's segments are trained again. A new field of a specification does that: mean it."""
    spec = next(iter(planned().segments.values())).spec
    first = spec.model_copy(update={"trajectory": spec.trajectory.model_copy(update={"engine_version": 1})})
    assert (first.trajectory.digest, first.digest) == ("17f03bdfe8", "4ced19a30a")
