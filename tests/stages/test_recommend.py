"""`glidepath recommend` on planted studies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glidepath.__main__ import main
from glidepath.study import tables
from glidepath.study.model_config import OptimizerConfig
from glidepath.study.recommendation import Recommendation
from tests.figures.planted import filled
from tests.synthetic import Study, Truth

STUDY = Study(schedules={"cosine": Truth(irreducible_loss=2.05, kind="cosine"), "wsd": Truth(lr_scale=0.7)}).noisy(
    0.002, 0
)


def target(tokens_per_parameter: float = 160.0, **changes: Any) -> dict[str, Any]:
    total_steps = round(tokens_per_parameter * 1_000_000 / 512)
    return {
        "model": "tiny", "n_params_counted": 1_000_000, "n_params_non_embedding": 900_000, "context_length": 64,
        "tokens_per_parameter": tokens_per_parameter, "batch_sequences": 8, "batch_tokens": 512,
        "total_steps": total_steps, "token_horizon": 512 * total_steps, **changes,
    }  # fmt: skip


def recommend(
    tmp_path: Path,
    frames: tuple[pd.DataFrame, pd.DataFrame],
    wanted: dict[str, Any] | None = None,
    averages: pd.DataFrame | None = None,
    noise_scale: pd.DataFrame | None = None,
    optimizer: dict[str, Any] | None = None,
    critical_batch: pd.DataFrame | None = None,
    batch_saving: pd.DataFrame | None = None,
) -> Recommendation:
    given = {
        "runs": (tables.RUNS, frames[0]),
        "block-losses": (tables.BLOCK_LOSSES, frames[1]),
        "averages": (tables.AVERAGES, averages),
        "noise-scale": (tables.NOISE_SCALE, noise_scale),
        "critical-batch": (tables.CRITICAL_BATCH, critical_batch),
        "batch-saving": (tables.BATCH_SAVING, batch_saving),
    }
    arguments = []
    for name, (table, frame) in given.items():
        tables.write(table, tables.empty(table) if frame is None else frame, tmp_path / f"{name}.parquet")
        arguments += [f"--{name}", tmp_path / f"{name}.parquet"]
    arguments += [
        "--study-name", "synthetic", "--target", json.dumps(wanted or target()), "--reference-schedule", "cosine",
        "--optimizer", OptimizerConfig.model_validate(optimizer or {}).model_dump_json(),
        "--ci-level", 0.9, "--bootstrap-samples", 100, "--seed", 0, "--output", tmp_path / "recommendation.json",
    ]  # fmt: skip
    assert main(["recommend", *map(str, arguments)]) == 0
    text = (tmp_path / "recommendation.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text
    return Recommendation.model_validate_json(text)


def warned(recommendation: Recommendation, words: str) -> bool:
    return any(words in warning for warning in recommendation.warnings)


def test_planted_answers(tmp_path: Path) -> None:
    """Within a few times the noise: peak learning rate to 10 %, loss to 30 mnat, at twice the longest horizon."""
    found, truth = recommend(tmp_path, STUDY.tables()), STUDY.schedules["wsd"]
    assert (found.study, found.schedule, found.equivalent_schedules) == ("synthetic", "wsd", ())
    assert (found.chosen_at_model, found.chosen_at_tokens_per_parameter) == ("tiny", 80.0)
    assert found.peak_lr is not None
    assert found.peak_lr.value == pytest.approx(truth.peak_lr(160e6), rel=0.1)
    assert found.peak_lr.ci_low is not None
    assert found.peak_lr.ci_high is not None
    assert found.peak_lr.ci_low < found.peak_lr.value < found.peak_lr.ci_high
    assert found.factor_2_lr_cost is not None
    for cost in (found.factor_2_lr_cost.half, found.factor_2_lr_cost.double):
        assert cost.value == pytest.approx(0.05 * np.log(2) ** 2, rel=0.3)
    half, nine_tenths = found.predicted_loss
    assert (half.ci_level, nine_tenths.ci_level) == (0.5, 0.9)
    assert half.value == nine_tenths.value == pytest.approx(truth.val_loss(160e6), abs=0.06)
    for estimate in found.predicted_loss:
        assert estimate.ci_low is not None
    assert half.ci_low > nine_tenths.ci_low  # type: ignore[operator]
    assert found.horizon_extrapolation == pytest.approx(2.0, rel=1e-3)
    assert (found.weight_decay, found.batch_tokens) == (0.1, 512)
    assert found.noise_scale_tokens is None
    assert (found.averaging.average, found.averaging.gain) == (None, None)
    assert "resolved from every other schedule" in found.how_sure[0]
    assert "2 times the longest one trained" in found.how_sure[1]


def test_sources_are_rows_of_the_tables(tmp_path: Path) -> None:
    """Every key is complete, and the law's row exists."""
    runs, blocks = STUDY.tables()
    found = recommend(tmp_path, (runs, blocks))
    tables.write(tables.BLOCK_LOSSES, blocks, tmp_path / "block_losses.parquet")
    for law in ("lr_horizon", "lr_optimum", "loss_horizon"):
        arguments = ["--law", law, "--results", tmp_path, "--reference-schedule", "cosine"]
        arguments += ["--ci-level", 0.9, "--bootstrap-samples", 10, "--seed", 0]
        assert main(["fit", *map(str, arguments), "--output-directory", str(tmp_path / "laws" / law)]) == 0
    assert found.factor_2_lr_cost is not None
    for estimate in (found.peak_lr, found.factor_2_lr_cost.double, *found.predicted_loss):
        assert estimate is not None
        for source in estimate.sources:
            rows = tables.read(tables.LAW_PARAMETERS, tmp_path / f"{source.table}.parquet")
            for key, value in source.key.items():
                rows = rows[rows[key] == value]
            assert len(rows) == 1


