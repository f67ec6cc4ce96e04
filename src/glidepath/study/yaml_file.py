"""A configuration's YAML as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from glidepath.study.section import StudyError


def read_yaml(path: Path, what: str) -> Any:
    """Plain data of a file; `what` says in messages what it is.

    Raises StudyError for a missing file and for YAML that does not parse.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except OSError as error:
        raise StudyError(
            f"The {what} {path} cannot be read: {error.strerror}. Give an existing file: --configfile PATH."
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: bytes that are not UTF-8, or a value such as the date 2024-13-01.
        raise StudyError(
            f"The {what} {path} is not YAML: {' '.join(str(error).split())}. Correct that line."
        ) from error


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that is given twice is an error, where PyYAML would silently take the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key_node, _ in node.value:
            # A merge (<<) may bring keys that are given again: that is what it is for.
            key = None if key_node.tag.endswith(":merge") else self.construct_object(key_node, deep=True)
            if key is not None and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.append(key)
        return super().construct_mapping(node, deep)
