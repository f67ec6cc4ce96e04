"""Where the sections of a YAML file are: each at its place, in the order of their keys."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from glidepath.study.checkpoint_config import CheckpointsConfig
from glidepath.study.config import StudyConfig
from glidepath.study.import_config import ImportConfig
from glidepath.study.section import Section


@dataclass(frozen=True)
class Place:
    """A section at its place in the YAML."""

    title: str
    model: type[Section]


def places(model: type[Section], path: str = "", kind: str = "") -> Iterator[Place]:
    """A section and all below it, in the order of their keys."""
    yield Place(f"`{path}`{kind}" if path else "Top level", model)
    for key, field in model.model_fields.items():
        below, marks = _sections_in(field.annotation)
        for section in below:
            of_kind = f" of {_tag(section)} {_kinds(section)}" if len(below) > 1 else ""
            yield from places(section, f"{path}.{key}{marks}".removeprefix("."), of_kind)


def places_of_a_study() -> list[Place]:
    """What several kinds of a section have below them is told once."""
    return list(dict.fromkeys(places(StudyConfig)))


def places_of_checkpoints() -> list[Place]:
    """The sections that a study does not have."""
    told = {place.model for place in places(StudyConfig)}
    return [place for place in dict.fromkeys(places(CheckpointsConfig)) if place.model not in told]


def places_of_imports() -> list[Place]:
    """The sections that neither a study nor a file of checkpoints has."""
    told = {place.model for other in (StudyConfig, CheckpointsConfig) for place in places(other)}
    found: dict[type[Section], Place] = {}
    for place in places(ImportConfig):
        # How a learning rate is known is said of sources and of runs alike.
        found.setdefault(place.model, place)
    return [place for model, place in found.items() if model not in told]


def _sections_in(annotation: Any) -> tuple[list[type[Section]], str]:
    """Sections that a key may hold, and the marks of the list or mapping that they are in."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation], ""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _sections_in(arguments[0])
    if origin is tuple:
        return _sections_in(arguments[0])[0], "[]"
    if origin is dict:
        return _sections_in(arguments[1])[0], ".<name>"
    if origin in (Union, types.UnionType):
        return [section for argument in arguments for section in _sections_in(argument)[0]], ""
    return [], ""


def _tag(section: type[Section]) -> str:
    """The key that says which of several a section is."""
    return "kind" if "kind" in section.model_fields else "format"


def _kinds(section: type[Section]) -> str:
    return ", ".join(f"`{kind}`" for kind in get_args(section.model_fields[_tag(section)].annotation))
