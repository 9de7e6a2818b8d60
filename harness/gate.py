"""The gate: one bench for all promises that are asked of a system."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.config import Config, ConfigError
from harness.errors import plain_line
from harness.gate_pictures import keep_page
from harness.gate_state import GateState, asked, state_of
from harness.promises.judge import judge
from harness.promises.promise import TIERS
from harness.promises.registry import PROMISES
from harness.systems.code import code_place, code_state
from harness.systems.spec import SystemSpec

__all__ = ["Gate", "open_gates"]

Gates = Callable[[Mapping[str, str], "tuple[str, ...] | None"], "Gate"]
"""Opens a gate for what a test file gives and the promises that it names, or gives it again."""


@dataclass
class Gate:
    """Checks promises on the system under test and keeps the judgements.

    Attributes
    ----------
    bench : Bench
        Makes the evidence.
    state : GateState
        Where the judgements are kept.
    """

    bench: Any
    state: GateState

    def check(self, name: str) -> None:
        """Require that a promise holds.

        Skips, by name, where the system cannot give the evidence; a known defect is an expected
        failure, and fails once it is mended.
        """
        __tracebackhide__ = True
        promise, wanted, state = PROMISES[name], self.state.asked, self.state
        if wanted.promises and name not in wanted.promises:
            pytest.skip(f"{name}: not among the promises that are asked")
        if not wanted.promises and TIERS.index(promise.tier) > TIERS.index(wanted.tier):
            pytest.skip(f"{name}: checked from --tier {promise.tier} on")
        found = keep_page(judge(promise, self.bench), state)
        state.judgements[name] = found
        if found.verdict == "n/a":
            pytest.skip(f"{name}: not applicable: {found.text}")
        if found.error is not None:
            state.failures.append(found.error)
            # As it was raised, so that its traceback shows where the system failed.
            raise found.error
        reason = state.known_defects.get(name, "")
        if found.verdict == "BROKEN" and reason:
            pytest.xfail(f"known: {reason}")
        if found.verdict == "BROKEN":
            page = [state.pages[name]] if state.pages.get(name) else []
            lines = "\n".join(f"  - {line}" for line in (*found.violations, *page))
            self._fail(
                f"Broken promise: {promise.sentence} [{name}]\n{lines}\n"
                f"What it usually means: {promise.hint}"
            )
        elif name in state.known_defects:
            self._fail(f"{name} holds, and is on the list of known defects: take it off")

    def _fail(self, text: str) -> None:
        __tracebackhide__ = True
        failure = pytest.fail.Exception(text, pytrace=False)
        self.state.failures.append(failure)
        raise failure


@contextmanager
def open_gates(config: pytest.Config, folders: pytest.TempPathFactory) -> Iterator[Gates]:
    """Yield a function that returns the gate of what is asked, and close all that it opened."""
    opened: dict[Any, Gate] = {}
    with ExitStack() as closing:

        def gates(given: Mapping[str, str], promises: tuple[str, ...] | None = None) -> Gate:
            wanted = asked(config, given, promises)
            if wanted not in opened:
                state = _state(config, wanted)
                folder = folders.mktemp("gate")
                opened[wanted] = closing.enter_context(_opened(state, folder))
            return opened[wanted]

        yield gates


def _state(config: pytest.Config, wanted: Any) -> GateState:
    try:
        return state_of(config, wanted)
    except (ConfigError, ValueError) as error:  # each promise would only say the same
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


@contextmanager
def _opened(state: GateState, folder: Path) -> Iterator[Gate]:
    """Yield the gate on the system, configuration and data that were asked for."""
    try:
        setting, notes = _setting(state, folder)
    except OSError as error:  # a full disk, for example: no promise was looked at
        msg = f"the gate's frames: {plain_line(str(error))}; TMPDIR names another place for them"
        pytest.exit(msg, returncode=pytest.ExitCode.USAGE_ERROR)
    state.notes += [*_environment(state, setting), *notes]
    from harness.promises.bench import Bench
    from harness.promises.second_process import FROM_CHECKPOINTS
    from harness.promises.setting import list_changes
    from harness.promises.varied import varied_bench
    from harness.systems.opening import system_factory

    spec, wanted = state.spec, state.asked
    # A few promises train once, and a second process or another setting would cost more.
    few = bool(wanted.promises) or wanted.tier == "smoke"
    with _shared(state) as shared:
        # Without a configuration at first: a foreign system says
        # what it cannot vary before it has one.
        bench = Bench(
            system_factory(spec, shared), spec, {}, folder, () if few else FROM_CHECKPOINTS,
            vary=None if wanted.tier == "smoke" else varied_bench, parks=not spec.foreign,
        )  # fmt: skip
        if state.chosen is not None and state.asked.config:  # else the crop is nobody's own
            bench.asked = state.chosen.model_dump(mode="json", by_alias=True)
        if spec.foreign:
            whole, setting = setting, _fitted(setting, _description(bench))
            changes = list_changes(whole, setting)
            state.notes += [f"as the system has it: {', '.join(changes)}"] * bool(changes)
            _take_declaration(state, _description(bench))
        bench.config = setting.model_dump(mode="json", by_alias=True)
        yield Gate(bench, state)
        bench.close()


def _setting(state: GateState, folder: Path) -> tuple[Config, list[str]]:
    """Return the gate's configuration, and what to say of it."""
    from harness.fc2.synthetic import write_dataset
    from harness.promises import setting

    if state.chosen is not None:
        linked, note = setting.link_gate_frames(state.chosen, folder / "frames")
        found = setting.gate_config(linked)
        return found, [note, "shrunk: " + ", ".join(setting.list_changes(linked, found))]
    (height, width), frames = setting.EMBEDDED_SIZE, folder / "embedded"
    train, val = setting.EMBEDDED_TRAIN, setting.EMBEDDED_VAL
    write_dataset(frames, train=train, val=val, height=height, width=width)
    return setting.embedded_config(frames), []


