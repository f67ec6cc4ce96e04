"""Each answer says what was planted, as sure as it was planted, and its rows can be looked up."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.report import numbers
from glidepath.report.answer import Answer, Target
from glidepath.report.answers import answers
from glidepath.report.schedule import zero_pairs
from tests.figures import planted
from tests.report.conftest import NEAR, TARGET, schedules, target_run, with_recommendation

Tables = dict[str, pd.DataFrame]
NUMBER = r"[−+]?\d+(?:\.\d+)?(?:e-?\d+)?"


def value_of(text: str) -> float:
    return float(text.replace("−", "-"))


def answer(tables: Tables, number: int, target: Target = TARGET) -> Answer:
    return answers(tables, target)[number - 1]


def lookup(tables: Tables, table: str, query: str) -> pd.DataFrame:
    return tables[table.removesuffix(".parquet")].query(query)


def test_five_questions_are_answered_in_order(whole: Tables) -> None:
    assert [a.number for a in answers(whole, TARGET)] == [1, 2, 3, 4, 5]
    assert all(a.headline and a.how_sure and a.evidence for a in answers(whole, TARGET))


def test_without_any_row_what_rests_on_tables_is_not_measured() -> None:
    found = answers(planted.empty_tables(), with_recommendation(predicted_loss=()))
    for number in (1, 3, 4, 5):
        assert found[number - 1].sure == "not measured"
        assert found[number - 1].headline.startswith("Not measured")
        assert not found[number - 1].evidence


def test_every_evidence_has_rows(whole: Tables) -> None:
    for found in answers(whole, TARGET):
        for evidence in found.evidence:
            assert evidence.rows
            for rows in evidence.rows:
                assert len(lookup(whole, rows.table, rows.filter)), f"{rows.table}: {rows.filter}"


def test_differences_in_words_are_those_of_the_table(whole: Tables) -> None:
    found = answer(whole, 1)
    checked = 0
    for evidence in found.evidence:
        match = re.match(rf"(\w+) − (\w+): ({NUMBER}) ± ({NUMBER}) nat/token, ([a-z ]+) \(", evidence.text)
        if match:
            row = lookup(whole, evidence.rows[0].table, evidence.rows[0].filter).iloc[0]
            assert match[1] == row["schedule"]
            assert value_of(match[3]) == pytest.approx(row["difference"], abs=5.1e-5)
            assert value_of(match[4]) == pytest.approx(row["standard_error"], abs=5.1e-5)
            assert match[5] == row["verdict"]
            checked += 1
    assert checked == 5


def test_best_schedule_is_named_and_its_lead_is_judged(whole: Tables) -> None:
    found = answer(whole, 1)
    assert found.headline.startswith("linear_zero has the lowest loss at 20 tokens per parameter")
    assert "not resolved from cosine_zero" in found.how_sure
    assert "Decaying to zero is worth it at 20" in found.headline
    assert found.sure == "extrapolated", "the target is four times as long as the longest horizon"


def test_within_the_measured_horizons_the_answer_is_resolved(whole: Tables) -> None:
    assert answer(whole, 1, NEAR).sure == "resolved"
    assert not [c for c in answer(whole, 1, NEAR).caveats if "target" in c]


def test_not_resolved_is_said_plainly(noisy: Tables) -> None:
    for number in (1, 4):
        found = answer(noisy, number)
        assert found.sure == "not resolved"
        assert "Not resolved" in found.headline
    assert "whether decaying to zero is worth it is not resolved" in answer(noisy, 1).headline.lower()


def test_reference_is_best_when_all_others_are_worse(whole: Tables) -> None:
    tables = {**whole, "comparisons": whole["comparisons"].query("schedule == 'constant'")}
    found = answer(tables, 1, NEAR)
    assert found.headline.startswith("cosine_10: at 20 tokens per parameter every other schedule is worse")
    assert found.sure == "resolved"
    assert "not measured, no two schedules differ" in found.headline


def test_zero_against_floor_through_the_reference_adds_errors() -> None:
    """With linear_zero as the reference, cosine_zero − cosine_10 is a difference of two differences."""
    comparisons = pd.DataFrame(
        {
            "model": "small",
            "batch_sequences": 8,
            "tokens_per_parameter": 20.0,
            "schedule": ["cosine_zero", "cosine_10"],
            "difference": [0.003, 0.015],
            "standard_error": [0.003, 0.004],
            "ci_low": [-0.003, 0.007],
            "ci_high": [0.009, 0.023],
        }
    )
    (pair,) = zero_pairs(schedules(), comparisons, "linear_zero")
    assert pair.difference == pytest.approx(-0.012)
    assert pair.standard_error == pytest.approx(0.005)
    assert pair.half_width == pytest.approx(np.hypot(0.006, 0.008))
    assert pair.verdict == "better"


ZERO = {"kind": "polynomial", "final_lr_fraction": 0, "exponent": 2.0}
ENDS = {"kind": "wsd_s", "final_lr_fraction": 0, "ends": [0.5], "decay_fraction": 0.1, "decay_shape": "linear"}


@pytest.mark.parametrize(
    ("zero", "other"),
    [
        (ZERO, {"exponent": 1.5}),
        (ZERO, {"refreshes": 10}),
        (ZERO, {"batch": {"kind": "linear", "start_fraction": 0.25}}),
        (ENDS, {"ends": [0.25, 0.5]}),
        (ENDS, {"decay_fraction": 0.101}),
        ({"kind": "cyclic", "cycles": 3, "cycle_shape": "linear", "final_lr_fraction": 0, "restart": True},
         {"cycles": 4}),
    ],
)  # fmt: skip
def test_schedules_that_differ_in_more_than_the_floor_are_no_pair(zero: dict[str, Any], other: dict[str, Any]) -> None:
    comparisons = pd.DataFrame(
        {
            "model": "small", "batch_sequences": 8, "tokens_per_parameter": 20.0, "schedule": ["zero", "floor"],
            "difference": [0.0, 0.015], "standard_error": 0.003, "ci_low": [-0.01, 0.005], "ci_high": [0.01, 0.025],
        }
    )  # fmt: skip
    floor = {**zero, "final_lr_fraction": 0.1}
    (pair,) = zero_pairs(schedules(zero=zero, floor=floor), comparisons, "cosine_10")
    assert (pair.zero, pair.floor, pair.final_lr_fraction) == ("zero", "floor", 0.1)
    assert list(zero_pairs(schedules(zero=zero, floor={**floor, **other}), comparisons, "cosine_10")) == []


def test_peak_learning_rate_is_the_planted_optimum(whole: Tables) -> None:
    found = answer(whole, 2)
    match = re.match(rf"Peak ({NUMBER}) \[({NUMBER}), ({NUMBER})\]", found.headline)
    assert match
    assert value_of(match[1]) == pytest.approx(planted.optimum("linear_zero", planted.TARGET), rel=0.05)
    assert value_of(match[2]) < value_of(match[1]) < value_of(match[3])
    assert found.sure == "extrapolated"


def test_a_peak_without_an_interval_is_not_resolved(whole: Tables) -> None:
    peak = {"value": 0.004, "ci_low": None, "ci_high": None, "ci_level": 0.9, "sources": ()}
    found = answer(whole, 2, with_recommendation(peak_lr=peak))
    assert found.sure == "not resolved"
    assert "4e-3 [interval not identified]" in found.headline


def test_within_the_tuned_horizons_peak_and_loss_are_resolved(whole: Tables) -> None:
    assert answer(whole, 2, NEAR).sure == "resolved"
    assert answer(whole, 5, NEAR).sure == "resolved"


def test_an_exponent_is_given_with_its_interval(whole: Tables) -> None:
    assert any("b = 0.40 [0.30, 0.50]" in evidence.text for evidence in answer(whole, 2).evidence)


def test_noise_scale_is_compared_with_the_batch(whole: Tables) -> None:
    found = answer(whole, 3)
    assert "above the target's batch of 512" in found.headline
    assert "a batch that grows is worth a try" in found.headline
    assert "no second batch was trained" in found.how_sure


def test_best_batch_is_named_when_batches_were_trained() -> None:
    runs = planted.runs(schedules=("linear_zero",), horizons=(20.0,), batches=(4, 8, 16), noise=0.0)
    found = answer({**planted.study_tables(runs)}, 3)
    assert "512 tokens per update has the lowest loss" in found.headline


def test_averaging_does_not_replace_the_decay(whole: Tables) -> None:
    found = answer(whole, 4)
    assert found.headline.startswith("No: the best average stays above a real decay")
    assert found.sure == "extrapolated"
    assert answer(whole, 4, NEAR).sure == "resolved"


def test_the_share_that_is_closed_has_its_error(whole: Tables) -> None:
    """Planted: 0.6 of every gap; the text's error of gain and gap alone is (0.4·0.001 + 0.6·0.0015)/gap."""
    found = answer(whole, 4)
    rows = whole["averages"].query(LAST)
    gap = (rows["val_loss_raw"] - rows["val_loss_cooldown"]).mean()
    match = re.search(rf"closes ({NUMBER}) ± ({NUMBER})\s%", found.headline)
    assert match
    assert value_of(match[1]) == pytest.approx(60.0, abs=0.051)
    assert value_of(match[2]) == pytest.approx(100 * 0.0013 / gap, abs=0.051)
    (text,) = sentences(found, "pairs of a horizon and a peak")
    assert text.startswith(
        f"At {3 * len(planted.HORIZONS)} pairs of a horizon and a peak within a factor 2 of the best"
    )
    assert "best_window closes 60.0 ±" in text
    assert "(2 replicates, each averaged" in text


