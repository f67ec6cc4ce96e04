"""From the files of an import to rows of named quantities, run by run, as the logs have them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from glidepath.interop.run_audit.fault import Fault
from glidepath.interop.run_logs.part import Part, Seen, array_of, numbers, texts, times
from glidepath.interop.run_logs.reading import constants_of, parts_of
from glidepath.interop.run_spool import Names, Spool, rows_of_each, spool
from glidepath.study.import_columns import TEXTS
from glidepath.study.import_config import ImportConfig
from glidepath.study.import_files import files_of
from glidepath.study.import_sources import Source
from glidepath.study.section import StudyError

MOST_UNREADABLE = 0.1
"""Share of a source's lines or numbers that may be unreadable."""
NO_RUN = -1
MOST_VALUES = 8
"""Of a column that nothing of is left, so many values are shown."""


@dataclass(frozen=True)
class File:
    """A file that was read."""

    source: int
    name: str
    """Relative to the working directory."""
    sha256: str
    size: int
    rows: int
    """Rows that were kept."""


@dataclass(frozen=True)
class Rows:
    """Rows of one run from one source, in the order of its files."""

    source: Source
    file: NDArray[np.int64]
    """Number of the file."""
    row: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    """A number could not be read."""
    values: Mapping[str, NDArray[np.float64]]
    """Quantities in the log's own units, NaN where there is none, infinite where it says NaN or infinity."""
    texts: Mapping[str, NDArray[np.int32]]
    """Names as numbers, -1 where there is none."""


@dataclass
class Counts:
    """What became of the rows of a source."""

    unreadable: int = 0
    """Lines that are no rows."""
    wrong: int = 0
    """Rows with text where a number is needed."""
    kept: int = 0
    filtered: int = 0
    nameless: int = 0
    first_unreadable: str = ""
    first_wrong: str = ""
    filtered_by: dict[str, dict[str, None]] = field(default_factory=dict)
    """Some values of each column that filters look at."""


@dataclass
class Logs:
    """All rows of an import."""

    sources: Sequence[Source]
    files: list[File] = field(default_factory=list)
    runs: Names = field(default_factory=Names)
    names: Names = field(default_factory=Names)
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    """Faults of whole sources, by the source's name."""
    _columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    _by_run: Sequence[NDArray[np.int64]] = ()
    _source_of_file: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def of_run(self, number: int) -> list[Rows]:
        """Rows of one run, by source."""
        chosen = self._by_run[number]
        files = np.asarray(self._columns["file"][chosen], dtype=np.int64)
        sources = self._source_of_file[files]
        found = []
        for i, source in enumerate(self.sources):
            mine = chosen[sources == i]
            if len(mine):
                numeric = [name for name in _quantities(source) if name not in TEXTS]
                named = [name for name in _quantities(source) if name in TEXTS]
                found.append(
                    Rows(
                        source,
                        files[sources == i],
                        np.asarray(self._columns["row"][mine], dtype=np.int64),
                        np.asarray(self._columns["wrong"][mine], dtype=np.bool_),
                        {name: np.asarray(self._columns[name][mine], dtype=np.float64) for name in numeric},
                        {name: np.asarray(self._columns[name][mine], dtype=np.int32) for name in named},
                    )
                )
        return found


def _quantities(source: Source) -> list[str]:
    return [*source.columns, *(["domain"] if source.domain is not None else [])]


@contextmanager
def read_logs(config: ImportConfig, base: Path, scratch: Path) -> Iterator[Logs]:
    """Read all files once, and hold their rows on disk below `scratch` while the context lasts.

    Raises StudyError for a column that no file of a source has, and for files that are not what their format says.
    """
    columns = {name: None for source in config.sources for name in _quantities(source)}
    types: dict[str, Any] = {name: np.int32 if name in TEXTS else np.float64 for name in columns}
    logs = Logs(config.sources)
    with spool(scratch, {"run": np.int32, "file": np.int32, "row": np.int64, "wrong": np.bool_, **types}) as rows:
        for number, source in enumerate(config.sources):
            _read_source(logs, number, source, base, rows)
        logs._columns = rows.columns()
        logs._source_of_file = np.array([file.source for file in logs.files], dtype=np.int64)
        logs._by_run = rows_of_each(np.asarray(logs._columns["run"]), len(logs.runs.texts))
        yield logs


