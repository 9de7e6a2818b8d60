"""The gate: one bench for all promises of a session, on what the options ask for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from harness.asked import named_configuration, named_system
from harness.config import Config, ConfigError
from harness.promises.judge import Judgement, judge
from harness.promises.promise import TIERS
from harness.promises.registry import PROMISES
from harness.systems.code import code_place, code_state
from harness.systems.spec import SystemSpec

__all__ = [
    "CONFIGURED", "ENVIRONMENT", "FAILURES", "GATED", "JUDGEMENTS", "KNOWN_DEFECTS", "NOTES",
    "TESTED", "Gate", "asked_configuration", "asked_system", "gate", "option",
]  # fmt: skip

JUDGEMENTS = pytest.StashKey[dict[str, Judgement]]()
ENVIRONMENT = pytest.StashKey[dict[str, Any]]()
TESTED = pytest.StashKey[dict[str, Any]]()
NOTES = pytest.StashKey[list[str]]()
CONFIGURED = pytest.StashKey["Config | None"]()
KNOWN_DEFECTS = pytest.StashKey[dict[str, str]]()
GATED = pytest.StashKey[dict[str, Any]]()
FAILURES = pytest.StashKey[list[BaseException]]()


def option(config: pytest.Config, name: str) -> str:
    """Return an option's value: command line, then ini, then default."""
    given = config.getoption(f"samebits_{name}")
    return str(given if given is not None else config.getini(f"samebits_{name}"))


def asked_system(config: pytest.Config) -> SystemSpec:
    """Return what is tested, as the options say."""
    return named_system(
        option(config, "system"), root=option(config, "system_root"),
        python=option(config, "system_python"), timeout=option(config, "system_timeout"),
    )  # fmt: skip


def asked_configuration(config: pytest.Config) -> Config | None:
    """Return the researcher's configuration, None for the embedded default."""
    return named_configuration(
        option(config, "config"), option(config, "fc2_root"),
        own=option(config, "system") == "builtin",
    )  # fmt: skip


@dataclass
class Gate:
    """Checks promises on the system under test and keeps the judgements.

    Attributes
    ----------
    bench : Bench
        Makes the evidence.
    judgements : dict
        By promise id, shown after the tests.
    tier : str
        How much is checked.
    known_defects : mapping of str to str
        Promises that may be broken, with the reason.
    failures : list of BaseException
        What its tests failed with.
    """

    bench: Any
    judgements: dict[str, Judgement] = field(repr=False)
    tier: str = "quick"
    known_defects: Mapping[str, str] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list, repr=False)

    def check(self, name: str) -> None:
        """Require that a promise holds.

        Skips, by name, where the system cannot give the evidence; a known defect is an expected
        failure, and fails once it is mended.
        """
        __tracebackhide__ = True
        promise = PROMISES[name]
        if TIERS.index(promise.tier) > TIERS.index(self.tier):
            pytest.skip(f"{name}: checked from --tier {promise.tier} on")
        found = judge(promise, self.bench)
        self.judgements[name] = found
        if found.verdict == "n/a":
            pytest.skip(f"{name}: not applicable: {found.text}")
        if found.error is not None:
            self.failures.append(found.error)
            # As it was raised, so that its traceback shows where the system failed.
            raise found.error
        reason = self.known_defects.get(name, "")
        if found.verdict == "BROKEN" and reason:
            pytest.xfail(f"known: {reason}")
        if found.verdict == "BROKEN":
            lines = "\n".join(f"  - {line}" for line in found.violations)
            self._fail(
                f"Broken promise: {promise.sentence} [{name}]\n{lines}\n"
                f"What it usually means: {promise.hint}"
            )
        elif name in self.known_defects:
            self._fail(f"{name} holds, and is on the list of known defects: take it off")

    def _fail(self, text: str) -> None:
        __tracebackhide__ = True
        failure = pytest.fail.Exception(text, pytrace=False)
        self.failures.append(failure)
        raise failure


