"""Type, rules and default of a key in words."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from glidepath.study.section import LARGEST, Section


def type_in_words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Type of a key in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_in_words(arguments[0], arguments[1:])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of: {type_in_words(arguments[0])}"
    if origin is dict:
        return f"mapping of names to: {type_in_words(arguments[1])}"
    if origin in (Union, types.UnionType):
        without_null = [argument for argument in arguments if argument is not types.NoneType]
        null = ", or null" if len(without_null) < len(arguments) else ""
        distinct = list(dict.fromkeys(type_in_words(argument) for argument in without_null))
        return f"{' or '.join(distinct)}{null}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    if annotation is str and any(getattr(mark, "pattern", None) for mark in _flat(metadata)):
        return "name"
    return {str: "text", bool: "true or false", int: "whole number", float: "number"}[annotation]


SIGNS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}"}


def rules_in_words(annotation: Any, metadata: Sequence[Any] = ()) -> list[str]:
    """Bounds of a key, those of a list's entries included."""
    rules = []
    for mark in _flat(metadata):
        for name, sign in SIGNS.items():
            bound = getattr(mark, name, None)
            if bound is not None and bound != LARGEST:
                rules.append(sign.format(bound))
        if getattr(mark, "min_length", None):
            rules.append("not empty")
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        rules += rules_in_words(arguments[0], arguments[1:])
    elif origin is tuple:
        rules += [f"each {rule}" for rule in rules_in_words(arguments[0])]
    elif origin in (Union, types.UnionType):
        rules += [rule for argument in arguments for rule in rules_in_words(argument)]
    return rules


def _flat(metadata: Sequence[Any]) -> list[Any]:
    """Marks of an annotation; those that a `Field` holds are taken out of it."""
    return [mark for entry in metadata for mark in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]


def default_in_words(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    if isinstance(field.default, Section):
        return "its defaults"
    default = field.default
    if isinstance(default, dict):
        default = {key: entry.model_dump(exclude_defaults=True) for key, entry in default.items()}
    return f"`{_as_yaml(list(default) if isinstance(default, tuple) else default)}`"


def _as_yaml(value: Any) -> str:
    """A value as a study would write it, on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip()
