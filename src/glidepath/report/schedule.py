"""Question 1: which schedule, and is decaying to zero worth it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd

from glidepath.report.answer import (
    Answer,
    Evidence,
    Rows,
    Sure,
    Tables,
    Target,
    beyond,
    group_for,
    rows,
    stand_in,
    where,
)
from glidepath.report.memory import memory
from glidepath.report.numbers import difference, percent_of
from glidepath.study.schedule import Schedule

QUESTION = "Which learning-rate schedule, and is decaying to zero worth it at my token horizon?"


def answer(tables: Tables, target: Target) -> Answer:
    """The schedules at the longest compared horizon, and every pair that differs in its final learning rate
    only."""
    comparisons = where(tables["comparisons"], reference_schedule=target.reference_schedule)
    comparisons = comparisons[comparisons["schedule"] != target.reference_schedule]
    comparisons = comparisons[comparisons["difference"].notna()]
    group = group_for(comparisons, target)
    if group is None:
        return Answer(
            1,
            QUESTION,
            f"Not measured: no schedule has a completed cell to compare with {target.reference_schedule}.",
            "not measured",
            "There is no paired difference.",
        )
    ours = where(comparisons, model=group[0], batch_sequences=group[1])
    longest = float(ours["tokens_per_parameter"].max())
    here = where(ours, tokens_per_parameter=longest).sort_values("difference")
    headline, sure, how_sure = _headline(here, longest, target)
    pairs = list(zero_pairs(target.schedules, ours, target.reference_schedule))
    zero = _zero_sentence([pair for pair in pairs if pair.horizon == longest], longest)
    evidence = [
        *_differences(here, longest),
        *(Evidence(*_pair_sentence(pair)) for pair in pairs),
        *_savings(tables, group, longest, target),
        *memory(tables),
    ]
    edges = sorted(here.loc[here["edge_of_grid"], "schedule"])
    caveats = (
        *beyond(longest, target),
        *stand_in(group, target),
        *(
            (f"The best peak learning rate lies at the edge of its grid for {', '.join(edges)} or the reference.",)
            if edges
            else ()
        ),
    )
    if sure == "resolved" and beyond(longest, target):
        sure, how_sure = (
            "extrapolated",
            f"Resolved at {longest:g}, not measured at the target's horizon. {how_sure}",
        )
    how_sure = f"{how_sure} {_rivals(target)}"
    return Answer(1, QUESTION, f"{headline} {zero}".strip(), sure, how_sure, tuple(evidence), caveats)


def _headline(here: pd.DataFrame, longest: float, target: Target) -> tuple[str, Sure, str]:
    """Headline, how sure, and why; `here` ascends in difference."""
    reference = target.reference_schedule
    at = f"at {longest:g} tokens per parameter"
    better = here[here["verdict"] == "better"]
    open_ones = here[here["verdict"] == "not resolved"]
    if len(better):
        best = better.iloc[0]
        ahead = difference(best["difference"], best["standard_error"])
        relative = percent_of(best["difference_relative"])
        text = f"{best['schedule']} has the lowest loss {at}: {ahead} nat/token ({relative}) against {reference}."
        return text, "resolved", "Its interval against the reference lies below zero."
    if len(open_ones):
        names = ", ".join(open_ones["schedule"])
        smallest = float(open_ones["minimum_detectable_difference"].min())
        detectable = (
            f"; differences below about {smallest:.2g} nat/token cannot be seen" if np.isfinite(smallest) else ""
        )
        return (
            f"Not resolved: {at} no schedule is better than {reference} beyond the noise.",
            "not resolved",
            f"Not resolved from {reference}: {names}{detectable}. More replicates would tell.",
        )
    return (
        f"{reference}: {at} every other schedule is worse.",
        "resolved",
        f"The interval of each of the {len(here)} differences lies above zero.",
    )


def _rivals(target: Target) -> str:
    """Which schedules the recommended one cannot be told from, where it was chosen."""
    recommended = target.recommended
    horizon, model = recommended.chosen_at_tokens_per_parameter, recommended.chosen_at_model
    where_ = f"at {horizon:g} tokens per parameter of {model}"
    if recommended.equivalent_schedules:
        others = ", ".join(recommended.equivalent_schedules)
        return f"Recommended is {recommended.schedule}, {where_} not resolved from {others}."
    return f"Recommended is {recommended.schedule}, {where_} resolved from every other schedule trained there."


def _differences(here: pd.DataFrame, longest: float) -> Iterator[Evidence]:
    for _, row in here.iterrows():
        detectable = float(row["minimum_detectable_difference"])
        limit = f", detectable from {detectable:.2g}" if np.isfinite(detectable) else ""
        yield Evidence(
            f"{row['schedule']} − {row['reference_schedule']}: "
            f"{difference(row['difference'], row['standard_error'])} nat/token, {row['verdict']} "
            f"({int(row['n_replicates'])} paired replicate{'s' if row['n_replicates'] != 1 else ''}{limit}).",
            (_rows(row, longest),),
        )


def _rows(row: pd.Series[float], horizon: float) -> Rows:
    return rows(
        "comparisons",
        model=str(row["model"]),
        batch_sequences=int(row["batch_sequences"]),
        tokens_per_parameter=horizon,
        schedule=str(row["schedule"]),
    )


@dataclass(frozen=True)
class ZeroPair:
    """A schedule that decays to zero against the same one with a floor, at one horizon."""

    zero: str
    floor: str
    final_lr_fraction: float
    horizon: float
    difference: float
    standard_error: float
    half_width: float
    rows: tuple[Rows, ...]

    @property
    def verdict(self) -> str:
        if not np.isfinite(self.half_width) or abs(self.difference) <= self.half_width:
            return "not resolved"
        return "better" if self.difference < 0 else "worse"


def zero_pairs(schedules: Mapping[str, Schedule], ours: pd.DataFrame, reference: str) -> Iterator[ZeroPair]:
    """Pairs of schedules whose configurations differ in `final_lr_fraction` alone, 0 in one of them, by horizon."""
    keys = {name: schedule.model_dump() for name, schedule in schedules.items()}
    ends = {name: of.pop("final_lr_fraction") for name, of in keys.items() if "final_lr_fraction" in of}
    alike = [
        (zero, floor)
        for zero, floor in permutations(ends, 2)
        if ends[zero] == 0 and ends[floor] > 0 and keys[zero] == keys[floor]
    ]
    for zero, floor in alike:
        for horizon in sorted(ours["tokens_per_parameter"].unique()):
            pair = _pair(where(ours, tokens_per_parameter=horizon), zero, floor, reference)
            if pair is not None:
                value, error, half, sources = pair
                found = tuple(_rows(row, float(horizon)) for row in sources)
                yield ZeroPair(zero, floor, float(ends[floor]), float(horizon), value, error, half, found)


def _pair(
    at: pd.DataFrame, zero: str, floor: str, reference: str
) -> tuple[float, float, float, list[pd.Series[float]]] | None:
    """Difference, standard error and half-width of zero minus floor; through the reference if neither is
    it."""
    sides = []
    for name, sign in ((zero, 1.0), (floor, -1.0)):
        if name != reference:
            found = where(at, schedule=name)
            if found.empty:
                return None
            sides.append((sign, found.iloc[0]))
    value = sum(sign * float(row["difference"]) for sign, row in sides)
    error = float(np.sqrt(sum(float(row["standard_error"]) ** 2 for _, row in sides)))
    half = float(np.sqrt(sum(((row["ci_high"] - row["ci_low"]) / 2) ** 2 for _, row in sides)))
    return value, error, half, [row for _, row in sides]


def _zero_sentence(pairs: list[ZeroPair], longest: float) -> str:
    if not pairs:
        return "Decay to zero: not measured, no two schedules differ in their final learning rate only."
    parts = [
        f"{pair.zero} − {pair.floor} = {difference(pair.difference, pair.standard_error)} nat/token ({pair.verdict})"
        for pair in pairs
    ]
    verdicts = {pair.verdict for pair in pairs}
    worth = {
        frozenset({"better"}): "Decaying to zero is worth it",
        frozenset({"worse"}): "Decaying to zero costs",
        frozenset({"not resolved"}): "Whether decaying to zero is worth it is not resolved",
    }.get(frozenset(verdicts), "Decaying to zero depends on the shape")
    return f"{worth} at {longest:g}: {'; '.join(parts)}."


def _pair_sentence(pair: ZeroPair) -> tuple[str, tuple[Rows, ...]]:
    return (
        f"Decay to zero instead of to {pair.final_lr_fraction:g} of the peak ({pair.zero} − {pair.floor}) "
        f"at {pair.horizon:g} tokens per parameter: {difference(pair.difference, pair.standard_error)} "
        f"nat/token, {pair.verdict}.",
        pair.rows,
    )


def _savings(tables: Tables, group: tuple[str, int], longest: float, target: Target) -> Iterator[Evidence]:
    law = tables["laws/loss_horizon/predictions"]
    found = where(law, quantity="compute_saving", model=group[0], batch_sequences=group[1])
    found = found[(found["schedule"] != target.reference_schedule) & found["value"].notna()]
    if found.empty:
        return
    nearest = found["x"].unique()[np.argmin(np.abs(np.log(found["x"].unique() / longest)))]
    for _, row in where(found, x=float(nearest)).sort_values("value", ascending=False).head(3).iterrows():
        known = np.isfinite(row["ci_low"]) and np.isfinite(row["ci_high"])
        spread = f" [{percent_of(row['ci_low'], 0.1)}, {percent_of(row['ci_high'], 0.1)}]" if known else ""
        yield Evidence(
            f"Reaching the loss of {target.reference_schedule} at {nearest:.3g} tokens per parameter, "
            f"{row['schedule']} saves {percent_of(row['value'], 0.1).lstrip('+')}{spread} of the tokens, by "
            "the curves through the trained horizons.",
            (
                rows(
                    "laws/loss_horizon/predictions",
                    model=group[0],
                    batch_sequences=group[1],
                    schedule=str(row["schedule"]),
                    quantity="compute_saving",
                ),
            ),
        )