@pytest.mark.parametrize(
    ("optimizer", "shrinkage"),
    [({"weight_decay": 0.02}, None), ({"weight_decay": 0.02, "weight_decay_policy": "independent"}, 0.02),
     ({"weight_decay": None, "weight_decay_policy": "constant_timescale", "weight_decay_timescale_fraction": 0.5},
      2 / 312_500)],
)  # fmt: skip
def test_weight_decay_is_that_of_the_peak_and_horizon_recommended(
    tmp_path: Path, optimizer: dict[str, Any], shrinkage: float | None
) -> None:
    """An update at the peak shrinks weights by the policy's share, whatever the trained cells had: 160e6 tokens are
    312,500 updates, half of which are remembered."""
    found = recommend(tmp_path, STUDY.tables(), optimizer=optimizer)
    if shrinkage is None:
        assert found.weight_decay == 0.02
    else:
        assert found.weight_decay * found.peak_lr.value == pytest.approx(shrinkage, rel=1e-12)


def test_schedules_not_resolved_are_named(tmp_path: Path) -> None:
    study = replace(STUDY, schedules={**STUDY.schedules, "linear": Truth(lr_scale=0.7)}).noisy(0.001, 0)
    found = recommend(tmp_path, study.tables())
    assert {found.schedule, *found.equivalent_schedules} == {"wsd", "linear"}
    assert "is not resolved from" in found.how_sure[0]


def test_one_schedule_is_compared_with_nothing(tmp_path: Path) -> None:
    found = recommend(tmp_path, replace(STUDY, schedules={"wsd": Truth()}).tables())
    assert found.equivalent_schedules == ()
    assert "nothing was compared" in found.how_sure[0]
    assert found.n_schedules_compared == 1


def test_without_replicates_every_schedule_is_equivalent(tmp_path: Path) -> None:
    found = recommend(tmp_path, replace(STUDY, n_replicates=1).tables())
    assert found.equivalent_schedules == ("cosine",)
    assert "Add replicates" in found.how_sure[2]


def test_an_optimum_at_the_edge_is_warned_of(tmp_path: Path) -> None:
    found = recommend(tmp_path, replace(STUDY, lr_centre=5e-5).tables())
    assert warned(found, "at the edge of the grid")
    assert (found.peak_lr.value, found.peak_lr.ci_low, found.peak_lr.ci_high) == (pytest.approx(2e-4), None, None)
    assert found.peak_lr.sources[0].table == "laws/lr_optimum/parameters"
    assert found.factor_2_lr_cost is None


