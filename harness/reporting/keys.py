"""``docs/configuration.md``: every key of the configuration, made from the declarations."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.schemas import SCHEMAS

__all__ = ["configuration_page"]

_HEAD = """\
# The configuration

Every key, made from the declarations in `harness/config/` by `harness schema --keys docs`; a test
holds the page against them. A file names what differs from the defaults, which are EdgeFlowNAS's up
to its commit 2ef204e; `--set SECTION.KEY=VALUE` overrides one key, and a run's `config.yaml` lists
all as resolved. An unknown key is an error.

What a key's kind says:

| kind | |
|---|---|
| dynamics | changes the weights that training yields: another value is another segment of a run |
| protocol | changes what an evaluation measures: another value is another metric series |
| observation | changes neither, only what is recorded, where, and at what cost |
| environment | changes the last bits: threads, kernels, device, and where files lie |
| fixed | accepts what is implemented; others are listed that a gated trainer may have |

**In an editor.** A server for YAML, such as that of the YAML extension of VS Code, completes keys
and shows these sentences once the first line of a file names the schema, by a path relative to the
file:

    # yaml-language-server: $schema=docs/schemas/config.json

Away from this repository `harness schema config --json config.schema.json` writes it.
"""


def configuration_page() -> str:
    """Return the page, a table for each section."""
    schema = SCHEMAS["config"]
    parts = [_HEAD]
    for section, prefix in _sections(schema, schema, ""):
        rows = [
            f"| `{key}` | {_values(one)} | {_code(one['default'])} | {one['kind']} | "
            f"{_cell(one['description'])} |"
            for key, one in section["properties"].items()
            if "kind" in one
        ]
        title = f"## `{prefix.rstrip('.')}`: {_first(section['description'])}\n"
        parts.append("\n".join([title, *_TABLE, *rows]) + "\n")
    return "\n".join(parts)


_TABLE = ("| key | values | default | kind | |", "|---|---|---|---|---|")


def _sections(
    schema: Mapping[str, Any], section: Mapping[str, Any], prefix: str
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield sections with their prefixes, those within a section after it."""
    for key, one in section["properties"].items():
        if "$ref" in one:
            found = schema["$defs"][one["$ref"].rpartition("/")[2]]
            yield found, f"{prefix}{key}."
            yield from _sections(schema, found, f"{prefix}{key}.")


def _values(one: Mapping[str, Any]) -> str:
    """Return in words what a key takes."""
    if one["kind"] == "fixed":
        return " or ".join(_code(value) for value in (one["default"], *one.get("theirs", ())))
    return " or ".join(_choice(choice) for choice in one.get("anyOf", [one]))


def _choice(one: Mapping[str, Any]) -> str:
    if "enum" in one or "const" in one:
        return ", ".join(_code(value) for value in one.get("enum", [one.get("const")]))
    kind = one.get("type")
    if kind == "array":
        return f"a list of {_items(one)}"
    if kind in ("integer", "number"):
        return f"{'whole number' if kind == 'integer' else 'number'} {_range(one)}"
    words = {"string": "text", "boolean": "`true` or `false`", "null": "`null`"}
    return words[str(kind)]


def _items(one: Mapping[str, Any]) -> str:
    if "prefixItems" in one:
        first, *_ = one["prefixItems"]
        return f"{len(one['prefixItems'])}: each a {_choice(first)}"
    return _choice(one["items"])


def _range(one: Mapping[str, Any]) -> str:
    above = f"above {one['exclusiveMinimum']:g}" if "exclusiveMinimum" in one else ""
    least = f"from {one['minimum']}" if "minimum" in one else ""
    return f"{above or least} to {one['maximum']:,}" if "maximum" in one else above or least


def _code(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _first(text: str) -> str:
    return text.splitlines()[0].rstrip(".")
