"""What a gate file holds, declared once: its writer fills this, and its schema is made of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.promises.promise import Tier
from harness.require_gate import FORMAT, seal_of

__all__ = ["GateFile", "GateVerdict", "PromiseResult", "RootResult"]


GateVerdict = Literal["green", "green except known", "incomplete", "empty", "red"]


@dataclass(frozen=True)
class PromiseResult:
    """What was found of one promise; ``kinds`` are those of its violations."""

    verdict: Literal["holds", "BROKEN", "error", "n/a"]
    text: str
    violations: tuple[str, ...]
    warnings: tuple[str, ...]
    kinds: tuple[str, ...]
    detail: str


@dataclass(frozen=True)
class RootResult:
    """A broken promise that no other explains, with those that it explains or blocks."""

    id: str
    area: str
    consequences: tuple[str, ...]
    blocked: tuple[str, ...]


@dataclass(frozen=True)
class GateFile:
    """A verdict, and what it is about.

    Attributes
    ----------
    version : str
        Of the harness.
    when, where : str
        Time in UTC (ISO 8601), and the machine's name.
    digests : mapping of str to str
        Of the promises' ``declarations``, the ``code``, the ``config`` file and the listing of
        the ``data``, each where it was named.
    required : tuple of str
        Promises that were asked for by name; empty: the tier's.
    system, gated : str, mapping
        What was gated: as it was named, and its commit and own declaration.
    configuration : mapping or None
        Dynamics and protocol of the builtin trainer's run; None: the embedded configuration.
    environment, system_environment : mapping
        Of the gate's process, and of a foreign system's.
    known_defects : mapping of str to str
        Broken promises that are accepted, with the reason.
    complaints : tuple of str
        What is wrong with that list.
    relations : mapping of str to PromiseResult
        By id. A promise was called a relation when this was made.
    due : tuple of str
        Promises that the verdict is about, judged or not.
    seal : str
        Digest of everything else (:func:`harness.require_gate.seal_of`).
    """

    verdict: GateVerdict
    version: str
    when: str
    where: str
    digests: Mapping[str, str]
    required: tuple[str, ...]
    system: str
    gated: Mapping[str, Any]
    tier: Tier
    configuration: Mapping[str, Any] | None
    environment: Mapping[str, Any]
    system_environment: Mapping[str, Any]
    known_defects: Mapping[str, str]
    complaints: tuple[str, ...]
    roots: tuple[RootResult, ...]
    relations: Mapping[str, PromiseResult]
    due: tuple[str, ...]
    format: int = FORMAT
    seal: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-able, its format first, and sealed."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        values = {"format": values.pop("format"), **values}
        return {**values, "seal": seal_of(values)}
