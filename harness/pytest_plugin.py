"""pytest options, header, and the lines with which a gate ends."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from harness import __version__
from harness.config import ConfigError
from harness.gate import (
    CONFIGURED,
    ENVIRONMENT,
    FAILURES,
    GATED,
    JUDGEMENTS,
    KNOWN_DEFECTS,
    NOTES,
    TESTED,
    asked_configuration,
    asked_system,
    gate,
    option,
)
from harness.gate_lines import result_lines, table_lines
from harness.promises.drawn_cases import select_profile
from harness.promises.promise import TIERS
from harness.promises.registry import AREA_OF, PROMISES
from harness.systems.code import code_place, code_state, short_name
from harness.verdict import GateResult, gate_result, parse_known_defects
from harness.whole import remove_old, write_text

__all__ = ["gate"]

_GROUP = "samebits"
_RESULT = pytest.StashKey[GateResult]()

_OPTIONS: tuple[tuple[str, str, str, str], ...] = (
    ("--system", "NAME", "builtin",
     "what is tested: builtin, edgeflownas, MODULE:CLASS or FILE.py:CLASS"),
    ("--system-root", "DIR", "", "folder of the system's own code, given to its class as root"),
    ("--system-python", "EXE", "", "interpreter of the system's process; default: this one"),
    ("--system-timeout", "SECONDS", "600", "time limit of each call of a system in its process"),
    ("--config", "FILE", "", "the run's YAML configuration; default: the embedded one"),
    ("--fc2-root", "DIR", "", "folder with train/ and val/; default: synthetic frames"),
    ("--tier", "TIER", "quick", "how much is checked: quick, full or nightly"),
    ("--gate-file", "FILE", "", "write the verdict as JSON, for `harness train --require-gate`"),
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, each also an ini key."""
    group = parser.getgroup(_GROUP, "samebits: invariants of supernet training")
    for flag, metavar, default, text in _OPTIONS:
        name = flag[2:].replace("-", "_")
        shown = f" (default: {default})" if default else ""
        group.addoption(flag, dest=f"samebits_{name}", metavar=metavar, help=text + shown)
        parser.addini(f"samebits_{name}", text, default=default)
    parser.addini(
        "samebits_known_defects", type="linelist", default=[],
        help="promises that may be broken, a line each, `ID: reason`; red once one is mended",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Validate the options before anything is collected."""
    tier = option(config, "tier")
    if tier not in TIERS:
        msg = f"--tier: expected one of {', '.join(TIERS)}, got {tier!r}"
        raise pytest.UsageError(msg)
    config.stash[JUDGEMENTS], config.stash[FAILURES] = {}, []
    config.stash[KNOWN_DEFECTS] = parse_known_defects(config.getini("samebits_known_defects"))
    if option(config, "gate_file"):  # an old verdict vouches for nothing
        try:
            remove_old(Path(option(config, "gate_file")))
        except OSError as error:
            raise pytest.UsageError(f"--gate-file {error}") from None
    if not config.getoption("hypothesis_profile", default=None):
        select_profile(tier)
    try:
        config.stash[CONFIGURED] = asked_configuration(config)
        spec = asked_system(config)
    except (ConfigError, ValueError) as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[GATED] = {"name": short_name(spec), "code": code_state(code_place(spec)).as_dict()}


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is gated, on which data."""
    chosen = config.stash[CONFIGURED]
    data = "embedded synthetic frames" if chosen is None else str(chosen.data.split_dir("train"))
    return [
        f"samebits {__version__}: system {config.stash[GATED]['name']}, tier "
        f"{option(config, 'tier')}, data {data}",
        f"code under test: {code_state(code_place(asked_system(config)))}",
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Mark the reports of promises: the gate's last lines show them, and pytest need not."""
    report = yield
    error = call.excinfo.value if call.excinfo is not None else None
    if any(error is failure for failure in item.config.stash[FAILURES]):
        broken = isinstance(error, pytest.fail.Exception)
        report.samebits = "broken" if broken else "error"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: Any, config: pytest.Config
) -> Generator[None, None, None]:
    """Leave what the gate found broken to its last lines, so that each stands once.

    With -v, the traceback of what a system raised is shown as well.
    """
    stats = terminalreporter.stats
    failed = stats.get("failed", [])
    hidden = {"broken"} if config.option.verbose > 0 else {"broken", "error"}
    if failed:
        stats["failed"] = [r for r in failed if getattr(r, "samebits", "") not in hidden]
    try:
        yield
    finally:
        if failed:
            stats["failed"] = failed
    if _RESULT in config.stash:
        _show_table(terminalreporter, config)


def _judged(config: pytest.Config) -> list[Any]:
    return list(config.stash[JUDGEMENTS].values())


def _show_table(reporter: Any, config: pytest.Config) -> None:
    """Show what holds, what does not apply and what is known, a promise in a line."""
    reporter.section("samebits: promises")
    for note in config.stash.get(NOTES, []):
        reporter.write_line(note)
    for line, colour in table_lines(config.stash[_RESULT]):
        reporter.write_line(line, **{colour: True})


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Come to a verdict; one that pytest itself would call a success may be none."""
    config = session.config
    # Its fixture alone leaves notes: promises that were asked for, and none of them judged.
    asked = NOTES in config.stash and exitstatus == pytest.ExitCode.OK
    if not _judged(config) and not asked:
        return
    due = {r.id for r in PROMISES.values() if _tier_index(r.tier) <= _tier_index(config)}
    result = config.stash[_RESULT] = gate_result(
        _judged(config), areas=AREA_OF, known_defects=config.stash[KNOWN_DEFECTS],
        unchecked=len(due - config.stash[JUDGEMENTS].keys()),
        # A gate that ran beside other tests vouches for nothing if one of them failed.
        failed=session.testsfailed > 0,
    )  # fmt: skip
    _write_gate_file(config, result)
    if result.verdict in ("red", "empty") and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write what is broken, and the verdict, after everything else that pytest prints."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if _RESULT not in config.stash or reporter is None:
        return
    gated = config.stash[GATED]
    name = f"{gated['name']} {gated['code']['commit'][:12]}".strip()
    heading = f"{name}: what is broken, causes first"
    lines = list(
        result_lines(
            config.stash[_RESULT], heading, width=reporter._tw.fullwidth,
            whole=config.option.verbose > 0,
        )
    )  # fmt: skip
    for line, colour in lines[:-1]:
        reporter.write_line(line, **({colour: True} if colour else {}))
    line, colour = lines[-1]
    reporter.write_line(line, bold=True, **{colour: True})


def _tier_index(tier: str | pytest.Config) -> int:
    return TIERS.index(tier if isinstance(tier, str) else option(tier, "tier"))


def _write_gate_file(config: pytest.Config, result: GateResult) -> None:
    path = option(config, "gate_file")
    if not path:
        return
    from harness.runs.identity import gate_values

    chosen = config.stash[CONFIGURED]
    content = {
        "verdict": result.verdict,
        "version": __version__,
        "system": short_name(asked_system(config)),
        "gated": config.stash[GATED],
        "tier": option(config, "tier"),
        "configuration": None if chosen is None else gate_values(chosen),
        "environment": config.stash.get(ENVIRONMENT, {}),
        "system_environment": config.stash.get(TESTED, {}),
        **result.as_dict(),
    }
    try:
        write_text(Path(path), json.dumps(content, indent=2) + "\n")
    except OSError as error:  # any other exception would be shown as pytest's own fault
        pytest.exit(f"--gate-file {error}", returncode=pytest.ExitCode.USAGE_ERROR)
