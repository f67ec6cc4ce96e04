"""The report of runs that were imported: what the laws missed, what follows for a target, what the audit found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from glidepath.figures.text import compact, learning_rate
from glidepath.report.card import Card
from glidepath.report.law_trial import Trial
from glidepath.report.numbers import interval, plain, signed
from glidepath.report.overview import Fact
from glidepath.report.rendering import page_figure, rendered, table_facts
from glidepath.study import figure_list

MOST_ROWS = 60
"""Of a law's parameters on the page: the table has all."""
MOST_LISTED = 12
"""Values of one fact that are listed before only their range is."""


@dataclass(frozen=True)
class FindingRow:
    """All findings of one kind."""

    finding: str
    n_runs: int
    example: str
    done: str


@dataclass(frozen=True)
class ParameterRow:
    """A parameter of a law."""

    group: str
    parameter: str
    value: str
    status: str


@dataclass(frozen=True)
class HiddenRow:
    """A run that was hidden from the fits, as the believed law said it."""

    run: str
    predicted: str
    interval: str
    came_to: str
    error: str
    law: str
    outside: bool


@dataclass(frozen=True)
class LawTable:
    """A law's parameters."""

    name: str
    file: str
    rows: tuple[ParameterRow, ...]
    n_more: int


@dataclass(frozen=True)
class Page:
    """Everything the template shows."""

    study: str
    description: str
    trial: Trial
    card: Card | None
    """None where no target was given."""
    hidden: tuple[HiddenRow, ...]
    n_more_hidden: int
    """Rows of run_predictions that the page does not show."""
    unpredicted: tuple[str, ...]
    """Why hidden runs have no prediction."""
    findings: tuple[FindingRow, ...]
    laws: tuple[LawTable, ...]
    facts: tuple[Fact, ...]
    provenance: tuple[Fact, ...]
    table_names: Sequence[str]


def render(page: Page, svg_by_figure: Mapping[str, bytes]) -> str:
    """The page as HTML text, with the figures that are given."""
    entries = [figure_list.entry(name) for name in svg_by_figure]
    files = [Fact("recommendation.json", "The recommendation, for programs.")] if page.card else []
    files += table_facts(page.table_names)
    return rendered(
        "imported.html.j2",
        {
            **{name: getattr(page, name) for name in Page.__dataclass_fields__},
            "figures": [page_figure(entry, svg_by_figure[entry.name]) for entry in entries],
            "files": files,
        },
    )


def finding_rows(findings: pd.DataFrame) -> tuple[FindingRow, ...]:
    """The findings by kind, those of most runs first."""
    rows = [
        FindingRow(
            str(kind).replace("_", " "),
            int(group["run"].nunique()),
            _example(group.iloc[0]),
            str(group["done"].iloc[0]),
        )
        for kind, group in findings.groupby("finding", sort=False)
    ]
    return tuple(sorted(rows, key=lambda row: -row.n_runs))


def _example(row: pd.Series[Any]) -> str:
    return f"{row['run']}: {row['detail']}" if row["run"] else str(row["detail"])


def hidden_rows(predictions: pd.DataFrame) -> tuple[HiddenRow, ...]:
    """Hidden runs whose final loss was predicted."""
    return tuple(_hidden(row) for _, row in predictions[predictions["believed"]].iterrows())


def curve_end_rows(law: str, predictions: pd.DataFrame) -> tuple[HiddenRow, ...]:
    """Ends of curves that were declared hidden, as a law of loss curves says them."""
    declared = predictions[(predictions["holdout"] == "declared") & predictions["hidden"]]
    ends = declared.sort_values("updates_done").groupby("cell_id", sort=True).tail(1).sort_values("cell_id")
    ends = ends.rename(columns={"cell_id": "run"}).assign(
        law=f"{law}, end of its curve", error=ends["val_loss_predicted"] - ends["val_loss"], extrapolation=1.0
    )
    return tuple(_hidden(row) for _, row in ends.iterrows())


def unpredicted(predictions: pd.DataFrame) -> tuple[str, ...]:
    """Each reason why there is no prediction, with how many runs have it."""
    reasons = predictions.loc[predictions["law"] == "none", "reason"].value_counts()
    return tuple(f"{count} {'run' if count == 1 else 'runs'}: {reason}." for reason, count in reasons.items())


