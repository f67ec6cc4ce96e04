"""The schedule and the sweeps that everything said of a target rests on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from glidepath.advice.choice import choose, equivalent
from glidepath.advice.loss import loss_at_target
from glidepath.study.final_losses import final_losses
from tests.advice.planted_target import SIZES, STUDY, choice_of, loss_of
from tests.laws.planted import LEVEL, losses_of, settings, tokens
from tests.synthetic import Truth


def test_the_schedule_of_lowest_loss_at_the_longest_horizon() -> None:
    choice = choice_of(losses_of(STUDY))
    assert (choice.model, choice.schedule, choice.tokens_per_parameter, choice.n_schedules) == ("tiny", "wsd", 80.0, 2)
    assert [sweep.tokens_per_parameter for sweep in choice.horizons] == [5.0, 10.0, 20.0, 40.0, 80.0]


def test_a_horizon_with_one_schedule_decides_nothing() -> None:
    """Only cosine was trained at 80: the choice is made at 40."""
    runs, blocks = STUDY.tables()
    runs.loc[(runs["tokens_per_parameter"] == 80) & (runs["schedule"] == "wsd"), "status"] = "excluded"
    choice = choice_of(final_losses(runs, blocks))
    assert (choice.schedule, choice.tokens_per_parameter) == ("wsd", 40.0)
    assert [sweep.tokens_per_parameter for sweep in choice.horizons] == [5.0, 10.0, 20.0, 40.0]


def test_the_largest_model_stands_in_for_one_never_trained() -> None:
    losses = losses_of(replace(STUDY, models={"tiny": 1_000_000, "small": 3_000_000}))
    assert choice_of(losses, "huge").model == "small"


def test_the_largest_studied_model_stands_in_for_one_hardly_trained() -> None:
    """The target's model was trained at one learning rate only."""
    runs, blocks = replace(STUDY, models={"tiny": 1_000_000, "small": 3_000_000}).tables()
    runs = runs[(runs["model"] == "tiny") | np.isclose(runs["peak_lr"], 1e-3)]
    assert choice_of(final_losses(runs, blocks), "small").model == "tiny"


def test_a_batch_never_trained_is_refused() -> None:
    with pytest.raises(ValueError, match=r"target.batch_sequences 32: no cell with that batch is completed"):
        choose(losses_of(STUDY), settings(), "tiny", 32)


def test_a_schedule_that_is_wanted() -> None:
    losses = losses_of(STUDY)
    assert choose(losses, settings(), "tiny", 8, "cosine").schedule == "cosine"
    with pytest.raises(ValueError, match=r"target.schedule 'rex': no run .* there are 'cosine', 'wsd'. Name one"):
        choose(losses, settings(), "tiny", 8, "rex")


def test_equivalents_are_those_not_resolved() -> None:
    """linear is wsd again; cosine is 50 mnat worse with noise of 1 mnat."""
    study = replace(STUDY, schedules={**STUDY.schedules, "linear": Truth(lr_scale=0.7)}).noisy(0.001, 0)
    losses = losses_of(study)
    choice = choice_of(losses)
    assert {choice.schedule, *equivalent(losses, choice, LEVEL)} == {"wsd", "linear"}


def test_sweeps_that_repeat_their_text_are_left_out() -> None:
    """The same grid again over eight epochs, 0.15 nat/token worse."""
    runs, blocks = STUDY.tables()
    again, their_blocks = runs.copy(), blocks.copy()
    for frame in (again, their_blocks):
        frame["cell_id"] += "-again"
    again["epochs"] = 8.0
    again["val_loss"] += 0.15
    their_blocks["loss"] += 0.15
    both = final_losses(pd.concat([runs, again], ignore_index=True), pd.concat([blocks, their_blocks]))
    choice = choice_of(both)
    assert choice.warnings == (
        "5 of 10 sweeps of wsd repeat their text more than 4 times and are left out: the laws take every token for a "
        "fresh one.",
    )
    mixed, fresh = loss_of(both), loss_of(losses_of(STUDY))
    assert mixed is not None
    assert fresh is not None
    assert mixed.value == pytest.approx(fresh.value)
    alone = choice_of(final_losses(again, their_blocks))
    assert (len(alone.horizons), alone.warnings) == (5, ())


def test_laws_over_sizes_are_fitted_to_one_architecture() -> None:
    """Half of the models are of another architecture and 0.15 nat/token worse."""
    models = SIZES.models | {f"other{i}": round(1.3e6 * 2**i) for i in range(4)}
    runs, blocks = replace(SIZES, models=models).tables()
    other = runs["model"].str.startswith("other")
    runs["architecture"] = np.where(other, "Y", "X")
    runs.loc[other, "val_loss"] += 0.15
    losses = final_losses(runs, blocks)
    choice = choose(losses, settings(), "big", 8, architecture="X")
    assert (choice.model, choice.part) == ("m3", "architecture X")
    assert {sweep.group["model"] for sweep in choice.all_sizes} == set(SIZES.models)
    assert "other0, other1, other2, other3: of another architecture than m3" in choice.warnings[0]
    n = 16_000_000
    found = loss_at_target(choice, losses, settings(), n, tokens(40.0, n))
    assert found is not None
    truth = SIZES.schedules["wsd"].val_loss(tokens(40.0, n)) + SIZES.size_term(n)
    assert found.value == pytest.approx(truth, abs=0.01)


def test_runs_of_unknown_size_are_left_out_and_refused_where_all_are() -> None:
    runs, blocks = replace(STUDY, models={"tiny": 1_000_000, "odd": 2_000_000}).tables()
    runs["n_params_counted"] = runs["n_params_counted"].astype("Int64")
    runs.loc[runs["model"] == "odd", ["n_params_counted", "tokens_per_parameter"]] = np.nan
    choice = choice_of(final_losses(runs, blocks), "odd")
    assert (choice.model, len(choice.all_sizes)) == ("tiny", 5)
    only = runs["model"] == "odd"
    unknown = final_losses(runs[only], blocks[blocks["cell_id"].isin(runs.loc[only, "cell_id"])])
    with pytest.raises(ValueError, match=r"size of no run in question is known.* Give n_params_total"):
        choice_of(unknown)
