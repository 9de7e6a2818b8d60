"""Calls answered by a fresh process of the same environment.

The request and the results are JSON files. A state comes back as digests, by variable.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.digest import state_digests
from harness.evidence.observations import Evaluation, Recalibration, Training
from harness.systems.opening import system_factory
from harness.systems.spec import CALL_SECONDS, SystemSpec

__all__ = [
    "Call", "FreshCalls", "FreshProcessError", "FreshServer", "Pending", "start_fresh",
    "state_digests",
]  # fmt: skip

Call = tuple[str, Mapping[str, Any]]
"""Name of a protocol call and its keyword arguments; ``open`` takes none and makes a new system."""


class FreshProcessError(RuntimeError):
    """The fresh process failed; the message ends with its log."""


class Pending(Protocol):
    """Calls under way somewhere else."""

    def close(self) -> None:
        """Give up waiting."""

    def results(self) -> list[Any]:
        """Return each call's result, as decoded JSON."""


@dataclass(frozen=True)
class FreshCalls:
    """Calls under way in another process; :meth:`results` waits for them.

    Attributes
    ----------
    process : subprocess.Popen
        Makes the calls.
    folder : pathlib.Path
        Holds request, log and results.
    group : bool
        Whether it leads a process group, with the worker of a foreign system in it.
    limit : float
        How long :meth:`results` waits, s.
    """

    process: "subprocess.Popen[bytes]"
    folder: Path
    group: bool = False
    limit: float = CALL_SECONDS

    def close(self) -> None:
        """End the process if it still runs, and at once the worker that it asks."""
        if self.process.poll() is None:
            if self.group:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
            self.process.wait()
        self._let_go()

    def _let_go(self) -> None:
        """Close the pipe whose end tells the process that this one has gone."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def killed_after(self, seconds: float) -> bool:
        """Kill the process after a time; return whether it had not ended by then."""
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.close()
            return True
        return False

    def results(self) -> list[Any]:
        """Return each call's result, as decoded JSON.

        Raises
        ------
        FreshProcessError
            If the process failed or took longer than the limit.
        """
        log = self.folder / "log.txt"
        try:
            code = self.process.wait(timeout=self.limit)
        except subprocess.TimeoutExpired:
            self.close()
            code = -9
        self._let_go()
        if code != 0:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            msg = f"the fresh process ended with {code}; end of its log:\n{tail}"
            raise FreshProcessError(msg)
        text = (self.folder / "results.json").read_text(encoding="utf-8")
        return list(json.loads(text))


def start_fresh(
    spec: SystemSpec, config: Mapping[str, Any], calls: Sequence[Call], folder: Path
) -> FreshCalls:
    """Start a process that opens a system and makes calls on it, in order.

    The process gets another hash seed than this one, so that nothing may depend on it.

    Parameters
    ----------
    spec : SystemSpec
        Which system.
    config : mapping
        Configuration tree.
    calls : sequence of (str, mapping)
        Protocol calls and their keyword arguments.
    folder : pathlib.Path
        New folder for request, log and results.
    """
    _write_request(spec, config, calls, folder)
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.systems.fresh", str(folder)],
            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.PIPE, env=_environment(),
            start_new_session=spec.foreign,
        )  # fmt: skip
    limit = (len(calls) + 3) * spec.timeout if spec.foreign else CALL_SECONDS  # it has its own
    return FreshCalls(process, folder, spec.foreign, limit)


def _write_request(
    spec: SystemSpec, config: Mapping[str, Any], calls: Sequence[Call], folder: Path
) -> None:
    folder.mkdir(parents=True)
    request = {"spec": spec.as_dict(), "config": config, "calls": calls, "path": sys.path}
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    mine = kept.get("PYTHONHASHSEED", "")
    return {**kept, "PYTHONHASHSEED": str(int(mine) + 1) if mine.isdigit() else "1"}


@dataclass(frozen=True)
class _Served:
    """Calls in the queue of a :class:`FreshServer`."""

    server: "FreshServer"
    folder: Path

    def close(self) -> None:
        """Leave the server running: others wait for it."""

    def results(self) -> list[Any]:
        """Return each call's result once the server has come to them."""
        self.server.wait_for(self.folder)
        error = self.folder / "error.txt"
        if error.exists():
            msg = f"the fresh process failed: {error.read_text(encoding='utf-8')[-2000:]}"
            raise FreshProcessError(msg)
        return list(json.loads((self.folder / "results.json").read_text(encoding="utf-8")))