def _hidden(row: pd.Series[Any]) -> HiddenRow:
    low, high = row["low_90"], row["high_90"]
    known = pd.notna(low) and pd.notna(high)
    beyond = f", {row['extrapolation']:.3g} × beyond" if row["extrapolation"] > 1 else ""
    return HiddenRow(
        run=str(row["run"]),
        predicted=plain(row["val_loss_predicted"], 4),
        interval=f"[{plain(low, 3)}, {plain(high, 3)}]" if known else "",
        came_to=plain(row["val_loss"], 4),
        error=signed(row["error"], 4),
        law=f"{row['law'].replace('_', ' ')}{beyond}",
        outside=bool(known and not low <= row["val_loss"] <= high),
    )


def law_table(name: str, parameters: pd.DataFrame) -> LawTable:
    """A law's parameters, those that have a value first."""
    known = parameters.sort_values("value", key=lambda values: values.isna(), kind="stable")
    rows = tuple(_parameter(row) for _, row in known.head(MOST_ROWS).iterrows())
    return LawTable(name.replace("_", " "), name, rows, max(0, len(parameters) - MOST_ROWS))


def _parameter(row: pd.Series[Any]) -> ParameterRow:
    parts = [str(row["model"]), str(row["schedule"])]
    if row["batch_sequences"]:
        parts.append(f"{row['batch_sequences']} sequences")
    if row["tokens_per_parameter"]:
        parts.append(f"{row['tokens_per_parameter']:.4g} tokens per parameter")
    value = "" if pd.isna(row["value"]) else _value(row["value"], row["ci_low"], row["ci_high"])
    return ParameterRow(", ".join(parts), str(row["parameter"]), value, str(row["status"]).replace("_", " "))


def _value(value: float, low: float, high: float) -> str:
    """To three decimals, or to as many digits where that would hide the number."""
    if 0.01 <= abs(value) < 1e4:
        return interval(value, low, high)
    ends = f" [{low:.3g}, {high:.3g}]" if pd.notna(low) and pd.notna(high) else " [interval not identified]"
    return f"{value:.3g}{ends}"


def facts(runs: pd.DataFrame) -> tuple[Fact, ...]:
    """The runs in a dozen lines; what no log tells is left out."""
    status = runs["status"].value_counts()
    counts = ", ".join(f"{count} {name}" for name, count in status.items())
    held = int(runs["holdout"].sum())
    found = [Fact("Runs", f"{len(runs)}: {counts}" + (f"; {held} hidden from the fits" if held else ""))]
    found.extend(
        Fact(name, text)
        for name, text in (
            ("Models", _names(runs["model"])),
            ("Parameters counted", _numbers(runs["n_params_counted"], compact)),
            ("Schedules", _names(runs["schedule"])),
            ("Horizons", _numbers(runs["token_horizon"], compact, " tokens")),
            ("Tokens per parameter", _numbers(runs["tokens_per_parameter"], lambda value: f"{value:.3g}")),
            ("Peak learning rates", _numbers(runs["peak_lr"], learning_rate)),
            ("Batches", _numbers(runs["batch_tokens"], compact, " tokens per update")),
            ("Passes over the text", _numbers(runs["epochs"], lambda value: f"{value:.3g}")),
            ("Final losses", _numbers(runs["val_loss"], lambda value: f"{value:.3f}", " nat/token")),
        )
        if text
    )
    return tuple(found)


def _names(values: Iterable[Any]) -> str:
    names = list(dict.fromkeys(str(value) for value in values if not pd.isna(value) and value != ""))
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more


def _numbers(values: pd.Series[Any], form: Any, unit: str = "") -> str:
    known = sorted({float(value) for value in values.dropna() if value})
    if not known:
        return ""
    texts = list(dict.fromkeys(form(value) for value in known))
    if len(texts) > MOST_LISTED:
        return f"{texts[0]} to {texts[-1]}{unit}, {len(known)} different ones"
    return ", ".join(texts) + unit


def provenance_facts(provenance: Mapping[str, Any]) -> Iterator[Fact]:
    """Files that were read, and what read them."""
    for name, value in provenance.items():
        if isinstance(value, dict):
            yield Fact(name.replace("_", " "), ", ".join(f"{key} {each}" for key, each in value.items()))
        elif isinstance(value, list):
            yield Fact(
                name.replace("_", " "), f"{len(value)}: " + "; ".join(_file(each) for each in value[:MOST_LISTED])
            )
        else:
            yield Fact(name.replace("_", " "), str(value))


def _file(entry: Any) -> str:
    if isinstance(entry, dict):
        return " ".join(str(value)[:80] for value in entry.values())
    return str(entry)