def _read_source(logs: Logs, number: int, source: Source, base: Path, rows: Spool) -> None:
    found: dict[str, None] = {}
    counts = Counts()
    without: dict[str, list[str]] = {}
    for name in files_of(source, base):
        constants = constants_of(source, name, base)
        wanted = _wanted(source, constants)
        seen = Seen(dict.fromkeys(constants))
        before = rows.n_rows
        try:
            for part in parts_of(source, base / name, wanted, seen):
                _append(logs, len(logs.files), source, name, part, constants, rows, counts)
        except (OSError, ValueError, UnicodeDecodeError) as error:
            raise StudyError(f"The source {source.name}: {error}") from error
        found |= seen.columns
        counts.unreadable += seen.unreadable
        counts.first_unreadable = counts.first_unreadable or seen.first_unreadable
        for column in wanted:
            if column not in seen.columns:
                without.setdefault(column, []).append(name)
        digest, size = _identity(base / name)
        logs.files.append(File(number, name, digest, size, rows.n_rows - before))
    _refuse(source, found, counts)
    logs.faults.extend((source.name, fault) for fault in _faults(counts, without))


def _wanted(source: Source, constants: Mapping[str, Any]) -> list[str]:
    """Columns that must come from the rows."""
    names = [*source.columns.values(), *source.where]
    if source.run.kind == "columns":
        names += source.run.columns
    return [name for name in dict.fromkeys(names) if name not in constants]


def _append(
    logs: Logs,
    file_number: int,
    source: Source,
    file: str,
    part: Part,
    constants: Mapping[str, Any],
    rows: Spool,
    counts: Counts,
) -> None:
    keep = _kept(source, part, constants, counts)
    counts.filtered += len(keep) - int(keep.sum())
    part = _filtered(part, keep)
    run = _run_numbers(logs, source, file, part, constants)
    counts.nameless += int((run == NO_RUN).sum())
    part, run = _filtered(part, run != NO_RUN), run[run != NO_RUN]
    n = len(run)
    wrong = np.zeros(n, dtype=np.bool_)
    columns: dict[str, NDArray[Any]] = {}
    for name in rows.types:
        if name in ("run", "file", "row", "wrong"):
            continue
        column = source.columns.get(name)  # type: ignore[call-overload]
        array = None if column is None else _array(part, constants, column)
        if name == "domain" and source.domain is not None:
            columns[name] = np.full(n, logs.names.number(source.domain), dtype=np.int32)
        elif name in TEXTS:
            columns[name] = np.full(n, -1, dtype=np.int32) if array is None else _coded(array, logs.names)
        elif array is None:
            columns[name] = np.full(n, np.nan)
        else:
            columns[name], bad = times(array) if name == "time" else numbers(array)
            wrong |= bad
            if bad.any() and not counts.first_wrong:
                first = int(np.flatnonzero(bad)[0])
                counts.first_wrong = f"{column} {texts(array)[first].as_py()!r} in row {part.rows[first]}"
    counts.wrong += int(wrong.sum())
    counts.kept += n
    columns |= {"run": run, "file": np.full(n, file_number, dtype=np.int32), "row": part.rows, "wrong": wrong}
    rows.append(columns)


def _filtered(part: Part, keep: NDArray[np.bool_]) -> Part:
    if keep.all():
        return part
    mask = pa.array(keep)
    return Part(part.rows[keep], {name: array.filter(mask) for name, array in part.columns.items()})


def _array(part: Part, constants: Mapping[str, Any], column: str) -> pa.Array | None:
    if column in part.columns:
        return part.columns[column]
    if column in constants:
        value = array_of([constants[column]])
        return pa.repeat(value[0], len(part.rows))
    return None


def _coded(array: pa.Array, names: Names) -> NDArray[np.int32]:
    """Texts as numbers common to all files, -1 for none."""
    encoded = texts(array).dictionary_encode()
    numbers_of = np.array([names.number(text) for text in encoded.dictionary.to_pylist()] + [-1], dtype=np.int32)
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(numbers_of[codes], dtype=np.int32)


def _run_numbers(logs: Logs, source: Source, file: str, part: Part, constants: Mapping[str, Any]) -> NDArray[np.int32]:
    """Number of each row's run, `NO_RUN` where its columns are empty."""
    path, n = Path(file), len(part.rows)
    if source.run.kind == "columns":
        arrays = [_array(part, constants, column) for column in source.run.columns]
        if any(array is None for array in arrays):
            return np.full(n, NO_RUN, dtype=np.int32)
        named = pc.binary_join_element_wise(*(texts(array) for array in arrays), source.run.separator)
        return _coded(named, logs.runs)
    if source.run.kind == "row":
        return np.array([logs.runs.number(f"{stem_of(path)}-{row}") for row in part.rows.tolist()], dtype=np.int32)
    if source.run.kind == "path":
        match = re.search(source.run.pattern, file)
        assert match is not None, "constants_of has refused it"
        name = match["run"]
    elif source.run.kind == "directory":
        name = path.parent.name
        if not name:
            raise StudyError(
                f"The source {source.name}: run.kind directory, and {file} is in none: it is in the working directory "
                "itself. Say run.kind file, or move it"
            )
    else:
        name = stem_of(path)
    return np.full(n, logs.runs.number(name), dtype=np.int32)


