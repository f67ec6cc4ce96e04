"""The schedule that the best law of loss curves calls best, its prediction, and a study that trains it.

Written to the folder --output:
  schedule.csv        its points, for  {kind: points, file: schedule.csv, unit: fraction, interpolation: linear}
  prediction.json     law, knots, predicted final losses with intervals and the gain over the best trained schedule
  optimised_schedule.parquet  the learning rates of both schedules that study.yaml trains
  study.yaml          it and that schedule side by side, with replicates; `snakemake verify` trains it and scores it

It stays where runs were hidden and predicted: the horizon must be a trained one, and the peak learning rate too.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from glidepath.laws.best_curve_law import best_law, mean_errors
from glidepath.laws.curve_groups import Group, groups_of
from glidepath.laws.curve_law import GroupFit, bands, fit_group
from glidepath.laws.curves import RunCurve, curves_of
from glidepath.laws.law import Settings
from glidepath.science.laws.curve import Curve
from glidepath.science.schedule_search import FoundSchedule, best_schedule, gains
from glidepath.stages.plan import study_of
from glidepath.stages.predict_curves import law_scores, read_tables_of, written
from glidepath.study import tables
from glidepath.study.config import StudyConfig

Floats = NDArray[np.float64]

SEARCHED = ("annealing", "multi_power")
"""Laws whose best schedule can be searched for."""
NAME = "optimised"
LOWEST_FRACTION = 0.01
"""Of the peak: at 0 neither law knows what happens."""
MIN_REPLICATES = 2
WORDS = {
    "drops_as_fast_as_allowed": "it drops as fast as the search allows: the law asks for a sudden drop, of which "
    "nothing was learned from gradual ones",
    "stays_at_the_lowest": "it wins by standing at the lowest learning rate, where the law is known to err",
    "starts_disagree": "searches from other shapes ended elsewhere, so that a lower loss may have been missed",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, required=True, help="results folder of the study")
    parser.add_argument("--study", required=True, help="YAML file of the study, or the validated study as JSON")
    parser.add_argument("--law", choices=SEARCHED, help="the one with the smaller error on hidden schedules")
    parser.add_argument("--model", help="the target's")
    parser.add_argument("--batch-sequences", type=int, help="the target's")
    parser.add_argument("--peak-lr", type=float, help="that of the lowest loss trained at this horizon")
    parser.add_argument("--tokens-per-parameter", type=float, help="a trained horizon; the longest")
    parser.add_argument("--lowest-lr-fraction", type=float, default=LOWEST_FRACTION, help="of the peak; 0.01")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")


def main(args: argparse.Namespace) -> None:
    """Raises ValueError for what no law was fitted to."""
    study = study_of(args.study)
    law, errors = _law(args.law, args.results)
    groups = groups_of(curves_of(read_tables_of(args.results)).runs)
    group, horizon = chosen_group(groups, study, args)
    settings = Settings(
        study.analysis.reference_schedule,
        study.analysis.ci_level,
        study.analysis.bootstrap_samples,
        study.analysis.seed,
    )
    fit = fit_group(law, group, settings)
    if fit.whole is None:
        raise ValueError(f"{law} has too few points at peak_lr {group.peak_lr:g}: choose another --peak-lr")
    rival = best_trained(group, horizon)
    found = searched(fit, rival, args.lowest_lr_fraction)
    prediction = predicted(fit, found, rival) | {"law": law, "law_errors": errors, "horizon": horizon}
    written(args.output / "prediction.json", prediction)
    both = pd.concat(_path(prediction, name, lr) for name, lr in ((NAME, found.lr), (rival.schedule, rival.curve.lr)))
    tables.write(tables.OPTIMISED_SCHEDULE, both, args.output / "optimised_schedule.parquet")
    points = [[float(x), float(y)] for x, y in prediction["points"]]
    lines = ["position,multiplier", *(f"{x:.6f},{y:.6g}" for x, y in points)]
    (args.output / "schedule.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = yaml.safe_dump(verification_study(study, group, horizon, rival.schedule, points), sort_keys=False)
    (args.output / "study.yaml").write_text(text, encoding="utf-8")
    print("\n".join(prediction["sentences"]))


def _law(name: str | None, results: Path) -> tuple[str, dict[str, float]]:
    scores = law_scores(results)
    errors = mean_errors(scores)
    return name or best_law({law: frame for law, frame in scores.items() if law in SEARCHED}), errors


def chosen_group(groups: list[Group], study: StudyConfig, args: argparse.Namespace) -> tuple[Group, float]:
    """The runs that the schedule is to be compared with, and their horizon [tokens per parameter]."""
    model = args.model or study.target.model
    batch = args.batch_sequences or study.target.batch_sequences
    alike = [g for g in groups if (g.model, g.batch_sequences) == (model, batch)]
    if args.peak_lr is not None:
        alike = [g for g in alike if np.isclose(g.peak_lr, args.peak_lr, rtol=1e-5)]
    horizons = sorted({run.tokens_per_parameter for g in alike for run in g.open})
    if not horizons:
        known = ", ".join(sorted({f"{g.model} at {g.batch_sequences} sequences" for g in groups})) or "none"
        raise ValueError(
            f"no run of model {model}, batch {batch} sequences"
            + (f", peak_lr {args.peak_lr:g}" if args.peak_lr is not None else "")
            + f" has a loss curve; there are: {known}. Choose with --model, --batch-sequences and --peak-lr"
        )
    horizon = args.tokens_per_parameter or horizons[-1]
    if horizon not in horizons:
        raise ValueError(
            f"--tokens-per-parameter {horizon:g}: trained are {', '.join(f'{h:g}' for h in horizons)}. A schedule "
            "searched for beyond them would be what the law errs about most; choose one of these"
        )
    at_horizon = [g for g in alike if any(run.tokens_per_parameter == horizon for run in g.open)]
    several = [g for g in at_horizon if len({run.schedule for run in g.open}) > 1] or at_horizon
    return min(several, key=lambda g: end_losses(g, horizon)[0][1]), horizon


def end_losses(group: Group, horizon: float) -> list[tuple[RunCurve, float]]:
    """One run of every schedule at a horizon and the mean final loss over its replicates, lowest first."""
    by_schedule: dict[str, list[RunCurve]] = {}
    for run in group.open:
        if run.tokens_per_parameter == horizon and run.curve.losses is not None:
            by_schedule.setdefault(run.schedule, []).append(run)
    means = [
        (runs[0], float(np.mean([run.curve.losses[-1] for run in runs if run.curve.losses is not None])))
        for runs in by_schedule.values()
    ]
    return sorted(means, key=lambda pair: pair[1])


def best_trained(group: Group, horizon: float) -> RunCurve:
    """A run of the schedule with the lowest mean final loss."""
    return end_losses(group, horizon)[0][0]


def searched(fit: GroupFit, rival: RunCurve, lowest_fraction: float) -> FoundSchedule:
    """The best schedule under a law with the rival's warm-up, peak and length."""
    assert fit.whole is not None
    curve = rival.curve
    return best_schedule(
        fit.whole.found.law,
        peak_lr=rival.peak_lr,
        total_steps=rival.total_steps,
        warmup_lr=curve.lr[: curve.warmup_steps],
        lowest_fraction=lowest_fraction,
        n_params=curve.n_params,
    )


