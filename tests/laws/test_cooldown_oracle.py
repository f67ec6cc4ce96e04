"""The model of the drop by a cooldown: planted coefficients, honest errors, nominal intervals on unseen trunks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from glidepath.laws.cooldown_oracle import (
    AVERAGED,
    MEAN_DROP,
    ORACLE,
    PENALTY,
    PREDICTORS,
    Cooldowns,
    fit,
    held_out,
    length,
    loss_slope,
    progress,
)

SHAPES = ("linear to 0", "one_minus_sqrt to 0")
A, C, B = 0.95, 0.4, 0.8
SD = 0.004
NO_SEM = np.zeros(1)


def planted(random: np.random.Generator, n_trunks: int = 10, sd: float = 0.0, trunk_sd: float = 0.0) -> Cooldowns:
    """Two horizons and two shapes on every trunk; the noise of a trunk is common to its cooldowns."""
    n = n_trunks * 4
    trunk = np.repeat(np.arange(n_trunks), 4)
    shape = np.array([SHAPES[i % 2] for i in range(n)], dtype=object)
    gain = random.uniform(0.02, 0.12, n_trunks)[trunk] * random.uniform(0.9, 1.1, n)
    below = np.where(shape == SHAPES[0], 0.0, np.log(4 / 3))
    further = random.uniform(0.01, 0.06, n)
    noise = trunk_sd * random.standard_normal(n_trunks)[trunk] + sd * random.standard_normal(n)
    return Cooldowns(shape, trunk, gain, below, further, gain * (A + C * below) + B * further + noise)


def test_planted_coefficients_come_back() -> None:
    found = fit(ORACLE, planted(np.random.default_rng(0)))
    assert found.shapes == SHAPES
    # The penalty draws c a little towards 0.
    np.testing.assert_allclose(found.coefficients, [A, C, B], rtol=0.02)
    assert found.error_sd < 1e-4
    assert found.degrees_of_freedom == 10 - 3


def test_least_squares_is_numpys() -> None:
    """With the penalty as one more row."""
    data = planted(np.random.default_rng(1), sd=SD)
    design = np.stack([data.gain, data.gain * data.length, data.progress], axis=1)
    rows = np.vstack([design, [0.0, np.sqrt(PENALTY), 0.0]])
    expected = np.linalg.lstsq(rows, np.append(data.drop, 0.0), rcond=None)[0]
    np.testing.assert_allclose(fit(ORACLE, data).coefficients, expected)


def test_cooldowns_that_are_all_alike_say_nothing_of_others() -> None:
    """Their lengths differ by what whole updates are rounded: the penalty keeps c small, and a and b are found."""
    random = np.random.default_rng(10)
    found, free = [], []
    for _ in range(40):
        data = planted(random)
        drop = A * data.gain + B * data.progress + SD * random.standard_normal(len(data))
        alike = replace(data, length=0.002 * random.standard_normal(len(data)), drop=drop)
        found.append(fit(ORACLE, alike).coefficients)
        design = np.stack([alike.gain, alike.gain * alike.length, alike.progress], axis=1)
        free.append(np.linalg.lstsq(design, drop, rcond=None)[0])
    spread, unpenalised = np.std(found, axis=0), np.std(free, axis=0)
    assert spread[1] < 0.6 < 2.0 < unpenalised[1]
    np.testing.assert_allclose(np.mean(found, axis=0), [A, 0.0, B], atol=0.25)


def test_the_error_is_that_of_fits_without_the_trunk() -> None:
    """By a loop over trunks; every trunk counts once."""
    data = planted(np.random.default_rng(2), n_trunks=5, sd=SD)
    unequal = data.where(np.arange(len(data)) != 3)
    squares = []
    for trunk in range(5):
        hidden = unequal.trunk == trunk
        others = fit(ORACLE, unequal.where(~hidden))
        squares.append(np.mean((others.drops(unequal.where(hidden)) - unequal.drop[hidden]) ** 2))
    assert fit(ORACLE, unequal).error_sd == pytest.approx(np.sqrt(np.mean(squares)))


def test_a_trunk_is_predicted_without_itself() -> None:
    """Whatever its cooled losses are: neither its predictions nor their intervals move; those of others do."""
    data = planted(np.random.default_rng(3), n_trunks=6, sd=SD)
    own = data.trunk == 2
    moved = replace(data, drop=data.drop + 0.5 * own)
    sems = np.full(len(data), 0.001)
    for predictor in PREDICTORS:
        before = held_out(predictor, data, data.trunk, 0.9, sems)
        after = held_out(predictor, moved, data.trunk, 0.9, sems)
        np.testing.assert_array_equal(before[0][own], after[0][own])
        np.testing.assert_array_equal(before[1][own], after[1][own])
        assert (before[1][~own] != after[1][~own]).all()


def test_intervals_cover_unseen_trunks_at_their_level() -> None:
    """Over many studies, with half of the noise common to a trunk, at two levels."""
    random = np.random.default_rng(4)
    hits = []
    for _ in range(120):
        data = planted(random, sd=SD, trunk_sd=SD)
        found = [held_out(ORACLE, data, data.trunk, level, np.zeros(len(data))) for level in (0.5, 0.9)]
        hits.append([np.mean(np.abs(drops - data.drop) <= halves) for drops, halves in found])
    low, high = np.mean(hits, axis=0)
    # A little wide: four cooldowns of a trunk say more than the one degree of freedom that they are counted as.
    assert 0.48 < low < 0.58
    assert 0.88 < high < 0.95


def test_the_predictor_with_the_planted_form_has_the_smallest_error() -> None:
    random = np.random.default_rng(5)
    data = planted(random, n_trunks=8)
    noise = SD * random.standard_normal(len(data))
    worlds = {
        ORACLE: replace(data, drop=data.drop + noise),
        AVERAGED: replace(data, drop=data.gain + noise),
        MEAN_DROP: replace(data, drop=0.08 + noise),
    }
    for truth, world in worlds.items():
        errors = {predictor: fit(predictor, world).error_sd for predictor in PREDICTORS}
        assert min(errors, key=lambda name: errors[name]) == truth


def test_a_shape_that_no_other_trunk_has_is_not_predicted() -> None:
    data = planted(np.random.default_rng(6), n_trunks=5, sd=SD)
    data.shape[0] = "cosine to 0"
    drops, _ = held_out(ORACLE, data, data.trunk, 0.9, np.zeros(len(data)))
    assert np.flatnonzero(np.isnan(drops)).tolist() == [0]
    assert np.isfinite(fit(ORACLE, data).error_sd)


def test_without_degrees_of_freedom_there_is_no_interval() -> None:
    data = planted(np.random.default_rng(7), n_trunks=3, sd=SD)
    assert np.isnan(fit(ORACLE, data).half_widths(0.9, NO_SEM)).all()
    assert np.isfinite(fit(AVERAGED, data).half_widths(0.9, NO_SEM)).all()


def test_the_text_of_a_point_widens_its_interval() -> None:
    found = fit(ORACLE, planted(np.random.default_rng(8), sd=SD))
    plain, noisy = found.half_widths(0.9, np.array([0.0, found.error_sd]))
    assert noisy == pytest.approx(plain * np.sqrt(2))


def test_nothing_to_calibrate_on_is_refused() -> None:
    data = planted(np.random.default_rng(9))
    with pytest.raises(ValueError, match="train wsd cells on trunks whose snapshots are averaged"):
        fit(ORACLE, data.where(np.zeros(len(data), dtype=np.bool_)))


def test_slope_of_a_line_in_the_logarithm_of_tokens() -> None:
    """The averaged weights are 10 % of the tokens old, which moves no slope; older points do not count."""
    tokens = 100.0 * 2.0 ** (np.arange(9) / 2)
    losses = 4.0 - 0.2 * np.log(0.9 * tokens)
    losses[:4] = 9.0
    assert loss_slope(tokens, 0.1 * tokens, losses) == pytest.approx(0.2)
    close = np.array([100.0, 120.0])
    assert np.isnan(loss_slope(close, 0.1 * close, losses[-2:]))


def test_a_linear_decay_over_the_last_fifth_is_the_unit_of_length() -> None:
    """A linear decay of the same tokens as one minus the root spends a quarter less of them below the peak."""
    found = length(np.array([80.0, 80.0, 90.0]), np.full(3, 100.0), np.array([1 / 2, 1 / 3, 1 / 2]))
    np.testing.assert_allclose(found, np.log([1.0, 4 / 3, 1 / 2]), atol=1e-12)


def test_progress_by_hand() -> None:
    """A quarter more tokens at half the learning rate, from weights that are a tenth of the tokens old."""
    found = progress(*(np.array([x]) for x in (0.2, 10.0, 100.0, 125.0, 0.5)))
    assert found[0] == pytest.approx(0.2 * (np.log(1.125) - np.log(0.9)))
