"""What averaging is worth for checkpoints that were trained elsewhere, as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from glidepath.figures.text import compact
from glidepath.report.numbers import difference


def summary(
    title: str,
    description: str,
    averages: pd.DataFrame,
    saved: pd.DataFrame,
    checkpoints: pd.DataFrame,
    versions: Mapping[str, str],
) -> str:
    """The text, from the tables `averages`, `checkpoint_steps_saved` and `checkpoints`.

    Numbers are on the domain that is written first. An average of many that gains most is chosen for its luck too; the
    row `best_window` is free of that, since it is chosen on one half of the validation blocks and scored on the other.
    """
    lines = [f"# {title}", ""]
    if description:
        lines += [description, ""]
    first = averages[averages["domain"] == averages["domain"].iloc[0]] if len(averages) else averages
    for name, rows in first.groupby("cell_id", sort=False):
        lines += list(_trajectory(str(name), rows, saved[saved["cell_id"] == name]))
    lines += [
        "Loss and gain in nat/token on the first domain; ± is the standard error of the gain over validation blocks, "
        "paired. Saved are the updates until the raw weights first reach the loss of the average; `≥` where they do "
        "not within the trajectory; in brackets the interval from the noise of checkpoints and of the text. With one "
        "training per trajectory the noise between trainings is not known and not in it.",
        "",
        "![Along training](figures/checkpoint_averages.svg)",
        "",
        "![Saved](figures/checkpoint_savings.svg)",
        "",
        "## Where the numbers come from",
        "",
        *_provenance(checkpoints, versions),
    ]
    return "\n".join(lines) + "\n"


def _trajectory(name: str, rows: pd.DataFrame, saved: pd.DataFrame) -> Iterator[str]:
    ends = [
        ("the point of largest gain", int(rows["updates_done"].iloc[int(rows["gain"].to_numpy().argmax())])),
        ("the last point", int(rows["updates_done"].max())),
    ]
    yield from (f"## {name}", "")
    for what, updates in {updates: (what, updates) for what, updates in ends}.values():
        here = rows[rows["updates_done"] == updates]
        yield f"At {what}, after {updates:,} updates ({compact(float(here['tokens_seen'].iloc[0]))} tokens), the raw"
        yield f"weights have a loss of {float(here['val_loss_raw'].iloc[0]):.4f}:"
        yield ""
        yield "| average | checkpoints | loss | gain | updates saved | hours saved |"
        yield "|---|---|---|---|---|---|"
        for _, row in here.sort_values("gain", ascending=False, kind="stable").iterrows():
            found = saved[(saved["average"] == row["average"]) & (saved["updates_done"] == updates)]
            yield (
                f"| {row['average']} | {int(row['window_checkpoints'])} | {row['val_loss_averaged']:.4f} "
                f"| {difference(float(row['gain']), float(row['gain_sem']))} "
                f"| {_saved(found, 'updates_saved')}{_interval(found)} | {_saved(found, 'hours_saved')} |"
            )
        yield ""


def _saved(found: pd.DataFrame, column: str) -> str:
    if found.empty:
        return "–"
    row = found.iloc[0]
    if row["status"] == "none":
        return "none"
    if not np.isfinite(row[column]):
        return "–"
    return f"{'≥ ' if row['status'] == 'beyond' else ''}{float(row[column]):,.4g}"


def _interval(found: pd.DataFrame) -> str:
    """Of the updates saved; an end beyond the trajectory is open."""
    if found.empty or not np.isfinite(found.iloc[0]["updates_saved_low"]):
        return ""
    low, high = found.iloc[0][["updates_saved_low", "updates_saved_high"]]
    return f" [{low:,.4g}, {f'{high:,.4g}' if np.isfinite(high) else '…'}]"


def _provenance(checkpoints: pd.DataFrame, versions: Mapping[str, str]) -> Iterator[str]:
    for name, rows in checkpoints.groupby("cell_id", sort=False):
        updates = rows["updates_done"]
        repositories = rows["repository"].dropna().unique()
        source = f"repository {repositories[0]}" if len(repositories) else "directories of the user"
        yield (
            f"* {name}: {updates.nunique()} checkpoints after {updates.min():,} to {updates.max():,} updates, "
            f"{source}; {compact(float(rows['bytes'].sum()))} bytes."
        )
    yield "* Every file that was read, with its SHA-256: `checkpoints.parquet`."
    yield "* Every average at every point: `averages.parquet`, `checkpoint_steps_saved.parquet`."
    yield f"* {', '.join(f'{name} {version}' for name, version in versions.items())}."
