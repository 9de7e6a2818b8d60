"""The gate's hooks: usage errors before anything runs, and the lines with which a session ends."""

import json
import os
import platform
import shlex
from collections.abc import Generator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from harness import __version__
from harness.config import ConfigError
from harness.gate_file import GateFile
from harness.gate_lines import AGAIN, result_lines, table_lines, wrapped
from harness.gate_outputs import remove_old_pages, remove_old_verdict
from harness.gate_pictures import hint
from harness.gate_state import STATES, Asked, GateState, asked, digests_of, spelt, state_of
from harness.github import annotations, write_summary
from harness.promises.drawn_cases import select_profile
from harness.promises.judge import Judgement
from harness.promises.promise import Tier
from harness.promises.registry import AREA_OF, PROMISES
from harness.require_gate import GateError
from harness.systems.code import code_place, code_state, short_name
from harness.verdict import gate_result
from harness.whole import write_text

__all__ = ["select", "take_report"]

_PROPERTY = "samebits"
_FIXTURE = "samebits_gates"


def pytest_configure(config: pytest.Config) -> None:
    """Begin without a gate: which there are is known once the tests are collected."""
    config.stash.setdefault(STATES, {})


def _is_promise(item: Any) -> bool:
    return _FIXTURE in getattr(item, "fixturenames", ())


def _asked_of(item: pytest.Item) -> Asked:
    """Return what a promise's test asks for."""
    given, only = getattr(getattr(item, "function", None), "samebits_given", ({}, None))
    return asked(item.config, given, only)


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the promises that are not asked for: by name, or of a dearer tier."""
    due: dict[Asked, set[str]] = {}
    kept, left = list[pytest.Item](), list[pytest.Item]()
    for item in items:
        if not _is_promise(item):
            kept.append(item)
            continue
        wanted = _asked_of(item)
        if wanted not in due:
            due[wanted] = set(wanted.due())
            if config.getoption("samebits_gate_file"):
                # Named by whoever calls: if nothing is judged, no old verdict may stay.
                remove_old_verdict(config, wanted)
        (kept if _promise_of(item) in due[wanted] else left).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def _promise_of(item: Any) -> str:
    return str(item.callspec.params["promise"])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Find out what is asked for, and say at once what is wrong with it."""
    wanted = {_asked_of(item): None for item in session.items if _is_promise(item)}
    for number, one in enumerate(wanted, start=1):
        try:
            state = state_of(session.config, one)
        except (ConfigError, GateError, OSError, ValueError) as error:
            raise pytest.UsageError(spelt(session.config, str(error))) from None
        remove_old_verdict(session.config, one, state.chosen)
        options = session.config.option
        state.selected = not (options.collectonly or options.setuponly or options.setupplan)
        state.number = number
        if one.pictures and state.selected:
            remove_old_pages(session.config, one, number)
    if wanted and not session.config.getoption("hypothesis_profile", default=None):
        select_profile(cast("Tier", next(iter(wanted)).tier))
    files = [one.gate_file for one in wanted if one.gate_file]
    if len(set(files)) < len(files):
        msg = (
            f"--gate-file {files[0]}: {len(wanted)} gates would write it; give each its own, as "
            "each_promise(gate_file=...)"
        )
        raise pytest.UsageError(msg)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Say what is gated, on which data; not under -q, which asks for the verdict alone."""
    if config.option.verbose < 0:
        return []
    lines = []
    for wanted, state in config.stash[STATES].items():
        data = "embedded synthetic frames"
        if state.chosen is not None:
            data = str(state.chosen.data.split_dir("train"))
        name, tier = state.gated["name"], wanted.tier
        lines += [
            f"samebits {__version__}: system {name}, tier {tier}, data {data}",
            f"code under test: {code_state(code_place(state.spec))}",
        ]
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not reporter.isatty:
        return lines
    return [wrapped(line, reporter._tw.fullwidth) for line in lines]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Give the reports of promises their judgement, which travels from one process to another."""
    report = yield
    if call.when == "call" and _is_promise(item):
        state = item.config.stash[STATES][_asked_of(item)]
        found = state.judgements.get(_promise_of(item))
        if found is not None:
            properties = list(_properties(found, state))
            report.user_properties += properties
            item.user_properties += properties  # for what comes after the call: JUnit reads there
    return report


