"""Exports of Weights & Biases: histories, and the CSV of a panel, which has a column per run and metric."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glidepath.interop.run_logs import csv_file, json_file
from glidepath.interop.run_logs.part import Part, Seen, records_in_parts
from glidepath.study.import_sources import KEY

PANEL_COLUMN = re.compile(r"^(?P<run>.+) - (?P<metric>.+?)(?P<edge>__MIN|__MAX)?$")


def read(path: Path, wanted: Sequence[str] | None, seen: Seen, records: str | None = None) -> Iterator[Part]:
    """Parts of a history or of a panel. Raises ValueError for a file of another kind."""
    endings = path.suffixes
    if ".jsonl" in endings or ".ndjson" in endings:
        return json_file.read_lines(path, wanted, seen, records)
    if ".json" in endings:
        return json_file.read_whole(path, wanted, seen, records)
    if ".csv" in endings:
        header = Seen()
        next(csv_file.read(path, None, header), None)
        panel = [name for name in header.columns if (found := PANEL_COLUMN.match(name)) and not found["edge"]]
        edges = [name for name in header.columns if (found := PANEL_COLUMN.match(name)) and found["edge"]]
        if panel and edges:
            return records_in_parts(_panel(path, panel), wanted, seen)
        return csv_file.read(path, wanted, seen)
    raise ValueError(
        f"{path} is no export of a history: .json, .jsonl or .csv is needed; the run's own .wandb file is read by its "
        "maker only. Export it, for example with run.scan_history(), which leaves nothing out"
    )


def _panel(path: Path, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """A record per run and row that has a value for it."""
    for part in csv_file.read(path, None, Seen()):
        shared = [name for name in part.columns if not PANEL_COLUMN.match(name)]
        columns = {name: part.columns[name].to_pylist() for name in (*shared, *names)}
        for name in names:
            found = PANEL_COLUMN.match(name)
            assert found is not None
            for i, row in enumerate(part.rows.tolist()):
                if columns[name][i] is not None:
                    yield (
                        row,
                        {
                            KEY: found["run"],
                            **{other: columns[other][i] for other in shared},
                            found["metric"]: columns[name][i],
                        },
                    )
