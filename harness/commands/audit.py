"""``harness audit``: hold a finished, running or killed run to its promises, by its ledger.

No TensorFlow: a ledger can be audited on any machine.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.commands.common import EXIT_BROKEN, EXIT_DONE, ledger_file, say, write_json
from harness.errors import InputError
from harness.records.ledger import BrokenLine, read_ledger
from harness.records.run import RunEvidence, RunHistory, read_history
from harness.relations import RELATIONS, Relation
from harness.relations.base import NotApplicableError

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
    history = _history(path)
    evidence = history.segments  # each is judged by its own configuration
    say(_heading(path, evidence))
    for line in history.broken:
        say(str(line))
    begun = history.attempts[-1].segment
    if begun != evidence[-1].segment:
        say(f"segment {begun} has begun and made no step yet")
    offline = [relation for relation in RELATIONS.values() if relation.offline]
    judged = {one.segment: [_judge(r, one) for r in offline] for one in evidence}
    for one in evidence:
        if len(evidence) > 1:
            say(f"segment {one.segment}: {_counts(one)}")
        _show(judged[one.segment])
    worst = [max(row, key=_gravity) for row in zip(*judged.values(), strict=True)]
    verdict, text = _verdict(worst, history.broken)
    write_json(args.json, _result(verdict, worst, history.broken, judged))
    say(text)
    return EXIT_BROKEN if verdict == "broken" else EXIT_DONE


def _gravity(judgement: _Judgement) -> int:
    return ("n/a", "holds", "error", "BROKEN").index(judgement.verdict)


def _history(path: Path) -> RunHistory:
    try:
        history = read_history(read_ledger(path))
    except ValueError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from None
    if not any(one.steps for one in history.segments):
        msg = f"{path}: the run has not made a step yet, there is nothing to audit"
        raise InputError(msg)
    return history


def _heading(path: Path, evidence: tuple[RunEvidence, ...]) -> str:
    if len(evidence) == 1:
        return f"{path}: {_counts(evidence[0])}"
    names = ", ".join(one.segment for one in evidence)
    return f"{path}: {len(evidence)} segments, each judged by its own plan: {names}"


def _counts(evidence: RunEvidence) -> str:
    return (
        f"{len(evidence.epochs)} finished epochs, {len(evidence.steps)} steps, "
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
    verdict: str, judgements: list[_Judgement], lines: Sequence[BrokenLine],
    judged: Mapping[str, list[_Judgement]],
) -> dict[str, Any]:  # fmt: skip
    return {
        "verdict": verdict,
        "relations": {j.relation.id: _shown(j) for j in judgements},
        "segments": {
            name: {j.relation.id: _shown(j) for j in found} for name, found in judged.items()
        },
        "broken_lines": [
            {"line": line.number, "reason": line.reason, "tail": line.tail} for line in lines
        ],
    }


def _shown(judgement: _Judgement) -> dict[str, Any]:
    return {
        "verdict": judgement.verdict, "text": judgement.text,
        "violations": judgement.violations, "warnings": judgement.warnings,
    }  # fmt: skip