def predicted(fit: GroupFit, found: FoundSchedule, rival: RunCurve) -> dict[str, Any]:
    """Final losses of both schedules with intervals, the gain, and what to doubt."""
    assert fit.whole is not None
    curve = rival.curve
    end = np.array([rival.total_steps])
    both = {NAME: found.lr, rival.schedule: curve.lr}
    ends = {}
    for name, lr in both.items():
        at_end = Curve(lr=lr, updates_done=end, warmup_steps=curve.warmup_steps, n_params=curve.n_params)
        said = bands(fit, RunCurve(**{**vars(rival), "curve": at_end, "keys": (f"asked {name}",)}))
        ends[name] = {
            "val_loss_predicted": float(said["predicted"][0]),
            **{
                f"{side}_{level}": _known(said[side][i][0])
                for i, level in enumerate((50, 90))
                for side in ("low", "high")
            },
        }
    others = {rival.schedule: curve.lr}
    gain = float(gains(fit.whole.found.law, found, others, curve.warmup_steps, curve.n_params)[rival.schedule])
    samples = gains(fit.whole.samples, found, others, curve.warmup_steps, curve.n_params)[rival.schedule]
    low, high = (float(x) for x in np.nanquantile(samples, [0.05, 0.95]))
    sentences = [
        f"{fit.law}, {fit.group.model}, peak_lr {rival.peak_lr:g}, batch {rival.batch_sequences}, "
        f"{rival.tokens_per_parameter:g} tokens per parameter: predicted final loss "
        f"{ends[NAME]['val_loss_predicted']:.4f} nat/token on the validation subset, "
        f"{ends[rival.schedule]['val_loss_predicted']:.4f} for {rival.schedule}, the best trained there",
        f"predicted gain {gain:.4f} nat/token; {low:.4f} … {high:.4f} (90 %) by the parameters alone, without what the "
        "law itself gets wrong",
    ]
    spread = fit.spread.sd * (ends[NAME]["val_loss_predicted"] or np.nan)
    if np.isfinite(spread) and gain < spread:
        sentences.append(f"doubtful: the gain is less than the law's error on hidden schedules, {spread:.4f} nat/token")
    sentences += [f"doubtful: {WORDS[doubt]}" for doubt in found.doubts]
    positions = np.minimum(found.updates / rival.total_steps, 1.0)
    return {
        "model": fit.group.model,
        "batch_sequences": fit.group.batch_sequences,
        "peak_lr": rival.peak_lr,
        "total_steps": rival.total_steps,
        "best_trained": rival.schedule,
        "final": ends,
        "gain": {"val_loss": gain, "low_90": low, "high_90": high},
        "doubts": list(found.doubts),
        "points": [[float(x), float(y)] for x, y in zip(positions, found.multipliers, strict=True)],
        "sentences": sentences,
    }


