"""Windows and moving averages against pandas and against the errors that many draws have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from glidepath.science.smoothing import MovingAverage, Smoothing, Windows, ema, standard_errors

VALUES = np.random.default_rng(0).standard_normal((2, 30))


@pytest.mark.parametrize("bias_corrected", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_ema_is_that_of_pandas(decay: float, bias_corrected: bool) -> None:
    expected = pd.DataFrame(VALUES.T).ewm(alpha=1 - decay, adjust=bias_corrected).mean().to_numpy().T
    np.testing.assert_allclose(ema(VALUES, decay, bias_corrected=bias_corrected), expected, atol=1e-12)


def test_windows_by_hand() -> None:
    windows = Windows(np.array([0, 2]))
    np.testing.assert_allclose(windows.mean(np.array([[1.0, 3.0, 4.0, 5.0, 9.0]])), [[2.0, 6.0]])
    np.testing.assert_allclose(windows.squared_weights(5), [1 / 2, 1 / 3])
    # Variances 2 and 7 over 2 and 3 values.
    np.testing.assert_allclose(standard_errors(windows, np.array([1.0, 3.0, 4.0, 5.0, 9.0])), [1.0, np.sqrt(7 / 3)])


def test_moving_average_begins_at_its_memory() -> None:
    """Memory 10: every second value from the tenth or eleventh on, the last among them."""
    average = MovingAverage(0.9)
    np.testing.assert_allclose(average.mean(VALUES), ema(VALUES, 0.9, bias_corrected=True)[:, 9::2][:, -11:])
    np.testing.assert_allclose(average.mean(VALUES)[:, -1], ema(VALUES, 0.9, bias_corrected=True)[:, -1])
    assert average.squared_weights(30).shape == average.mean(VALUES)[0].shape == (11,)
    assert average.mean(VALUES[:, :5]).shape == (2, 0)
    assert standard_errors(average, VALUES[:, :5]).shape == (2, 0)


def test_squared_weights_of_a_moving_average() -> None:
    weights = 0.8 ** np.arange(7)[::-1]
    assert MovingAverage(0.8).squared_weights(7)[-1] == pytest.approx(np.sum((weights / weights.sum()) ** 2))


@pytest.mark.parametrize("smoothing", [Windows(np.array([0, 10, 30])), MovingAverage(0.8)])
def test_standard_errors_are_those_of_many_draws(smoothing: Smoothing) -> None:
    draws = np.random.default_rng(1).standard_normal((4000, 40))
    errors = np.sqrt((standard_errors(smoothing, draws) ** 2).mean(0))
    np.testing.assert_allclose(errors, smoothing.mean(draws).std(0), rtol=0.06)


def test_one_value_has_no_error() -> None:
    assert standard_errors(Windows(np.array([0, 1])), np.array([1.0, 2.0, 4.0]))[0] == np.inf


def test_refusal() -> None:
    with pytest.raises(ValueError, match="0 <= decay < 1"):
        ema([1.0, 2.0], 1.0)
