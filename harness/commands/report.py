"""``harness report``: one page that shows a run, or compares several, by their records alone.

Of a run of ours that is the ledger, of another trainer's what it has left (``harness.foreign``).

No TensorFlow: a report can be made on any machine.
"""

from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from harness import __version__
from harness.commands.common import EXIT_DONE, ledger_file, say, write_json
from harness.commands.facts import run_facts
from harness.commands.foreign import (
    add_foreign_options,
    foreign_findings,
    is_foreign,
    own_only,
    read_subject,
)
from harness.commands.interrupts import command_line
from harness.commands.parsing import CommandParser
from harness.commands.paths import PathKind
from harness.errors import InputError
from harness.faults.power_file import Power, read_power
from harness.foreign.history import foreign_history
from harness.foreign.judging import Subject
from harness.records.ledger import read_ledger
from harness.records.records import EvalRecord
from harness.records.run import RunHistory, read_history
from harness.reporting.borders import short_digest
from harness.reporting.curves import PANELS, Panel, View, drawing, view
from harness.reporting.hover import hover_values, line_legend
from harness.reporting.html import Page, Plot, page
from harness.reporting.markup import printable
from harness.reporting.pictured import MOST_BYTES, Pictured, pictured
from harness.reporting.pictures_html import pictures_section
from harness.reporting.plots import draw
from harness.reporting.pool_space import pool_space, rank_tau
from harness.reporting.space_file import SpaceFile, read_space
from harness.reporting.space_html import space_section
from harness.reporting.summary import RunSummary, series_differences, summary
from harness.require_gate import GateError, read_gate
from harness.whole import write_text

__all__ = ["add_parser", "run"]


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_path(
        "paths", kind=PathKind.RUN, nargs="+", metavar="RUN",
        help="run directory, or its ledger; or the run of another trainer: its folder or log",
    )  # fmt: skip
    add_foreign_options(parser)
    parser.add_path(
        "--out", kind=PathKind.NEW_FILE, required=True, metavar="FILE", help="HTML to write"
    )
    parser.add_argument(
        "--across-segments", action="store_true",
        help="show every segment and metric series, with borders; overlay runs whose scores do "
        "not compare",
    )  # fmt: skip
    parser.add_path(
        "--space", kind=PathKind.FILE, nargs="+", default=[], metavar="FILE",
        help="show scores of a pool or of the whole space, too: what `harness eval --json` wrote",
    )  # fmt: skip
    parser.add_path(
        "--gate-file", kind=PathKind.FILE, metavar="FILE",
        help="show a gate's verdict, too: what `harness gate --gate-file` wrote",
    )  # fmt: skip
    parser.add_path(
        "--gate-power", kind=PathKind.FILE, metavar="FILE",
        help="show what a green gate is worth, too: what `harness gate-power --json` wrote",
    )  # fmt: skip
    parser.add_argument(
        "--no-pictures", action="store_true", help="leave out the pictures that a run has recorded"
    )


def run(args: Namespace) -> int:
    """Write the page; exit code 2 where runs would be compared that do not compare."""
    if not any(map(is_foreign, args.paths)):
        own_only(args)
    files = [path if is_foreign(path) else ledger_file(path) for path in args.paths]
    power = None if args.gate_power is None else read_power(args.gate_power, say)
    gate = None if args.gate_file is None else _read_gate(args.gate_file)
    spaces = [read_space(path, say) for path in args.space]
    named = dict(zip(_run_names(args.paths, files), files, strict=True))
    subjects = {name: read_subject(file, args) for name, file in named.items() if is_foreign(file)}
    histories = _histories(named, subjects)
    views = [view(name, one, across=args.across_segments) for name, one in histories.items()]
    own = [one for one in views if one.name not in subjects]
    warnings = _comparison_warnings(own, across=args.across_segments)
    warnings += _foreign_warnings(subjects, len(views))
    summaries = _summaries(views, subjects, gate)
    pictures = [] if args.no_pictures else _pictures(own, named)
    text, space = _page(args, views, summaries, warnings, power, spaces, pictures)
    _write_page(args.out, text)
    _say_summaries(summaries, warnings, pictures)
    if power is not None:
        say(power.headline)
    found = {"out": str(args.out), "across_segments": args.across_segments, "warnings": warnings}
    write_json(args.json, {**found, "runs": [asdict(one) for one in summaries], **space})
    return EXIT_DONE


