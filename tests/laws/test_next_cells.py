"""Further cells on synthetic studies: what is proposed, at what price, and whether it is worth it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from glidepath.laws import target
from glidepath.laws.next_cells import FlopsAdded, Trained, candidates, next_cells
from glidepath.laws.predictors import half_width
from glidepath.study.added_cells import AddedCell
from glidepath.study.final_losses import FinalLosses, final_losses
from glidepath.study.recommendation import NextCell, TargetRun
from tests.laws.planted import settings, tokens
from tests.synthetic import Study, Truth, run

STUDY = Study(
    schedules={"wsd": Truth()}, tokens_per_parameter=(5.0, 10.0, 20.0, 40.0), lr_factors=(0.25, 0.5, 1.0, 2.0, 4.0)
)
TARGET = TargetRun(
    model="tiny", n_params_counted=1_000_000, tokens_per_parameter=320.0, batch_sequences=8, token_horizon=tokens(320.0)
)
SETTINGS = settings(n_bootstrap=400)


class SixND:
    """Prices cells that share nothing."""

    def added(self, cell: AddedCell, beside: Sequence[AddedCell] = ()) -> float:
        return 0.0 if cell in beside else 6e6 * tokens(cell.tokens_per_parameter)


def trained(runs_of: FinalLosses, *hidden: tuple[float, float, float]) -> Trained:
    points = runs_of.points
    cells = frozenset(
        (p.model, p.schedule, p.peak_lr, p.tokens_per_parameter, p.batch_sequences, r)
        for p in points.itertuples()
        for r in (0, 1)
    )
    sizes = dict(zip(points["model"], points["n_params_counted"], strict=True))
    return Trained(cells, sizes, {"tiny": 1e-12}, np.array(hidden, np.float64).reshape(-1, 3))


def proposed(losses: FinalLosses, n: int = 3, costs: FlopsAdded | None = None) -> tuple[NextCell, ...]:
    choice = target.choose(losses, SETTINGS, "tiny", 8)
    lr = target.peak_lr(choice, 1e6, TARGET.token_horizon, SETTINGS)
    loss = target.loss(choice, losses, SETTINGS, 1e6, TARGET.token_horizon)
    return next_cells(choice, TARGET, loss, lr, trained(losses), costs, SETTINGS, n)


def losses_of(study: Study, seed: int = 0) -> FinalLosses:
    return final_losses(*replace(study, own_sd=0.004, position_sd=0.002, shared_sd=0.002, seed=seed).tables())


@pytest.mark.parametrize("costs", [None, SixND()], ids=["imports", "study"])
def test_cells_are_new_affordable_and_described(costs: FlopsAdded | None) -> None:
    """What they cost is in the one unit or the other, and time is told of exact FLOPs only."""
    losses = losses_of(STUDY)
    found = proposed(losses, costs=costs)
    assert found
    known = trained(losses)
    for cell in found:
        assert (cell.model, cell.schedule, cell.batch_sequences) == ("tiny", "wsd", 8)
        assert len(cell.peak_lrs) == (3 if cell.what == "horizon" else 1)
        where = cell.tokens_per_parameter, 8, cell.replicate
        assert not {("tiny", "wsd", peak_lr, *where) for peak_lr in cell.peak_lrs} & known.cells
        exact, approximate = cell.train_flops_exact, cell.train_flops_6nd
        flops = approximate if costs is None else exact
        assert (exact if costs is None else approximate) is None
        assert flops == pytest.approx(6e6 * cell.token_horizon * len(cell.peak_lrs), rel=1e-3)
        assert flops <= 6e6 * TARGET.token_horizon
        assert cell.hours == (None if costs is None else pytest.approx(flops * 1e-12 / 3600))
    assert 0.05 < sum(cell.loss_variance_removed for cell in found) <= 1


def test_held_out_points_are_not_proposed() -> None:
    """A horizon as a log has it, a little off the round number; a sweep's learning rate; one of unknown rate."""
    losses = losses_of(STUDY)
    choice = target.choose(losses, SETTINGS, "tiny", 8)
    lr = target.peak_lr(choice, 1e6, TARGET.token_horizon, SETTINGS)
    loss = target.loss(choice, losses, SETTINGS, 1e6, TARGET.token_horizon)
    assert loss is not None

    def points(*hidden: tuple[float, float, float]) -> set[tuple[str, float, tuple[float, ...]]]:
        found = candidates(choice, TARGET, trained(losses, *hidden), loss, lr, False)
        return {(each.what, each.tokens_per_parameter, each.peak_lrs) for each in found}

    everything = points()
    (between,) = {each for each in everything if each[:2] == ("horizon", 28.3)}
    joins = next(each for each in everything if each[:2] == ("peak_lr", 40.0))
    assert points((1.01e6, 1.02 * tokens(28.3), np.nan)) == everything - {between}
    assert points((1e6, tokens(40.0), joins[2][0])) == everything - {joins}
    assert points((2e6, tokens(28.3), np.nan), (1e6, 1.2 * tokens(28.3), np.nan)) == everything
    assert not {each for each in points((1e6, tokens(40.0), np.nan)) if each[1] == 40.0}


