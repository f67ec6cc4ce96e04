"""Question 3 from critical batches and batch paths whose numbers are given here."""

from __future__ import annotations

from typing import Any

import pytest

from glidepath.report.batch import answer
from glidepath.report.batch_path import path
from glidepath.report.card import card
from glidepath.report.critical_batch import critical
from glidepath.study import tables
from tests.figures.planted import filled
from tests.report.conftest import BATCH_TOKENS, TARGET, Tables, estimate, recommended


def swept(**changes: Any) -> dict[str, Any]:
    """A critical batch of twice the target's batch, within 20 %."""
    value = 2.0 * BATCH_TOKENS
    return {
        "model": "small", "schedule": "constant", "weights": "raw", "lr_rule": "re_tuned", "target_loss": 3.2,
        "definition": "step_data_tradeoff", "critical_batch_tokens": value, "critical_batch_tokens_ci_low": 0.8 * value,
        "critical_batch_tokens_ci_high": 1.2 * value, "noise_from": "replicates", "n_batches": 5, "status": "converged",
        "ci_level": 0.9, "over_noise_scale_total": 0.5, "over_noise_scale_total_ci_low": 0.4,
        "over_noise_scale_total_ci_high": 0.625, **changes,
    }  # fmt: skip


def saved(**changes: Any) -> dict[str, Any]:
    """A ramp that needs a tenth of the tokens less."""
    return {
        "schedule": "ramp", "fixed_schedule": "linear_zero", "model": "small", "tokens_per_parameter": 20.0,
        "batch_sequences": 8, "lr_choice": "equal", "peak_lr": 0.004, "fixed_peak_lr": 0.004, "at": "end", "point": 0,
        "tokens_saved_fraction": 0.1, "tokens_saved_fraction_low": 0.06, "tokens_saved_fraction_high": 0.14,
        "updates_saved_fraction": -0.5, "seconds_saved_fraction": -0.2, "loss_difference": -0.02,
        "loss_difference_se": 0.004, "n_replicates": 3, "edge_of_grid": False, "status": "saves tokens",
        **changes,
    }  # fmt: skip


def test_the_critical_batch_is_told_with_its_interval_and_definition(whole: Tables) -> None:
    rows = filled(
        tables.CRITICAL_BATCH,
        [
            swept(),
            swept(target_loss=3.6),
            swept(target_loss=3.0, weights="window_10"),
            swept(target_loss=3.1, status="not_identified", reason="no bend"),
        ],
    )
    found = critical(whole | {"critical_batch": rows}, TARGET)
    assert found is not None
    assert "to a loss of 3.200 is 1024 [819, 1.23k] tokens, by the trade-off of updates and examples" in found.sentence
    assert "the target's batch of 512 is below it" in found.sentence
    assert found.sure == "resolved"
    assert [evidence.text for evidence in found.evidence] == [
        "constant, raw weights, the best learning rate of every batch, the trade-off of updates and examples: "
        "1024 [819, 1.23k] tokens. It is 0.5 [0.4, 0.62] times the noise scale of all layers there."
    ]
    (row,) = found.evidence[0].rows
    assert len(rows.query(row.filter)) == 1


def test_the_critical_batch_is_that_of_the_schedule_with_most_batches(whole: Tables) -> None:
    """As the card tells it, whatever another one aims at; of the recommended schedule if that was swept."""
    other = swept(schedule="inverse_sqrt", target_loss=2.5, n_batches=4)
    found = critical(whole | {"critical_batch": filled(tables.CRITICAL_BATCH, [other, swept()])}, TARGET)
    assert found is not None
    assert "to a loss of 3.200" in found.sentence
    own = swept(schedule=TARGET.schedule, target_loss=3.4, n_batches=3)
    found = critical(whole | {"critical_batch": filled(tables.CRITICAL_BATCH, [other, swept(), own])}, TARGET)
    assert found is not None
    assert "to a loss of 3.400" in found.sentence


@pytest.mark.parametrize(("value", "place"), [(0.5, "is above it"), (1.0, "is not resolved from it")])
def test_the_target_is_placed_against_it(whole: Tables, value: float, place: str) -> None:
    ends = {
        f"critical_batch_tokens{end}": value * factor * BATCH_TOKENS
        for end, factor in (("", 1.0), ("_ci_low", 0.8), ("_ci_high", 1.2))
    }
    found = critical(whole | {"critical_batch": filled(tables.CRITICAL_BATCH, [swept(**ends)])}, TARGET)
    assert found is not None
    assert f"the target's batch of 512 {place}" in found.sentence


