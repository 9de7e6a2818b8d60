"""A gate in somebody else's test file.

    from harness.testing import each_promise

    test_my_trainer = each_promise("adapter.py:MyTrainer")

Each promise is then a test of its own, ``test_my_trainer[metric-oracle]``, which ``-k``, ``-m``,
``--lf``, ``-x`` and ``--collect-only`` select like any other.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.promises.promise import Promise
from harness.promises.registry import in_order

__all__ = ["each_promise"]


def each_promise(
    system: str | None = None, *, root: str | None = None, python: str | None = None,
    timeout: float | None = None, memory: float | None = None, config: str | None = None,
    fc2_root: str | None = None,
    tier: str | None = None, gate_file: str | None = None, promises: Sequence[str] | None = None,
    pictures: str | None = None,
) -> Callable[..., None]:  # fmt: skip
    """Return a test function that is called for each promise.

    What is left out is as the ini file says (``samebits_system``, ...); a command-line option
    (``--samebits-system``, ...) counts more than what is given here.

    Parameters
    ----------
    system : str, optional
        ``FILE.py:CLASS``, ``MODULE:CLASS``, ``builtin`` or ``edgeflownas``. A file is looked for
        in the working directory, and else beside the test file.
    root, python : str, optional
        Folder that the class gets as ``root``; interpreter of the system's process.
    timeout : float, optional
        Time limit of one call, s. Default: 600.
    memory : float, optional
        Limit of the own memory of the system's process, MiB. Default: what the machine has.
    config, fc2_root : str, optional
        The run's YAML configuration, and the folder with ``train/`` and ``val/``.
    tier : {"smoke", "quick", "full", "nightly"}, optional
        How much is checked. Default: quick.
    gate_file : str, optional
        Where the verdict is written as JSON.
    promises : sequence of str, optional
        Ask these alone. Default: all.
    pictures : str, optional
        Folder for a page of each broken promise. Default: none is written.
    """
    given = {
        "system": _beside(system, sys._getframe(1).f_globals.get("__file__", "")),
        "system_root": root, "system_python": python,
        "system_timeout": None if timeout is None else str(timeout),
        "system_memory": None if memory is None else str(memory), "config": config,
        "fc2_root": fc2_root, "tier": tier, "gate_file": gate_file, "pictures": pictures,
    }  # fmt: skip
    named = {name: value for name, value in given.items() if value is not None}
    only = None if promises is None else tuple(promises)

    @pytest.mark.parametrize("promise", [_param(promise) for promise in in_order(only)])
    def test_promise(samebits_gates: Callable[..., Any], promise: str) -> None:
        """The system keeps it; what is not applicable is skipped by name."""
        __tracebackhide__ = True
        samebits_gates(named, only).check(promise)

    # For whoever must know before any test runs.
    made: Any = test_promise
    made.samebits_given = (named, only)
    return made  # type: ignore[no-any-return]


def _beside(system: str | None, test_file: str) -> str | None:
    """Return a system whose file lies beside the test file by that place, others as they are."""
    place, colon, name = (system or "").rpartition(":")
    beside = Path(test_file).parent / place
    if place.endswith(".py") and not Path(place).exists() and beside.exists():
        return f"{beside}{colon}{name}"
    return system


def _param(promise: Promise) -> Any:
    marks = [pytest.mark.samebits, getattr(pytest.mark, f"samebits_{promise.tier}")]
    return pytest.param(promise.id, marks=marks, id=promise.id)