def test_of_a_gap_that_is_not_resolved_no_share_is_given(whole: Tables) -> None:
    averages = whole["averages"]
    unsure = averages.assign(gap_to_cooldown_sem=0.5)
    for rows in (unsure, averages[averages["cell_id"].str.endswith("r0")]):
        found = answer({**whole, "averages": rows}, 4)
        assert "the gap from the raw weights to the cooldown it closes is not resolved" in found.headline
        assert "%" not in found.headline
        assert not sentences(found, "pairs of a horizon")


@pytest.mark.parametrize("change", [{"status": "excluded"}, {"status": "diverged"}, {"holdout": True}])
def test_cells_that_other_answers_leave_out_change_nothing(whole: Tables, change: dict[str, Any]) -> None:
    """One replicate of the highest averaged peak is far off at all horizons."""
    runs, averages = whole["runs"], whole["averages"]
    highest = (runs["schedule"] == "constant") & (runs["peak_lr"] == 0.008)
    lost = runs[highest & (runs["replicate"] == 0)]["cell_id"] if "status" in change else runs[highest]["cell_id"]
    assert len(lost)
    marked = runs.assign(**{name: runs[name].where(~runs["cell_id"].isin(lost), new) for name, new in change.items()})
    off = averages["cell_id"].isin(lost) * 0.5
    shifted = averages.assign(gain=averages["gain"] + off, gap_to_cooldown=averages["gap_to_cooldown"] - off)
    shifted["val_loss_averaged"] -= off
    without = averages[~averages["cell_id"].isin(runs[highest]["cell_id"])]
    found, expected = (answer({**whole, "runs": marked, "averages": rows}, 4, NEAR) for rows in (shifted, without))
    assert found == expected
    flipped = answer({**whole, "averages": shifted}, 4, NEAR)
    assert flipped.headline != expected.headline