def _path(prediction: dict[str, Any], name: str, lr: Floats) -> pd.DataFrame:
    """Rows of `OPTIMISED_SCHEDULE`."""
    end = {key: np.nan if value is None else value for key, value in prediction["final"][name].items()}
    known = {key: prediction[key] for key in ("law", "model", "peak_lr")}
    return pd.DataFrame({**known, "schedule": name, "step": np.arange(len(lr)), "lr": lr, **end})


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def verification_study(
    study: StudyConfig, group: Group, horizon: float, rival: str, points: list[list[float]]
) -> dict[str, Any]:
    """The study that trains both schedules: same model, batch, peak, horizon and at least two replicates."""
    data = study.model_dump(mode="json")
    replicates = sorted({r for block in study.grid for r in block.replicates})
    kept = ("corpus", "warmup", "optimizer", "tokens_per_parameter_uses", "evaluation", "logging", "segments")
    # Round as the file of points is, so that both are one schedule.
    rounded = [[float(f"{x:.6f}"), float(f"{y:.6g}")] for x, y in points]
    return {
        "study": f"{study.study}_verify",
        "description": f"The schedule that a law fitted to the study {study.study} calls best, beside the best that "
        "was trained there.",
        **{key: data[key] for key in kept},
        "models": {group.model: data["models"][group.model]},
        "schedules": {
            NAME: {"kind": "points", "unit": "fraction", "interpolation": "linear", "points": rounded},
            rival: data["schedules"][rival],
        },
        "grid": [
            {
                "models": [group.model],
                "schedules": [NAME, rival],
                "peak_lrs": [group.peak_lr],
                "tokens_per_parameter": [horizon],
                "batch_sequences": [group.batch_sequences],
                "replicates": replicates if len(replicates) >= MIN_REPLICATES else list(range(MIN_REPLICATES)),
            }
        ],
        "analysis": {"reference_schedule": rival, "laws": ["lr_optimum"]},
        "target": {
            "model": group.model,
            "tokens_per_parameter": horizon,
            "batch_sequences": group.batch_sequences,
        },
    }
