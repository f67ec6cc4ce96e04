"""Further cells on synthetic studies: what is proposed, at what price, and whether it is worth it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from glidepath.advice.candidates import candidates
from glidepath.advice.choice import choose
from glidepath.advice.loss import loss_at_target
from glidepath.advice.next_cells import FlopsAdded
from glidepath.advice.peak_lr import lr_at_target
from glidepath.laws.back_tests import half_width
from glidepath.study.final_losses import FinalLosses, final_losses
from tests.advice.planted_cells import SETTINGS, STUDY, TARGET, SixND, losses_of, proposed, trained
from tests.laws.planted import tokens
from tests.synthetic import Truth, run


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
        choice = choose(losses, SETTINGS, "tiny", 8)
        lr = lr_at_target(choice, 1e6, TARGET.token_horizon, SETTINGS)
        loss = loss_at_target(choice, losses, SETTINGS, 1e6, TARGET.token_horizon)
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
    choice = choose(losses, SETTINGS, "tiny", 8)
    loss = loss_at_target(choice, losses, SETTINGS, 1e6, TARGET.token_horizon)
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
