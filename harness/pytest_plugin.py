"""pytest options, header, the gate fixture and the terminal section with the verdict."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from harness import __version__
from harness.config import Config, ConfigError, load_config, with_fc2_root
from harness.relations import RELATIONS, Outcome
from harness.relations.base import NotApplicableError
from harness.supernet.space import SKELETONS, check_crop
from harness.systems.spec import SystemSpec, target_of
from harness.whole import remove_old, write_text

__all__ = ["Gate", "Judgement", "option"]

_GROUP = "samebits"
_TIERS = ("quick", "full", "nightly")
_JUDGEMENTS = pytest.StashKey[dict[str, "Judgement"]]()
_ENVIRONMENT = pytest.StashKey[dict[str, Any]]()
_VERDICT = pytest.StashKey[tuple[str, str]]()
_TESTED = pytest.StashKey[dict[str, Any]]()
_NOTES = pytest.StashKey[list[str]]()
_CONFIGURED = pytest.StashKey["Config | None"]()

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


@dataclass(frozen=True)
class Judgement:
    """One relation's verdict, as the terminal section shows it."""

    relation: str
    promise: str
    verdict: Literal["holds", "BROKEN", "n/a", "error"]
    text: str
    warnings: tuple[str, ...] = ()
    violations: tuple[str, ...] = ()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, each also an ini key."""
    group = parser.getgroup(_GROUP, "samebits: invariants of supernet training")
    for flag, metavar, default, text in _OPTIONS:
        name = flag[2:].replace("-", "_")
        shown = f" (default: {default})" if default else ""
        group.addoption(flag, dest=f"samebits_{name}", metavar=metavar, help=text + shown)
        parser.addini(f"samebits_{name}", text, default=default)


def option(config: pytest.Config, name: str) -> str:
    """Return an option's value: command line, then ini, then default."""
    given = config.getoption(f"samebits_{name}")
    return str(given if given is not None else config.getini(f"samebits_{name}"))


def pytest_configure(config: pytest.Config) -> None:
    """Validate the options before anything is collected."""
    tier = option(config, "tier")
    if tier not in _TIERS:
        msg = f"--tier: expected one of {', '.join(_TIERS)}, got {tier!r}"
        raise pytest.UsageError(msg)
    config.stash[_JUDGEMENTS] = {}
    if option(config, "gate_file"):  # an old verdict vouches for nothing
        try:
            remove_old(Path(option(config, "gate_file")))
        except OSError as error:
            raise pytest.UsageError(f"--gate-file {error}") from None
    _select_profile(config, tier)
    try:
        config.stash[_CONFIGURED] = _configured(config)
        _system_spec(config)
    except (ConfigError, ValueError) as error:
        raise pytest.UsageError(str(error)) from None


def _system_spec(config: pytest.Config) -> SystemSpec:
    """Return what is tested, as the options say."""
    try:
        timeout = float(option(config, "system_timeout"))
    except ValueError:
        timeout = 0.0
    if not timeout > 0:
        found = option(config, "system_timeout")
        msg = f"--system-timeout {found}: expected a number of seconds above 0"
        raise ValueError(msg)
    python = option(config, "system_python")
    found_python = shutil.which(python) if python else ""
    if found_python is None:
        msg = f"--system-python {python}: expected a Python interpreter, found none of that name"
        raise ValueError(msg)
    spec = SystemSpec(
        option(config, "system"), root=option(config, "system_root"), python=found_python,
        timeout=timeout,
    )  # fmt: skip
    if spec.root and not spec.foreign:
        msg = "--system-root: the builtin system takes none; name a system with --system"
        raise ValueError(msg)
    target_of(spec)
    return spec


def _select_profile(config: pytest.Config, tier: str) -> None:
    """Let the tier say how many cases hypothesis draws, unless a profile was asked for.

    Quick and full repeat the same cases; nightly draws new ones, and prints how to repeat
    a failure.
    """
    from hypothesis import settings

    quick, nightly = settings(max_examples=60, derandomize=True), settings(max_examples=1000)
    settings.register_profile("samebits-quick", quick)
    settings.register_profile("samebits-full", quick, max_examples=500)
    settings.register_profile("samebits-nightly", nightly, derandomize=False, print_blob=True)
    if not config.getoption("hypothesis_profile", default=None):
        settings.load_profile(f"samebits-{tier}")


