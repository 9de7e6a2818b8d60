"""What a gate is asked for in words: the system, and the researcher's configuration."""

import shutil
from pathlib import Path

from harness.config import Config, ConfigError, load_config, with_fc2_root
from harness.errors import InputError
from harness.fc2.layout import list_triplets
from harness.ranges import MEMORY, SECONDS, Range
from harness.supernet.space import SKELETONS, check_crop
from harness.systems.spec import MACHINE_MIB, SystemSpec, target_of

__all__ = ["named_configuration", "named_system", "required_promises"]


def named_system(
    name: str, *, root: str = "", python: str = "", timeout: str = "600", memory: str = ""
) -> SystemSpec:
    """Return the system that options name.

    Parameters
    ----------
    name, root, python, timeout, memory : str
        As given for ``--system``, ``--system-root``, ``--system-python``,
        ``--system-timeout`` (s) and ``--system-memory`` (MiB); empty: not given.

    Raises
    ------
    ValueError
        If one of them names nothing that is there.
    """
    seconds = _within("--system-timeout", timeout, SECONDS)
    most = _within("--system-memory", memory, MEMORY) if memory else MACHINE_MIB
    found_python = shutil.which(python) if python else ""
    if found_python is None:
        msg = f"--system-python {python}: expected a Python interpreter, found none of that name"
        raise ValueError(msg)
    spec = SystemSpec(name, root=root, python=found_python, timeout=seconds, memory_mib=most)
    if spec.root and not spec.foreign:
        msg = "--system-root: the builtin system takes none; name a system with --system"
        raise ValueError(msg)
    target_of(spec)
    return spec


def _within(option: str, text: str, within: Range) -> float:
    try:
        return within.number(text)
    except InputError as error:
        msg = f"{option}: {error}"
        raise InputError(msg) from None


def named_configuration(path: str, root: str, *, own: bool) -> Config | None:
    """Return the researcher's configuration, None for the embedded default.

    Parameters
    ----------
    path, root : str
        As given for ``--config`` and ``--fc2-root``; empty: not given.
    own : bool
        Whether the system is the builtin one, whose crop must fit its skeleton.

    Raises
    ------
    ConfigError
        If there is no data, a sample lacks a file, or the crop does not fit.
    """
    if not path and not root:
        return None
    base = load_config(Path(path)) if path else Config()
    if path and not root and not Path(base.data.split_dir("train")).is_dir():
        folder = base.data.split_dir("train")
        msg = f"--config {path}: no folder {folder}; name the data with --fc2-root DIR"
        raise ConfigError(msg)
    # A foreign system's skeleton is its own: what does not fit it is a broken promise.
    for crop in (base.train_crop, base.eval_crop) if own else ():
        try:
            check_crop(SKELETONS[base.model.skeleton], crop)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    found = with_fc2_root(base, Path(root) if root else None)
    _require_samples(found)
    return found


def _require_samples(config: Config) -> None:
    """Require both splits to be complete, before each promise would say the same."""
    for split in ("train", "val"):
        try:
            list_triplets(config.data.split_dir("train" if split == "train" else "val"))
        except (OSError, ValueError) as error:
            raise ConfigError(str(error)) from None


def required_promises(path: str) -> tuple[str, ...]:
    """Return what a configuration's ``gate.required`` names; nothing where there is no file.

    Raises
    ------
    ConfigError
        If the file is none.
    """
    return load_config(Path(path)).gate.required if path else ()
