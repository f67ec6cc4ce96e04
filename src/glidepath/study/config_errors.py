"""What is wrong with a YAML file, as one paragraph for the person who wrote it."""

from __future__ import annotations

import re
from math import isfinite, nan
from typing import Any

from pydantic import ValidationError

from glidepath.study.section import shortened

LIST = "a list is needed. Write it as [a, b]"
MAPPING = "a mapping is needed. Write its keys below it, indented; config/README.md lists them"
WHOLE_NUMBER = "a whole number is needed. Write its digits only, without quotes, point or exponent"
RULES_AND_REMEDIES = {
    "extra_forbidden": "there is no such key. Correct it or remove it; config/README.md lists the keys",
    "missing": "the key is required. Add it; config/README.md describes it",
    "float_type": "a number is needed. Write it without quotes; YAML reads 1e-3 as text, write 1.0e-3",
    "finite_number": "a finite number is needed. Change the value",
    "bool_type": "true or false is needed. Write one of them, without quotes",
    "int_type": WHOLE_NUMBER,
    "int_from_float": WHOLE_NUMBER,
    "string_type": "text is needed. Put it in quotes if it looks like a number or a date",
    "string_pattern_mismatch": "a name has lower-case letters, digits and underscores only. Change it",
    "string_too_short": "text is needed. Write it, or remove the key",
    "invalid_key": "a key is text. Correct it or remove it; config/README.md lists the keys",
    "string_too_long": "a name has at most 40 characters. Shorten it",
    "too_short": "at least one entry is needed. Add one",
    "tuple_type": LIST,
    "model_type": MAPPING,
    "model_attributes_type": MAPPING,
    "dict_type": MAPPING,
}


def explain(error: ValidationError, data: dict[str, Any], origin: str, what: str = "study") -> str:
    """One paragraph: every fault with key, value, rule and remedy; `what` says what the file is."""
    faults = []
    for fault in error.errors(include_url=False):
        if fault["type"] == "too_short" and fault["input"]:
            continue  # It has entries, whose own faults are told.
        key = _key(fault["loc"], data)
        if fault["type"] == "union_tag_invalid":
            known, tag = fault["ctx"]["expected_tags"], fault["ctx"]["discriminator"].strip("'")
            faults.append(f"{key}.{tag} = {fault['ctx']['tag']!r}: it must be one of {known}. Correct it.")
            continue
        if fault["type"] == "union_tag_not_found":
            tag = fault["ctx"]["discriminator"].strip("'")
            value = shortened(fault["input"])
            faults.append(f"{key} = {value}: its key {tag} is required. Add it; config/README.md describes it.")
            continue
        if fault["type"] == "value_error":
            message = str(fault["ctx"]["error"]).rstrip(".")
            faults.append(f"{key}: {message}." if key else f"{message}.")
            continue
        value = "" if fault["type"] == "missing" else f" = {shortened(fault['input'])}"
        rule = RULES_AND_REMEDIES.get(
            fault["type"],
            f"{fault['msg'].replace('Input', 'it', 1)}. Change the value; config/README.md describes the key",
        )
        if fault["type"] in ("float_type", "int_type") and (number := _as_yaml(fault["input"], fault["type"])):
            kind = "whole number" if fault["type"] == "int_type" else "number"
            rule = f"a {kind} is needed, and YAML reads this as text. Write {number}"
        faults.append(f"{key}{value}: {rule}.")
    return f"The {what} {origin} cannot be run. {' '.join(faults)}"


def _as_yaml(value: Any, fault: str) -> str:
    """A number that was read as text, as YAML reads it as one; empty if it is none."""
    try:
        number = float(value) if isinstance(value, str) else nan
    except ValueError:
        number = nan
    if not isfinite(number):
        return ""
    if fault == "int_type":
        return str(int(number)) if number.is_integer() else ""
    digits, exponent = re.fullmatch(r"([^eE]*)(?:[eE](.*))?", value.strip().replace("_", "")).groups()  # type: ignore[union-attr]
    mantissa = digits if "." in digits else f"{digits}.0"
    return f"{mantissa}e{int(exponent):+d}" if exponent else mantissa


def _key(location: tuple[int | str, ...], data: Any) -> str:
    """Path of a key as the YAML has it, without pydantic's marks for a union's member and a mapping's key."""
    path = []
    of_kind: Any = None
    for i, part in enumerate(location):
        if isinstance(data, dict) and part in (data.get("kind"), data.get("format")) and data is not of_kind:
            of_kind = data  # The mark of a union's member; what follows are its keys, one of which may be called alike.
            continue
        there = part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)
        if there:
            data = data[part]
        if there or (i == len(location) - 1 and part != "[key]"):
            path.append(str(part))
    return ".".join(path)
