"""What the kill matrix found: a task, its result, the whole report, and that as JSON and back."""

import importlib.metadata
import importlib.util
import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import harness
from harness.digest import digest_file, digest_strings
from harness.errors import InputError, plain_line
from harness.promises.promise import Tier
from harness.promises.setting import EPOCH_MODES
from harness.records.declared import check_declared
from harness.sealed import NO_SEAL, read_sealed, sealed_values

__all__ = [
    "Finished", "Report", "Result", "Task", "kept_results", "made_by", "read_finished", "task_key",
]  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One system to judge: a fault's path (empty: the clean system), promises, epoch mode."""

    id: str
    path: str
    arguments: Mapping[str, Any]
    promises: tuple[str, ...]
    family: str = ""
    citation: str = ""
    expected: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None
    tier: Tier = "quick"
    mode: str = EPOCH_MODES[0]


@dataclass(frozen=True)
class Result:
    """What the promises said of one system.

    Attributes
    ----------
    task : Task
    fired : mapping of str to str
        Promise to its first violation, or to the error that kept it from being checked.
    absent : mapping of str to str
        Promises that do not apply, and why.
    seconds : float
        Wall time, s.
    violations : mapping of str to sequence of str
        Promise that fired to each of its violations, or its error.
    """

    task: Task
    fired: Mapping[str, str]
    absent: Mapping[str, str]
    seconds: float
    violations: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def survived(self) -> tuple[str, ...]:
        """Expected promises that did not fire."""
        return tuple(promise for promise in self.task.expected if promise not in self.fired)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        task = self.task
        return {
            "id": task.id, "family": task.family, "citation": task.citation,
            "expected": list(task.expected), "fired": sorted(self.fired),
            "survived": list(self.survived), "where": dict(self.fired),
            "violations": {name: list(texts) for name, texts in self.violations.items()},
            "not_applicable": dict(self.absent), "checked": list(task.promises),
            "tier": task.tier, "mode": task.mode, "seconds": round(self.seconds, 2),
            "key": task_key(task),
        }  # fmt: skip