def test_far_extrapolation_is_warned_of(tmp_path: Path) -> None:
    assert not warned(recommend(tmp_path, STUDY.tables()), "treat everything here as a guess")
    assert warned(
        recommend(tmp_path, STUDY.tables(), target(800.0)), "10 times the longest one trained: treat everything"
    )


@pytest.mark.parametrize(
    ("horizons", "words", "n_losses"),
    [((20.0,), "fewer than two optima inside the grid", 0), ((10.0, 40.0), "No loss is predicted", 0),
     ((10.0, 20.0, 40.0), "three parameters through three horizons", 2)],
)  # fmt: skip
def test_few_horizons_are_warned_of(tmp_path: Path, horizons: tuple[float, ...], words: str, n_losses: int) -> None:
    found = recommend(tmp_path, replace(STUDY, tokens_per_parameter=horizons).tables())
    assert warned(found, words)
    assert len(found.predicted_loss) == n_losses


def test_losses_that_rise_predict_nothing(tmp_path: Path) -> None:
    rising = replace(STUDY, schedules={"wsd": Truth(K=-3.0, irreducible_loss=6.0)})
    found = recommend(tmp_path, rising.tables())
    assert found.predicted_loss == ()
    assert warned(found, "with losses that fall")


def test_a_model_never_trained(tmp_path: Path) -> None:
    found = recommend(tmp_path, STUDY.tables(), target(model="large", n_params_counted=4_000_000))
    assert found.chosen_at_model == "tiny"
    assert found.predicted_loss == ()
    assert warned(found, "large was not studied with this batch")


def test_a_larger_size_has_its_loss_from_the_law_in_size_and_horizon(tmp_path: Path) -> None:
    """Three sizes of the chosen schedule; the target is three times as large as the largest, its horizon twice as
    long."""
    sizes = {"xs": 1_000_000, "s": 3_000_000, "m": 9_000_000}
    study = replace(STUDY, models=sizes, size_amplitude=1.0, lr_factors=(0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0))
    wanted = target(model="l", n_params_counted=27_000_000, token_horizon=1_440_000_000)
    found = recommend(tmp_path, study.tables(), wanted)
    assert (found.chosen_at_model, found.schedule) == ("m", "wsd")
    truth = STUDY.schedules["wsd"].val_loss(1.44e9) + study.size_term(27_000_000)
    for estimate in found.predicted_loss:
        assert estimate.value == pytest.approx(truth, abs=0.05)
    assert warned(found, "law in size and horizon over 3 sizes")


def test_a_batch_nobody_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"target.batch_sequences 64: no cell with that batch is completed"):
        recommend(tmp_path, STUDY.tables(), target(batch_sequences=64))
    assert not (tmp_path / "recommendation.json").exists()


def noise_rows(runs: pd.DataFrame, **changes: Any) -> list[dict[str, Any]]:
    """Two windows of the best wsd run at 80 tokens per parameter."""
    row = {
        "cell_id": runs.loc[(runs["schedule"] == "wsd") & (runs["tokens_per_parameter"] == 80), "cell_id"].iloc[0],
        "group": "total", "n_probes": 9, "grad_sq_norm_true": 1.0, "grad_noise_trace": 10.0,
        "noise_scale_sequences": 10.0, "noise_scale_tokens_se": 64.0,
        "ci_low": 1180.0, "ci_high": 1390.0, "ci_level": 0.9, "status": "ok",
    }  # fmt: skip
    return [
        {**row, "window": 0, "tokens_seen": 10_000, "noise_scale_tokens": 640.0, **changes},
        {**row, "window": 1, "tokens_seen": 70_000_000, "noise_scale_tokens": 1280.0, **changes},
    ]