@dataclass
class FreshServer:
    """One other process that answers many requests, each on a newly opened system.

    Its import of TensorFlow and its compiled functions are paid once.
    """

    _process: "subprocess.Popen[str] | None" = None
    _done: set[str] = field(default_factory=set)

    def start(
        self, spec: SystemSpec, config: Mapping[str, Any], calls: Sequence[Call], folder: Path
    ) -> _Served:
        """Queue calls; as :func:`start_fresh`."""
        _write_request(spec, config, calls, folder)
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.systems.fresh"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True, env=_environment(),
            )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()
        return _Served(self, folder)

    def wait_for(self, folder: Path) -> None:
        """Wait until a request is answered.

        Raises
        ------
        FreshProcessError
            If the process ended before.
        """
        while str(folder) not in self._done:
            assert self._process is not None
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            if not line:
                msg = f"the fresh process ended with {self._process.wait()} before {folder}"
                raise FreshProcessError(msg)
            self._done.add(line.rstrip("\n"))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _plain(result: Any) -> Any:
    if isinstance(result, Evaluation | Training):
        return asdict(result)
    if isinstance(result, Recalibration):
        arrays = {f"{u}/{i}": s[i] for u, s in result.stats.items() for i in (0, 1)}
        return {"arch": result.arch, "batch_hash": result.batch_hash, **state_digests(arrays)}
    if isinstance(result, Mapping):
        return state_digests(result)
    if isinstance(result, list):
        return [batch.digest for batch in result]
    return result


def _end_with_parent() -> None:
    """Wait until whoever started this process has gone, and end with its workers."""
    while os.read(0, 1):  # unbuffered: a buffer's lock would be held when this process ends
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _answer(folder: Path, kit: Any) -> None:
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    sys.path[:] = request["path"]
    spec = SystemSpec(**request["spec"])
    if not spec.foreign:
        return _make_calls(folder, request, spec, kit)
    from harness.systems.remote import Workers

    workers = Workers(own_group=False)  # it ends with this process, which may be killed
    try:
        _make_calls(folder, request, spec, workers)
    finally:
        workers.close()


def _make_calls(folder: Path, request: Mapping[str, Any], spec: SystemSpec, kit: Any) -> None:
    if not spec.foreign:
        _apply_environment(request)
    system = system_factory(spec, kit)()
    system.open(request["config"])
    results = []
    for name, kwargs in request["calls"]:
        if name == "open":  # a new system, so that nothing is left of the one before
            system.close()
            system = system_factory(spec, kit)()
            kwargs = {"config": request["config"]}
        results.append(_plain(getattr(system, name)(**kwargs)))
    system.close()
    (folder / "results.json").write_text(json.dumps(results, allow_nan=False), encoding="utf-8")


def _apply_environment(request: Mapping[str, Any]) -> None:
    from harness.config import parse_config
    from harness.environment import apply_environment

    apply_environment(parse_config(request["config"]))


def _serve() -> None:
    """Answer the folders that are named on standard input, one by one."""
    out, sys.stdout = sys.stdout, sys.stderr
    kit = None
    for line in sys.stdin:
        folder = Path(line.rstrip("\n"))
        try:
            if kit is None:
                kit = _new_kit(folder)
            _answer(folder, kit)
        except Exception as error:  # noqa: BLE001 -- told to whoever asked
            text = f"{type(error).__name__}: {error}"
            (folder / "error.txt").write_text(text, encoding="utf-8")
        out.write(f"{folder}\n")
        out.flush()


def _new_kit(folder: Path) -> Any:
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    if SystemSpec(**request["spec"]).foreign:
        return None
    _apply_environment(request)  # before the kit imports TensorFlow
    from harness.runs.kit import Kit

    return Kit()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        _answer(Path(sys.argv[1]), None)
    else:
        _serve()
