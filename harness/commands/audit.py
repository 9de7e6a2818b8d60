"""``harness audit``: hold a finished, running or killed run to its promises, by its ledger.

No TensorFlow: a ledger can be audited on any machine.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.commands.common import EXIT_BROKEN, EXIT_DONE, ledger_file, say, write_json
from harness.errors import InputError
from harness.evidence.ledger import LedgerContent, effective, read_ledger
from harness.evidence.run import RunEvidence, run_evidence
from harness.relations import RELATIONS, Relation
from harness.relations.base import NotApplicableError
from harness.reporting.broken import BrokenLine, broken_lines

__all__ = ["add_parser", "run"]


@dataclass(frozen=True)
class _Judgement:
    relation: Relation
    verdict: Literal["holds", "BROKEN", "n/a", "error"]
    text: str
    violations: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def add_parser(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("path", type=Path, metavar="RUN", help="run directory, or its ledger")


def run(args: Namespace) -> int:
    """Judge every promise that a ledger can prove or break; exit code 1 if one is broken."""
    path = ledger_file(args.path)
    content = read_ledger(path)
    evidence = _evidence(path, content)
    broken = broken_lines(content)
    say(_heading(path, evidence))
    for line in broken:
        say(str(line))
    judgements = [_judge(r, evidence) for r in RELATIONS.values() if r.offline]
    _show(judgements)
    verdict, text = _verdict(judgements, broken)
    write_json(args.json, _result(verdict, judgements, broken))
    say(text)
    return EXIT_BROKEN if verdict == "broken" else EXIT_DONE


def _evidence(path: Path, content: LedgerContent) -> RunEvidence:
    try:
        evidence = run_evidence(effective(content.records))
    except ValueError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from None
    if not evidence.steps:
        msg = f"{path}: the run has not made a step yet, there is nothing to audit"
        raise InputError(msg)
    return evidence


def _heading(path: Path, evidence: RunEvidence) -> str:
    return (
        f"{path}: {len(evidence.epochs)} finished epochs, {len(evidence.steps)} steps, "
        f"{len(evidence.evals)} evaluations, attempts: {evidence.attempts}"
    )


def _judge(relation: Relation, evidence: RunEvidence) -> _Judgement:
    try:
        found = relation.check(evidence)
    except NotApplicableError as error:
        return _Judgement(relation, "n/a", str(error))
    except Exception as error:  # noqa: BLE001 -- a damaged ledger may hold anything
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        return _Judgement(relation, "error", text, (text,))
    lines = tuple(str(violation) for violation in found.violations)
    if lines:
        return _Judgement(relation, "BROKEN", lines[0], lines, found.warnings)
    return _Judgement(relation, "holds", found.figures, (), found.warnings)


def _show(judgements: list[_Judgement]) -> None:
    width = max(len(j.relation.id) for j in judgements)
    for j in judgements:
        say(f"{j.verdict:6} {j.relation.id:{width}}  {j.text}")
    for j in judgements:
        for warning in j.warnings:
            say(f"warning: {j.relation.id}: {warning}")
    for j in judgements:
        if j.violations:
            say(f"Broken promise: {j.relation.promise} [{j.relation.id}]")
            for line in j.violations:
                say(f"  - {line}")
            say(f"What it usually means: {j.relation.hint}")


def _verdict(judgements: list[_Judgement], lines: Sequence[BrokenLine]) -> tuple[str, str]:
    found = [j.verdict for j in judgements]
    lost = sum(not line.tail for line in lines)
    broken = bool(lost) or "BROKEN" in found or "error" in found
    counts = (
        (found.count("holds"), "promises hold"),
        (found.count("BROKEN"), "broken"),
        (found.count("error"), "could not be checked"),
        (found.count("n/a"), "not applicable"),
        (lost, "lines lost"),
    )
    verdict = "broken" if broken else "clean"
    text = ", ".join(f"{number} {what}" for number, what in counts if number)
    return verdict, f"AUDIT {verdict.upper()}: {text}"


def _result(
    verdict: str, judgements: list[_Judgement], lines: Sequence[BrokenLine]
) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "relations": {
            j.relation.id: {
                "verdict": j.verdict, "text": j.text, "violations": j.violations,
                "warnings": j.warnings,
            }
            for j in judgements
        },
        "broken_lines": [
            {"line": line.number, "reason": line.reason, "tail": line.tail} for line in lines
        ],
    }  # fmt: skip
