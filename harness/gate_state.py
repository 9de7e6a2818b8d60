"""What one gate of a session was asked for and has found; in the end, its verdict."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import pytest

from harness.asked import named_configuration, named_system, required_promises
from harness.config import Config, ConfigError
from harness.errors import InputError
from harness.expanding import expanded
from harness.gate_options import OPTIONS
from harness.promises.judge import Judgement
from harness.promises.promise import TIERS, Tier
from harness.promises.registry import PROMISES, declarations_digest, of_tier
from harness.require_gate import code_digest, data_digest, file_digest
from harness.systems.code import code_place, code_state, short_name
from harness.systems.spec import SystemSpec
from harness.verdict import GateResult, parse_known_defects

__all__ = ["STATES", "Asked", "GateState", "asked", "digests_of", "option", "spelt", "state_of"]


@dataclass(frozen=True)
class Asked:
    """What a gate is asked for, each as text; empty: not given.

    Attributes
    ----------
    system, system_root, system_python, system_timeout, system_memory : str
    config, fc2_root, tier, gate_file, pictures : str
        As the options of the same names.
    promises : tuple of str
        Ids of those that are asked; empty: all of the tier.
    """

    system: str = "builtin"
    system_root: str = ""
    system_python: str = ""
    system_timeout: str = "600"
    system_memory: str = ""
    config: str = ""
    fc2_root: str = ""
    tier: str = "quick"
    gate_file: str = ""
    pictures: str = ""
    promises: tuple[str, ...] = ()

    def spec(self) -> SystemSpec:
        """Return the system.

        Raises
        ------
        ValueError
            If the options name none.
        """
        return named_system(
            self.system, root=self.system_root, python=self.system_python,
            timeout=self.system_timeout, memory=self.system_memory,
        )  # fmt: skip

    def configuration(self) -> Config | None:
        """Return the researcher's configuration, None for the embedded default.

        Raises
        ------
        ConfigError
            If there is no data, or a crop does not fit.
        """
        return named_configuration(self.config, self.fc2_root, own=self.system == "builtin")

    def due(self) -> tuple[str, ...]:
        """Return the promises that the verdict is about, in their order."""
        return self.promises or tuple(p.id for p in of_tier(cast("Tier", self.tier)))


@dataclass
class GateState:
    """A gate of this session.

    Attributes
    ----------
    asked : Asked
    spec : SystemSpec
    chosen : Config or None
        The researcher's configuration; None: the embedded one.
    judgements : dict
        By promise id, shown after the tests.
    known_defects : dict
        Promises that may be broken, with the reason.
    failures : list of BaseException
        What its tests failed with.
    notes : list of str
        Lines that stand before the table.
    digests : dict
        Of what is gated, made before any of it is loaded.
    pages : dict
        By broken promise that can be drawn: what is said of its page, empty if none was asked for.
    number : int
        Of this gate, among those of the session, from 1.
    selected : bool
        Whether a test of it was to run.
    environment, tested, gated : dict
        Of this process, of the system's, and what was gated, as the gate file keeps them.
    result : GateResult or None
        Once the session is over.
    """

    asked: Asked
    spec: SystemSpec
    chosen: Config | None
    judgements: dict[str, Judgement] = field(default_factory=dict)
    known_defects: dict[str, str] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    number: int = 1
    selected: bool = False
    environment: dict[str, Any] = field(default_factory=dict)
    tested: dict[str, Any] = field(default_factory=dict)
    gated: dict[str, Any] = field(default_factory=dict)
    result: GateResult | None = None

    def failed_tests(self) -> int:
        """Return how many of its promises' tests failed."""
        return sum(
            j.verdict == "error"
            or (j.verdict == "BROKEN" and not self.known_defects.get(name))
            or (j.verdict == "holds" and name in self.known_defects)
            for name, j in self.judgements.items()
        )

    def about(self) -> dict[str, Any]:
        """Return what another process of the session must know of it, JSON-able."""
        return {
            "asked": asdict(self.asked), "notes": self.notes, "environment": self.environment,
            "tested": self.tested, "gated": self.gated, "known_defects": self.known_defects,
            "digests": self.digests,
        }  # fmt: skip


STATES = pytest.StashKey[dict[Asked, GateState]]()


