"""JSON Schemas of what is written for others to read, made of the declarations themselves.

Draft 2020-12, as pydantic writes it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from harness.config import Config
from harness.config.meanings import MEANINGS, fields_of
from harness.gate_file import GateFile
from harness.records.records import EPOCH_FIELDS, RECORDS, EpochRecord

__all__ = ["SCHEMAS"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _gate_file() -> dict[str, Any]:
    return _closed(TypeAdapter(GateFile).json_schema())


def _ledger_line() -> dict[str, Any]:
    """Return the schema of one line of ``ledger.jsonl``: a record of one kind."""
    kinds: list[dict[str, Any]] = []
    for kind, record in RECORDS.items():
        schema = _closed(TypeAdapter(record).json_schema())
        attempt = {"type": "integer", "minimum": 1}
        # Lines of earlier versions carry none.
        chain = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
        schema["properties"] = {
            "kind": {"const": kind}, "attempt": attempt, **schema["properties"], "chain": chain,
        }  # fmt: skip
        schema["required"] = ["kind", "attempt", *(n for n in schema["required"] if n != "attempt")]
        kinds.append(schema)
    return {"title": "a line of ledger.jsonl", "oneOf": kinds}


def _epoch_row() -> dict[str, Any]:
    """Return the schema of one row of ``epochs.csv`` by column, an empty cell as null."""
    schema = _closed(TypeAdapter(EpochRecord).json_schema())
    properties = {name: schema["properties"][name] for name in EPOCH_FIELDS}
    return {**schema, "title": "a row of epochs.csv", "properties": properties}


def _config() -> dict[str, Any]:
    """Return the configuration's schema, with the sentences that an editor shows."""
    schema = Config.model_json_schema(by_alias=True)
    for key, section, _ in fields_of():
        told = schema["$defs"][section.__name__]["properties"][key.rpartition(".")[2]]
        told["description"] = MEANINGS[key]
    return schema


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that allows no other property, in it or in what it defines."""
    for one in (schema, *schema.get("$defs", {}).values()):
        if "properties" in one:
            one["additionalProperties"] = False
    return schema


_MAKERS: Mapping[str, Callable[[], dict[str, Any]]] = MappingProxyType(
    {"gate-file": _gate_file, "ledger": _ledger_line, "epoch-log": _epoch_row, "config": _config}
)

SCHEMAS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {name: {"$schema": _DIALECT, **make()} for name, make in _MAKERS.items()}
)
"""By name: of the gate file, a ledger's line, an epoch log's row, and a configuration."""