def _configured(config: pytest.Config) -> Config | None:
    """Return the researcher's configuration, None for the embedded default."""
    path, root = option(config, "config"), option(config, "fc2_root")
    if not path and not root:
        return None
    if path and not root and not Path(load_config(Path(path)).data.split_dir("train")).is_dir():
        folder = load_config(Path(path)).data.split_dir("train")
        msg = f"--config {path}: no folder {folder}; name the data with --fc2-root DIR"
        raise ConfigError(msg)
    base = load_config(Path(path)) if path else Config()
    for crop in (base.train_crop, base.eval_crop):
        try:
            check_crop(SKELETONS[base.model.skeleton], crop)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    return with_fc2_root(base, Path(root) if root else None)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is gated, on which data."""
    chosen = config.stash[_CONFIGURED]
    data = "embedded synthetic frames" if chosen is None else str(chosen.data.split_dir("train"))
    return [
        f"samebits {__version__}: system {option(config, 'system')}, tier "
        f"{option(config, 'tier')}, data {data}"
    ]


@dataclass
class Gate:
    """Checks relations on the system under test and keeps the judgements.

    Attributes
    ----------
    book : Book
        Makes the evidence.
    judgements : dict
        By relation id, shown after the tests.
    tier : str
        How much is checked.
    """

    book: Any
    judgements: dict[str, Judgement] = field(repr=False)
    tier: str = "quick"

    def check(self, relation: str) -> None:
        """Require that a relation holds.

        Skips, by name, where the system cannot give the evidence.
        """
        __tracebackhide__ = True
        spec = RELATIONS[relation]
        if _TIERS.index(spec.tier) > _TIERS.index(self.tier):
            pytest.skip(f"{relation}: checked from --tier {spec.tier} on")
        absent = [call for call in spec.calls if call not in self.book.describe().can]
        if absent:
            reason = f"the system does not offer {', '.join(absent)}"
            self.judgements[relation] = Judgement(relation, spec.promise, "n/a", reason)
            pytest.skip(f"{relation}: not applicable: {reason}")
        try:
            found: Outcome = spec.check(self.book[spec.needs])
        except Exception as error:
            if isinstance(error, NotApplicableError):
                self.judgements[relation] = Judgement(relation, spec.promise, "n/a", str(error))
                pytest.skip(f"{relation}: not applicable: {error}")
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            self.judgements[relation] = Judgement(relation, spec.promise, "error", text)
            raise
        broken = tuple(str(violation) for violation in found.violations)
        verdict: Literal["holds", "BROKEN"] = "BROKEN" if broken else "holds"
        text = broken[0] if broken else found.figures
        self.judgements[relation] = Judgement(
            relation, spec.promise, verdict, text, found.warnings, broken
        )
        if broken:
            lines = "\n".join(f"  - {line}" for line in broken)
            pytest.fail(
                f"Broken promise: {spec.promise} [{relation}]\n{lines}\n"
                f"What it usually means: {spec.hint}",
                pytrace=False,
            )

    @property
    def parts(self) -> Any:
        """Return the system's parts; skips, by name, where it is not put together of any."""
        system = self.book.factory()
        if not hasattr(system, "parts"):
            pytest.skip("not applicable: the system does not expose its parts")
        return system.parts

    @contextmanager
    def property(self, name: str, promise: str, figures: str) -> Iterator[None]:
        """Judge a property that the block tests over many drawn cases.

        Parameters
        ----------
        name, promise : str
            As a relation's.
        figures : str
            What was drawn, for the line that is shown when it holds.
        """
        __tracebackhide__ = True
        try:
            yield
        except Exception as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            self.judgements[name] = Judgement(name, promise, "BROKEN", text, (), (text,))
            raise
        self.judgements[name] = Judgement(name, promise, "holds", figures)


@pytest.fixture(scope="session")
def gate(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    """Return the gate on the system, configuration and data that were asked for."""
    from harness.environment import apply_environment
    from harness.scenarios.setting import (
        embedded_config,
        gate_config,
        link_gate_frames,
        shrunk,
    )

    config, folder = request.config, tmp_path_factory.mktemp("gate")
    chosen, notes = config.stash[_CONFIGURED], []
    if chosen is None:
        setting = embedded_config(request.getfixturevalue("embedded_frames"))
    else:
        linked, note = link_gate_frames(chosen, folder / "frames")
        setting = gate_config(linked)
        notes = [note, "shrunk: " + ", ".join(shrunk(linked, setting))]
    environment = apply_environment(setting)
    config.stash[_ENVIRONMENT] = environment.as_dict()
    config.stash[_NOTES] = [environment.line(), *notes]
    from harness.scenarios.book import Book
    from harness.scenarios.registry import SCENARIOS
    from harness.systems.spec import system_factory

    spec = _system_spec(config)
    with _kit(spec, config) as kit:
        book = Book(system_factory(spec, kit), spec, {}, folder, SCENARIOS, overlap=True)
        if spec.foreign:
            asked, setting = setting, _suited(setting, _description(book))
            changes = shrunk(asked, setting)
            config.stash[_NOTES] += [f"as the system has it: {', '.join(changes)}"] * bool(changes)
        book.config = setting.model_dump(mode="json", by_alias=True)
        yield Gate(book, config.stash[_JUDGEMENTS], option(config, "tier"))
        book.close()


def _suited(setting: Config, description: Any) -> Config:
    """Return the setting as the system has it; ends the session where it names no setting."""
    from harness.scenarios.setting import suited

    try:
        return suited(setting, description)
    except (ConfigError, KeyError, ValueError) as error:
        pytest.exit(
            f"describe().settings: expected configuration keys such as 'train.epoch_mode' with "
            f"values that they take, found {dict(description.settings)}: {error}",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )


def _description(book: Any) -> Any:
    """Describe a foreign system; one that cannot even be made and described ends the session."""
    try:
        return book.describe()
    except Exception as error:  # noqa: BLE001 -- every promise would only say the same
        lines = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]
        pytest.exit("\n".join(lines), returncode=pytest.ExitCode.USAGE_ERROR)


