"""What a report's first cards say of a run: audit, gate, code and environment."""

from collections.abc import Mapping
from typing import Any

from harness.commands.audit import audit_verdict
from harness.commands.foreign import findings_verdict, foreign_findings
from harness.comparing import leaves
from harness.foreign.judging import Subject
from harness.records.records import NoteRecord, RunRecord
from harness.records.run import RunHistory
from harness.verdict import EXCEPT_KNOWN, GREEN, gate_note

__all__ = ["run_facts"]

Fact = dict[str, Any]
_GATED = "gated: "
"""What the note of a run that was started on a gate begins with."""


def run_facts(
    history: RunHistory, subject: Subject | None, gate: Mapping[str, Any] | None
) -> tuple[Fact, ...]:
    """Return the facts of a run, by name; what is absent is said to be.

    Parameters
    ----------
    history : RunHistory
        With a finished epoch or without.
    subject : Subject or None
        What is known of another trainer's run.
    gate : mapping or None
        Content of a gate file.
    """
    opening = history.attempts[-1].opening
    return (
        _audit(history, subject), _gate(history, gate), _fact("code", _code_text(opening)),
        _fact("environment", _environment_text(opening)),
    )  # fmt: skip


def _fact(name: str, text: str, good: bool | None = None) -> Fact:
    return {"name": name, "text": text, "good": good}


def _audit(history: RunHistory, subject: Subject | None) -> Fact:
    if subject is not None:
        findings = foreign_findings(subject)
        return _fact("audit", findings_verdict(findings), not findings.found)
    if not any(one.steps for one in history.segments):
        return _fact("audit", "not made: the run has not made a step yet")
    verdict, text = audit_verdict(history)
    return _fact("audit", text, verdict == "clean")


def _gate(history: RunHistory, gate: Mapping[str, Any] | None) -> Fact:
    if gate is None:
        notes = [note.text for one in history.attempts for note in one.of(NoteRecord)]
        told = next((text for text in reversed(notes) if text.startswith(_GATED)), None)
        if told is None:
            return _fact("gate", "none named: harness report --gate-file FILE shows its verdict")
        return _fact("gate", told, told.startswith(f"{_GATED}{GREEN},") or None)
    good = {GREEN: True, EXCEPT_KNOWN: None}.get(gate["verdict"], False)
    return _fact("gate", gate_note(gate), good)


def _code_text(opening: RunRecord) -> str:
    code = opening.code
    if not code.get("commit"):
        return f"commit not recorded{': ' * bool(code.get('reason'))}{code.get('reason', '')}"
    state = {"True": "dirty", "False": "clean"}.get(str(code.get("dirty")), "not known to be clean")
    return f"commit {code['commit']}, {state}"


def _environment_text(opening: RunRecord) -> str:
    known = [
        f"{key} {value}" for key, value in leaves(opening.environment) if value not in ("", None)
    ]
    return ", ".join(known) or "not recorded"