def test_noise_scale_near_the_end(tmp_path: Path) -> None:
    runs, blocks = STUDY.tables()
    rows = filled(tables.NOISE_SCALE, [*noise_rows(runs), *noise_rows(runs, group="body", noise_scale_tokens=1.0)])
    found = recommend(tmp_path, (runs, blocks), noise_scale=rows).noise_scale_tokens
    assert found is not None
    assert found.value == 1280.0
    assert (found.ci_low, found.ci_high) == (1180.0, 1390.0)
    assert found.sources[0].key["window"] == 1


def test_an_untrusted_noise_scale_is_not_passed_on(tmp_path: Path) -> None:
    runs, blocks = STUDY.tables()
    rows = filled(tables.NOISE_SCALE, [*noise_rows(runs, status="untrusted")])
    assert recommend(tmp_path, (runs, blocks), noise_scale=rows).noise_scale_tokens is None


def averages_of(runs: pd.DataFrame, schedule: str, gain: float, tokens_per_parameter: float = 80.0) -> pd.DataFrame:
    """A window and an EMA, the window better, of a constant run, and the best window, which has no name in the study;
    halfway there everything is better; no cooldown."""
    cell = runs[(runs["schedule"] == schedule) & (runs["tokens_per_parameter"] == tokens_per_parameter)].iloc[0]
    plain = {column.name: 1 if column.type == "int64" else 1.0 for column in tables.AVERAGES.columns}
    empty = dict.fromkeys(("val_loss_cooldown", "gap_to_cooldown", "gap_to_cooldown_sem", "closed_fraction"), np.nan)
    schemes = (
        ("window_20", "window", gain),
        ("ema_5", "ema", gain - 0.01),
        ("best_window", "best_window", gain + 0.01),
    )
    return pd.DataFrame(
        [
            plain | empty | {
                "cell_id": cell["cell_id"], "updates_done": updates_done, "at_end": updates_done == cell["total_steps"],
                "average": average, "averaging_scheme": scheme, "window_checkpoints": 7, "window_fraction": 0.2,
                "domain": "text", "cooldown_cell_id": None,
                "val_loss_raw": 3.0, "val_loss_averaged": 3.0 - g - early, "gain": g + early, "gain_sem": 0.01,
            }
            for updates_done, early in ((int(cell["total_steps"]) // 2, 1.0), (int(cell["total_steps"]), 0.0))
            for average, scheme, g in schemes
        ],
        columns=tables.AVERAGES.names,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("constant_wins", "gain", "average"), [(True, 0.1, "window_20"), (True, -0.1, None), (False, 0.1, None)]
)
def test_averaging_is_recommended_where_it_gains_on_the_schedule_chosen(
    tmp_path: Path, constant_wins: bool, gain: float, average: str | None
) -> None:
    constant = Truth(irreducible_loss=1.9 if constant_wins else 2.2, kind="constant")
    runs, blocks = replace(STUDY, schedules={**STUDY.schedules, "constant": constant}).tables()
    averages = averages_of(runs, "constant", gain)
    found = recommend(tmp_path, (runs, blocks), averages=averages)
    assert found.schedule == ("constant" if constant_wins else "wsd")
    what = found.averaging
    described = (what.averaging_scheme, what.window_checkpoints, what.window_fraction)
    assert what.average == average
    assert described == (("window", 7, 0.2) if average else (None, None, None))
    assert what.gain is not None
    assert what.gain.value == pytest.approx(gain)
    assert what.gap_to_cooldown is None
    (source,) = what.gain.sources
    rows = averages[(averages[list(source.key)] == pd.Series(source.key)).all(axis=1)]
    assert rows["gain"].tolist() == [gain]


CONSTANT = replace(STUDY, schedules={**STUDY.schedules, "constant": Truth(irreducible_loss=1.9, kind="constant")})


def gain_found(tmp_path: Path, frames: tuple[pd.DataFrame, pd.DataFrame], *averages: pd.DataFrame) -> float:
    gain = recommend(tmp_path, frames, averages=pd.concat(averages)).averaging.gain
    assert gain is not None
    return gain.value


@pytest.mark.parametrize("status", ["diverged", "excluded"])
def test_averages_at_a_learning_rate_that_lost_a_replicate_recommend_nothing(tmp_path: Path, status: str) -> None:
    """One of two replicates is lost; the other one would be the best."""
    runs, blocks = CONSTANT.tables()
    rates = sorted(runs["peak_lr"].unique())
    low, high = (averages_of(runs[runs["peak_lr"] == rate], "constant", 0.1 + i) for i, rate in enumerate(rates[-2:]))
    assert gain_found(tmp_path, (runs, blocks), low, high) == pytest.approx(1.1)
    same = (runs["schedule"] == "constant") & (runs["tokens_per_parameter"] == 80) & (runs["peak_lr"] == rates[-1])
    runs.loc[same & ~runs["cell_id"].isin(high["cell_id"]), "status"] = status
    assert gain_found(tmp_path, (runs, blocks), low, high) == pytest.approx(0.1)


def test_the_averages_of_the_horizon_that_the_report_answers_for(tmp_path: Path) -> None:
    """Of the longest one that is open to fits and has a cooldown, if any has."""
    runs, blocks = CONSTANT.tables()
    shorter, longest = averages_of(runs, "constant", 0.1, 40.0), averages_of(runs, "constant", 1.1)
    assert gain_found(tmp_path, (runs, blocks), shorter, longest) == pytest.approx(1.1)
    cooled = runs.loc[(runs["schedule"] == "wsd") & (runs["tokens_per_parameter"] == 40), "cell_id"].iloc[0]
    against = {"cooldown_cell_id": cooled, "val_loss_cooldown": 2.8, "gap_to_cooldown": 0.1}
    assert gain_found(tmp_path, (runs, blocks), shorter.assign(**against), longest) == pytest.approx(0.1)
    runs["holdout"] = (runs["schedule"] == "constant") & (runs["tokens_per_parameter"] == 80)
    assert gain_found(tmp_path, (runs, blocks), shorter, longest) == pytest.approx(0.1)


def test_hidden_cells_do_not_recommend(tmp_path: Path) -> None:
    """cosine would win at 80 if its hidden cells counted."""
    runs, blocks = STUDY.tables()
    hidden = (runs["tokens_per_parameter"] == 80) & (runs["schedule"] == "cosine")
    runs.loc[hidden, "val_loss"] -= 1.0
    runs.loc[hidden, "holdout"] = True
    found = recommend(tmp_path, (runs, blocks))
    assert (found.schedule, found.chosen_at_tokens_per_parameter) == ("wsd", 40.0)


def test_same_seed_same_answer(tmp_path: Path) -> None:
    once, again = (recommend(tmp_path, STUDY.tables()).model_dump(exclude={"provenance"}) for _ in range(2))
    assert once == again


def swept(**changes: Any) -> dict[str, Any]:
    return {
        "model": "m", "schedule": "constant", "weights": "raw", "lr_rule": "re_tuned", "target_loss": 3.0,
        "definition": "step_data_tradeoff", "critical_batch_tokens": 4000.0, "critical_batch_tokens_ci_low": 3000.0,
        "critical_batch_tokens_ci_high": 5000.0, "status": "converged", "ci_level": 0.9, **changes,
    }  # fmt: skip


def path_row(**changes: Any) -> dict[str, Any]:
    return {
        "schedule": "ramp", "fixed_schedule": "wsd", "model": "m", "tokens_per_parameter": 20.0, "batch_sequences": 8,
        "lr_choice": "best", "peak_lr": 0.004, "at": "end", "tokens_saved_fraction": 0.1,
        "tokens_saved_fraction_low": 0.05, "tokens_saved_fraction_high": 0.15, "ci_level": 0.9,
        "status": "saves tokens", **changes,
    }  # fmt: skip


def test_the_critical_batch_to_the_lowest_loss(tmp_path: Path) -> None:
    model = str(STUDY.tables()[0]["model"].iloc[0])
    rows = (
        swept(model=model, target_loss=3.5, critical_batch_tokens=1.0),
        swept(model=model),
        swept(model=model, target_loss=2.5, status="not_identified"),
        swept(model=model, target_loss=2.6, lr_rule="sqrt"),
    )
    found = recommend(tmp_path, STUDY.tables(), critical_batch=filled(tables.CRITICAL_BATCH, list(rows)))
    estimate = found.critical_batch_tokens
    assert estimate is not None
    assert (estimate.value, estimate.ci_low, estimate.ci_high) == (4000.0, 3000.0, 5000.0)
    assert estimate.sources[0].key["target_loss"] == 3.0


@pytest.mark.parametrize(
    ("changes", "schedule"),
    [
        ({}, "better"),
        ({"status": "not resolved"}, "ramp"),
        ({"tokens_per_parameter": 10.0}, "ramp"),
        ({"fixed_schedule": "cosine"}, "ramp"),
    ],
)
def test_the_path_that_saves_most_where_that_is_resolved(
    tmp_path: Path, changes: dict[str, Any], schedule: str
) -> None:
    """Beside a path that saves 10 %, one that saves 20 %, unless it is unresolved, of a shorter horizon or beside
    another schedule."""
    group = {"model": str(STUDY.tables()[0]["model"].iloc[0]), "batch_sequences": target()["batch_sequences"]}
    rows = path_row(**group), path_row(**group, **{"schedule": "better", "tokens_saved_fraction": 0.2, **changes})
    found = recommend(tmp_path, STUDY.tables(), batch_saving=filled(tables.BATCH_SAVING, list(rows)))
    assert found.schedule == "wsd"
    assert found.batch_path is not None
    assert found.batch_path.schedule == schedule


def tiny() -> dict[str, Any]:
    return {"model": str(STUDY.tables()[0]["model"].iloc[0]), "batch_sequences": target()["batch_sequences"]}


def test_a_path_comes_with_its_own_rate_and_how_many_were_tried(tmp_path: Path) -> None:
    """Two paths beside the recommended schedule at the longest horizon, one of which does not save; a third elsewhere,
    and the fixed batch at another rate."""
    rows = (
        path_row(**tiny(), peak_lr=0.002, fixed_peak_lr=0.004),
        path_row(**tiny(), peak_lr=0.002, fixed_peak_lr=0.004, at="curve"),
        path_row(**tiny(), schedule="slow", status="not resolved"),
        path_row(**tiny(), schedule="short", tokens_per_parameter=10.0),
    )
    found = recommend(tmp_path, STUDY.tables(), batch_saving=filled(tables.BATCH_SAVING, list(rows)))
    assert found.batch_path is not None
    assert (found.batch_path.schedule, found.batch_path.peak_lr, found.batch_path.n_tried) == ("ramp", 0.002, 2)
    assert not warned(found, "lowest or highest tried")


def test_rates_at_the_edge_behind_a_path_and_a_critical_batch_are_warned_of(tmp_path: Path) -> None:
    """The path that saves less is not recommended, and not warned of."""
    path = path_row(**tiny(), peak_lr=0.002, fixed_peak_lr=0.004, edge_of_grid=True)
    better = path_row(**tiny(), schedule="better", tokens_saved_fraction=0.2)
    critical = swept(model=tiny()["model"], edge_of_grid=True)
    both = recommend(
        tmp_path,
        STUDY.tables(),
        batch_saving=filled(tables.BATCH_SAVING, [path]),
        critical_batch=filled(tables.CRITICAL_BATCH, [critical]),
    )
    assert warned(both, "batch path ramp at peak learning rate 0.002 is compared with wsd at 0.004")
    assert warned(both, "critical batch, of constant, is the lowest or highest tried")
    other = recommend(tmp_path, STUDY.tables(), batch_saving=filled(tables.BATCH_SAVING, [path, better]))
    assert not warned(other, "lowest or highest tried")


@pytest.mark.parametrize(
    ("changes", "schedule"),
    [({}, "constant"), ({"schedule": "wsd", "n_batches": 3}, "wsd"), ({"n_batches": 6}, "inverse_sqrt")],
    ids=["most batches", "the recommended one", "more batches"],
)
def test_the_critical_batch_of_the_recommended_schedule_or_of_most_batches(
    tmp_path: Path, changes: dict[str, Any], schedule: str
) -> None:
    """Not of the one that aims at the lowest loss; within a schedule that loss, though fewer batches reach it."""
    model = tiny()["model"]
    rows = (
        swept(model=model, **{"schedule": "inverse_sqrt", "target_loss": 2.5, "n_batches": 4, **changes}),
        swept(model=model, target_loss=3.1, n_batches=5),
        swept(model=model, target_loss=3.0, n_batches=4),
    )
    found = recommend(tmp_path, STUDY.tables(), critical_batch=filled(tables.CRITICAL_BATCH, list(rows)))
    estimate = found.critical_batch_tokens
    assert estimate is not None
    lowest = 3.0 if schedule == "constant" else 2.5
    assert (estimate.sources[0].key["schedule"], estimate.sources[0].key["target_loss"]) == (schedule, lowest)


def test_no_path_is_recommended_where_none_saves(tmp_path: Path) -> None:
    rows = filled(tables.BATCH_SAVING, [path_row(model=str(STUDY.tables()[0]["model"].iloc[0]), status="costs tokens")])
    assert recommend(tmp_path, STUDY.tables(), batch_saving=rows).batch_path is None


def test_the_file_is_what_the_schema_says(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(__file__).parents[2] / "docs/recommendation.schema.json").read_text(encoding="utf-8"))
    recommend(tmp_path, STUDY.tables())
    written = json.loads((tmp_path / "recommendation.json").read_text(encoding="utf-8"))
    jsonschema.validate(written, schema)
    assert written["schema_version"] == 4
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**written, "schema_version": 3}, schema)


