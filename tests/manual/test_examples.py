"""Every section of a YAML file is described, and has an example that is right."""

from __future__ import annotations

import textwrap

import pytest
import yaml

from glidepath.manual.examples import EXAMPLES
from glidepath.manual.places import Place, places_of_a_study, places_of_checkpoints, places_of_imports
from glidepath.study.checkpoint_config import CheckpointsConfig
from glidepath.study.config import StudyConfig
from glidepath.study.import_config import ImportConfig

PLACES = (*places_of_a_study(), *places_of_checkpoints(), *places_of_imports())


def test_every_key_is_described() -> None:
    bare = [
        f"{place.title}.{key}"
        for place in PLACES
        for key, field in place.model.model_fields.items()
        if not field.description and key not in ("kind", "format")
    ]
    assert bare == []


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.model.__name__)
def test_an_example_is_valid(place: Place) -> None:
    example = yaml.safe_load(textwrap.dedent(EXAMPLES[place.model.__name__]))
    if isinstance(example, list):
        sections = example
    elif place.model in (StudyConfig, CheckpointsConfig, ImportConfig):
        assert set(example) <= set(place.model.model_fields)
        return
    else:
        ((_, value),) = example.items()
        named = place.title.split("`")[1].endswith(".<name>")
        sections = value if isinstance(value, list) else list(value.values()) if named else [value]
    for section in sections:
        place.model.model_validate(section)


def test_no_example_is_left_over() -> None:
    assert set(EXAMPLES) == {place.model.__name__ for place in PLACES}