@contextmanager
def _kit(spec: SystemSpec, config: pytest.Config) -> Iterator[Any]:
    """Lend what systems of this process share; a foreign system's process is started here."""
    if not spec.foreign:
        from harness.runs.kit import Kit

        yield Kit()
        return
    from harness.systems.pipes import WorkerError
    from harness.systems.remote import Workers

    workers = Workers()
    try:
        about = workers.of(spec).about
        config.stash[_TESTED] = about
        config.stash[_NOTES].append(_tested(about))
        yield workers
    except WorkerError as error:  # every promise would only say the same
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    finally:
        workers.close()


def _tested(about: Mapping[str, Any]) -> str:
    """Return the line that says what the system under test runs on."""
    packages = [f"{name} {version}" for name, version in about["packages"].items()]
    return "system under test: " + ", ".join(
        [f"python {about['python']}", *packages, about["platform"]]
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show each promise in one line."""
    judgements = list(config.stash[_JUDGEMENTS].values())
    if not judgements:
        return
    write = terminalreporter.write_line
    terminalreporter.section("samebits: promises")
    for note in config.stash.get(_NOTES, []):
        write(note)
    width = max(len(j.relation) for j in judgements)
    colours = {"holds": {"green": True}, "n/a": {"yellow": True}}
    for j in judgements:
        colour = colours.get(j.verdict, {"red": True, "bold": True})
        write(f"{j.verdict:6} {j.relation:{width}}  {j.text}", **colour)
    for j in judgements:
        for warning in j.warnings:
            write(f"warning: {j.relation}: {warning}", yellow=True)
    due = {r.id for r in RELATIONS.values() if _tier_index(r.tier) <= _tier_index(config)}
    failed = bool(terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"))
    unchecked = len(due - {j.relation for j in judgements})
    verdict, line = _verdict(judgements, unchecked, failed=failed)
    _write_gate_file(config, judgements, verdict)
    config.stash[_VERDICT] = (verdict, line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Let a gate in which nothing applied fail: pytest itself calls skipped tests a success."""
    found = {j.verdict for j in session.config.stash[_JUDGEMENTS].values()}
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
    return _TIERS.index(tier if isinstance(tier, str) else option(tier, "tier"))


def _verdict(judgements: list[Judgement], unchecked: int, *, failed: bool) -> tuple[str, str]:
    """Return the verdict and its line.

    A gate of which a part was deselected is not green, nor is one in which nothing applied.
    """
    found = [j.verdict for j in judgements]
    counts = (
        (found.count("holds"), "promises hold"),
        (found.count("BROKEN"), "broken"),
        (found.count("error"), "could not be checked"),
        (found.count("n/a"), "not applicable"),
        (unchecked, "not run"),
    )
    bad = failed or "BROKEN" in found or "error" in found
    verdict = "red" if bad else "incomplete" if unchecked else "green"
    text = ", ".join(f"{number} {what}" for number, what in counts if number)
    if not bad and "holds" not in found:
        verdict, text = "empty", f"nothing was found to hold; {text}"
    if failed and not {"BROKEN", "error"} & set(found):
        text += ", but other tests failed"
    return verdict, f"GATE {verdict.upper()}: {text}"


def _write_gate_file(config: pytest.Config, judgements: list[Judgement], verdict: str) -> None:
    path = option(config, "gate_file")
    if not path:
        return
    from harness.runs.identity import gate_values

    chosen = config.stash[_CONFIGURED]
    result = {
        "verdict": verdict,
        "version": __version__,
        "system": option(config, "system"),
        "tier": option(config, "tier"),
        "configuration": None if chosen is None else gate_values(chosen),
        "environment": config.stash.get(_ENVIRONMENT, {}),
        "system_environment": config.stash.get(_TESTED, {}),
        "relations": {j.relation: {"verdict": j.verdict, "text": j.text} for j in judgements},
    }
    try:
        write_text(Path(path), json.dumps(result, indent=2) + "\n")
    except OSError as error:  # any other exception would be shown as pytest's own fault
        pytest.exit(f"--gate-file {error}", returncode=pytest.ExitCode.USAGE_ERROR)
