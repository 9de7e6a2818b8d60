"""Calls answered by a fresh process of the same environment.

The request and the results are JSON files; what a later process of another interpreter
will need more, it will say. A state comes back as digests, by variable.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.evidence.digest import digest_arrays
from harness.evidence.observations import Evaluation, Recalibration, Training

__all__ = ["FreshCalls", "FreshProcessError", "load_factory", "start_fresh", "state_digests"]

_TIME_LIMIT = 600.0
_BUILTIN = "harness.systems.builtin:BuiltinSystem"


class FreshProcessError(RuntimeError):
    """The fresh process failed; the message ends with its log."""


def load_factory(spec: str) -> Any:
    """Import ``MODULE:CLASS``; ``builtin`` is ours.

    Raises
    ------
    ValueError
        If the name is not of that form or cannot be imported.
    """
    module, _, name = (_BUILTIN if spec == "builtin" else spec).partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"system {spec!r}: expected 'builtin' or MODULE:CLASS: {error}"
        raise ValueError(msg) from error


def state_digests(state: Mapping[str, Any]) -> dict[str, str]:
    """Return the digest of every array of a state."""
    return {name: digest_arrays({name: array}) for name, array in state.items()}


@dataclass(frozen=True)
class FreshCalls:
    """Calls under way in another process; :meth:`results` waits for them."""

    process: "subprocess.Popen[bytes]"
    folder: Path

    def close(self) -> None:
        """End the process if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def results(self) -> list[Any]:
        """Return each call's result, as decoded JSON.

        Raises
        ------
        FreshProcessError
            If the process failed or took longer than ten minutes.
        """
        log = self.folder / "log.txt"
        try:
            code = self.process.wait(timeout=_TIME_LIMIT)
        except subprocess.TimeoutExpired:
            self.close()
            code = -9
        if code != 0:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            msg = f"the fresh process ended with {code}; end of its log:\n{tail}"
            raise FreshProcessError(msg)
        text = (self.folder / "results.json").read_text(encoding="utf-8")
        return list(json.loads(text))


def start_fresh(
    spec: str,
    config: Mapping[str, Any],
    calls: Sequence[tuple[str, Mapping[str, Any]]],
    folder: Path,
) -> FreshCalls:
    """Start a process that opens a system and makes calls on it, in order.

    Parameters
    ----------
    spec : str
        ``builtin`` or ``MODULE:CLASS``.
    config : mapping
        Configuration tree.
    calls : sequence of (str, mapping)
        Protocol calls and their keyword arguments.
    folder : pathlib.Path
        New folder for request, log and results.
    """
    folder.mkdir(parents=True)
    request = {"system": spec, "config": config, "calls": calls, "path": sys.path}
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.systems.fresh", str(folder)],
            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
    return FreshCalls(process, folder)


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


def _main(folder: Path) -> None:
    from harness.config import parse_config
    from harness.environment import apply_environment

    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    sys.path[:] = request["path"]
    apply_environment(parse_config(request["config"]))
    system = load_factory(request["system"])()
    system.open(request["config"])
    results = [_plain(getattr(system, name)(**kwargs)) for name, kwargs in request["calls"]]
    (folder / "results.json").write_text(json.dumps(results, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
