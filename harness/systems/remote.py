"""Systems that run in a process and an interpreter of their own: the harness's side.

:mod:`harness.systems.worker` is the other side. One worker serves all systems of a gate.
"""

import builtins
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError, plain_line
from harness.systems.answers import answer
from harness.systems.process import Worker, WorkerError
from harness.systems.protocol import (
    Arrays,
    Description,
    Drawn,
    Evaluation,
    Recalibration,
    Role,
    ServedBatch,
    Training,
    TrainingSample,
)
from harness.systems.spec import SystemSpec, target_of

__all__ = [
    "HostedSystem", "Remote", "RemoteError", "RemoteSystem", "Workers", "load", "load_target",
]  # fmt: skip


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

        One that crashed is started anew: what made it crash is one promise's evidence, and not
        that of those which happen to come later. One that hung is not, or each of them would
        wait for the time limit.

        Raises
        ------
        WorkerError
            If it cannot be started, or the class cannot be loaded there.
        """
        key = repr((spec.system, spec.root, spec.python))
        if key not in self._running or self._running[key].crashed:
            self._running[key] = Worker(spec, own_group=self.own_group)
        worker = self._running[key]
        if not worker.loaded:
            load(worker, spec)
        return worker

    def forget_ended(self) -> None:
        """Let each worker that ended, or hung, be started anew when it is asked for next."""
        for key in [key for key, worker in self._running.items() if not worker.running]:
            self._running.pop(key).close()

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


def load(worker: Worker, spec: SystemSpec, config: Mapping[str, Any] | None = None) -> None:
    """Let a worker load a system; systems that are made from then on are of that one.

    Parameters
    ----------
    config : mapping, optional
        Configuration tree whose environment the builtin system's process applies before
        TensorFlow starts.

    Raises
    ------
    WorkerError
        If it cannot be loaded there; the worker is ended then.
    """
    target, path = target_of(spec)
    once, each = None, {"root": str(Path(spec.root).absolute())} if spec.root else {}
    if spec.system == "builtin":
        # Under another interpreter a fault is planted on this side of the pipe, if at all.
        fault = "" if spec.python else spec.fault
        once = {"fault": fault, "arguments": dict(spec.arguments), "config": config}
    load_target(worker, target, path, once=once, each=each)


def load_target(
    worker: Worker, target: str, path: Sequence[str], *,
    once: Mapping[str, Any] | None = None, each: Mapping[str, Any],
) -> None:  # fmt: skip
    """Let a worker load what makes its objects from then on.

    Parameters
    ----------
    target : str
        ``MODULE:CLASS`` or ``FILE.py:CLASS``.
    path : sequence of str
        Folders that it puts on ``sys.path``.
    once : mapping, optional
        Keyword arguments of one call of the target, which returns what makes the objects.
        None: the target makes them itself.
    each : mapping
        Keyword arguments of each object.

    Raises
    ------
    WorkerError
        If it cannot be loaded there; the worker is ended then.
    """
    request = {"call": "load", "target": target, "path": path, "once": once, "each": each}
    reply = worker.ask(f"loading {worker.system}", request)
    if "error" in reply:
        error, about = reply["error"], worker.about
        advice = next((_ADVICE[base] for base in error["bases"] if base in _ADVICE), "fix it")
        msg = (
            f"system {worker.system!r} cannot be loaded by {about['executable']} (Python "
            f"{about['python']}): {error['name']}: {plain_line(error['text'])}; {advice}"
        )
        worker.fail(msg, error["trace"])
    worker.source = str(reply["result"] or "")
    worker.loaded = True


class Remote:
    """An object that a worker makes when it is first asked.

    Parameters
    ----------
    lend : callable
        Returns the process, which has loaded what makes it; asked before each call.
    """

    def __init__(self, lend: Callable[[], Worker]) -> None:
        self._lend = lend
        self._number: int | None = None
        self._made_in: Worker | None = None

    def ask(self, name: str, *args: Any, **options: Any) -> Any:
        """Return what a method returns, as plain values.

        Raises
        ------
        WorkerError
            If the process fails.
        Exception
            That of the method, by its own name.
        """
        worker = self._lend()
        if self._number is None:
            self._number, self._made_in = worker.new_number(), worker
        elif self._made_in is not worker:  # a later process knows nothing of it
            assert self._made_in is not None
            worker = self._made_in
            # Noted, and sent with the next request: this may run in the middle of another one.
            weakref.finalize(self, worker.dropped.append, self._number)
        request = {
            "call": name, "system": self._number, "args": args, "options": options,
            "drop": worker.take_dropped(),
        }  # fmt: skip
        reply = worker.ask(f"{name}()", request)
        if "error" in reply:
            raise _raised(name, reply["error"], worker.system)
        return reply["result"]

    def close(self) -> None:
        """Release what it holds; nothing where it was never used."""
        if self._number is not None and self._made_in is not None and not self._made_in.ended:
            self.ask("close")
        self._number = None


class RemoteSystem(Remote):
    """A system of a worker, behind the protocol."""

    def _call(self, name: str, *args: Any, **options: Any) -> Any:
        """Make a call; only what was given is sent, so that no method need take more."""
        given = {key: value for key, (value, default) in options.items() if value is not default}
        return answer(name, self.ask(name, *args, **given))

    def describe(self) -> Description:
        """Return what the system is."""
        return self._call("describe")  # type: ignore[no-any-return]

    def open(self, config: Mapping[str, Any]) -> None:
        """Get ready to train from the start."""
        self._call("open", config)

    def batches(self, role: Role, epoch: int = 1) -> Sequence[ServedBatch]:
        """Return the batches of one epoch, or the fixed ones."""
        return self._call("batches", role, epoch=(epoch, 1))  # type: ignore[no-any-return]

    def draws(
        self, what: Drawn, seed: int, epoch: int = 1, *,
        samples: int | None = None, frame: tuple[int, int] | None = None,
    ) -> Arrays:  # fmt: skip
        """Return what training draws for a seed and an epoch."""
        return self._call(  # type: ignore[no-any-return]
            "draws", what, seed, epoch=(epoch, 1), samples=(samples, None), frame=(frame, None)
        )

    def train(
        self, epochs: int, *, evaluate: bool = True, observe: bool = True, steps: int | None = None
    ) -> Training:
        """Train until `epochs` are completed, or for `steps`."""
        return self._call(  # type: ignore[no-any-return]
            "train", epochs, evaluate=(evaluate, True), observe=(observe, True),
            steps=(steps, None),
        )  # fmt: skip

    def training_samples(self) -> Sequence[TrainingSample]:
        """Return the samples of the next epoch, as its steps get them."""
        return self._call("training_samples")  # type: ignore[no-any-return]

    def evaluate(
        self, archs: Sequence[str] | None = None, *, batches_per_arch: int | None = None
    ) -> Evaluation:
        """Score archs with the present weights."""
        asked = None if archs is None else list(archs)
        return self._call(  # type: ignore[no-any-return]
            "evaluate", archs=(asked, None), batches_per_arch=(batches_per_arch, None)
        )

    def evaluate_offline(
        self, path: str, archs: Sequence[str] | None = None, *,
        batches_per_arch: int | None = None, workers: int = 1,
    ) -> Evaluation:  # fmt: skip
        """Score archs of a saved checkpoint."""
        asked = None if archs is None else list(archs)
        return self._call(  # type: ignore[no-any-return]
            "evaluate_offline", path, archs=(asked, None),
            batches_per_arch=(batches_per_arch, None), workers=(workers, 1),
        )  # fmt: skip

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

    def restore(self, path: str) -> Sequence[str] | None:
        """Continue from a checkpoint and return what the system says of it."""
        return self._call("restore", path)  # type: ignore[no-any-return]


class HostedSystem(RemoteSystem):
    """The builtin system in a worker, which computes digests of its state there."""

    def state_digests(self) -> dict[str, str]:
        """Return the digest of every array of the state."""
        return self._call("state_digests")  # type: ignore[no-any-return]


_BASES = {
    name: found
    for name, found in vars(builtins).items()
    if isinstance(found, type) and issubclass(found, Exception)
    and not issubclass(found, UnicodeError | ExceptionGroup | StopIteration)
}  # fmt: skip
"""Builtin exceptions that one text makes, so that ``except ValueError`` works across pipes."""


def _raised(call: str, error: Mapping[str, Any], system: str) -> Exception:
    """Return the exception of the other process, by its own name and with its own text."""
    name, text, trace = error["name"], error["text"], error["trace"]
    found: Exception
    if error["stage"] == "result":
        found = WorkerError(f"system {system!r}: the answer of {text}; see the protocol")
    elif name == NotApplicableError.__name__:
        return NotApplicableError(text)
    else:
        base = next((_BASES[b] for b in error["bases"] if b in _BASES), Exception)
        bases = (RemoteError,) if base is Exception else (RemoteError, base)
        found = type(name, bases, {"__module__": __name__, "pid": error.get("pid")})(text)
    # The other process's traceback would else be lost: exceptions do not carry one across.
    found.add_note(f"in {call}() of system {system}, in its own process:\n{trace}")
    return found
