"""``harness doctor``: is this machine ready? Imports, device, threads, write access.

With ``--against RUN``: would it go on with that run in the same environment?
"""

import importlib
import os
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.commands.common import EXIT_BROKEN, EXIT_DONE, ledger_file, say, write_json
from harness.config import Config, parse_config
from harness.environment import apply_environment
from harness.errors import InputError
from harness.records.environments import EnvironmentDifference, environment_difference
from harness.records.ledger import read_ledger
from harness.records.records import RunRecord

__all__ = ["add_parser", "against_lines", "last_opening", "run"]

_REQUIRED = (
    "numpy",
    "cv2",
    "scipy",
    "pydantic",
    "yaml",
    "pytest",
    "hypothesis",
    "pytest_benchmark",
)
_LIBGL = (
    "OpenCV needs libGL: on a headless node install your distribution's libgl1, or replace "
    "opencv-python by opencv-python-headless"
)


def add_parser(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--run", type=Path, default=Path(), metavar="DIR",
        help="folder to test for write access (default: the current one)",
    )  # fmt: skip
    parser.add_argument(
        "--against", type=Path, metavar="RUN",
        help="run directory or ledger: say what differs from the environment of its last attempt",
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Check each requirement and print one line for it."""
    opening = None if args.against is None else last_opening(args.against)
    # Threads, oneDNN and TF32 are the run's: they come from its configuration, not the machine.
    config = Config() if opening is None else parse_config(opening.config)
    results: dict[str, dict[str, object]] = {}
    for name, check in _checks(args.run, config):
        try:
            good, text = True, check()
        except Exception as error:  # noqa: BLE001 -- whatever fails here is the finding
            good, text = False, f"{type(error).__name__}: {error}"
        results[name] = {"ok": good, "text": text}
        say(f"{'ok  ' if good else 'FAIL'}  {name}: {text}")
    ready = all(result["ok"] for result in results.values())
    environment = apply_environment(config) if results["tensorflow"]["ok"] else None
    told: dict[str, object] = {}
    if environment is not None:
        for line in environment.lines():
            say(f"      {line}")
        told["environment"] = environment.as_dict()
    same = True
    if opening is not None and environment is not None:
        found = environment_difference(opening.environment, environment.as_dict())
        for line in against_lines(found, opening.attempt):
            say(line)
        same = not found.changed
        told["differs"] = [str(change) for change in found.changed]
        told["unnamed"] = list(found.unnamed)
    say("ready" if ready else "not ready: see the lines marked FAIL")
    write_json(args.json, {"ready": ready, "checks": results, **told})
    return EXIT_DONE if ready and same else EXIT_BROKEN


def last_opening(path: Path) -> RunRecord:
    """Return the first record of a run's last attempt.

    Raises
    ------
    InputError
        If there is no ledger, or no attempt in it.
    """
    file = ledger_file(path)
    found = [r for r in read_ledger(file).records if isinstance(r, RunRecord)]
    if not found:
        msg = f"{file}: no attempt of a run in it, nothing to compare with"
        raise InputError(msg)
    return found[-1]


def against_lines(found: EnvironmentDifference, attempt: int) -> Iterator[str]:
    """Yield, line by line, what differs from the environment of a run's attempt."""
    for change in found.changed:
        yield f"differs  {change.key}: attempt {attempt} had {change.old}, here {change.new}"
    if found.unnamed:
        yield f"note: {found.note(f'the record of attempt {attempt}')}"
    if not found.changed:
        yield f"same environment as attempt {attempt}" + (
            ", as far as it names it" if found.unnamed else ""
        )


def _checks(folder: Path, config: Config) -> Iterator[tuple[str, Callable[[], str]]]:
    yield from ((name, lambda name=name: _version(name)) for name in _REQUIRED)
    yield "tensorflow", lambda: apply_environment(config).line()
    yield "tensorboard (optional)", _tensorboard
    yield "threads", lambda: _threads(config)
    yield "write access", lambda: _writable(folder)


def _version(name: str) -> str:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if "libGL" in str(error):
            raise ImportError(f"{error}. {_LIBGL}") from None
        raise
    return str(getattr(module, "__version__", "importable"))


def _tensorboard() -> str:
    try:
        return _version("tensorboard")
    except ImportError:
        return "absent; runs write no scalars (pip install tensorboard)"


def _threads(config: Config) -> str:
    wanted, cores = config.runtime.threads, len(os.sched_getaffinity(0))
    advice = "" if wanted <= cores else f"; set runtime.threads to {cores} or fewer"
    return f"runtime.threads is {wanted}, {cores} cores are usable{advice}"


def _writable(folder: Path) -> str:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"x")
        # Checkpoints are synced, so writing alone is not enough.
        os.fsync(file.fileno())
    return f"{folder.resolve()} can be written and synced"