def _properties(found: Judgement, state: GateState) -> Iterator[tuple[str, str]]:
    yield "promise", found.promise.id
    yield "verdict", found.verdict
    yield "figures", found.text
    first = len(state.judgements) == 1
    content = {
        "verdict": found.verdict, "text": found.text, "violations": found.violations,
        "warnings": found.warnings, "kinds": found.kinds, "detail": found.detail,
        "page": state.pages.get(found.promise.id),
        # Once is enough for what is the same of every promise.
        "gate": state.about() if first else {"asked": state.about()["asked"]},
    }  # fmt: skip
    yield _PROPERTY, json.dumps(content)


def take_report(config: pytest.Config, report: Any) -> None:
    """Take a judgement from a report that a worker of pytest-xdist sent."""
    said = dict(report.user_properties)
    if report.when != "call" or _PROPERTY not in said or not _hands_out(config):
        return
    content = json.loads(said[_PROPERTY])
    about = content.pop("gate")
    text = {**about["asked"], "promises": tuple(about["asked"]["promises"])}
    state = state_of(config, Asked(**text))
    if "notes" in about and not state.notes:
        state.notes, state.environment = about["notes"], about["environment"]
        state.tested, state.gated = about["tested"], about["gated"]
        state.digests = about["digests"]
        state.known_defects = about["known_defects"]
    if content["page"] is not None:
        state.pages[said["promise"]] = content["page"]
    error = RuntimeError(content["text"]) if content["verdict"] == "error" else None
    violations, warnings, kinds = (tuple(content[k]) for k in ("violations", "warnings", "kinds"))
    state.judgements[said["promise"]] = Judgement(
        PROMISES[said["promise"]], content["verdict"], content["text"], violations, warnings, kinds,
        error, content["detail"],
    )  # fmt: skip


