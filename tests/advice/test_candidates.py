"""Runs that could be made: of every kind, new, and affordable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from glidepath.advice.candidates import candidates
from glidepath.advice.choice import choose
from glidepath.advice.loss import loss_at_target
from glidepath.advice.peak_lr import lr_at_target
from tests.advice.planted_cells import SETTINGS, STUDY, TARGET, losses_of, trained
from tests.laws.planted import tokens


def test_held_out_points_are_not_proposed() -> None:
    """A horizon as a log has it, a little off the round number; a sweep's learning rate; one of unknown rate."""
    losses = losses_of(STUDY)
    choice = choose(losses, SETTINGS, "tiny", 8)
    lr = lr_at_target(choice, 1e6, TARGET.token_horizon, SETTINGS)
    loss = loss_at_target(choice, losses, SETTINGS, 1e6, TARGET.token_horizon)
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
    choice = choose(losses, SETTINGS, "large", 8)
    big = TARGET.model_copy(update={"model": "large", "n_params_counted": 4_000_000, "token_horizon": tokens(1280.0)})
    lr = lr_at_target(choice, 4e6, big.token_horizon, SETTINGS)
    loss = loss_at_target(choice, losses, SETTINGS, 4e6, big.token_horizon)
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
