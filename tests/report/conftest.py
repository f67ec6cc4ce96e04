"""Answers and a page from the planted study."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest
from pydantic import TypeAdapter

from glidepath.report.answer import Target
from glidepath.study.recommendation import (
    Averaging,
    Estimate,
    Extrapolation,
    LawAtTarget,
    LossUncertainty,
    LrMistake,
    NextCell,
    OutOfSample,
    Prediction,
    Provenance,
    Recommendation,
    Source,
    TargetRun,
)
from glidepath.study.schedule import Schedule
from glidepath.study.schedule_config import ScheduleConfig
from tests.figures import planted

Tables = dict[str, pd.DataFrame]
GROUP: dict[str, str | float | int] = {
    "model": "small",
    "schedule": "linear_zero",
    "batch_sequences": planted.BATCH,
    "tokens_per_parameter": 0.0,
}
BATCH_TOKENS = planted.BATCH * planted.CONTEXT


def schedules(**others: dict[str, Any]) -> dict[str, Schedule]:
    """The planted schedules as a study has them, and others."""
    keys: dict[str, dict[str, Any]] = {}
    for name, (kind, final, shape, part, _, _) in planted.SCHEDULES.items():
        keys[name] = {"kind": kind}
        if kind != "constant":
            keys[name]["final_lr_fraction"] = final
        if kind == "wsd":
            keys[name] |= {"decay_fraction": part, "decay_shape": shape}
    return TypeAdapter(dict[str, ScheduleConfig]).validate_python(keys | others)


def estimate(value: float, half: float, level: float, table: str, **key: str | float) -> Estimate:
    return Estimate(
        value=value,
        ci_low=value - half,
        ci_high=value + half,
        ci_level=level,
        sources=(Source(table=table, key={**GROUP, **key}),),
    )


PREDICTION = Prediction(
    chosen=LawAtTarget(
        law="loss_horizon",
        predicted_loss=2.5,
        out_of_sample=OutOfSample(n_hidden=3, root_mean_square_error=0.012, worst_error=-0.02, farthest_factor=4.0),
        law_error_sd=0.01,
    ),
    others=(
        LawAtTarget(
            law="power_law_in_horizon",
            predicted_loss=2.6,
            out_of_sample=OutOfSample(n_hidden=0, root_mean_square_error=None, worst_error=None, farthest_factor=None),
            law_error_sd=None,
        ),
    ),
    spread=0.1,
    uncertainty=LossUncertainty(parameters=0.008, run=0.004, evaluation=0.003, law=0.01, peak_lr=0.001),
    law_error_from="hidden points",
)
NEXT = NextCell(
    what="horizon",
    model="small",
    n_params_counted=planted.N_PARAMS,
    schedule="linear_zero",
    peak_lrs=(0.004,),
    tokens_per_parameter=30.0,
    token_horizon=600_000,
    batch_sequences=planted.BATCH,
    replicate=0,
    train_flops_exact=1.5e11,
    train_flops_6nd=None,
    hours=0.5,
    loss_variance_removed=0.3,
    peak_lr_variance_removed=0.05,
)


def mistake(half: float = 0.02, double: float = 0.03) -> LrMistake:
    """What a factor of 2 costs."""
    key = {"tokens_per_parameter": planted.HORIZONS[-1], "parameter": "factor_2_cost"}
    low, high = (estimate(cost, 0.005, 0.9, "laws/lr_optimum/parameters", **key) for cost in (half, double))
    return LrMistake(
        half=low,
        double=high,
        token_horizon=800_000,
        shape="cubic" if half != double else "parabola",
        half_tokens_fraction=None,
        double_tokens_fraction=estimate(0.1, 0.02, 0.9, "laws/lr_optimum/parameters", **key),
    )


def recommended(**changes: Any) -> Recommendation:
    """What should be recommended for the planted study."""
    peak, loss = planted.optimum("linear_zero", planted.TARGET), planted.best_loss("linear_zero", planted.TARGET)
    fields: dict[str, Any] = {
        "study": "smoke",
        "target": target_run(),
        "schedule": "linear_zero",
        "equivalent_schedules": ("cosine_zero",),
        "n_schedules_compared": len(planted.SCHEDULES),
        "ci_level": 0.9,
        "chosen_at_model": "small",
        "chosen_at_tokens_per_parameter": planted.HORIZONS[-1],
        "peak_lr": estimate(peak, 0.3 * peak, 0.9, "laws/lr_horizon/parameters", parameter="exponent"),
        "factor_2_lr_cost": None,
        "weight_decay": 0.1,
        "batch_tokens": BATCH_TOKENS,
        "noise_scale_tokens": None,
        "critical_batch_tokens": None,
        "batch_path": None,
        "averaging": Averaging(
            average=None,
            averaging_scheme=None,
            window_checkpoints=None,
            window_fraction=None,
            gain=None,
            gap_to_cooldown=None,
        ),
        "predicted_loss": tuple(
            estimate(loss, half, level, "laws/loss_horizon/parameters", parameter="irreducible_loss")
            for half, level in ((0.01, 0.5), (0.03, 0.9))
        ),
        "prediction": PREDICTION,
        "extrapolation": (
            Extrapolation(
                axis="token_horizon", target=1.6e6, trained_low=1e5, trained_high=8e5, factor=2.0, verdict="above"
            ),
            Extrapolation(
                axis="peak_lr", target=0.004, trained_low=0.001, trained_high=0.016, factor=1.0, verdict="inside"
            ),
        ),
        "horizon_extrapolation": planted.TARGET / planted.HORIZONS[-1],
        "next_cells": (NEXT,),
        "how_sure": ("linear_zero has the lowest loss, but is not resolved from cosine_zero.",),
        "warnings": ("A warning with <angle brackets> & an ampersand.",),
        "provenance": Provenance(
            tables={"runs.parquet": 64 * "0"}, versions={"glidepath": "0"}, written_at="2026-01-01T00:00:00+00:00"
        ),
    }
    return Recommendation.model_validate({**fields, **changes})


def target_run(model: str = "small", tokens_per_parameter: float = planted.TARGET) -> TargetRun:
    steps = round(tokens_per_parameter * planted.N_PARAMS / BATCH_TOKENS)
    return TargetRun(
        model=model,
        n_params_counted=planted.N_PARAMS,
        n_params_non_embedding=planted.N_PARAMS,
        context_length=planted.CONTEXT,
        tokens_per_parameter=tokens_per_parameter,
        batch_sequences=planted.BATCH,
        batch_tokens=BATCH_TOKENS,
        total_steps=steps,
        token_horizon=steps * BATCH_TOKENS,
    )


TARGET = Target(recommended(), planted.REFERENCE, schedules())
NEAR = Target(
    recommended(target=target_run(tokens_per_parameter=planted.HORIZONS[-1]), horizon_extrapolation=1.0),
    planted.REFERENCE,
    schedules(),
)


def with_recommendation(**changes: Any) -> Target:
    return dataclasses.replace(TARGET, recommended=recommended(**changes))


@pytest.fixture(scope="session")
def whole() -> Tables:
    return planted.study_tables(planted.runs())


@pytest.fixture(scope="session")
def noisy() -> Tables:
    """Differences with an error larger than themselves."""
    tables = planted.study_tables(planted.runs(horizons=(5.0, 20.0), replicates=1))
    tables["comparisons"] = planted.comparisons(tables["runs"], se=0.08)
    tables["averages"] = tables["averages"].assign(gap_to_cooldown_sem=0.5)
    return tables
