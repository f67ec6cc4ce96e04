"""Loss curves and their inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glidepath.science.loss_curves import monotone_curve, tokens_to_loss

TOKENS = np.array([100, 200, 400, 800])


def test_a_falling_curve_is_inverted_in_ln_tokens() -> None:
    """Half way between two losses lies half way between their logarithms."""
    losses = [4.0, 3.0, 2.5, 2.4]
    found = tokens_to_loss(TOKENS, losses, [3.5, 3.0, 2.75, 2.45, 2.4])
    np.testing.assert_allclose(found, [100 * 2**0.5, 200, 200 * 2**0.5, 400 * 2**0.5, 800])


def test_what_lies_outside_the_curve() -> None:
    found = tokens_to_loss(TOKENS, [4.0, 3.0, 2.5, 2.4], [4.5, 4.0, 2.39])
    assert found.tolist() == [0.0, 0.0, np.inf]


def test_neighbours_out_of_order_are_one_point_at_their_centre() -> None:
    """3.0 and 3.2 become 3.1 at the geometric mean of their tokens."""
    x, y = monotone_curve(TOKENS, [4.0, 3.0, 3.2, 2.4])
    np.testing.assert_allclose(np.exp(x), [100, 200 * 2**0.5, 800])
    np.testing.assert_allclose(y, [4.0, 3.1, 2.4])
    assert tokens_to_loss(TOKENS, [4.0, 3.0, 3.2, 2.4], 3.1).item() == pytest.approx(200 * 2**0.5)


def test_a_lucky_evaluation_does_not_reach_a_loss() -> None:
    """The running minimum would be there at 200 tokens."""
    losses = [4.0, 2.5, 3.5, 3.4]
    assert tokens_to_loss(TOKENS, losses, 3.0).item() == np.inf
    assert tokens_to_loss(TOKENS, losses, 3.5).item() > 100


def test_sparse_evaluations_do_not_tell_where() -> None:
    tokens = [100, 200, 600, 1200]
    found = tokens_to_loss(tokens, [4.0, 3.0, 2.0, 1.0], [3.5, 2.5, 1.5])
    assert np.isnan(found).tolist() == [False, True, False]


def test_noise_does_not_make_it_early() -> None:
    """Noise three times the fall between evaluations: the mean of ln tokens stays where the truth crosses; a running
    minimum is early."""
    random = np.random.default_rng(0)
    tokens = np.round(1000 * 2 ** (np.arange(40) / 4)).astype(int)
    truth = 5 - 0.2 * np.log(tokens / 1000)
    target = float(5 - 0.2 * np.log(32))
    noise = 0.1 * random.standard_normal((400, len(tokens)))
    found = np.log([tokens_to_loss(tokens, truth + one, target).item() / 32_000 for one in noise])
    lowest = [np.log(tokens[np.argmax(truth + one <= target)] / 32_000) for one in noise]
    assert abs(np.mean(found)) < 0.06
    assert np.mean(lowest) < -0.15


@given(st.lists(st.floats(1, 10), min_size=2, max_size=20), st.floats(0.5, 11))
def test_lower_losses_take_longer(losses: list[float], target: float) -> None:
    tokens = 100 * 2 ** np.arange(len(losses))
    first, second = tokens_to_loss(tokens, losses, [target, target - 0.1])
    assert first <= second
    x, y = monotone_curve(tokens, losses)
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) < 0).all()


@pytest.mark.parametrize(
    ("tokens", "losses", "says"),
    [
        ([100, 100], [3.0, 2.0], "ascend"),
        ([0, 100], [3.0, 2.0], "positive"),
        ([100, 200], [3.0], "one finite loss"),
        ([100, 200], [3.0, np.nan], "one finite loss"),
        ([], [], "one finite loss"),
    ],
)
def test_what_is_no_curve_is_refused(tokens: list[int], losses: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        tokens_to_loss(tokens, losses, 2.5)
