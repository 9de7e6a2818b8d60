"""Training with either clip position and either epoch mode, and what it clipped."""

from typing import Any

from harness.errors import NotApplicableError
from harness.promises.bench import Bench, Tree, changed, require_settable
from harness.promises.own_slopes import require_norm_clip
from harness.promises.promise import needs
from harness.promises.recorded_run import beside_plan, both_epochs
from harness.promises.several_devices import MICRO_BATCHES, require_one_device
from harness.records.records import NOT_LOGGED
from harness.systems.protocol import Training

__all__ = [
    "training_micro_step", "training_micro_step_other_mode", "training_update",
    "training_update_other_mode",
]  # fmt: skip


@needs("train", says=("Training.checks",))
def training_micro_step(bench: Bench) -> Training:
    """Return both epochs of the trained system, which clips as configured or per micro-step."""
    require_norm_clip(bench.describe())
    require_one_device(bench.describe().devices, MICRO_BATCHES)
    if bench.config["train"].get("clip_position", "micro_step") == "micro_step":
        return _as_configured(bench)
    return _other_position(bench, "micro_step")


@needs("train", says=("Training.checks",))
def training_update(bench: Bench) -> Training:
    """Return an epoch that clips once per update."""
    require_norm_clip(bench.describe())
    if bench.config["train"].get("clip_position", "micro_step") == "update":
        return _as_configured(bench)
    return _other_position(bench, "update")


def _as_configured(bench: Bench) -> Training:
    about = bench.describe()
    # A position that it is not opened with must be the one that it has.
    asked = {"clip_position": bench.config["train"].get("clip_position", "micro_step")}
    require_settable(bench.config, about.settings, {"train": asked})
    run = _clipped(beside_plan(bench.config, about, both_epochs(bench)))
    return _that_clips(bench, run, {})


def _that_clips(bench: Bench, run: Training, train: Tree) -> Training:
    """Return a run that clips, in the place of one whose threshold is above every norm.

    Of a system of which no step can be recomputed, and that has no log to be held against: there
    nothing else looks at whether a clip reaches what is applied.

    Parameters
    ----------
    train : mapping
        Keys that the run was opened with.
    """
    norms = [check.before for check in run.checks if check.before > 0]
    above = not norms or max(norms) > run.threshold
    recomputed = bench.trained.description.slots or run.epochs
    if above or recomputed or "train.grad_clip_global_norm" in bench.describe().settings:
        return run
    return _clipped(_epoch(bench, {**train, "grad_clip_global_norm": min(norms) / 2}))


def _epoch(bench: Bench, train: Tree) -> Training:
    """Return an epoch without evaluation, under changed keys of training, beside its plan."""
    with bench.open(train=train) as system:
        run = system.train(1, evaluate=False)
    return beside_plan(changed(bench.config, train=train), bench.describe(), run)


def _other_position(bench: Bench, position: str) -> Training:
    """Train with the other clip position and the other epoch mode, without evaluation."""
    # Both positions and both modes in two runs; the full tier adds the two pairs left over.
    full = bench.config["train"]["epoch_mode"] == "full_pass"
    one_mode = "train.epoch_mode" in bench.describe().settings
    return _trained_with(bench, position, full=full if one_mode else not full)


@needs("train", says=("Training.checks",))
def training_micro_step_other_mode(bench: Bench) -> Training:
    """Return an epoch of the other epoch mode that clips per micro-step."""
    require_norm_clip(bench.describe())
    require_one_device(bench.describe().devices, MICRO_BATCHES)
    return _trained_with(bench, "micro_step", full=not _full_pass(bench, "micro_step"))


@needs("train", says=("Training.checks",))
def training_update_other_mode(bench: Bench) -> Training:
    """Return an epoch of the other epoch mode that clips once per update."""
    require_norm_clip(bench.describe())
    return _trained_with(bench, "update", full=not _full_pass(bench, "update"))


def _full_pass(bench: Bench, position: str) -> bool:
    """Return whether the run with a clip position of the quick tier is one of full passes."""
    full = bool(bench.config["train"]["epoch_mode"] == "full_pass")
    configured = bench.config["train"].get("clip_position", "micro_step") == position
    return full if configured or "train.epoch_mode" in bench.describe().settings else not full


def _trained_with(bench: Bench, position: str, *, full: bool) -> Training:
    mode: dict[str, Any] = {"epoch_mode": "full_pass"}
    if not full:
        mode = {"epoch_mode": "fixed_steps", **bench.settable("train", {"steps_per_epoch": 3})}
    # None: it follows from the epoch mode, and a value for the other mode is refused.
    asked = {"clip_position": position, "train_sampling_mode": None, **mode}
    return _that_clips(bench, _clipped(_epoch(bench, asked)), asked)


def _clipped(run: Training) -> Training:
    """Return a run that says what it clipped."""
    silent = all(row.reasons.get("clip_checks") == NOT_LOGGED for row in run.epochs)
    if not run.checks and silent:
        msg = "the system records no clip checks (Training.checks)"
        raise NotApplicableError(msg)
    return run
