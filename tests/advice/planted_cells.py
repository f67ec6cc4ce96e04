"""A study whose further cells are asked for, and what they are asked with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from glidepath.advice.choice import choose
from glidepath.advice.loss import loss_at_target
from glidepath.advice.next_cells import FlopsAdded, next_cells
from glidepath.advice.peak_lr import lr_at_target
from glidepath.advice.trained import Trained
from glidepath.study.added_cells import AddedCell
from glidepath.study.final_losses import FinalLosses, final_losses
from glidepath.study.recommendation import NextCell, TargetRun
from tests.laws.planted import settings, tokens
from tests.synthetic import Study, Truth

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
    choice = choose(losses, SETTINGS, "tiny", 8)
    lr = lr_at_target(choice, 1e6, TARGET.token_horizon, SETTINGS)
    loss = loss_at_target(choice, losses, SETTINGS, 1e6, TARGET.token_horizon)
    return next_cells(choice, TARGET, loss, lr, trained(losses), costs, SETTINGS, n)


def losses_of(study: Study, seed: int = 0) -> FinalLosses:
    return final_losses(*replace(study, own_sd=0.004, position_sd=0.002, shared_sd=0.002, seed=seed).tables())
