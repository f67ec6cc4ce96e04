"""Text logs: lines among others that say a step and its values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glidepath.interop.run_logs.part import Part, Seen, records_in_parts

COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
NUMBER = r"[-+]?(?:[0-9][0-9,]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+|nan|inf)"
Line = Callable[[str], Mapping[str, Any] | None]


def read(
    path: Path, wanted: Sequence[str] | None, seen: Seen, preset: str | None, patterns: Sequence[str]
) -> Iterator[Part]:
    """Parts of a log, a row per line that is told by the preset or by one of the patterns."""
    line = PRESETS[preset]() if preset is not None else _by_patterns(patterns)
    return records_in_parts(_rows(path, line), wanted, seen)


def _rows(path: Path, line: Line) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        # A progress bar goes back to the line's begin with \r.
        for number, text in enumerate(re_split(file), 1):
            found = line(COLOURS.sub("", text))
            if found is not None:
                yield number, found


def re_split(lines: Iterator[str] | Any) -> Iterator[str]:
    """Lines, those behind a carriage return too."""
    for text in lines:
        yield from (part for part in text.rstrip("\r\n").split("\r")) if "\r" in text else (text,)


def _by_patterns(patterns: Sequence[str]) -> Line:
    compiled = [re.compile(pattern) for pattern in patterns]

    def line(text: str) -> Mapping[str, Any] | None:
        for pattern in compiled:
            if found := pattern.search(text):
                return found.groupdict()
        return None

    return line


ITERATION = re.compile(r"\biteration\s+(\d+)\s*/\s*(\d+)\s*\|")
VALIDATION = re.compile(r"\bvalidation loss at (?:iteration (\d+)|the end of training)(?: (?:on|for) (\w+)[^|]*)?\s*\|")
FIELD = re.compile(rf"^\s*([^|:]+?)\s*:\s*({NUMBER})\s*$", re.IGNORECASE)


def megatron() -> Line:
    """Megatron-LM: `iteration 10/ 500 | consumed samples: 2560 | … | lm loss: 1.0E+01 |`, and `validation loss at
    iteration 100 | lm loss value: 2.5E+00 | lm loss PPL: 1.2E+01 |`, whose columns get "validation" (or the set's name)
    in front; at the end of training it names no iteration, and the last one is meant."""
    last: list[int] = []

    def line(text: str) -> Mapping[str, Any] | None:
        if found := ITERATION.search(text):
            last[:] = [int(found[1])]
            fields = {"iteration": int(found[1]), "total iterations": int(found[2])}
            return {**fields, **_fields(text[found.end() :])}
        if found := VALIDATION.search(text):
            if found[1] is None and not last:
                return None
            name = "test" if (found[2] or "").startswith("test") else "validation"
            values = _fields(text[found.end() :])
            named = {f"{name} {key.removesuffix(' value')}": value for key, value in values.items()}
            return {"iteration": int(found[1]) if found[1] else last[0], **named}
        return None

    return line


def _fields(text: str) -> dict[str, str]:
    found = (FIELD.match(field) for field in text.split("|"))
    return {one[1]: one[2] for one in found if one}


TITAN_STEP = re.compile(rf"\b(validate )?step:\s*(\d+)\s+((?:\w+:\s*{NUMBER}.*))$", re.IGNORECASE)
TITAN_FIELD = re.compile(rf"(\w+):\s*({NUMBER})", re.IGNORECASE)


def torchtitan() -> Line:
    """torchtitan: `step: 10  loss:  7.1234  grad_norm:  1.2  memory: 40.3GiB(50%)  tps: 7,000 …`; columns of lines that
    begin with `validate` get validate_ in front."""

    def line(text: str) -> Mapping[str, Any] | None:
        found = TITAN_STEP.search(text)
        if not found:
            return None
        prefix = "validate_" if found[1] else ""
        values = {f"{prefix}{key}": value.rstrip(",") for key, value in TITAN_FIELD.findall(found[3])}
        return {"step": int(found[2]), **values}

    return line


PRESETS: dict[str, Callable[[], Line]] = {"megatron": megatron, "torchtitan": torchtitan}
