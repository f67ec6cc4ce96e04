import numpy as np
import pytest

from glidepath.science.laws.curve import Curve, observed


def _run() -> Curve:
    """Two updates of warm-up, two at the peak, one at half of it."""
    return Curve(
        lr=np.array([1.0, 2.0, 4.0, 4.0, 2.0]),
        updates_done=np.array([2, 4, 5]),
        losses=np.array([3.0, 2.0, 1.0]),
        warmup_steps=2,
    )


def test_sums_count_the_warm_up_as_applied_or_as_if_at_the_peak() -> None:
    run = _run()
    assert run.peak_lr == 4.0
    np.testing.assert_array_equal(run.lr_sum("linear"), [3.0, 11.0, 13.0])
    np.testing.assert_array_equal(run.lr_sum("as_at_peak"), [8.0, 16.0, 18.0])
    np.testing.assert_array_equal(run.drops, [0.0, 0.0, 0.0, 0.0, 2.0])


def test_a_peak_that_is_reached_within_the_warm_up_is_the_peak() -> None:
    run = Curve(lr=np.array([0.5, 1.0, 0.8, 0.6]), updates_done=np.array([4]), warmup_steps=2)
    assert run.peak_lr == 1.0
    np.testing.assert_allclose(run.drops, [0.0, 0.0, 0.2, 0.2])


def test_a_curve_elsewhere_has_no_losses() -> None:
    elsewhere = _run().at(np.array([3]))
    np.testing.assert_array_equal(elsewhere.lr_sum("linear"), [7.0])
    with pytest.raises(ValueError, match="can be predicted, not fitted"):
        observed(elsewhere)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": np.array([1.0, -1.0, 1.0, 1.0, 1.0])}, "not negative"),
        ({"warmup_steps": 5}, "some must be left"),
        ({"updates_done": np.array([4, 2, 5])}, "ascending"),
        ({"updates_done": np.array([1, 4, 5])}, "end of the warm-up"),
        ({"updates_done": np.array([2, 4, 6])}, "the last update"),
        ({"losses": np.array([3.0, 2.0])}, "for each of updates_done"),
        ({"losses": np.array([3.0, np.nan, 1.0])}, "one positive loss"),
        ({"n_params": 0.0}, "must be positive"),
    ],
)
def test_what_no_run_has_is_refused(changes: dict[str, object], message: str) -> None:
    run = _run()
    given = {name: getattr(run, name) for name in ("lr", "updates_done", "losses", "warmup_steps", "n_params")}
    with pytest.raises(ValueError, match=message):
        Curve(**(given | changes))
