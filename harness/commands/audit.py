"""``harness audit``: hold a finished, running or killed run to its promises, by its ledger.

A run of another trainer is looked at by the files that it has left (``harness.foreign``). No
TensorFlow: a run can be audited on any machine.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.collector import collector_paused
from harness.commands.common import EXIT_BROKEN, EXIT_DONE, ledger_file, say, write_json
from harness.commands.foreign import add_foreign_options, audit_foreign, is_foreign, own_only
from harness.commands.parsing import CommandParser
from harness.commands.paths import PathKind
from harness.errors import InputError
from harness.promises.judge import Judgement, gravity, is_broken, judge_evidence, tally
from harness.promises.ledger.registry import LEDGER_PROMISES
from harness.records.ledger import BrokenLine, read_ledger
from harness.records.run import RunEvidence, RunHistory, read_history
from harness.wording import counted

__all__ = ["add_parser", "audit_verdict", "run"]


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_path(
        "path", kind=PathKind.RUN, metavar="RUN",
        help="run directory, or its ledger; or the run of another trainer: its folder or log",
    )  # fmt: skip
    add_foreign_options(parser)


def run(args: Namespace) -> int:
    """Judge every promise that a ledger can prove or break; exit code 1 if one is broken."""
    with collector_paused():
        return _audit(args)


def _audit(args: Namespace) -> int:
    if is_foreign(args.path):
        return audit_foreign(args.path, args)
    path = ledger_file(args.path)
    own_only(args)
    history = _history(path)
    evidence = history.segments  # each is judged by its own configuration
    say(_heading_line(path, evidence))
    for line in history.broken:
        say(str(line))
    if history.note:
        say(f"note: {history.note}")
    begun = history.attempts[-1].segment
    if begun != evidence[-1].segment:
        say(f"segment {begun} has begun and made no step yet")
    judged, worst = _judged(evidence)
    for one in evidence:
        if len(evidence) > 1:
            say(f"segment {one.segment}: {_counts_text(one)}")
        _show(judged[one.segment])
    verdict, text = _verdict(worst, history.broken)
    write_json(args.json, _json_result(verdict, worst, history.broken, judged))
    say(text)
    return EXIT_BROKEN if verdict == "broken" else EXIT_DONE


def audit_verdict(history: RunHistory) -> tuple[str, str]:
    """Return the verdict on a run that has made a step: ``clean`` or ``broken``, and a line."""
    return _verdict(_judged(history.segments)[1], history.broken)


def _judged(evidence: Sequence[RunEvidence]) -> tuple[dict[str, list[Judgement]], list[Judgement]]:
    """Return the judgements of each segment, and the gravest of each promise."""
    judged = {
        one.segment: [judge_evidence(p, partial(_same, one)) for p in LEDGER_PROMISES.values()]
        for one in evidence
    }
    # A promise holds for a run only if it holds in each segment.
    return judged, [max(row, key=gravity) for row in zip(*judged.values(), strict=True)]


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


def _same(evidence: RunEvidence) -> RunEvidence:
    return evidence


def _heading_line(path: Path, evidence: tuple[RunEvidence, ...]) -> str:
    if len(evidence) == 1:
        return f"{path}: {_counts_text(evidence[0])}"
    names = ", ".join(one.segment for one in evidence)
    return f"{path}: {len(evidence)} segments, each judged by its own plan: {names}"


def _counts_text(evidence: RunEvidence) -> str:
    return (
        f"{counted(len(evidence.epochs), 'finished epoch')}, "
        f"{counted(len(evidence.steps), 'step')}, "
        f"{counted(len(evidence.evals), 'evaluation')}, attempts: {evidence.attempts}"
    )


def _show(judgements: list[Judgement]) -> None:
    width = max(len(j.promise.id) for j in judgements)
    for j in judgements:
        say(f"{j.verdict:6} {j.promise.id:{width}}  {j.text}")
    for j in judgements:
        for warning in j.warnings:
            say(f"warning: {j.promise.id}: {warning}")
    for j in judgements:
        if j.violations:
            say(f"Broken promise: {j.promise.sentence} [{j.promise.id}]")
            for line in j.violations:
                say(f"  - {line}")
            say(f"What it usually means: {j.promise.hint}")


def _verdict(judgements: list[Judgement], lines: Sequence[BrokenLine]) -> tuple[str, str]:
    # A kill leaves such a line at an attempt's end, and no evidence is lost with it.
    lost = sum(not line.tail for line in lines)
    verdict = "broken" if lost or is_broken(judgements) else "clean"
    return verdict, f"AUDIT {verdict.upper()}: {tally(judgements, (lost, 'lines lost'))}"


def _json_result(
    verdict: str, judgements: list[Judgement], lines: Sequence[BrokenLine],
    judged: Mapping[str, list[Judgement]],
) -> dict[str, Any]:  # fmt: skip
    return {
        "verdict": verdict,
        # A promise was called a relation when this format was made, and the format stays.
        "relations": {j.promise.id: _json_judgement(j) for j in judgements},
        "segments": {
            name: {j.promise.id: _json_judgement(j) for j in found}
            for name, found in judged.items()
        },
        "broken_lines": [
            {"line": line.number, "reason": line.reason, "tail": line.tail} for line in lines
        ],
    }


def _json_judgement(judgement: Judgement) -> dict[str, Any]:
    return {
        "verdict": judgement.verdict, "text": judgement.text,
        "violations": judgement.violations, "warnings": judgement.warnings,
    }  # fmt: skip
