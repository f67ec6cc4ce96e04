"""A study of two schedules, and what the laws say of a target beyond its horizons."""

from __future__ import annotations

from dataclasses import replace

from glidepath.advice.choice import Choice, choose
from glidepath.advice.loss import LossAtTarget, loss_at_target
from glidepath.advice.peak_lr import LrAtTarget, lr_at_target
from glidepath.study.final_losses import FinalLosses
from tests.laws.planted import settings, tokens
from tests.synthetic import Study, Truth

STUDY = Study(schedules={"cosine": Truth(irreducible_loss=2.05), "wsd": Truth(lr_scale=0.7)})
TARGET = 160.0
SIZES = replace(
    STUDY,
    models={f"m{i}": 10**6 * 2**i for i in range(4)},
    tokens_per_parameter=(5.0, 10.0, 20.0, 40.0),
    size_amplitude=0.5,
)


def choice_of(losses: FinalLosses, model: str = "tiny") -> Choice:
    return choose(losses, settings(), model, 8)


def lr_of(choice: Choice, tokens_per_parameter: float = TARGET, seed: int = 0) -> LrAtTarget:
    return lr_at_target(choice, choice.n_params, tokens(tokens_per_parameter), settings(seed))


def loss_of(losses: FinalLosses, n_params: float = 1e6, seed: int = 0, at: float = TARGET) -> LossAtTarget | None:
    return loss_at_target(choice_of(losses), losses, settings(seed), n_params, tokens(at))
