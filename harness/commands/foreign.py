"""What commands about runs share where the run is another trainer's."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.commands.common import EXIT_BROKEN, EXIT_DONE, say, write_json
from harness.commands.parsing import CommandParser, add_number
from harness.commands.paths import PathKind
from harness.errors import InputError
from harness.foreign.configured import configured_plan
from harness.foreign.judging import Findings, Subject, ZeroFlow, judge_run
from harness.foreign.recognise import FOREIGN_FILES, is_file_of_run, is_own, read_foreign
from harness.foreign.registry import CHECKS
from harness.foreign.zero_flow import measured_zero_flow
from harness.ranges import Range
from harness.wording import counted, quoted

__all__ = [
    "add_column_option", "add_foreign_options", "audit_foreign", "columns_of", "findings_verdict",
    "foreign_findings", "is_foreign", "own_only", "read_subject", "refuse_outputs",
]  # fmt: skip

_OPTIONS = {
    "columns": "--column", "foreign_config": "--config", "plan": "--set",
    "zero_flow": "--zero-flow", "foreign_data": "--fc2-root",
}  # fmt: skip


def add_column_option(parser: CommandParser) -> None:
    """Declare which column of a table is which."""
    parser.add_argument(
        "--column", dest="columns", action="append", default=[], metavar="NAME=COLUMN",
        help="of another trainer's table: which column is epoch, epe, loss, lr, norm, clip_rate, "
        "...; may be repeated",
    )  # fmt: skip


def add_foreign_options(parser: CommandParser) -> None:
    """Declare the options that say more of another trainer's run than its files."""
    add_column_option(parser)
    parser.add_path(
        "--config", dest="foreign_config", kind=PathKind.FILE, metavar="FILE",
        help="YAML that another trainer's run was configured with",
    )  # fmt: skip
    parser.add_argument(
        "--set", dest="plan", action="append", default=[], metavar="KEY=VALUE",
        help="what another trainer's run was configured with, such as train.batch_size=32",
    )  # fmt: skip
    add_number(
        parser, "--zero-flow", Range(0, 1e6, "px", whole=False, above=True),
        "EPE of an all-zero flow on what another trainer scores", metavar="PX",
    )  # fmt: skip
    parser.add_path(
        "--fc2-root", dest="foreign_data", kind=PathKind.DATA, metavar="DIR",
        help="folder with train/ and val/: measures it there",
    )  # fmt: skip


def is_foreign(path: Path) -> bool:
    """Return whether a path is a run of another trainer."""
    return path.exists() and not is_own(path)


def own_only(args: Namespace) -> None:
    """Refuse options that mean nothing for a run of ours, whose ledger tells it all.

    Raises
    ------
    InputError
        Naming the option.
    """
    given = [option for dest, option in _OPTIONS.items() if getattr(args, dest)]
    if given:
        msg = f"{given[0]}: is for runs of other trainers ({FOREIGN_FILES}), none is named here"
        raise InputError(msg)


def read_subject(path: Path, args: Namespace) -> Subject:
    """Read a run and all that the command line says beside it."""
    refuse_outputs(path, args)
    run = read_foreign(path, columns_of(args))
    configured = configured_plan(args.foreign_config, args.plan).over(run.configured)
    plan = run.plan.over(configured)
    zero = None
    if args.zero_flow is not None and args.foreign_data is not None:
        msg = "--zero-flow and --fc2-root: either says what an all-zero flow scores; name one"
        raise InputError(msg)
    if args.zero_flow is not None:
        zero = ZeroFlow(args.zero_flow, "--zero-flow")
    elif args.foreign_data is not None:
        zero = measured_zero_flow(args.foreign_data, run, plan)
    return Subject(run, plan, configured, zero)


def columns_of(args: Namespace) -> dict[str, str]:
    """Return the columns that a command line names."""
    return dict(_named(text) for text in args.columns)


def refuse_outputs(path: Path, args: Namespace) -> None:
    """Refuse to write over what another trainer has left.

    Raises
    ------
    InputError
        Naming the option.
    """
    folder = path.resolve()
    for option, out in (("--json", args.json), ("--out", getattr(args, "out", None))):
        if out is None or not is_file_of_run(out.name):
            continue
        if (out.resolve().is_relative_to(folder)) or out.resolve() == folder:
            msg = f"{option} {out}: is one of the files of the run {path}; name another"
            raise InputError(msg)


def _named(text: str) -> tuple[str, str]:
    name, is_one, column = text.partition("=")
    if not is_one or not column:
        msg = f"--column {quoted(text)}: expected NAME=COLUMN, such as epe=val/epe"
        raise InputError(msg)
    return name, column


def foreign_findings(subject: Subject) -> Findings:
    """Put a run to every check."""
    return judge_run(subject, CHECKS)


def audit_foreign(path: Path, args: Namespace) -> int:
    """Audit a run of another trainer; exit code 1 if there is a finding."""
    subject = read_subject(path, args)
    findings = foreign_findings(subject)
    for line in _lines(path, subject, findings):
        say(line)
    write_json(args.json, _json(subject, findings))
    say(findings_verdict(findings))
    return EXIT_BROKEN if findings.found else EXIT_DONE


def _lines(path: Path, subject: Subject, findings: Findings) -> list[str]:
    run = subject.run
    scored = counted(len(run.scored), "evaluation")
    lines = [
        f"{path}: {run.kind}, {counted(len(run.epochs), 'epoch')}, {scored}; read: "
        f"{', '.join(run.files)}",
        *(f"note: {note}" for note in run.notes),
        *(f"plan: {subject.plan.told(key)}" for key in sorted(subject.plan.values)),
        "", "Measured",
    ]  # fmt: skip
    width = max([len(check.id) for check, _ in findings.measured], default=0)
    for check, measured in findings.measured:
        word = "FOUND" if measured.found else "holds"
        lines.append(f"{word}  {check.id:{width}}  {measured.text}")
    if findings.unmade:
        lines += ["", "Not checked, and why"]
        width = max(map(len, findings.unmade))
        lines += [f"  -    {name:{width}}  {why}" for name, why in findings.unmade.items()]
    if findings.found:
        lines += ["", "What the findings usually mean"]
        lines += [f"{check.id}: {check.meaning}" for check in findings.found]
    return [*lines, ""]


def findings_verdict(findings: Findings) -> str:
    """Return the verdict on a run of another trainer, in a line."""
    holds = len(findings.measured) - len(findings.found)
    parts = [counted(holds, "check holds", "checks hold")]
    if findings.found:
        parts.append(counted(len(findings.found), "finding"))
    if findings.unmade:
        parts.append(f"{len(findings.unmade)} not made")
    return f"AUDIT {'BROKEN' if findings.found else 'CLEAN'}: {', '.join(parts)}"


def _json(subject: Subject, findings: Findings) -> dict[str, Any]:
    run = subject.run
    return {
        "verdict": "broken" if findings.found else "clean",
        "kind": run.kind,
        "files": list(run.files),
        "epochs": len(run.epochs),
        "evaluations": len(run.scored),
        "notes": list(run.notes),
        "plan": {
            key: {"value": _plain(subject.plan.values[key]), "source": subject.plan.sources[key]}
            for key in subject.plan.values
        },
        "measured": {
            check.id: {
                "verdict": "found" if measured.found else "holds", "text": measured.text,
                "values": _plain(dict(measured.values)),
            }
            for check, measured in findings.measured
        },
        "not_made": dict(findings.unmade),
        "interpretation": {check.id: check.meaning for check in findings.found},
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: what is not finite as text."""
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    return value
