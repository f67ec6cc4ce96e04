"""The page of keys: every key of a study, of checkpoints and of imported runs, with an example per section."""

from __future__ import annotations

from glidepath.manual.examples import EXAMPLES
from glidepath.manual.key_words import default_in_words, rules_in_words, type_in_words
from glidepath.manual.markdown import GENERATED, markdown_table, prose
from glidepath.manual.places import Place, places_of_a_study, places_of_checkpoints, places_of_imports


def keys_of_a_study() -> str:
    """Every key of a study: type, default, rule and meaning, section by section, with examples."""
    lines = [
        "# The keys of a study",
        "",
        f"*{GENERATED}*",
        "",
        "A study is one YAML file. `glidepath plan FILE` validates it and says what it will cost before anything runs.",
        "An unknown key is an error, and so is a list that gives a value twice. Numbers are written as numbers:",
        "YAML reads `1e-3` as text, `1.0e-3` is a number; whole numbers go up to 2^53. A name has at most 40",
        "lower-case letters, digits and underscores and begins with a letter. Relative paths start from the working",
        "directory.",
        "",
        "With the first line `# yaml-language-server: $schema=study.schema.json` an editor checks the file while it",
        "is typed.",
        "",
    ]
    for place in places_of_a_study():
        lines += _section(place)
    lines += [
        "# The keys of checkpoints that were trained elsewhere",
        "",
        "A file with the key `checkpoints` at its top is no study: it says which checkpoints are evaluated and",
        "averaged. Its sections are below; those of `corpus` and `schemes` are as in a study. For an editor its first",
        "line is `# yaml-language-server: $schema=checkpoints.schema.json`.",
        "",
    ]
    for place in places_of_checkpoints():
        lines += _section(place)
    lines += [
        "# The keys of imported runs",
        "",
        "A file with the key `imports` at its top says where logs of runs that were trained elsewhere are and what",
        "their columns mean. `glidepath inspect-log FILE` shows a log and writes a source to start from. Its sections",
        "are below; those of `schedules` are as in a study. For an editor its first line is",
        "`# yaml-language-server: $schema=imports.schema.json`.",
        "",
    ]
    for place in places_of_imports():
        lines += _section(place)
    return "\n".join(lines)


def _section(place: Place) -> list[str]:
    rows = [
        (
            f"`{key}`",
            type_in_words(field.annotation, field.metadata),
            default_in_words(field),
            "; ".join(rules_in_words(field.annotation, field.metadata)),
            prose(field.description or ""),
        )
        for key, field in place.model.model_fields.items()
    ]
    example = "\n".join(line.removeprefix(" " * 8) for line in EXAMPLES[place.model.__name__].splitlines())
    return [
        f"## {place.title}",
        "",
        prose(place.model.__doc__ or ""),
        "",
        *markdown_table(("key", "type", "default", "rule", "description"), rows),
        "",
        "```yaml",
        example.strip("\n"),
        "```",
        "",
    ]