def test_held_out_horizons_do_not_answer(whole: Tables) -> None:
    runs = whole["runs"]
    longest = (runs["schedule"] == "constant") & (runs["tokens_per_parameter"] == planted.HORIZONS[-1])
    found = answer({**whole, "runs": runs.assign(holdout=longest)}, 4)
    assert f"and {planted.HORIZONS[-2]:g} tokens per parameter" in found.evidence[0].text
    hidden = answer({**whole, "runs": runs.assign(holdout=True)}, 4)
    assert hidden.sure == "not measured"
    assert "held out do not count" in hidden.how_sure


def sentences(found: Answer, words: str) -> list[str]:
    return [evidence.text for evidence in found.evidence if words in evidence.text]


def test_of_windows_the_one_chosen_on_other_blocks_is_judged(whole: Tables) -> None:
    """window_20 would be better by half, seen on the blocks that chose it."""
    averages = whole["averages"]
    chosen = averages["average"] == "window_20"
    flattered = averages.assign(val_loss_averaged=averages["val_loss_averaged"] - 0.5 * chosen * averages["gain"])
    found = answer({**whole, "averages": flattered}, 4)
    assert "closes 60" in found.headline
    assert "(best_window: 13 snapshots over the last 18 % of the horizon)" in found.evidence[0].text
    assert any("chosen on one half of the validation blocks" in caveat for caveat in found.caveats)


def test_without_windows_the_choice_is_said_to_flatter(whole: Tables) -> None:
    averages = whole["averages"]
    tables = {**whole, "averages": averages[~averages["averaging_scheme"].isin(["window", "best_window"])]}
    found = answer(tables, 4)
    assert "closes 58" in found.headline
    assert any("best of 5 averages was chosen on the blocks it is scored on" in caveat for caveat in found.caveats)


def test_what_averaging_gains_along_training(whole: Tables) -> None:
    """Planted: a share of a gap that grows as the root of the tokens."""
    (text,) = sentences(answer(whole, 4), "Along training")
    parts = re.findall(rf"({NUMBER}) ± ({NUMBER}) after ([0-9.]+)([kM])", text)
    tokens = [float(number) * {"k": 1e3, "M": 1e6}[unit] for _, _, number, unit in parts]
    assert tokens == pytest.approx([125e3, 500e3, 2e6], rel=0.01)
    early, end = value_of(parts[0][0]), value_of(parts[2][0])
    assert early == pytest.approx(-0.6 * 0.066 * np.sqrt(1.25 / 20), abs=1e-4)
    assert end == pytest.approx(-whole["averages"].query(LAST)["gain"].mean(), abs=1e-4)


LAST = "average == 'best_window' and domain == 'text' and tokens_seen > 1.9e6 and cell_id.str.contains('lr0.002')"