def test_every_kind_of_candidate_is_there() -> None:
    sizes = replace(STUDY, models={"xs": 250_000, "s": 500_000, "tiny": 1_000_000})
    losses = losses_of(sizes)
    choice = target.choose(losses, SETTINGS, "large", 8)
    big = TARGET.model_copy(update={"model": "large", "n_params_counted": 4_000_000, "token_horizon": tokens(1280.0)})
    lr = target.peak_lr(choice, 4e6, big.token_horizon, SETTINGS)
    loss = target.loss(choice, losses, SETTINGS, 4e6, big.token_horizon)
    assert loss is not None
    found = list(candidates(choice, big, trained(losses), loss, lr, False))
    assert {candidate.what for candidate in found} == {"replicate", "peak_lr", "horizon", "size"}
    assert {candidate.n_params for candidate in found if candidate.what == "size"} == {1_500_000, 2_000_000, 3_000_000}
    limit = 6 * 4e6 * big.token_horizon
    runs_each = [max(1, len(candidate.peak_lrs)) for candidate in found]
    flops = [
        6 * n * candidate.n_params * candidate.token_horizon for n, candidate in zip(runs_each, found, strict=True)
    ]
    assert max(flops) <= limit
    assert max(each / n for each, n in zip(flops, runs_each, strict=True)) <= limit / 2


def test_nothing_is_proposed_where_nothing_tells_how_runs_differ() -> None:
    """One replicate, and as many horizons as the law has parameters."""
    losses = final_losses(*replace(STUDY, n_replicates=1, tokens_per_parameter=(5.0, 10.0, 20.0)).tables())
    assert proposed(losses) == ()


def test_chosen_cells_remove_more_variance_per_flop_than_random_ones() -> None:
    """In eight worlds, the variance of the prediction's parameters is found anew with the first horizon that is
    proposed, and with one drawn from all horizons that could have been."""
    random = np.random.default_rng(0)
    gains: dict[str, list[float]] = {"proposed": [], "drawn": []}
    for seed in range(8):
        runs, blocks = replace(STUDY, own_sd=0.004, seed=seed).tables()
        losses = final_losses(runs, blocks)
        choice = target.choose(losses, SETTINGS, "tiny", 8)
        lr = target.peak_lr(choice, 1e6, TARGET.token_horizon, SETTINGS)
        loss = target.loss(choice, losses, SETTINGS, 1e6, TARGET.token_horizon)
        assert loss is not None
        pool = [c for c in candidates(choice, TARGET, trained(losses), loss, lr, True) if c.what == "horizon"]
        first = next((c for c in proposed(losses, 5) if c.what == "horizon"), None)
        if first is None:
            continue
        drawn = pool[int(random.integers(len(pool)))]
        for name, cell in (("proposed", first), ("drawn", drawn)):
            after = _variance(final_losses(_with(runs, cell.tokens_per_parameter, cell.peak_lrs, seed), blocks[:0]))
            gains[name].append(1e15 * (_variance(losses) - after) / cell.tokens_per_parameter)
    assert len(gains["proposed"]) >= 5, gains
    assert np.mean(gains["proposed"]) > np.mean(gains["drawn"])


def _variance(losses: FinalLosses) -> float:
    """Of what the saturating law says of the target."""
    choice = target.choose(losses, SETTINGS, "tiny", 8)
    loss = target.loss(choice, losses, SETTINGS, 1e6, TARGET.token_horizon)
    assert loss is not None
    said = next(said for said in loss.said if said.predictor.name == "loss_horizon")
    assert said.samples is not None
    return half_width(said.samples) ** 2


def _with(runs: pd.DataFrame, horizon: float, peak_lrs: tuple[float, ...], seed: int) -> pd.DataFrame:
    """The runs and a sweep of their first replicate."""
    d, random = tokens(horizon), np.random.default_rng(500 + seed)
    rows = [
        run(
            cell_id=f"new-{peak_lr}", model="tiny", n_params_counted=1_000_000, schedule="wsd", peak_lr=peak_lr,
            tokens_per_parameter=horizon, token_horizon=d, replicate=0, batch_sequences=8,
            val_loss=Truth().val_loss(d) + 0.05 * np.log(peak_lr / Truth().peak_lr(d)) ** 2
            + 0.004 * random.standard_normal(),
        )
        for peak_lr in peak_lrs
    ]  # fmt: skip
    return pd.concat([runs, pd.DataFrame(rows, columns=runs.columns)], ignore_index=True)
