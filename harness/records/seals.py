"""The seal of a run's opening record: the digest of everything else that it says."""

import json
from dataclasses import MISSING, Field, fields, replace
from typing import Any

from harness.digest import digest_strings
from harness.records.records import RunRecord

__all__ = ["seal_of", "sealed"]


def seal_of(record: RunRecord) -> str:
    """Return the digest of a record's other fields.

    A field that holds its default is left out, so that a field of a later version leaves the
    seals of earlier ones as they are.
    """
    values = {
        item.name: getattr(record, item.name)
        for item in fields(record)
        if item.name != "seal" and getattr(record, item.name) != _default(item)
    }
    return digest_strings([json.dumps(values, sort_keys=True)])


def sealed(record: RunRecord) -> RunRecord:
    """Return the record with its seal."""
    return replace(record, seal=seal_of(record))


def _default(item: "Field[Any]") -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()