def test_how_far_the_target_lies_by_axis(tmp_path: Path) -> None:
    reaches = {each.axis: each for each in recommend(tmp_path, STUDY.tables()).extrapolation}
    horizon = reaches["token_horizon"]
    assert (horizon.verdict, horizon.factor) == ("above", pytest.approx(2.0, rel=1e-3))
    for axis in ("n_params_counted", "batch_tokens", "peak_lr"):
        assert (reaches[axis].verdict, reaches[axis].factor) == ("inside", 1.0)
    assert reaches["context_length"].trained_low == 1.0  # As the synthetic tables say.
    assert reaches["context_length"].verdict == "above"
    assert reaches["context_length"].factor == 64.0


def test_the_prediction_says_what_it_is_made_of(tmp_path: Path) -> None:
    found = recommend(tmp_path, STUDY.tables())
    prediction = found.prediction
    assert prediction is not None
    assert prediction.chosen.law == "loss_horizon"
    assert [other.law for other in prediction.others] == ["power_law_in_horizon"]
    assert prediction.chosen.out_of_sample.n_hidden > 0
    assert prediction.law_error_from == "hidden points"
    parts = prediction.uncertainty
    assert parts.parameters is not None
    assert parts.run is not None
    total = float(np.sqrt(parts.parameters**2 + parts.run**2 + parts.law**2 + parts.peak_lr**2))
    *_, wide = found.predicted_loss
    assert wide.ci_high is not None
    assert wide.ci_low is not None
    assert (wide.ci_high - wide.ci_low) / (2 * 1.645) == pytest.approx(total, rel=0.5)
    assert set(found.provenance.tables) >= {"runs.parquet", "block-losses.parquet"}


