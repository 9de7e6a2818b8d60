"""Faults planted around anybody's system, and which promises of the gate notice them there.

Every fault gets a bench of its own; the system's process and the second one are shared.
"""

import inspect
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.faults.anywhere.base import FaultAnywhere
from harness.faults.catalog import FAULTS, fault_path
from harness.faults.matrix import ASK_A_SECOND_PROCESS, plan_fault
from harness.faults.power_file import Planted, Power
from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.registry import PROMISES
from harness.systems.beside import SecondProcess
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec

__all__ = ["FAULTS_ANYWHERE", "Setting", "judge_clean", "plant_all"]

FAULTS_ANYWHERE: tuple[type[FaultAnywhere], ...] = tuple(
    fault for fault in FAULTS.values() if issubclass(fault, FaultAnywhere)
)
"""Faults of the catalogue that wrap any system."""


@dataclass(frozen=True)
class Setting:
    """A system and how it is driven.

    Attributes
    ----------
    spec : SystemSpec
        The system, without a fault.
    config : mapping
        Configuration tree of its gate.
    folder : pathlib.Path
        Existing folder for what the promises write.
    shared : object
        What systems of this process share: see :func:`system_factory`.
    second : SecondProcess
        Asked for what must be seen in a fresh process.
    asked : mapping or None
        Configuration tree before the gate shrank it.
    """

    spec: SystemSpec
    config: Mapping[str, Any]
    folder: Path
    shared: Any
    second: SecondProcess = field(default_factory=SecondProcess)
    asked: Mapping[str, Any] | None = None


def judge_clean(setting: Setting, power: Power) -> Power:
    """Return what the quick promises say of the system as it is, beside what is known so far."""
    quick = [promise.id for promise in PROMISES.values() if promise.tier == "quick"]
    bench = _bench(setting, system_factory(setting.spec, setting.shared), quick)
    try:
        holds, broken, absent = _judged(bench, quick)
        return replace(power, holds=holds, broken=broken, absent=absent)
    finally:
        _end(bench)


def plant_all(
    setting: Setting, power: Power, faults: Iterable[type[FaultAnywhere]], *,
    on_result: Callable[[Power, Planted], None],
) -> Power:  # fmt: skip
    """Plant one fault after another and return what the gate noticed.

    Parameters
    ----------
    power : Power
        What is known so far; faults that it has are left out.
    on_result : callable
        Called with everything so far, and with what is new, as it comes.
    """
    for fault in faults:
        if fault.id in power.left:
            if isinstance(setting.shared, Workers):
                setting.shared.forget_ended()  # what hung under one fault is not the next one's
            found = _plant(setting, fault, power)
            power = replace(power, planted=(*power.planted, found))
            on_result(power, found)
    return power


def _plant(setting: Setting, kind: type[FaultAnywhere], power: Power) -> Planted:
    start, path = time.perf_counter(), fault_path(kind)
    story = (inspect.getdoc(kind) or kind.id).split("\n\n")[0].replace("\n", " ")
    told = Planted(kind.id, story, kind.citation, "n/a")
    fault, clean = kind(), system_factory(setting.spec, setting.shared)
    concerned, holds = set(plan_fault(path).promises), power.holds
    # A promise that does not hold without the fault tells nothing of it.
    asked = [name for name in holds if name in concerned and name not in kind.spoils]
    rest = [name for name in holds if name not in concerned and name not in kind.spoils]
    bench = _bench(
        replace(setting, spec=replace(setting.spec, fault=path)), lambda: fault.wrap(clean()), asked
    )
    try:
        reason = fault.unplantable(bench.describe())
        if reason:
            return replace(told, reason=reason)
        _, red, _ = _judged(bench, asked)
        judged = len(asked)
        if _only_errors(red):
            # Survived means that the whole gate stays green, and not a part of it.
            more, count = _first_broken(bench, rest)
            red, judged = red | more, judged + count
        seconds = round(time.perf_counter() - start, 2)
        if red:
            return replace(told, verdict="noticed", red=red, judged=judged, seconds=seconds)
        if not fault.acted:
            return replace(told, reason=kind.idle, judged=judged, seconds=seconds)
        return replace(
            told, verdict="SURVIVED", reason=_why(kind, power), judged=judged, seconds=seconds
        )
    finally:
        _end(bench)


def _why(kind: type[FaultAnywhere], power: Power) -> str:
    """Return what keeps the promises that should notice a fault from being judged."""
    return "; ".join(
        f"{name} {how}: {told[name]}"
        for told, how in ((power.absent, "does not apply"), (power.broken, "is broken already"))
        for name in kind.expected
        if name in told
    )


def _bench(setting: Setting, factory: Callable[[], Any], promises: Sequence[str]) -> Bench:
    """Return a bench that asks the second process early for what the promises will want of it."""
    place = setting.folder / (setting.spec.fault.rpartition(":")[2] or "as-it-is")
    place.mkdir(parents=True)
    early = [
        driver
        for driver, waiting in ASK_A_SECOND_PROCESS.items()
        if not waiting.isdisjoint(promises)
    ]
    return Bench(factory, setting.spec, setting.config, place, early, setting.second, setting.asked)


def _end(bench: Bench) -> None:
    bench.close()
    shutil.rmtree(bench.folder, ignore_errors=True)


def _judged(
    bench: Bench, promises: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, str], dict[str, str]]:
    """Return which promises hold; which are broken, or could not be judged; which are n/a."""
    holds, red, absent = [], {}, {}
    for name in promises:
        found = judge(PROMISES[name], bench)
        if found.verdict == "holds":
            holds.append(name)
        elif found.verdict == "n/a":
            absent[name] = found.text
        else:
            red[name] = f"error: {found.text}" if found.verdict == "error" else found.text
    return tuple(holds), red, absent


def _only_errors(red: Mapping[str, str]) -> bool:
    """Return whether no promise broke by a violation: an error may be that of the planting."""
    return all(text.startswith("error:") for text in red.values())


def _first_broken(bench: Bench, promises: Sequence[str]) -> tuple[dict[str, str], int]:
    """Return what broke up to the first violation, and how many promises were judged."""
    found: dict[str, str] = {}
    for count, name in enumerate(promises, 1):
        _, red, _ = _judged(bench, [name])
        found |= red
        if not _only_errors(red):
            return found, count
    return found, len(promises)