def test_steps_saved_are_those_of_the_table(whole: Tables) -> None:
    """Of the window that is best at the end, at the last point that the raw weights still reach."""
    found = answer(whole, 4)
    (evidence,) = [evidence for evidence in found.evidence if "is as good as" in evidence.text]
    row = lookup(whole, evidence.rows[0].table, evidence.rows[0].filter).iloc[0]
    assert (row["average"], row["status"]) == ("window_20", "reached")
    assert evidence.text.startswith(
        "window_20 after 1.41M tokens is as good as the raw weights are after 1.51M: it saves"
    )
    assert f"({round(row['updates_saved'])} updates" in evidence.text


def test_savings_that_end_with_training_are_lower_bounds(whole: Tables) -> None:
    saved = whole["steps_saved"]
    open_end = {"status": "beyond", "tokens_saved_low": 1.5e6, "tokens_saved_high": np.nan}
    never = saved.assign(tokens_saved=saved["tokens_seen"].max() - saved["tokens_seen"], **open_end)
    found = answer({**whole, "steps_saved": never}, 4)
    assert not sentences(found, "is as good as")
    (text,) = sentences(found, "do not get there")
    assert text.endswith("so it saves at least 1.87M tokens [1.5M, beyond the end of training].")
    nothing = saved.assign(status="none", tokens_saved=np.nan)
    assert sentences(answer({**whole, "steps_saved": nothing}, 4), "saves no training at any point")


def test_the_oracle_comes_with_its_error_and_with_what_is_simpler(whole: Tables) -> None:
    found = answer(whole, 4)
    (text,) = sentences(found, "root mean square error")
    scores = whole["cooldown_oracle_scores"].query("validation == 'leave_one_trunk_out'").set_index("predictor")["rmse"]
    for name in scores.index:
        assert f"{scores[name]:.2g}" in text
    assert "smaller error" not in text
    predictions = sentences(found, "Predicted for the checkpoint")
    assert len(predictions) == 2
    assert all("of which the prediction knew nothing" in prediction for prediction in predictions)
    beaten = whole["cooldown_oracle_scores"].assign(
        rmse=lambda rows: rows["rmse"].where(rows["predictor"] != "oracle", 1.0)
    )
    (text,) = sentences(answer({**whole, "cooldown_oracle_scores": beaten}, 4), "root mean square error")
    assert text.endswith("The simpler predictor averaged has the smaller error.")


def test_an_oracle_that_refuses_says_why(whole: Tables) -> None:
    refused = whole["cooldown_oracle"].assign(
        status="refused", reason="peak_lr 1: the calibrating cooldowns have 2 … 3"
    )
    found = answer({**whole, "cooldown_oracle": refused}, 4)
    assert sentences(found, "is refused: peak_lr 1: the calibrating cooldowns have 2 … 3.")
    assert not sentences(found, "Predicted for")


def test_loss_is_the_planted_one(whole: Tables) -> None:
    found = answer(whole, 5)
    match = re.match(rf"({NUMBER}) \[({NUMBER}), ({NUMBER})\] nat/token", found.headline)
    assert match
    assert value_of(match[1]) == pytest.approx(planted.best_loss("linear_zero", planted.TARGET), abs=0.005)
    assert found.sure == "extrapolated"


def test_another_model_stands_in_only_with_a_caveat(whole: Tables) -> None:
    found = answers(whole, with_recommendation(target=target_run(model="huge"), predicted_loss=()))
    for number in (1, 2):
        assert any("not on the target huge" in caveat for caveat in found[number - 1].caveats)
    assert found[4].sure == "not measured"


def test_an_uncertain_noise_scale_makes_no_case(whole: Tables) -> None:
    scale = whole["noise_scale"]
    wide = {end: factor * scale["noise_scale_tokens"] for end, factor in (("ci_low", 0.01), ("ci_high", 100.0))}
    tables = {**whole, "noise_scale": scale.assign(**wide)}
    found = answer(tables, 3)
    assert "not resolved from the target's batch" in found.headline
    assert "Whether it grows along training is not resolved" in found.headline


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (-0.01234, 0.0015, "−0.0123 ± 0.0015"),
        (0.5, 0.03, "+0.500 ± 0.030"),
        (0.00001, 0.002, "0.0000 ± 0.0020"),
        (0.0123, float("nan"), "+0.012 (error unknown)"),
    ],
)
def test_numbers_are_rounded_to_their_uncertainty(value: float, error: float, expected: str) -> None:
    assert numbers.difference(value, error) == expected


def test_large_numbers_lose_digits_that_mean_nothing() -> None:
    assert numbers.estimate(8525.0, 1705.0) == "8500 ± 1700"
    assert numbers.interval(3.04412, 3.0239, 3.0651) == "3.044 [3.024, 3.065]"
    assert numbers.interval(3.04, float("nan"), 3.1) == "3.040 [interval not identified]"