def test_the_laws_words_are_of_the_run_that_is_launched(tmp_path: Path) -> None:
    """Twice the best peak costs every law the same, and the believed one's word is the predicted loss."""
    best = recommend(tmp_path, STUDY.tables())
    assert best.peak_lr is not None
    off = recommend(tmp_path, STUDY.tables(), target(peak_lr=2 * best.peak_lr.value))
    costs = []
    for found in (best, off):
        prediction = found.prediction
        assert prediction is not None
        assert prediction.chosen.predicted_loss == pytest.approx(found.predicted_loss[0].value)
        costs.append([law.predicted_loss for law in (prediction.chosen, *prediction.others)])
    assert len(costs[0]) == 2
    believed, other = np.subtract(*costs[::-1])
    assert believed == pytest.approx(other)
    assert believed > 0.01


def test_held_out_runs_are_said_to_be_left_alone(tmp_path: Path) -> None:
    """The next horizon is there, hidden and a little off its round number: it is not named as a further run."""
    runs, blocks = STUDY.tables()
    open_only = recommend(tmp_path, (runs, blocks))
    assert not any("held out" in words for words in open_only.how_sure)
    runs["holdout"] = runs["tokens_per_parameter"] == 80
    runs.loc[runs["holdout"], ["tokens_per_parameter", "token_horizon"]] *= 1.01
    found = recommend(tmp_path, (runs, blocks))
    assert any(f"{runs['holdout'].sum()} runs are held out: nothing here" in words for words in found.how_sure)
    assert 80.0 not in {cell.tokens_per_parameter for cell in found.next_cells}