@pytest.fixture(scope="session")
def gate(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    """Return the gate on the system, configuration and data that were asked for."""
    from harness.promises.setting import (
        embedded_config,
        gate_config,
        link_gate_frames,
        list_changes,
    )

    config, folder = request.config, tmp_path_factory.mktemp("gate")
    chosen, notes = config.stash[CONFIGURED], []
    if chosen is None:
        setting = embedded_config(request.getfixturevalue("embedded_frames"))
    else:
        linked, note = link_gate_frames(chosen, folder / "frames")
        setting = gate_config(linked)
        notes = [note, "shrunk: " + ", ".join(list_changes(linked, setting))]
    spec = asked_system(config)
    config.stash[NOTES] = [*_environment(spec, setting, config), *notes]
    from harness.promises.bench import Bench
    from harness.promises.second_process import FROM_CHECKPOINTS
    from harness.promises.varied import varied_bench
    from harness.systems.opening import system_factory

    with _shared(spec, config) as shared:
        # Without a configuration at first: a foreign system says
        # what it cannot vary before it has one.
        bench = Bench(
            system_factory(spec, shared), spec, {}, folder, FROM_CHECKPOINTS, vary=varied_bench,
            parks=not spec.foreign,
        )  # fmt: skip
        if chosen is not None and option(config, "config"):  # else the crop is nobody's own
            bench.asked = chosen.model_dump(mode="json", by_alias=True)
        if spec.foreign:
            asked, setting = setting, _fitted(setting, _description(bench))
            changes = list_changes(asked, setting)
            config.stash[NOTES] += [f"as the system has it: {', '.join(changes)}"] * bool(changes)
        bench.config = setting.model_dump(mode="json", by_alias=True)
        known = config.stash[KNOWN_DEFECTS]
        if spec.foreign:
            description = _description(bench)
            # In one line: a reason of blanks is none, and a second line could be anything.
            told = {k: " ".join(v.split()) for k, v in description.known_defects.items()}
            known |= {k: v for k, v in told.items() if k not in known}
            config.stash[GATED] |= _declared(description)
        yield Gate(
            bench, config.stash[JUDGEMENTS], option(config, "tier"), known, config.stash[FAILURES]
        )
        bench.close()


def _environment(spec: SystemSpec, setting: Config, config: pytest.Config) -> list[str]:
    """Apply the environment of the builtin system, and return the line that says it.

    A foreign system has a process of its own, and what it runs on is read there: TensorFlow, if
    it has any, need not be installed here.
    """
    if spec.foreign:
        return []
    from harness.environment import EnvironmentMismatchError, apply_environment

    # Before whatever imports TensorFlow, which reads some of it once.
    try:
        environment = apply_environment(setting)
    except EnvironmentMismatchError as error:  # each promise would only say the same
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    config.stash[ENVIRONMENT] = environment.as_dict()
    return [environment.line()]


def _fitted(setting: Config, description: Any) -> Config:
    """Return the setting as the system has it; ends the session where it names no setting."""
    from harness.promises.setting import fit_to_system

    try:
        return fit_to_system(setting, description)
    except (ConfigError, KeyError, ValueError) as error:
        pytest.exit(
            f"describe().settings: expected configuration keys such as 'train.epoch_mode' with "
            f"values that they take, found {dict(description.settings)}: {error}",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )


def _declared(description: Any) -> dict[str, Any]:
    """Return what a system says of itself, as the gate file keeps it."""
    found = asdict(description)
    found |= {name: sorted(found[name]) for name in ("can", "supports")}
    return {"name": description.name, "version": description.version, "declaration": found}


def _description(bench: Any) -> Any:
    """Describe a foreign system; one that cannot even be made and described ends the session."""
    try:
        return bench.describe()
    except Exception as error:  # noqa: BLE001 -- every promise would only say the same
        lines = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]
        pytest.exit("\n".join(lines), returncode=pytest.ExitCode.USAGE_ERROR)


@contextmanager
def _shared(spec: SystemSpec, config: pytest.Config) -> Iterator[Any]:
    """Yield what systems of this process share; a foreign system's process is started here."""
    if not spec.foreign:
        from harness.runs.session import CompiledCache

        yield CompiledCache()
        return
    from harness.systems.process import WorkerError
    from harness.systems.remote import Workers

    workers = Workers()
    try:
        worker = workers.of(spec)
        config.stash[TESTED] = worker.about
        code = code_state(code_place(spec, worker.source))
        config.stash[GATED]["code"] = code.as_dict()
        config.stash[NOTES].append(f"{_tested(worker.about)}, {code}")
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
