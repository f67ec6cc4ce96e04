from dataclasses import replace

import numpy as np
import pytest

from glidepath.science.laws.curve import Curve, Floats
from glidepath.science.laws.drop_nodes import LOWEST_LR
from glidepath.science.laws.multi_power import MultiPowerFormula, MultiPowerLaw, fit_multi_power

PEAK, WARMUP = 3e-4, 400

PARAMETERS = [
    (3.04045, 0.52469, 0.50787, 363.788, 2.06561, 0.58279, 0.64142),
    (2.52, 0.66, 0.42, 614.0, 0.16, 0.88, 0.56),
    (3.0, 0.5, 0.5, 747.0, 0.38, 0.11, 0.9),
    (3.0, 0.5, 0.5, 300.0, 0.001, 10.0, 0.6),
]
"""L0, A, α, B, C, β, γ: published ones of the released code and the paper, and far ends of what fits well."""


def _law(parameters: tuple[float, ...], *, warmup_drops: bool = True) -> MultiPowerLaw:
    L0, A, alpha, B, C, beta, gamma = (np.array(value) for value in parameters)
    return MultiPowerLaw(L0, A, alpha, B, C, beta, gamma, warmup_drops)


def _multiplier(shape: str, length: int) -> Floats:
    after = np.arange(1, length + 1) / length
    tail = np.clip((after - 0.8) / 0.2, 0, 1)
    return {
        "constant": np.ones_like(after),
        "cosine_to_tenth": 0.55 + 0.45 * np.cos(np.pi * after),
        "cosine": (1 + np.cos(np.pi * after)) / 2,
        "linear": 1 - after,
        "one_minus_sqrt": 1 - np.sqrt(tail),
        "wsd": 0.1**tail,
        "step": np.where(after < 0.4, 1.0, 0.3),
        "rewarmed": 0.55 + 0.45 * np.cos(6 * np.pi * after),
    }[shape]


def _run(shape: str, total_steps: int = 5000, every: int = 128, peak: float = PEAK) -> Curve:
    lr = peak * np.concatenate([np.linspace(0, 1, WARMUP), _multiplier(shape, total_steps - WARMUP)])
    points = np.append(np.arange(WARMUP + 1, total_steps, every), total_steps)
    return Curve(lr=lr, updates_done=points, warmup_steps=WARMUP)


def _full_sum(law: MultiPowerLaw, run: Curve) -> Floats:
    """Update by update, as the paper writes it."""
    L0, A, alpha, B, C, beta, gamma = (
        float(x) for x in (law.irreducible_loss, law.A, law.alpha, law.B, law.C, law.beta, law.gamma)
    )
    first = 0 if law.warmup_drops else run.warmup_steps + 1
    losses = []
    for done in run.updates_done:
        decayed = 0.0
        S_k = np.cumsum(run.lr[:done][::-1])[::-1]
        for k in range(first, done):
            drop = (run.lr[k - 1] if k else 0.0) - run.lr[k]
            if drop:
                x = max(run.lr[k], LOWEST_LR) ** -gamma * S_k[k]
                decayed += drop * (1 - (C * x + 1) ** -beta)
        losses.append(L0 + A * run.lr[:done].sum() ** -alpha - B * decayed)
    return np.array(losses)


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize(
    "shape", ["constant", "cosine_to_tenth", "cosine", "linear", "one_minus_sqrt", "wsd", "step", "rewarmed"]
)
def test_a_few_nodes_give_the_sum_over_all_updates(shape: str, parameters: tuple[float, ...]) -> None:
    run = _run(shape, every=700)
    law = _law(parameters)
    np.testing.assert_allclose(law.predict(run), _full_sum(law, run), atol=1e-5, rtol=0)


def test_the_papers_sum_begins_after_the_warm_up() -> None:
    run = _run("cosine", every=700)
    law = _law(PARAMETERS[0], warmup_drops=False)
    np.testing.assert_allclose(law.predict(run), _full_sum(law, run), atol=1e-5, rtol=0)


def test_jumps_at_random_are_summed_one_by_one() -> None:
    random = np.random.default_rng(0)
    rates = np.repeat(PEAK * random.uniform(0.05, 1.0, 40), 50)
    run = Curve(lr=rates, updates_done=np.arange(100, 2001, 100))
    law = _law(PARAMETERS[0])
    np.testing.assert_allclose(law.predict(run), _full_sum(law, run), atol=1e-7, rtol=0)


def test_a_warm_up_counted_as_drops_only_moves_the_asymptote() -> None:
    """Long after it, by B·peak: the pull of the warm-up has run its course."""
    run = _run("constant", 200_000, 50_000)
    long_after = run.at(np.array([200_000]))
    released, paper = (_law(PARAMETERS[0], warmup_drops=drops).predict(long_after)[0] for drops in (True, False))
    assert released - paper == pytest.approx(363.788 * PEAK, rel=0.03)


def test_a_learning_rate_of_zero_leaves_the_loss_where_it_is() -> None:
    """The drop to zero takes its share at the clipped rate of 1e-10, and then S_k stands still."""
    lr = np.concatenate([np.full(2000, PEAK), np.zeros(500)])
    before, at, after = _law(PARAMETERS[0]).predict(Curve(lr=lr, updates_done=np.array([2000, 2100, 2500])))
    assert before == at == after


