"""Systems that run in a process and an interpreter of their own: the harness's side.

:mod:`harness.systems.worker` is the other side. One worker serves all systems of a gate.
"""

import builtins
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.evidence.observations import (
    Arrays,
    Description,
    Evaluation,
    Recalibration,
    ServedBatch,
    Training,
)
from harness.systems.answers import answer
from harness.systems.pipes import Worker, WorkerError
from harness.systems.protocol import Role
from harness.systems.spec import SystemSpec, target_of

__all__ = ["RemoteError", "RemoteSystem", "Workers"]


class RemoteError(Exception):
    """An exception of a foreign system; its subclasses have the original's name."""

    def __str__(self) -> str:
        """Return the original's text."""
        return str(self.args[0]) if self.args else ""


@dataclass
class Workers:
    """Keeps one worker process per system under test; each is started on first use.

    Parameters
    ----------
    own_group : bool, default True
        Whether a worker gets a process group of its own. Without, it ends with the group of
        this process.
    """

    own_group: bool = True
    _running: dict[str, Worker] = field(default_factory=dict)

    def of(self, spec: SystemSpec) -> Worker:
        """Return the worker of a system, which has loaded its class.

        Raises
        ------
        WorkerError
            If it cannot be started, or the class cannot be loaded there.
        """
        key = repr((spec.system, spec.root, spec.python))
        if key not in self._running:
            self._running[key] = Worker(spec, own_group=self.own_group)
        worker = self._running[key]
        if not worker.loaded:
            target, path = target_of(spec)
            _load(worker, spec, target, path)
        return worker

    def close(self) -> None:
        """End the workers."""
        for worker in self._running.values():
            worker.close()
        self._running.clear()


_ADVICE = {
    "ImportError": (
        "install there what is missing, or name another interpreter with --system-python"
    ),
    "AttributeError": "name a class that is there",
}


def _load(worker: Worker, spec: SystemSpec, target: str, path: Sequence[str]) -> None:
    root = str(Path(spec.root).absolute()) if spec.root else ""
    request = {"call": "load", "target": target, "path": list(path), "root": root}
    reply = worker.ask(f"loading {spec.system}", request)
    if "error" in reply:
        error, about = reply["error"], worker.about
        advice = next((_ADVICE[base] for base in error["bases"] if base in _ADVICE), "mend it")
        msg = (
            f"system {spec.system!r} cannot be loaded by {about['executable']} (Python "
            f"{about['python']}): {error['name']}: {error['text']}; {advice}"
        )
        worker.fail(msg, error["trace"])
    worker.loaded = True


class RemoteSystem:
    """A system of a worker, behind the protocol.

    Parameters
    ----------
    workers : Workers
        Lends the process.
    spec : SystemSpec
        Which system.
    """

    def __init__(self, workers: Workers, spec: SystemSpec) -> None:
        self._workers, self._spec = workers, spec
        self._number: int | None = None

    def _call(self, name: str, *args: Any, **options: Any) -> Any:
        """Make a call; only what was given is sent, so that no method need take more."""
        worker = self._workers.of(self._spec)
        if self._number is None:
            self._number = worker.new_number()
            weakref.finalize(self, worker.dropped.append, self._number)
        given = {key: value for key, (value, default) in options.items() if value is not default}
        request = {
            "call": name, "system": self._number, "args": args, "options": given,
            "drop": worker.take_dropped(),
        }  # fmt: skip
        reply = worker.ask(f"{name}()", request)
        if "error" in reply:
            raise _raised(name, reply["error"], self._spec)
        return answer(name, reply["result"])

    def describe(self) -> Description:
        """Return what the system is."""
        return self._call("describe")  # type: ignore[no-any-return]

    def open(self, config: Mapping[str, Any]) -> None:
        """Get ready to train from the start."""
        self._call("open", config)

    def batches(self, role: Role, epoch: int = 1) -> Sequence[ServedBatch]:
        """Return the batches of one epoch, or the fixed ones."""
        return self._call("batches", role, epoch=(epoch, 1))  # type: ignore[no-any-return]

    def train(
        self, epochs: int, *, evaluate: bool = True, observe: bool = True, steps: int | None = None
    ) -> Training:
        """Train until `epochs` are completed, or for `steps`."""
        return self._call(  # type: ignore[no-any-return]
            "train", epochs, evaluate=(evaluate, True), observe=(observe, True),
            steps=(steps, None),
        )  # fmt: skip

    def evaluate(
        self, archs: Sequence[str] | None = None, *, batches_per_arch: int | None = None
    ) -> Evaluation:
        """Score archs with the present weights."""
        asked = None if archs is None else list(archs)
        return self._call(  # type: ignore[no-any-return]
            "evaluate", archs=(asked, None), batches_per_arch=(batches_per_arch, None)
        )

    def recalibrate(self, arch: str, *, inputs: bool = False) -> Recalibration:
        """Return an arch's recalibrated statistics."""
        return self._call("recalibrate", arch, inputs=(inputs, False))  # type: ignore[no-any-return]

    def predict(self, arch: str, batch: ServedBatch) -> Sequence[NDArray[np.float32]]:
        """Return the residual outputs, coarse to fine."""
        return self._call("predict", arch, batch)  # type: ignore[no-any-return]

    def score(
        self,
        outputs: Sequence[NDArray[np.float32]],
        label: NDArray[np.float32],
        valid: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Return the metric's per-sample EPE for given residual outputs."""
        return self._call("score", outputs, label, valid)  # type: ignore[no-any-return]

    def state(self, changes: Arrays | None = None) -> Arrays:
        """Set the named arrays, if any, and return the complete state."""
        return self._call("state", changes=(changes, None))  # type: ignore[no-any-return]

    def save(self, path: str) -> None:
        """Write a checkpoint."""
        self._call("save", path)

    def restore(self, path: str) -> None:
        """Continue from a checkpoint."""
        self._call("restore", path)

    def close(self) -> None:
        """Release what the system holds; nothing where it was never used."""
        if self._number is not None and not self._workers.of(self._spec).ended:
            self._call("close")


_BASES = {
    name: found
    for name, found in vars(builtins).items()
    if isinstance(found, type) and issubclass(found, Exception)
    and not issubclass(found, UnicodeError | ExceptionGroup | StopIteration)
}  # fmt: skip
"""Builtin exceptions that one text makes, so that ``except ValueError`` works across pipes."""


def _raised(call: str, error: Mapping[str, Any], spec: SystemSpec) -> Exception:
    """Return the exception of the other process, by its own name and with its own text."""
    name, text, trace = error["name"], error["text"], error["trace"]
    found: Exception
    if error["stage"] == "result":
        found = WorkerError(f"system {spec.system!r}: the answer of {text}; see the protocol")
    elif name == NotApplicableError.__name__:
        return NotApplicableError(text)
    else:
        base = next((_BASES[b] for b in error["bases"] if b in _BASES), Exception)
        bases = (RemoteError,) if base is Exception else (RemoteError, base)
        found = type(name, bases, {"__module__": __name__})(text)
    found.add_note(f"in {call}() of system {spec.system}, in its own process:\n{trace}")
    return found
