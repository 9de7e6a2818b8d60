"""``harness doctor``: is this machine ready? Imports, device, threads, write access.

With ``--against RUN``: would it go on with that run in the same environment?
"""

import importlib
import os
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from harness.asides import sync_open
from harness.commands.common import EXIT_BROKEN, EXIT_DONE, say, write_json
from harness.commands.parsing import CommandParser
from harness.commands.paths import PathKind
from harness.commands.surroundings import last_opening, tell_environment
from harness.config import Config, parse_config
from harness.environment import EnvironmentMismatchError, apply_environment
from harness.supernet.space import SKELETONS
from harness.wording import install

__all__ = ["add_parser", "run"]

_REQUIRED = {
    "numpy": "numpy", "opencv-python": "cv2", "pillow": "PIL", "pytest": "pytest",
    "hypothesis": "hypothesis", "scipy": "scipy", "pydantic": "pydantic", "pyyaml": "yaml",
    "rich": "rich", "filelock": "filelock", "msgspec": "msgspec", "matplotlib": "matplotlib",
}  # fmt: skip
"""What the package itself needs, and the module of each; extras are not among them."""
_KERNELS = "kernels of"
_LIBGL = (
    "OpenCV needs libGL: on a headless node install your distribution's libgl1, or replace "
    "opencv-python by opencv-python-headless"
)


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_path(
        "--run", kind=PathKind.PLACE, default=Path(), metavar="DIR",
        help="folder to test for write access (default: the current one)",
    )  # fmt: skip
    parser.add_path(
        "--against", kind=PathKind.RUN, metavar="RUN",
        help="run directory or ledger: say what differs from the environment of its last attempt",
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Check each requirement and print one line for it."""
    opening = None if args.against is None else last_opening(args.against)
    # Threads, oneDNN and TF32 are the run's: they come from its configuration, not the machine.
    config = Config() if opening is None else parse_config(opening.config)
    results: dict[str, dict[str, object]] = {}
    for name, check in _checks(args.run, config):
        if name.startswith(_KERNELS) and not results["tensorflow"]["ok"]:
            continue  # there is no device to try them on
        try:
            good, text = True, check()
        except EnvironmentMismatchError as error:  # says in words what is to be done
            good, text = False, str(error)
        except Exception as error:  # noqa: BLE001 -- whatever fails here is the finding
            good, text = False, f"{type(error).__name__}: {error}"
        results[name] = {"ok": good, "text": text}
        say(f"{'ok  ' if good else 'FAIL'}  {name}: {text}")
    ready = all(result["ok"] for result in results.values())
    told: dict[str, object] = {}
    if results["tensorflow"]["ok"]:
        told = tell_environment(apply_environment(config), opening)
    say("ready" if ready else "not ready: see the lines marked FAIL")
    write_json(args.json, {"ready": ready, "checks": results, **told})
    return EXIT_DONE if ready and not told.get("differs") else EXIT_BROKEN


def _checks(folder: Path, config: Config) -> Iterator[tuple[str, Callable[[], str]]]:
    yield from ((name, lambda name=name: _version(name)) for name in _REQUIRED.values())
    yield "tensorflow", lambda: apply_environment(config).line()
    yield from ((f"{_KERNELS} {name}", lambda name=name: _kernels(name)) for name in SKELETONS)
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
    return str(getattr(module, "__version__", None) or metadata.version(name))


def _kernels(skeleton: str) -> str:
    from harness.training.kernels import require_kernels  # TensorFlow, after its environment

    return require_kernels(skeleton)


def _tensorboard() -> str:
    try:
        return _version("tensorboard")
    except ImportError:
        return f"absent; runs write no scalars ({install('tensorboard')})"


def _threads(config: Config) -> str:
    wanted, cores = config.runtime.threads, len(os.sched_getaffinity(0))
    advice = "" if wanted <= cores else f"; set runtime.threads to {cores} or fewer"
    return f"runtime.threads is {wanted}, {cores} cores are usable{advice}"


def _writable(folder: Path) -> str:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"x")
        # Checkpoints are synced, so writing alone is not enough.
        sync_open(file.fileno(), Path(file.name))
    return f"{folder.resolve()} can be written and synced"