@dataclass(frozen=True)
class Report:
    """The matrix, whole or as far as it has come.

    Attributes
    ----------
    faults, clean : tuple of Result
    seconds : float
        Wall time of the call, s.
    asked : int
        Systems that were to be judged; 0: as many as there are results.
    made_by : mapping of str to str
        Of :func:`made_by`: what another call must agree in to go on.
    """

    faults: tuple[Result, ...]
    clean: tuple[Result, ...] = ()
    seconds: float = 0.0
    asked: int = 0
    made_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def killed(self) -> int:
        """Faults of which every expected promise fired, under each epoch mode it was run in."""
        return self.planted - len(
            {r.task.id for r in self.faults if r.survived or not r.task.expected}
        )

    @property
    def planted(self) -> int:
        """Faults that were run, under one epoch mode or both."""
        return len({r.task.id for r in self.faults})

    @property
    def false_alarms(self) -> dict[str, str]:
        """Promises that fired on a clean system."""
        return {f"{_place(r.task)}: {k}": v for r in self.clean for k, v in r.fired.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        found = len(self.faults) + len(self.clean)
        return sealed_values({
            "faults": self.planted,
            "killed": self.killed,
            "false_alarms": self.false_alarms,
            "clean_systems": len(self.clean),
            "not_applicable": {_place(r.task): dict(r.absent) for r in self.clean if r.absent},
            "seconds": round(self.seconds, 1),
            "relations_on_clean": sorted({i for r in self.clean for i in r.task.promises}),
            "results": [result.as_dict() for result in self.faults],
            "clean_results": [result.as_dict() for result in self.clean],
            "complete": found >= self.asked,
            "asked": self.asked or found,
            "made_by": dict(self.made_by),
        })  # fmt: skip


def _place(task: Task) -> str:
    """Return a task's name, with an epoch mode that is not the first."""
    return task.id if task.mode == EPOCH_MODES[0] else f"{task.id} under {task.mode}"


def made_by(setting: Mapping[str, Any]) -> dict[str, str]:
    """Return what results depend on beside their task: code, packages and the setting.

    Parameters
    ----------
    setting : mapping
        Configuration tree of the gate; where its data lie does not count.
    """
    root = Path(harness.__file__).parent
    files = sorted(root.rglob("*.py"))
    code = digest_strings(
        text for path in files for text in (str(path.relative_to(root)), digest_file(path))
    )
    packages = {"python": platform.python_version()} | {
        name: _version(package) for name, package in _PACKAGES.items()
    }
    data = {key: value for key, value in setting.get("data", {}).items() if key != "base_path"}
    tree = json.dumps({**setting, "data": data}, sort_keys=True, default=str)
    return {"code": code, "setting": digest_strings([tree]), **packages}


_PACKAGES = {"tensorflow": "tensorflow", "numpy": "numpy", "opencv": "opencv-python"}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def task_key(task: Task) -> str:
    """Return what a task's result may be found again by: all of it, and its fault's own code."""
    module = task.path.partition(":")[0]
    spec = importlib.util.find_spec(module) if module else None
    source = Path(spec.origin) if spec is not None and spec.origin else None
    code = digest_file(source) if source is not None and source.is_file() else ""
    arguments = json.dumps(dict(task.arguments), sort_keys=True, default=str)
    said = (task.id, task.path, arguments, task.tier, code, task.mode)
    return digest_strings([*said, *task.promises, "expected", *task.expected])


Finished = Mapping[str, Mapping[str, Any]]
"""Results of an earlier call as JSON has them, by their task's key."""


@dataclass(frozen=True)
class _KeptResult:
    """A result as :meth:`Result.as_dict` gives it."""

    id: str
    family: str
    citation: str
    expected: list[str]
    fired: list[str]
    survived: list[str]
    where: dict[str, str]
    violations: dict[str, list[str]]
    not_applicable: dict[str, str]
    checked: list[str]
    tier: str
    mode: str
    seconds: float
    key: str


@dataclass(frozen=True)
class _Kept:
    """What is read of a report."""

    made_by: dict[str, str]
    results: list[_KeptResult]
    clean_results: list[_KeptResult]


def read_finished(
    path: Path, made_by: Mapping[str, str], tell: Callable[[str], None] | None = None
) -> Finished:
    """Return the results that an earlier call wrote.

    Parameters
    ----------
    tell : callable, optional
        Receives a sentence on a file that carries no digest.

    Raises
    ------
    InputError
        If they were made by other code, packages or setting, or are none.
    """
    if not path.exists():
        return {}
    try:
        kept, sealed = read_sealed(path)
        if not sealed and tell is not None:
            tell(f"{path}: {NO_SEAL}")
        known = {one.name for one in fields(_Kept)}
        check_declared(_Kept, {k: v for k, v in kept.items() if k in known}, "the file")
        before = kept["made_by"]
        results = {one["key"]: one for one in (*kept["results"], *kept["clean_results"])}
    except (OSError, ValueError) as error:
        msg = (
            f"--resume: {path}: expected results that say what they were made by, found "
            f"{plain_line(str(error))}; remove it, or leave --resume out"
        )
        raise InputError(msg) from None
    other = [name for name in made_by if before.get(name) != made_by[name]]
    if other:
        msg = (
            f"--resume: {path} was made by another {', '.join(other)}; results of two versions "
            "do not go into one file: remove it, or leave --resume out to begin anew"
        )
        raise InputError(msg)
    return results


def kept_results(tasks: Iterable[Task], finished: Finished) -> dict[int, Result]:
    """Return the results that need no second run, by the place of their task."""
    found = {}
    for place, task in enumerate(tasks):
        kept = finished.get(task_key(task))
        if kept is not None:
            found[place] = Result(
                task, kept["where"], kept["not_applicable"], kept["seconds"], kept["violations"]
            )
    return found