@pytest.mark.parametrize("with_size", [False, True])
def test_the_jacobian_is_that_of_differences(with_size: bool) -> None:
    sizes = {"cosine": 1e7, "step": 3e7, "one_minus_sqrt": 2e8}
    runs = tuple(replace(_run(shape), n_params=size) for shape, size in sizes.items())
    formula = MultiPowerFormula(runs, warmup_drops=True, with_size=with_size)
    theta = np.array([[2.8, -0.4, 0.5, -2.0, 2.0, -0.7, 0.6, -0.5, 0.3, 0.1]])[:, : len(formula.names)]
    for j, slope in enumerate(np.moveaxis(formula.jacobian(theta), -1, 0)):
        step = np.zeros_like(theta)
        step[0, j] = 1e-5
        differences = (formula.predict(theta + step) - formula.predict(theta - step)) / 2e-5
        np.testing.assert_allclose(slope, differences, rtol=1e-5, atol=1e-8, err_msg=formula.names[j])
    np.testing.assert_allclose(
        formula.predict(theta)[0], np.concatenate([formula.law(theta[0]).predict(run) for run in formula.curves])
    )


def _observed(law: MultiPowerLaw, run: Curve, noise: float, random: np.random.Generator) -> Curve:
    return replace(run, losses=law.predict(run) * np.exp(noise * random.standard_normal(len(run.updates_done))))


@pytest.mark.parametrize("warmup_drops", [True, False])
def test_unseen_schedules_are_predicted_from_three_curves(warmup_drops: bool) -> None:
    """Parameters are not compared: they are hardly told apart."""
    random = np.random.default_rng(0)
    law = _law(PARAMETERS[1], warmup_drops=warmup_drops)
    runs = [_observed(law, _run(shape, 12_000), 5e-4, random) for shape in ("constant", "cosine_to_tenth", "step")]
    found = fit_multi_power(runs, warmup_drops=warmup_drops)
    assert found.fit.status in ("converged", "not_identified")
    assert found.fit.n_starts_agreeing > 1
    assert found.law.alpha == pytest.approx(law.alpha, abs=0.03)
    for shape in ("wsd", "one_minus_sqrt", "cosine_to_tenth"):
        unseen = _run(shape, 24_000)
        np.testing.assert_allclose(found.law.predict(unseen), law.predict(unseen), rtol=1.5e-3)


def test_the_size_is_fitted_from_three_and_predicts_a_fourth() -> None:
    """One constant run is all that is seen of the third."""
    random = np.random.default_rng(0)
    law = replace(_law(PARAMETERS[1]), D=np.array(2.0), delta=np.array(0.25), epsilon=np.array(0.15))
    seen = [(25e6, "constant"), (25e6, "step"), (100e6, "constant"), (100e6, "wsd"), (400e6, "constant")]
    runs = [_observed(law, replace(_run(shape, every=400), n_params=n), 2e-4, random) for n, shape in seen]
    found = fit_multi_power(runs, with_size=True)
    for size in (400e6, 900e6):
        larger = replace(_run("cosine", every=400), n_params=size)
        np.testing.assert_allclose(found.law.predict(larger), law.predict(larger), rtol=4e-3)
    with pytest.raises(ValueError, match="three sizes at least"):
        fit_multi_power(runs[:4], with_size=True)
    with pytest.raises(ValueError, match="give every curve its n_params"):
        found.law.predict(_run("cosine"))


def test_samples_are_one_law_and_spread_about_the_fit() -> None:
    random = np.random.default_rng(0)
    law = _law(PARAMETERS[1])
    runs = [_observed(law, _run(shape, 8000, 200), 1e-3, random) for shape in ("constant", "cosine_to_tenth", "step")]
    found = fit_multi_power(runs)
    unseen = _run("wsd", 8000, 2000)
    samples = found.resampled_by_blocks(40, random).predict(unseen)
    assert samples.shape == (40, len(unseen.updates_done))
    spread = samples.std(0)
    assert (spread > 1e-4).all()
    assert (spread < 1e-2).all()
    assert (np.abs(found.law.predict(unseen) - samples.mean(0)) < 1.5 * spread).all()


def test_without_a_drop_only_the_power_law_is_identified() -> None:
    random = np.random.default_rng(0)
    runs = [_observed(_law(PARAMETERS[0]), _run("constant", n), 5e-4, random) for n in (4000, 9000)]
    found = fit_multi_power(runs, warmup_drops=False)
    assert found.fit.status == "not_identified"
    assert found.not_identified == ("ln B", "ln C", "ln beta", "gamma")


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_slopes_of_the_final_loss_are_those_of_differences(parameters: tuple[float, ...]) -> None:
    law, run = _law(parameters), _run("cosine_to_tenth", 1200)
    loss, slopes = law.at_end(run)
    assert loss == pytest.approx(law.predict(run)[-1], abs=1e-5)
    for update in (WARMUP, 700, 1100, 1198, 1199):
        ends = []
        for change in (1e-9, -1e-9):
            lr = run.lr.copy()
            lr[update] += change
            ends.append(law.at_end(replace(run, lr=lr))[0])
        assert slopes[update - WARMUP] == pytest.approx((ends[0] - ends[1]) / 2e-9, rel=1e-3, abs=1e-3)
