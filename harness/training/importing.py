"""EdgeFlowNAS's checkpoints (TensorFlow 1 Saver) as a state and counters of ours.

Nothing is left over on either side: every variable of theirs is used or carries nothing by
name, every variable of ours is filled. Damage is found by the checksums of the format.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.config import Config
from harness.devices import read_regular
from harness.digest import digest_arrays
from harness.errors import InputError, cut, plain_line
from harness.strict_json import parse_json
from harness.supernet.import_names import Fit, fit_checkpoint
from harness.supernet.space import NUM_BLOCKS, NUM_OPTIONS
from harness.training.adam import BETA_2
from harness.training.fairness import Counts
from harness.training.model import Supernet
from harness.training.progress import Progress
from harness.training.saver_files import read_variables
from harness.wording import quoted

__all__ = ["SOURCE_FORMAT", "Imported", "imported_meta", "read_counters", "read_edgeflownas"]

SOURCE_FORMAT = "EdgeFlowNAS, TensorFlow 1 Saver"

Array = NDArray[Any]


@dataclass(frozen=True)
class Imported:
    """What an EdgeFlowNAS checkpoint holds, in our terms.

    Attributes
    ----------
    fit : harness.supernet.import_names.Fit
        Skeleton, width, and which variable of theirs fills which of ours.
    arrays : dict of str to numpy.ndarray
        Every variable of :class:`harness.training.model.Supernet`, float32, by our name.
    progress : Progress
        At an epoch's end, the only place where EdgeFlowNAS saves.
    source : str
        File name of the prefix.
    digest : str
        Of all source variables, those that carry nothing included.
    """

    fit: Fit
    arrays: dict[str, Array]
    progress: Progress
    source: str
    digest: str


def read_edgeflownas(
    prefix: Path, *, read: Callable[[Path], dict[str, Array]] = read_variables
) -> Imported:
    """Read PREFIX.index, PREFIX.data-* and PREFIX.meta.json.

    Without any optimizer variable in the checkpoint, moments are 0 and powers initial.

    Parameters
    ----------
    prefix : pathlib.Path
    read : callable, optional
        Reads the variables. Default: in a process of its own.

    Raises
    ------
    InputError
        If a file is absent, damaged or malformed; if a variable is missing, left over,
        misshapen or not float32; if counters and Adam's powers tell of different steps.
    """
    found = read(prefix)
    fit = _require_fit(prefix, found)
    progress = read_counters(Path(f"{prefix}.meta.json"))
    model = Supernet(fit.skeleton, fit.width, seed=0)  # any seed: nothing of it stays
    fresh = {n: a for n, a in model.get_state().items() if n.startswith("adam/")}
    state = ({} if fit.optimizer else fresh) | {n: found[s] for n, s in fit.sources.items()}
    model.set_state(state)  # refuses a state that does not fill every variable of ours
    if fit.optimizer:
        _require_same_step(prefix, float(state["adam/beta2_power"]), progress.global_step)
    return Imported(fit, model.get_state(), progress, prefix.name, digest_arrays(found))


def imported_meta(imported: Imported, config: Config) -> dict[str, Any]:
    """Return what a checkpoint of ours stores about where it came from.

    No environment and no identity: the run that trained it was not one of ours.
    """
    return {
        "config": config.model_dump(mode="json", by_alias=True),
        "environment": {},
        "identity": "",
        "imported_from": {
            "prefix": imported.source,
            "digest": imported.digest,
            "format": SOURCE_FORMAT,
        },
    }


_NAMED = 1000
"""Characters about variables, whose names are whatever a file says."""


def _require_fit(prefix: Path, arrays: Mapping[str, Array]) -> Fit:
    try:
        fit = fit_checkpoint({name: array.shape for name, array in arrays.items()})
    except ValueError as error:
        msg = f"{prefix}: {cut(str(error), _NAMED)}"
        raise InputError(msg) from None
    problems = list(fit.problems) + [
        f"{name} has dtype {arrays[name].dtype}, expected float32"
        for name in fit.sources.values()
        if arrays[name].dtype != np.float32
    ]
    if problems:
        named = cut("; ".join(problems[:5]), _NAMED)
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        msg = (
            f"{prefix}: is no whole checkpoint of an EdgeFlowNAS supernet; of skeleton "
            f"{fit.skeleton!r} at width {fit.width}, the nearest, {named}{more} (# any number)"
        )
        raise InputError(msg)
    return fit


def read_counters(path: Path) -> Progress:
    """Read PREFIX.meta.json, what EdgeFlowNAS counts beside a checkpoint.

    Raises
    ------
    InputError
        Naming the file, the counter, what it must be and what was found.
    """
    try:
        meta = parse_json(read_regular(path), constants=True)
    except FileNotFoundError:
        msg = (
            f"{path}: no such file; EdgeFlowNAS writes it beside each checkpoint, and epoch, "
            "step and fairness counts are nowhere else: copy it too"
        )
        raise InputError(msg) from None
    # RecursionError: brackets in brackets, a thousand deep.
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{path}: not readable as JSON: {plain_line(str(error))}; copy it again"
        raise InputError(msg) from None
    if not isinstance(meta, dict):
        msg = f"{path}: expected an object with epoch, global_step, ..., found {quoted(meta)}"
        raise InputError(msg)
    try:
        # EdgeFlowNAS keeps one value, the best and what patience is measured by.
        best = _best_metric(meta)
        return Progress(
            epoch=_whole_number(meta, "epoch"), global_step=_whole_number(meta, "global_step"),
            counts=_fairness_counts(meta.get("fairness_counts")),
            bad_epochs=_whole_number(meta, "bad_epochs"), best_metric=best, patience_metric=best,
        )  # fmt: skip
    except ValueError as error:
        msg = f"{path}: {error}; copy it again as EdgeFlowNAS wrote it"
        raise InputError(msg) from None


def _whole_number(mapping: Mapping[str, Any], key: str, *, prefix: str = "") -> int:
    value = mapping.get(key)
    # True is an instance of int.
    if type(value) is not int or value < 0:
        msg = f"`{prefix}{key}`: expected a whole number from 0, found {quoted(value)}"
        raise ValueError(msg)
    return value


def _best_metric(meta: Mapping[str, Any]) -> float | None:
    """Return the lowest mean EPE, px; infinite in EdgeFlowNAS before its first evaluation."""
    value = meta.get("best_metric")
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
        msg = f"`best_metric`: expected a number from 0 or Infinity, found {quoted(value)}"
        raise ValueError(msg)
    return float(value) if math.isfinite(value) else None


def _fairness_counts(found: object) -> Counts:
    blocks, options = ([str(i) for i in range(n)] for n in (NUM_BLOCKS, NUM_OPTIONS))
    rows = _with_keys(found, blocks, "fairness_counts")
    return tuple(
        tuple(
            _whole_number(_with_keys(rows[block], options, f"fairness_counts.{block}"), option,
                   prefix=f"fairness_counts.{block}.")
            for option in options
        )
        for block in blocks
    )  # fmt: skip


def _with_keys(found: object, keys: list[str], name: str) -> Mapping[str, Any]:
    if not isinstance(found, dict) or set(found) != set(keys):
        msg = f"`{name}`: expected keys {keys[0]} to {keys[-1]}, found {quoted(found)}"
        raise ValueError(msg)
    return found


def _require_same_step(prefix: Path, power: float, global_step: int) -> None:
    """Require that Adam's second power is that after so many steps.

    A meta file of another moment of the run would give these weights a wrong schedule.
    The stored power is a float32 product, off by up to 6e-8 per step, which is 6e-5 of a
    step; below the smallest normal number it says nothing.
    """
    tiny = float(np.finfo(np.float32).tiny)
    if not 0 <= power <= 1:
        msg = f"{prefix}: beta2_power is {power}, expected {BETA_2} to a power of at least 1"
        raise InputError(msg)
    if power <= tiny and (global_step + 1) * math.log(BETA_2) <= math.log(tiny):
        return
    steps = math.log(max(power, tiny)) / math.log(BETA_2) - 1
    # Half a step tells neighbours apart, 1e-4 a step leaves room for the rounding.
    if abs(steps - global_step) > 0.5 + 1e-4 * global_step:
        msg = (
            f"{prefix}.meta.json: `global_step` is {global_step}, but beta2_power "
            f"{power:.6g} in the checkpoint is that after {steps:.0f} steps: the files are of "
            "different moments, copy all files of one checkpoint"
        )
        raise InputError(msg)