def test_what_a_target_of_imported_runs_leaves_open_is_as_the_runs_have_it(tmp_path: Path) -> None:
    runs, blocks = STUDY.tables()
    wanted = target(model="", batch_sequences=0, batch_tokens=None, total_steps=None, context_length=None)
    found = recommend(tmp_path, (runs, blocks), wanted)
    batch, context = int(runs["batch_tokens"].iloc[0]), int(runs["context_length"].iloc[0])
    filled_in = found.target
    assert (filled_in.batch_sequences, filled_in.batch_tokens, found.batch_tokens) == (8, batch, batch)
    assert (filled_in.total_steps, filled_in.context_length) == (round(wanted["token_horizon"] / batch), context)
    runs.loc[runs.index[::2], "context_length"] = 7
    assert recommend(tmp_path, (runs, blocks), wanted).target.context_length is None


def imported(study: Study) -> pd.DataFrame:
    """Runs as logs tell them: no replicates, batch, blocks or optimizer, one learning rate."""
    runs = replace(study, n_replicates=1, lr_factors=(1.0,)).tables()[0]
    nulls = ("context_length", "vocab_size", "batch_tokens", "weight_decay", "peak_lr", "train_seconds", "trunk_id",
             "parametrization", "train_flops_exact", "n_params_total")  # fmt: skip
    return runs.assign(batch_sequences=0, **dict.fromkeys(nulls))