def _pictures(views: Sequence[View], files: Mapping[str, Path]) -> list[Pictured]:
    """Return the pictures of those runs that have some; one page has room for all of them."""
    found = [
        pictured(one.name, files[one.name].parent,
                 [record for attempt in one.metric for record in attempt.of(EvalRecord)])
        for one in views
    ]  # fmt: skip
    there = [one for one in found if one is not None]
    return [one.within(MOST_BYTES // len(there)) for one in there]


def _read_gate(path: Path) -> dict[str, Any]:
    try:
        return read_gate(path)
    except GateError as error:
        raise InputError(str(error)) from None


def _histories(named: Mapping[str, Path], subjects: Mapping[str, Subject]) -> dict[str, RunHistory]:
    """Return what each run holds, by its name; one of them has a finished epoch."""
    found = {
        name: foreign_history(subjects[name]) if name in subjects else _read_run(name, file)
        for name, file in named.items()
    }
    if not any(history.rows for history in found.values()):
        broken = (line for one in found.values() for line in one.broken[:1] if not line.tail)
        lost = "".join(f"; {line}" for line in broken)
        msg = f"{', '.join(found)}: no epoch is finished yet, there is nothing to show{lost}"
        raise InputError(msg)
    return found


def _read_run(name: str, file: Path) -> RunHistory:
    try:
        history = read_history(read_ledger(file))
    except ValueError as error:
        msg = f"{name}: {error}"
        raise InputError(msg) from None
    return history


def _run_names(paths: Sequence[Path], files: Sequence[Path]) -> list[str]:
    """Return what each run is called: its directory's name, or its path where two are alike."""
    double = [file for file, count in Counter(f.resolve() for f in files).items() if count > 1]
    if double:
        msg = f"{double[0]}: named twice; name each run once"
        raise InputError(msg)
    folders = [(file if file.is_dir() else file.parent).resolve().name for file in files]
    return [
        name if folders.count(name) == 1 else str(path)
        for name, path in zip(folders, paths, strict=True)
    ]


def _comparison_warnings(views: Sequence[View], *, across: bool) -> list[str]:
    """Return what to be warned of where scores that do not compare are shown together."""
    differences = series_differences(views)
    if differences and not across:
        msg = (
            f"scores that do not compare: {' | '.join(differences)}. Report on them one by one, or "
            "overlay them all the same with --across-segments"
        )
        raise InputError(msg)
    warnings = [f"scores that do not compare are overlaid: {text}" for text in differences]
    for one in views:
        series = dict.fromkeys((s.series, s.opening.protocol) for s in one.metric)
        if len(series) > 1:
            which = ", ".join(short_digest(protocol) for _, protocol in series)
            warnings.append(
                f"{one.name} has {len(series)} metric series ({which}): do not compare EPE "
                "or tau across a dashed line"
            )
    return warnings


def _foreign_warnings(subjects: Mapping[str, Subject], runs: int) -> list[str]:
    """Return that scores of other trainers do not compare, where there is something beside them."""
    if runs < 2:
        return []
    return [
        f"{name} is a run of {subject.run.kind}: no record tells which batches it scored, so that "
        "its EPE and tau stand beside the others' and do not compare with them"
        for name, subject in subjects.items()
    ]


def _summaries(
    views: Sequence[View], subjects: Mapping[str, Subject], gate: dict[str, Any] | None
) -> list[RunSummary]:
    """Return what is said of each run, of all but the first against that one."""
    found = []
    for one in views:
        subject = subjects.get(one.name)
        shown = summary(one, None if one is views[0] else views[0])
        facts = run_facts(one.history, subject, gate)
        found.append(replace(_with_findings(shown, subject), facts=facts))
    return found


def _with_findings(shown: RunSummary, subject: Subject | None) -> RunSummary:
    """Add what an audit of another trainer's run finds."""
    if subject is None:
        return shown
    found = [f"{check.id}: {measured.text}" for check, measured in
             foreign_findings(subject).measured if measured.found]  # fmt: skip
    return replace(shown, warnings=(*shown.warnings, *found))


def _page(
    args: Namespace, views: Sequence[View], summaries: Sequence[RunSummary],
    warnings: Sequence[str], power: Power | None, files: Sequence[SpaceFile],
    pictures: Sequence[Pictured],
) -> tuple[str, dict[str, Any]]:  # fmt: skip
    """Return the page, and what it says of search space and pictures for machines."""
    plots = tuple(_plot(panel, views, place) for place, panel in enumerate(PANELS))
    pools = [pool_space(one) for one in views]
    scored = [(one.label, one.space) for one in files]
    scored += [(f"{one.name}: {one.about}", one.space) for one in pools if one.space is not None]
    taus = [rank_tau(one, other) for one, other in combinations(scored, 2)]
    text = page(
        Page(
            tuple(summaries), plots, tuple(warnings), __version__, command_line(args.words),
            space_section(pools, files, taus), power, pictures_section(pictures),
        )
    )  # fmt: skip
    found = {
        "spaces": [{"name": name, **space.as_dict()} for name, space in scored],
        "taus": [asdict(one) for one in taus],
        "taus_of_epochs": [
            {"name": one.name, "epochs": one.epochs, "taus": one.taus} for one in pools
        ],
        "pictures": [
            {"name": one.name, "epochs": [shown.epoch for shown in one.epochs],
             "recorded": one.recorded, "notes": one.notes} for one in pictures
        ],
    }  # fmt: skip
    return text, found


def _plot(panel: Panel, views: Sequence[View], place: int) -> Plot:
    found = drawing(panel, views)
    if not found.curves:
        return Plot(panel.title, None)
    picture = draw(found, name=f"p{place}")
    values = hover_values(found, picture, [printable(one.name) for one in views])
    runs = tuple(sorted({curve.run for curve in found.curves}))
    return Plot(panel.title, picture.svg, values, tuple(line_legend(found)), runs)


def _write_page(out: Path, text: str) -> None:
    if out.exists():
        say(f"{out} exists and is overwritten")
    try:
        write_text(out, text)
    except OSError as error:
        msg = f"--out {out}: cannot be written: {error.strerror}"
        raise InputError(msg) from None
    say(f"{out}: written")


def _say_summaries(
    summaries: Sequence[RunSummary], warnings: Sequence[str], pictures: Sequence[Pictured]
) -> None:
    for text in warnings:
        say(f"warning: {text}")
    for one in summaries:
        say(f"{one.name}: {one.headline}")
        for text in one.warnings:
            say(f"warning: {one.name}: {text}")
        for row in one.broken_lines:
            say(f"{one.name}: {row['text']}")
        if one.left_out:
            say(f"{one.name}: left out: {'; '.join(one.left_out)} (--across-segments shows it)")
    for shown in pictures:
        for note in shown.notes:
            say(f"warning: {shown.name}: {note}")
