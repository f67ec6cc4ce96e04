"""What a recommendation tells a person in words: how sure it is, and what is doubtful."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from glidepath.advice.at_target import AtTarget
from glidepath.advice.choice import CARRYING, Choice
from glidepath.advice.loss import LossAtTarget
from glidepath.laws.law import EXTRAPOLATION
from glidepath.laws.predictors import SAME_SIZE
from glidepath.study.final_losses import FinalLosses
from glidepath.study.recommendation import LawAtTarget, TargetRun


def on_the_choice(
    choice: Choice, equivalent: tuple[str, ...], horizon_extrapolation: float, losses: FinalLosses
) -> tuple[str, ...]:
    """How sure the schedule is, how far the horizon lies, and how much replicates differ."""
    where = f"at {choice.tokens_per_parameter:g} tokens per parameter of {choice.model}"
    if equivalent:
        told = f"{choice.schedule} has the lowest loss {where}, but is not resolved from {', '.join(equivalent)}."
    elif choice.n_schedules == 1:
        told = f"{choice.schedule} is the only schedule {where}: nothing was compared."
    else:
        told = f"{choice.schedule} has the lowest loss {where}, resolved from every other schedule trained there."
    reached = (
        f"The target's horizon is {horizon_extrapolation:.3g} times the longest one trained."
        if horizon_extrapolation > 1
        else "The target's horizon lies within the trained ones."
    )
    noise = losses.noise
    replicates = (
        f"Replicates differ by {np.hypot(noise.own_sd, noise.position_sd):.3f} nat/token beyond what all cells of "
        f"a replicate share (one standard deviation, pooled with {noise.degrees_of_freedom} degrees of freedom)."
        if noise.degrees_of_freedom
        else "There are no replicates: no difference between runs is resolved. Add replicates."
    )
    return told, reached, replicates


def on_the_laws(loss: LossAtTarget) -> Iterator[str]:
    """What the law of the loss missed out of sample, and what the others say."""
    prediction = loss.prediction
    chosen, scored = prediction.chosen, prediction.chosen.out_of_sample
    if scored.root_mean_square_error is not None:
        yield (
            f"The loss is that of the law {chosen.law}, which missed {scored.n_hidden} hidden points, up to "
            f"{scored.farthest_factor:.3g} times beyond what it had seen, by {scored.root_mean_square_error:.2g} "
            f"nat/token (root mean square). {_carried(chosen, loss.said[0].reach)}"
        )
    if prediction.others:
        others = ", ".join(f"{other.law} {other.predicted_loss:.3f}" for other in prediction.others)
        yield f"Other laws say {others} nat/token where it says {chosen.predicted_loss:.3f}."


def _carried(law: LawAtTarget, reach: float) -> str:
    """What the misses mean at the target."""
    if law.law_error_sd is None:
        return "What that means at the target is not known."
    where = f"lies {np.exp(reach):.3g} times beyond" if reach > 0 else "lies within what it is fitted to"
    return (
        f"The target {where}: carried to it, that is an error of {law.law_error_sd:.2g} nat/token (one standard "
        f"deviation), which the interval includes."
    )


def on_held_out_runs(runs: pd.DataFrame) -> Iterator[str]:
    """That they are left alone."""
    n = int((runs["holdout"] & (runs["status"] == "completed")).sum())
    if n:
        yield (
            f"{n} {'run is' if n == 1 else 'runs are'} held out: nothing here is fitted to them, and none of them is "
            f"named as a further run. Taken out of holdout they sharpen the laws at no cost."
        )


def warnings(target: TargetRun, choice: Choice, said: AtTarget, horizon_extrapolation: float) -> Iterator[str]:
    """What is doubtful about all of it; what is doubtful about its parts is said with them."""
    lr, loss, mistake = said.lr, said.loss, said.mistake
    if lr.is_known and abs(np.log(choice.n_params / target.n_params_counted)) > SAME_SIZE:
        name = target.model or f"A model of {target.n_params_counted:.3g} parameters"
        carried = (
            "which muP carries over width but nothing carries over depth"
            if choice.parametrization in CARRYING
            else "and nothing carries learning rates over sizes but the laws fitted to several of them"
        )
        yield (
            f"{name} was not studied with this batch (two schedules, three learning rates and three horizons): "
            f"schedule and learning rate are those of {choice.model}, {carried}. Train that model too."
        )
    if loss is None:
        yield (
            "No loss is predicted: that needs the target's model at three horizons, or three sizes at three "
            "horizons (not all at one number of tokens per parameter, unless the target has it too), with losses "
            "that fall. Add horizons or sizes."
        )
    if horizon_extrapolation > EXTRAPOLATION:
        yield (
            f"The target's horizon is {horizon_extrapolation:.3g} times the longest one trained: treat everything here "
            f"as a guess."
        )
    if target.peak_lr and lr.is_known and mistake:
        off = float(np.log(target.peak_lr / lr.value))
        if abs(off) > np.log(1.1) and loss is not None:
            yield (
                f"The target's peak learning rate {target.peak_lr:g} is {np.exp(off):.2g} times the best one found; "
                f"the predicted loss includes {loss.regret:.2g} nat/token for it."
            )
    if target.peak_lr and not mistake and loss is not None:
        yield (
            f"The predicted loss is that of runs as they are swept here: no sweep has its optimum inside its grid, so "
            f"what the target's peak learning rate {target.peak_lr:g} costs is not known."
        )