def option(config: pytest.Config, name: str, given: Mapping[str, str] | None = None) -> str:
    """Return an option's value: of the command line, else of a test file, else of the ini file."""
    said = config.getoption(f"samebits_{name}")
    if said is None:
        said = (given or {}).get(name)
    return str(said if said is not None else config.getini(f"samebits_{name}"))


def spelt(config: pytest.Config, text: str) -> str:
    """Return a message with the options' names as they are where pytest was called."""
    if config.getini("samebits_again") or config.pluginmanager.has_plugin("harness.short_options"):
        return text
    names = "|".join((*(name for name, *_ in OPTIONS), "promise"))
    return re.sub(rf"(?<![\w-])--({names})(?![\w-])", r"--samebits-\1", text)


_PATHS = ("system", "system_root", "system_python", "config", "fc2_root", "gate_file", "pictures")
_TEXTS = tuple(name for name in Asked.__dataclass_fields__ if name != "promises")


def asked(
    config: pytest.Config, given: Mapping[str, str] | None = None,
    promises: tuple[str, ...] | None = None,
) -> Asked:  # fmt: skip
    """Return what options, test file and ini ask for together.

    Raises
    ------
    pytest.UsageError
        If the tier, or a promise, is none.
    """
    texts = {name: option(config, name, given) for name in _TEXTS}
    for name in _PATHS:
        try:
            texts[name] = expanded(texts[name], f"--{name.replace('_', '-')}")
        except InputError as error:
            raise pytest.UsageError(spelt(config, str(error))) from None
    if texts["tier"] not in TIERS:
        msg = f"--tier: expected one of {', '.join(TIERS)}, got {texts['tier']!r}"
        raise pytest.UsageError(spelt(config, msg))
    where, named = _named(config, promises, texts["config"])
    unknown = [name for name in named if name not in PROMISES]
    if unknown:
        near = difflib.get_close_matches(unknown[0], PROMISES, n=1)
        msg = f"{where} {unknown[0]}: no promise of that name" + (
            f", did you mean {near[0]}?" if near else "; `harness promises` lists them"
        )
        raise pytest.UsageError(spelt(config, msg))
    return Asked(**texts, promises=tuple(p for p in PROMISES if p in named))


def _named(
    config: pytest.Config, promises: tuple[str, ...] | None, path: str
) -> tuple[str, Sequence[str]]:
    """Return which promises are asked for by name, and where that is said."""
    try:
        in_yaml = required_promises(path)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None
    said = {
        "--promise": config.getoption("samebits_promise"), "each_promise": promises,
        "samebits_required:": config.getini("samebits_required"), f"{path}: gate.required": in_yaml,
    }  # fmt: skip
    return next(((where, named) for where, named in said.items() if named), ("", ()))


def digests_of(wanted: Asked, spec: SystemSpec) -> dict[str, str]:
    """Return what a run that demands the gate is held against, besides the verdict.

    Raises
    ------
    GateError
        If a folder is not there, or git does not say what is in it.
    """
    place, without = code_place(spec), [wanted.gate_file] * bool(wanted.gate_file)
    found = {"declarations": declarations_digest()}
    if place is not None:
        found["code"] = code_digest(place, without)
    adapter = code_place(SystemSpec(spec.system))
    if spec.root and adapter is not None:
        found["adapter"] = code_digest(adapter, without)
    if wanted.config:
        found["config"] = file_digest(wanted.config)
    if wanted.fc2_root:
        found["data"] = data_digest(wanted.fc2_root, without)
    return found


def state_of(config: pytest.Config, wanted: Asked) -> GateState:
    """Return the state of a gate, which is made when it is first asked for.

    Raises
    ------
    ValueError, harness.config.ConfigError
        If the options name no system, or no data.
    """
    states = config.stash.setdefault(STATES, {})
    if wanted not in states:
        spec = wanted.spec()
        state = states[wanted] = GateState(wanted, spec, wanted.configuration())
        state.known_defects = parse_known_defects(config.getini("samebits_known_defects"))
        code = code_state(code_place(spec)).as_dict()
        state.gated = {"name": short_name(spec), "code": code}
        state.digests = digests_of(wanted, spec)
    return states[wanted]
