"""pytest options, header, and the terminal section with the verdict."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness import __version__
from harness.config import ConfigError
from harness.gate import (
    CONFIGURED,
    ENVIRONMENT,
    JUDGEMENTS,
    NOTES,
    TESTED,
    asked_configuration,
    asked_system,
    gate,
    option,
)
from harness.promises.drawn_cases import select_profile
from harness.promises.judge import Judgement, is_broken, tally
from harness.promises.promise import TIERS
from harness.promises.registry import PROMISES
from harness.whole import remove_old, write_text

__all__ = ["gate"]

_GROUP = "samebits"
_VERDICT = pytest.StashKey[tuple[str, str]]()

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


def pytest_configure(config: pytest.Config) -> None:
    """Validate the options before anything is collected."""
    tier = option(config, "tier")
    if tier not in TIERS:
        msg = f"--tier: expected one of {', '.join(TIERS)}, got {tier!r}"
        raise pytest.UsageError(msg)
    config.stash[JUDGEMENTS] = {}
    if option(config, "gate_file"):  # an old verdict vouches for nothing
        try:
            remove_old(Path(option(config, "gate_file")))
        except OSError as error:
            raise pytest.UsageError(f"--gate-file {error}") from None
    if not config.getoption("hypothesis_profile", default=None):
        select_profile(tier)
    try:
        config.stash[CONFIGURED] = asked_configuration(config)
        asked_system(config)
    except (ConfigError, ValueError) as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is gated, on which data."""
    chosen = config.stash[CONFIGURED]
    data = "embedded synthetic frames" if chosen is None else str(chosen.data.split_dir("train"))
    return [
        f"samebits {__version__}: system {option(config, 'system')}, tier "
        f"{option(config, 'tier')}, data {data}"
    ]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show each promise in one line."""
    judgements = list(config.stash[JUDGEMENTS].values())
    if not judgements:
        return
    write = terminalreporter.write_line
    terminalreporter.section("samebits: promises")
    for note in config.stash.get(NOTES, []):
        write(note)
    width = max(len(j.promise.id) for j in judgements)
    colours = {"holds": {"green": True}, "n/a": {"yellow": True}}
    for j in judgements:
        colour = colours.get(j.verdict, {"red": True, "bold": True})
        write(f"{j.verdict:6} {j.promise.id:{width}}  {j.text}", **colour)
    for j in judgements:
        for warning in j.warnings:
            write(f"warning: {j.promise.id}: {warning}", yellow=True)
    due = {r.id for r in PROMISES.values() if _tier_index(r.tier) <= _tier_index(config)}
    # A gate that ran beside other tests vouches for nothing if one of them failed.
    failed = bool(terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"))
    unchecked = len(due - {j.promise.id for j in judgements})
    verdict, line = _verdict(judgements, unchecked, failed=failed)
    _write_gate_file(config, judgements, verdict)
    config.stash[_VERDICT] = (verdict, line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Let a gate in which nothing applied fail: pytest itself calls skipped tests a success."""
    found = {j.verdict for j in session.config.stash[JUDGEMENTS].values()}
    if found == {"n/a"} and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the verdict after everything else that pytest prints."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if _VERDICT not in config.stash or reporter is None:
        return
    verdict, line = config.stash[_VERDICT]
    shade = {"green": "green", "incomplete": "yellow"}.get(verdict, "red")
    reporter.write_line(line, bold=True, **{shade: True})


def _tier_index(tier: str | pytest.Config) -> int:
    return TIERS.index(tier if isinstance(tier, str) else option(tier, "tier"))


def _verdict(judgements: list[Judgement], unchecked: int, *, failed: bool) -> tuple[str, str]:
    """Return the verdict and its line.

    A gate of which a part was deselected is not green, nor is one in which nothing applied.
    """
    found = {j.verdict for j in judgements}
    bad = failed or is_broken(judgements)
    verdict = "red" if bad else "incomplete" if unchecked else "green"
    text = tally(judgements, (unchecked, "not run"))
    if not bad and "holds" not in found:
        verdict, text = "empty", f"nothing was found to hold; {text}"
    if failed and not is_broken(judgements):
        text += ", but other tests failed"
    return verdict, f"GATE {verdict.upper()}: {text}"


def _write_gate_file(config: pytest.Config, judgements: list[Judgement], verdict: str) -> None:
    path = option(config, "gate_file")
    if not path:
        return
    from harness.runs.identity import gate_values

    chosen = config.stash[CONFIGURED]
    result = {
        "verdict": verdict,
        "version": __version__,
        "system": option(config, "system"),
        "tier": option(config, "tier"),
        "configuration": None if chosen is None else gate_values(chosen),
        "environment": config.stash.get(ENVIRONMENT, {}),
        "system_environment": config.stash.get(TESTED, {}),
        # A promise was called a relation when this format was made, and the format stays.
        "relations": {j.promise.id: {"verdict": j.verdict, "text": j.text} for j in judgements},
    }
    try:
        write_text(Path(path), json.dumps(result, indent=2) + "\n")
    except OSError as error:  # any other exception would be shown as pytest's own fault
        pytest.exit(f"--gate-file {error}", returncode=pytest.ExitCode.USAGE_ERROR)
