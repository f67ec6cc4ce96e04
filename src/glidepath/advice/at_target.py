"""Everything that the laws say of one run: the best peak learning rate, what its own one costs, and its loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glidepath.advice.choice import Choice
from glidepath.advice.loss import LossAtTarget, loss_at_target
from glidepath.advice.lr_mistake import Mistake, mistake
from glidepath.advice.peak_lr import LrAtTarget, lr_at_target
from glidepath.advice.regret import regret_of
from glidepath.laws.law import Settings
from glidepath.study.final_losses import FinalLosses


@dataclass(frozen=True)
class AtTarget:
    """What the laws say of one run."""

    lr: LrAtTarget
    """The best one, whatever it is launched with."""
    launched_at: float | None
    """Its own peak learning rate; None: it has none, and no best one is known."""
    mistake: Mistake | None
    loss: LossAtTarget | None


def at_target(
    choice: Choice,
    losses: FinalLosses,
    settings: Settings,
    n_params: float,
    token_horizon: float,
    peak_lr: float | None,
) -> AtTarget:
    """Of a run of the chosen schedule and batch; peak_lr None: it is launched with the best one."""
    lr, cost = lr_at_target(choice, n_params, token_horizon, settings), mistake(choice)
    launched_at = peak_lr or (lr.value if lr.is_known else None)
    regret = None
    if cost and launched_at and 0 < launched_at < np.inf:
        regret = regret_of(cost.sweep, lr, launched_at)
    loss = loss_at_target(choice, losses, settings, n_params, token_horizon, regret)
    return AtTarget(lr, launched_at, cost, loss)