def _hands_out(config: pytest.Config) -> bool:
    """Return whether this process hands the tests to workers and runs none."""
    return bool(config.pluginmanager.has_plugin("dsession"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: Any, config: pytest.Config
) -> Generator[None, None, None]:
    """Leave what the gate found broken to its last lines, so that each stands once.

    With -v, the traceback of what a system raised is shown as well.
    """
    stats = terminalreporter.stats
    shown = ("", "error") if config.option.verbose > 0 else ("",)
    whole = {name: stats.get(name, []) for name in ("failed", "skipped")}
    for name, reports in whole.items():
        if reports:
            stats[name] = [r for r in reports if _verdict_of(r) in shown]
    try:
        yield
    finally:
        stats.update({name: reports for name, reports in whole.items() if reports})
    for state in _judged(config) if config.option.verbose >= 0 else ():
        _show_table(terminalreporter, state, whole=config.option.verbose > 0)


def _verdict_of(report: Any) -> str:
    """Return the verdict that a promise's report carries, from a worker too; else nothing."""
    return str(dict(getattr(report, "user_properties", ())).get("verdict", ""))


def _judged(config: pytest.Config) -> Iterable[GateState]:
    return [s for s in config.stash[STATES].values() if s.result is not None]


def _show_table(reporter: Any, state: GateState, *, whole: bool) -> None:
    """Show what holds, what does not apply and what is known, a promise in a line."""
    assert state.result is not None
    reporter.section("samebits: promises")
    for note in state.notes:
        _write_line(reporter, note, "")
    for line, colour in table_lines(state.result, whole=whole):
        _write_line(reporter, line, colour)


def _write_line(reporter: Any, line: str, colour: str) -> None:
    """Write a line, which a terminal would break within words."""
    text = wrapped(line, reporter._tw.fullwidth) if reporter.isatty else line
    reporter.write_line(text, **({colour: True} if colour else {}))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Come to a verdict; one that pytest itself would call a success may be none."""
    config = session.config
    if hasattr(config, "workerinput"):  # whoever hands out the tests does
        return
    states = config.stash[STATES].values()
    # A gate that ran beside other tests vouches for nothing if one of them failed.
    failed = session.testsfailed > sum(state.failed_tests() for state in states)
    for state in states:
        # Promises whose tests were to run, or a system that was opened, and nothing judged.
        begun = (state.selected or bool(state.notes)) and exitstatus == pytest.ExitCode.OK
        if not state.judgements and not begun:
            continue
        due = set(state.asked.due())
        order = [name for name in PROMISES if name in state.judgements]
        result = state.result = gate_result(
            [state.judgements[name] for name in order], areas=AREA_OF,
            known_defects=state.known_defects, unchecked=len(due - state.judgements.keys()),
            failed=failed, required=bool(state.asked.promises), changed=_changed(state),
        )  # fmt: skip
        _write_gate_file(state)
        try:
            write_summary(result, state.gated["name"], os.environ)
        except OSError as error:
            state.notes.append(f"the job's summary is not written: {error}")
        if result.verdict in ("red", "empty") and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _changed(state: GateState) -> tuple[str, ...]:
    """Return what of the code, configuration and data is not what it was at the beginning."""
    try:
        now = digests_of(state.asked, state.spec)
    except (GateError, OSError) as error:
        return (str(error),)
    return tuple(name for name, digest in state.digests.items() if now.get(name) != digest)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write what is broken, and the verdict, after everything else that pytest prints."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for state in _judged(config) if reporter is not None else ():
        verbose = config.option.verbose
        _show_verdict(reporter, state, whole=verbose > 0, alone=verbose < 0)


def _again(config: pytest.Config, broken: Sequence[str]) -> str:
    """Return the command that asks for these promises again, as this session was called."""
    command = config.getini("samebits_again")
    if command:
        return f"{AGAIN}{command} --promise {' '.join(broken)}"
    # Without the gate file: what is asked again is a part, and would replace the whole.
    given = [word for word in map(str, config.invocation_params.args) if word not in _QUIET]
    names = [place for place, word in enumerate(given) if word.endswith("gate-file")]
    words = [
        word for place, word in enumerate(given)
        if "gate-file" not in word and place - 1 not in names
    ]  # fmt: skip
    named = [f"--samebits-promise={name}" for name in broken]
    # In one line, whatever lines an ini value has.
    return " ".join(f"{AGAIN}{shlex.join(['pytest', *words, *named])}".split())


_QUIET = ("-q", "-v", "-vv", "-x")


def _show_verdict(reporter: Any, state: GateState, *, whole: bool, alone: bool) -> None:
    config = reporter.config
    assert state.result is not None
    name = f"{state.gated['name']} {state.gated['code']['commit'][:12]}".strip()
    heading = f"{name}: what is broken, causes first"
    width = reporter._tw.fullwidth
    for annotation in annotations(state.result, os.environ):
        reporter.write_line(annotation)
    again = _again(config, [root.judgement.promise.id for root in state.result.roots])
    broken = sum(one.verdict == "BROKEN" for one in state.result.judgements)
    lines = list(result_lines(
        state.result, heading, width=width, whole=whole, again=again, pages=state.pages,
        hint=spelt(config, hint(state.pages, broken)), wrap=reporter.isatty,
    ))  # fmt: skip
    for line, colour in lines[:-1] if not alone else ():
        _write_line(reporter, line, colour)
    line, colour = lines[-1]
    if len(config.stash[STATES]) > 1:
        line = f"{line} [{short_name(state.spec)}]"
    reporter.write_line(line, bold=True, **{colour: True})


def _write_gate_file(state: GateState) -> None:
    path, result = state.asked.gate_file, state.result
    if not path or result is None:
        return
    from harness.runs.identity import gate_values

    content = GateFile(
        verdict=result.verdict, version=__version__,
        when=datetime.now(UTC).isoformat(timespec="seconds"), where=platform.node(),
        digests=state.digests, required=state.asked.promises, system=short_name(state.spec),
        gated=state.gated, tier=cast("Tier", state.asked.tier),
        due=state.asked.due(),
        configuration=None if state.chosen is None else gate_values(state.chosen),
        environment=state.environment, system_environment=state.tested, **result.results(),
    )  # fmt: skip
    try:
        write_text(Path(path), json.dumps(content.as_dict(), indent=2) + "\n")
    except OSError as error:  # any other exception would be shown as pytest's own fault
        pytest.exit(f"--gate-file {error}", returncode=pytest.ExitCode.USAGE_ERROR)