def test_imported_runs_without_learning_rates_predict_a_loss(tmp_path: Path) -> None:
    """Three sizes at four horizons, known by size and tokens only; the largest run is four times as dear."""
    truth = Truth(curvature=0.0)
    study = replace(STUDY, schedules={"cosine": truth}, models={"a": 1_000_000, "b": 3_000_000, "c": 9_000_000},
                    size_amplitude=1.0, tokens_per_parameter=(10.0, 20.0, 40.0, 80.0))  # fmt: skip
    runs = imported(study)
    runs["val_loss"] += 0.002 * np.random.default_rng(0).standard_normal(len(runs))
    tables.write(tables.RUNS, runs, tmp_path / "runs.parquet")
    wanted = {"model": "", "n_params_counted": 18_000_000, "tokens_per_parameter": 80.0, "token_horizon": 1_440_000_000}
    arguments = ["--study-name", "logs", "--runs", tmp_path / "runs.parquet", "--target", json.dumps(wanted)]
    arguments += ["--ci-level", 0.9, "--bootstrap-samples", 100, "--seed", 0, "--output", tmp_path / "r.json"]
    assert main(["recommend", *map(str, arguments)]) == 0
    found = Recommendation.model_validate_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (found.peak_lr, found.factor_2_lr_cost, found.weight_decay, found.batch_tokens) == (None, None, None, None)
    assert found.prediction is not None
    assert found.prediction.chosen.law == "loss_size_horizon"
    *_, wide = found.predicted_loss
    real = truth.val_loss(1.44e9) + study.size_term(18_000_000)
    assert wide.value == pytest.approx(real, abs=0.02)
    assert wide.ci_low is not None
    assert wide.ci_high is not None
    assert wide.ci_low < real < wide.ci_high
    assert warned(found, "No learning rate is known")
    assert all(cell.peak_lrs == () for cell in found.next_cells)