def test_a_sweep_without_a_bend_is_not_resolved(whole: Tables) -> None:
    row = swept(status="not_identified", reason="the bend lies beyond the largest batch, 64. Train larger batches")
    found = critical(whole | {"critical_batch": filled(tables.CRITICAL_BATCH, [row])}, TARGET)
    assert found is not None
    assert found.sure == "not resolved"
    assert "beyond the largest batch, 64" in found.because


def test_a_path_says_what_it_saves_and_what_it_costs(whole: Tables) -> None:
    rows = [saved(lr_choice="best"), saved(), saved(schedule="staged", lr_choice="best")]
    found = path(whole | {"batch_saving": filled(tables.BATCH_SAVING, [*rows, saved(at="curve")])}, TARGET)
    assert found is not None
    assert found.sentence == (
        "At 20 tokens per parameter against linear_zero, to the same loss, ramp takes −10.0 % tokens [−14.0, −6.0] and "
        "+50.0\N{NO-BREAK SPACE}% updates, staged takes −10.0 % tokens [−14.0, −6.0] and "
        "+50.0\N{NO-BREAK SPACE}% updates."
    )
    assert found.sure == "resolved"
    assert len(found.evidence) == 2
    assert "at equal tokens −0.0200 ± 0.0040 nat/token" in found.evidence[0].text


def test_a_path_whose_best_rate_is_at_an_edge_says_so(whole: Tables) -> None:
    rows = saved(lr_choice="best"), saved(lr_choice="best", schedule="staged", edge_of_grid=True)
    inside, outside = (
        path(whole | {"batch_saving": filled(tables.BATCH_SAVING, list(some))}, TARGET) for some in (rows[:1], rows)
    )
    assert inside is not None
    assert outside is not None
    assert not any("edge of its grid" in caveat for caveat in inside.caveats)
    assert any("learning rate of staged or of the fixed batch lies at the edge" in caveat for caveat in outside.caveats)


@pytest.mark.parametrize(("n_tried", "words"), [(1, "of the tokens"), (3, "of the tokens, the best of 3 paths tried")])
def test_the_card_tells_the_rate_of_a_path_and_of_how_many_it_is_the_best(n_tried: int, words: str) -> None:
    saves = estimate(0.1, 0.04, 0.9, "batch_saving", schedule="ramp")
    grows = {"schedule": "ramp", "peak_lr": 0.002, "tokens_saved_fraction": saves, "n_tried": n_tried}
    critical_batch = estimate(4000.0, 1000.0, 0.9, "critical_batch", schedule="constant")
    summary = card(recommended(batch_path=grows, critical_batch_tokens=critical_batch)).summary
    (value,) = (value for value in summary if value.name == "Batch that grows")
    assert value.text == "ramp"
    assert value.detail == f"at peak learning rate 2e-3 saves 10.0 % [6.0, 14.0] {words}"
    assert any("critical batch of constant 4000 [3000, 5000] tokens" in value.detail for value in summary)


def test_a_saving_within_its_interval_is_not_resolved(whole: Tables) -> None:
    row = saved(tokens_saved_fraction_low=-0.02, status="not resolved")
    found = path(whole | {"batch_saving": filled(tables.BATCH_SAVING, [row])}, TARGET)
    assert found is not None
    assert found.sure == "not resolved"
    assert "not resolved" in found.sentence


def test_the_answer_joins_what_was_measured(whole: Tables) -> None:
    whole = {name: table for name, table in whole.items() if name not in ("critical_batch", "batch_saving")}
    alone = answer(whole, TARGET)
    joined = answer(
        whole
        | {
            "critical_batch": filled(tables.CRITICAL_BATCH, [swept()]),
            "batch_saving": filled(tables.BATCH_SAVING, [saved()]),
        },
        TARGET,
    )
    assert alone.sure == "not resolved"
    assert joined.sure == "resolved"
    assert (
        joined.headline.index("critical batch") < joined.headline.index("noise scale") < joined.headline.index("ramp")
    )
    assert len(joined.evidence) == len(alone.evidence) + 2
