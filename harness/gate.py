"""The gate: one bench for all promises of a session, on what the options ask for."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.config import Config, ConfigError, load_config, with_fc2_root
from harness.promises.judge import Judgement, judge
from harness.promises.promise import TIERS
from harness.promises.registry import PROMISES
from harness.supernet.space import SKELETONS, check_crop
from harness.systems.code import code_place, code_state
from harness.systems.spec import SystemSpec, target_of

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


def asked_configuration(config: pytest.Config) -> Config | None:
    """Return the researcher's configuration, None for the embedded default."""
    path, root = option(config, "config"), option(config, "fc2_root")
    if not path and not root:
        return None
    if path and not root and not Path(load_config(Path(path)).data.split_dir("train")).is_dir():
        folder = load_config(Path(path)).data.split_dir("train")
        msg = f"--config {path}: no folder {folder}; name the data with --fc2-root DIR"
        raise ConfigError(msg)
    base = load_config(Path(path)) if path else Config()
    # A foreign system's skeleton is its own: what does not fit it is a broken promise.
    own = option(config, "system") == "builtin"
    for crop in (base.train_crop, base.eval_crop) if own else ():
        try:
            check_crop(SKELETONS[base.model.skeleton], crop)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    return with_fc2_root(base, Path(root) if root else None)


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
    from harness.environment import EnvironmentMismatchError, apply_environment
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
    # Before whatever imports TensorFlow, which reads some of it once.
    try:
        environment = apply_environment(setting)
    except EnvironmentMismatchError as error:  # each promise would only say the same
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    config.stash[ENVIRONMENT] = environment.as_dict()
    config.stash[NOTES] = [environment.line(), *notes]
    from harness.promises.bench import Bench
    from harness.promises.second_process import FROM_CHECKPOINTS
    from harness.systems.opening import system_factory

    spec = asked_system(config)
    with _shared(spec, config) as shared:
        # Without a configuration at first: a foreign system says
        # what it cannot vary before it has one.
        bench = Bench(system_factory(spec, shared), spec, {}, folder, FROM_CHECKPOINTS)
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