def stem_of(path: Path) -> str:
    """A file's name without its ending, and without that of a compressed file before it."""
    return Path(path.name.removesuffix(".gz")).stem


def _kept(source: Source, part: Part, constants: Mapping[str, Any], counts: Counts) -> NDArray[np.bool_]:
    """Rows that the filters let through; a column that a file lacks lets none through."""
    keep = np.ones(len(part.rows), dtype=np.bool_)
    for column, allowed in source.where.items():
        array = _array(part, constants, column)
        if array is None:
            return np.zeros(len(part.rows), dtype=np.bool_)
        encoded = texts(array).dictionary_encode()
        values = encoded.dictionary.to_pylist()
        if len(counts.filtered_by.setdefault(column, {})) < MOST_VALUES:
            counts.filtered_by[column] |= dict.fromkeys(values[:MOST_VALUES])
        fits = np.array([_is_one_of(text, allowed) for text in values] + [False])
        keep &= fits[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return keep


def _is_one_of(text: str, allowed: Sequence[str]) -> bool:
    """Whether a value is one of several: the same text, the same number, or true and false in any spelling."""
    if text in allowed or (text.lower() in ("true", "false") and text.lower() in allowed):
        return True
    return any(_same_number(text, other) for other in allowed)


def _same_number(a: str, b: str) -> bool:
    try:
        return float(a) == float(b)
    except ValueError:
        return False


def _identity(path: Path) -> tuple[str, int]:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), path.stat().st_size


def _refuse(source: Source, found: Mapping[str, None], counts: Counts) -> None:
    """Raises StudyError for columns that are nowhere, and for a source of which too little can be read."""
    asked = {f"columns.{key}": column for key, column in source.columns.items()}
    asked |= {f"where.{column}": column for column in source.where}
    if source.run.kind == "columns":
        asked |= {f"run.columns.{i}": column for i, column in enumerate(source.run.columns)}
    for key, column in asked.items():
        if column not in found:
            near = get_close_matches(column, list(found), 3, 0.4) or list(found)[:8]
            raise StudyError(
                f"The source {source.name}: {key} = {column!r}: no file of it has that column. The nearest names are "
                f"{', '.join(map(repr, near)) or 'none, since no row could be read'}; `glidepath inspect-log` lists "
                "all. Correct it"
            )
    readable = counts.kept + counts.filtered + counts.nameless
    bad = counts.unreadable + counts.wrong
    if bad > MOST_UNREADABLE * (readable + counts.unreadable):
        first = counts.first_wrong or repr(counts.first_unreadable)
        comma = "; a comma before decimals is said with decimal" if re.search(r"'-?\d+,\d+'", first) else ""
        raise StudyError(
            f"The source {source.name}: {bad} of {readable + counts.unreadable} rows cannot be read, the first is "
            f"{first}: more than {MOST_UNREADABLE:.0%} is not taken for accidents. Correct format, columns or the "
            f"files{comma}"
        )
    if not counts.kept:
        seen = "".join(
            f"; {column} has {', '.join(map(repr, list(values)[:MOST_VALUES])) or 'no values'}"
            + (" and maybe more" if len(values) >= MOST_VALUES else "")
            for column, values in counts.filtered_by.items()
        )
        raise StudyError(
            f"The source {source.name}: of {readable} rows none is left: where dropped {counts.filtered}, and "
            f"{counts.nameless} have no run{seen}. Correct where, run or paths"
        )


def _faults(counts: Counts, without: Mapping[str, list[str]]) -> Iterator[Fault]:
    def fault(kind: str, count: int, detail: str, done: str) -> Fault:
        return Fault(kind, np.nan, np.nan, count, detail, done)

    if counts.filtered:
        yield fault("filtered", counts.filtered, f"where leaves {counts.filtered} rows out", "they are not read")
    if counts.nameless:
        yield fault("no_run", counts.nameless, f"{counts.nameless} rows name no run", "they are not read")
    if counts.unreadable:
        detail = f"{counts.unreadable} lines cannot be read, the first is {counts.first_unreadable!r}"
        yield fault("unreadable", counts.unreadable, detail, "they are not read")
    if counts.wrong:
        detail = f"{counts.wrong} rows have text where a number is needed, the first is {counts.first_wrong}"
        yield fault("not_a_number", counts.wrong, detail, "the rows are flagged and not used")
    for column, files in without.items():
        detail = f"{len(files)} files have no column {column!r}, the first is {files[0]}"
        yield fault("column_missing", len(files), detail, "it is null there")