def _environment(state: GateState, setting: Config) -> list[str]:
    """Apply the environment of the builtin system, and return the line that says it.

    A foreign system has a process of its own, and what it runs on is read there: TensorFlow, if
    it has any, need not be installed here.
    """
    if state.spec.foreign:
        return []
    from harness.environment import EnvironmentMismatchError, apply_environment

    # Before whatever imports TensorFlow, which reads some of it once.
    try:
        environment = apply_environment(setting)
    except EnvironmentMismatchError as error:  # each promise would only say the same
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    state.environment = environment.as_dict()
    return [environment.line()]


def _take_declaration(state: GateState, description: Any) -> None:
    """Keep what a system says of itself, and the defects that it knows of."""
    # In one line: a reason of blanks is none, and a second line could be anything.
    told = {k: " ".join(v.split()) for k, v in description.known_defects.items()}
    state.known_defects |= {k: v for k, v in told.items() if k not in state.known_defects}
    found = asdict(description)
    found |= {name: sorted(v) for name, v in found.items() if isinstance(v, frozenset)}
    named = {"name": description.name, "version": description.version}
    state.gated |= {**named, "declaration": found}


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


def _description(bench: Any) -> Any:
    """Describe a foreign system; one that cannot even be made and described ends the session."""
    try:
        return bench.describe()
    except Exception as error:  # noqa: BLE001 -- every promise would only say the same
        lines = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]
        pytest.exit("\n".join(lines), returncode=pytest.ExitCode.USAGE_ERROR)


@contextmanager
def _shared(state: GateState) -> Iterator[Any]:
    """Yield what systems of this process share; a foreign system's process is started here."""
    spec: SystemSpec = state.spec
    if not spec.foreign:
        from harness.runs.session import CompiledCache

        yield CompiledCache()
        return
    from harness.systems.process import WorkerError
    from harness.systems.remote import Workers

    workers = Workers()
    try:
        worker = workers.of(spec)
        state.tested = worker.about
        code = code_state(code_place(spec, worker.source))
        state.gated["code"] = code.as_dict()
        state.notes.append(f"{_tested(worker.about)}, {code}")
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
