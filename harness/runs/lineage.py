"""What an attempt at a run continues: its number, its segment, its checkpoint.

No TensorFlow here, so that what must not be continued is refused before anything starts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.config import Config, parse_config
from harness.errors import InputError
from harness.records.records import FIRST_SEGMENT, CheckpointRecord, Record, RunRecord
from harness.runs.identity import DataDigests, identity_changes
from harness.training.checkpoint import Checkpoint, CheckpointStore
from harness.wording import counted

__all__ = ["Continuation", "plan_first", "plan_resume", "refuse_another_plan"]


@dataclass(frozen=True)
class Continuation:
    """How an attempt goes on.

    Attributes
    ----------
    attempt : int
        From 1.
    segment : str
        Name of the stretch of one training dynamics.
    checkpoint : Checkpoint or None
        Where it starts; None: at step 0.
    new_segment : bool
        Whether the segment begins with this attempt.
    new_series : bool
        Whether scores do not compare with those before the checkpoint.
    notes : tuple of str
        For people, and for the ledger.
    """

    attempt: int
    segment: str
    checkpoint: Checkpoint | None = None
    new_segment: bool = False
    new_series: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _LastAttempt:
    """What the run was before this attempt."""

    config: Config
    data: DataDigests
    segment: str | None


def plan_first(folder: Path, history: Sequence[Record], segment: str | None) -> Continuation:
    """Plan the first attempt at a run.

    Raises
    ------
    InputError
        If the folder already holds a run.
    """
    _check_name(segment)
    begun = any(isinstance(record, RunRecord) for record in history)
    if begun or not CheckpointStore(folder / "checkpoints").is_empty():
        msg = f"{folder} already holds a run; continue it with --resume or name another --run"
        raise InputError(msg)
    return Continuation(1, segment or FIRST_SEGMENT)


def plan_resume(
    folder: Path, history: Sequence[Record], config: Config, data: DataDigests, segment: str | None
) -> Continuation:
    """Plan an attempt that continues a run.

    Parameters
    ----------
    folder : pathlib.Path
        Run directory.
    history : sequence of Record
        Its ledger.
    config, data
        What is asked for, and the digests of the samples.
    segment : str or None
        As named by ``--segment``.

    Raises
    ------
    InputError
        If there is nothing to continue, or training dynamics or evaluation protocol have
        changed and no new segment is named.
    harness.training.checkpoint.CheckpointError
        If the checkpoint is damaged; nothing else is taken in its place.
    """
    _check_name(segment)
    store = CheckpointStore(folder / "checkpoints")
    runs = [record for record in history if isinstance(record, RunRecord)]
    if not runs and store.is_empty() and not store.names():
        if (folder / "config.yaml").exists():  # killed before its first record
            return Continuation(1, segment or FIRST_SEGMENT, notes=(_NONE_YET,))
        msg = f"{folder}: nothing to resume, no config.yaml there; start the run without --resume"
        raise InputError(msg)
    # Where none was ever saved, step 0 is where the run stands. One that has gone is missed.
    none_saved = bool(runs) and not any(isinstance(r, CheckpointRecord) for r in history)
    # A checkpoint that is named is loaded or refused: no older one is taken in its place.
    checkpoint = None if store.is_empty() and none_saved else store.load("last")
    _require_recorded(folder, checkpoint, history)
    last = _last_attempt(runs, checkpoint)
    old, new = (last.config, last.data), (config, data)
    dynamics = identity_changes("dynamics", old, new)
    _refuse_another_net(folder, dynamics)
    changed = {
        "changed training dynamics": dynamics,
        "a changed evaluation protocol": identity_changes("protocol", old, new),
    }
    used = {record.segment for record in runs}
    name = _segment_name(folder, segment, last.segment, used, changed)
    # By the checkpoints as well: of a ledger that is gone, its names would be given again.
    imported = checkpoint is not None and "imported_from" in checkpoint.meta
    named = 0 if imported else store.newest_attempt()
    attempt = 1 + max([named, *(record.attempt for record in runs)])
    plan = Continuation(attempt, name)
    return _with_start(store, checkpoint, plan, new, last.segment, begun=bool(runs))


def refuse_another_plan(checkpoint: Checkpoint, config: Config, data: DataDigests) -> None:
    """Refuse to go on from a checkpoint in silence under other training dynamics.

    Raises
    ------
    InputError
        Naming the checkpoint, each key and both values. An imported checkpoint, and what an
        older one does not record, cannot be compared and are not refused.
    """
    meta = checkpoint.meta
    if "imported_from" in meta:
        return
    old = parse_config(meta["config"]), meta.get("data", {})
    found = identity_changes("dynamics", old, (config, data))
    if found:
        msg = (
            f"{checkpoint.path}: cannot go on with changed training dynamics: {'; '.join(found)}. "
            "Open the system with the values that the checkpoint was saved under, or let a new "
            "segment of a run start from it (harness train --resume --segment NAME)."
        )
        raise InputError(msg)


_NONE_YET = "there is no checkpoint yet: the run starts again at step 0"
_NO_LEDGER = "ledger.jsonl is gone: what came before this attempt is no longer recorded"


def _check_name(segment: str | None) -> None:
    """Refuse a name that is none, such as that of an unset variable of a job script."""
    if segment is not None and not re.fullmatch(r"[\w.+-]{1,60}", segment):
        msg = f"--segment: expected a name of letters, digits, '.', '+', '-', got {segment!r}"
        raise InputError(msg)


def _last_attempt(runs: Sequence[RunRecord], checkpoint: Checkpoint | None) -> _LastAttempt:
    if runs:
        # By the ledger and not by config.yaml (decision 0009).
        return _LastAttempt(parse_config(runs[-1].config), runs[-1].data, runs[-1].segment)
    assert checkpoint is not None
    meta = checkpoint.meta
    segment = None if "imported_from" in meta else meta.get("segment", FIRST_SEGMENT)
    return _LastAttempt(parse_config(meta["config"]), meta.get("data", {}), segment)


def _require_recorded(
    folder: Path, checkpoint: Checkpoint | None, history: Sequence[Record]
) -> None:
    """Refuse a checkpoint that is not the one which the ledger says was saved by its name."""
    said = [r.digest for r in history if isinstance(r, CheckpointRecord)
            and checkpoint is not None and r.name == checkpoint.path.name]  # fmt: skip
    if checkpoint is not None and said and checkpoint.digest not in said:
        msg = (
            f"{checkpoint.path}: its digest is {checkpoint.digest}, and {folder / 'ledger.jsonl'} "
            f"says that {said[-1]} was saved by this name: one of the two is of another run. "
            "Restore it."
        )
        raise InputError(msg)


def _require_one_dynamics(
    checkpoint: Checkpoint, asked: tuple[Config, DataDigests], segment: str
) -> None:
    """Refuse a checkpoint of a segment that was trained otherwise than the ledger says of it."""
    meta = checkpoint.meta
    old = parse_config(meta["config"]), meta.get("data", {})
    found = [] if "imported_from" in meta else identity_changes("dynamics", old, asked)
    if found:
        msg = (
            f"{checkpoint.path}: was trained with other dynamics than ledger.jsonl says of segment "
            f"{segment}: {'; '.join(found)}. One of the two is of another run: restore it."
        )
        raise InputError(msg)


def _refuse_another_net(folder: Path, changed: Sequence[str]) -> None:
    shapes = [text for text in changed if text.startswith("model.")]
    if shapes:
        msg = f"{folder}: {'; '.join(shapes)}: the weights would not fit. Name another --run."
        raise InputError(msg)


def _segment_name(
    folder: Path, asked: str | None, current: str | None, used: set[str],
    changed: Mapping[str, Sequence[str]],
) -> str:  # fmt: skip
    """Return the segment's name, or refuse.

    A name that repeats the current segment's asks for nothing new: a requeued job repeats its
    command line.
    """
    if asked is not None and asked != current and asked in used:
        msg = f"--segment {asked}: an earlier segment of {folder} has this name, choose another"
        raise InputError(msg)
    if asked is not None and asked != current:
        return asked
    if current is None:
        msg = (
            f"{folder} holds an imported checkpoint, and what trained it cannot be compared with "
            "this configuration. Name a new segment of the log with --segment NAME."
        )
        raise InputError(msg)
    found = [f"{words}: {'; '.join(texts)}" for words, texts in changed.items() if texts]
    if found:
        msg = (
            f"{folder}: cannot resume with {' and '.join(found)}. Curves before and after do not "
            "compare: name a new segment of the log with --segment NAME, or another --run."
        )
        raise InputError(msg)
    return current


def _with_start(
    store: CheckpointStore, checkpoint: Checkpoint | None, plan: Continuation,
    asked: tuple[Config, DataDigests], current: str | None, *, begun: bool,
) -> Continuation:  # fmt: skip
    """Add where the attempt starts: a segment that is new begins at an epoch's end."""
    notes = [] if current is None or begun else [_NO_LEDGER]
    if checkpoint is None:
        return replace(plan, new_segment=plan.segment != current, notes=(_NONE_YET,))
    new = checkpoint.meta.get("segment", FIRST_SEGMENT) != plan.segment
    if not new and begun:
        _require_one_dynamics(checkpoint, asked, plan.segment)
    steps = int(checkpoint.progress["step"])
    # An epoch of two dynamics has no meaningful row: it would average two experiments.
    if new and steps:
        epoch = int(checkpoint.progress["epoch"])
        void = counted(steps, "step is void", "steps are void")
        notes.append(f"segment {plan.segment} starts after epoch {epoch}: {void}")
        start = _epoch_end(store, epoch)
        if start is None:
            return replace(plan, new_segment=True, notes=tuple(notes))
        checkpoint = start
    # Against the checkpoint and not the last attempt: its scores are those that are compared.
    measured = parse_config(checkpoint.meta["config"]), checkpoint.meta.get("data", {})
    series = identity_changes("protocol", measured, asked)
    if "imported_from" in checkpoint.meta:
        series = ["the imported best metric is forgotten, it was measured otherwise"]
    if series:
        notes.append(f"a new metric series starts: {'; '.join(series)}")
    return replace(
        plan, checkpoint=checkpoint, new_segment=new, new_series=bool(series), notes=tuple(notes)
    )


def _epoch_end(store: CheckpointStore, epoch: int) -> Checkpoint | None:
    """Return the checkpoint of the end of an epoch; None: epoch 0 ends at step 0 with none."""
    name = store.newest_epoch_end()
    if name is not None:
        return store.load(str(store.folder / name))
    if epoch:
        msg = (
            f"{store.folder}: no checkpoint of the end of epoch {epoch}, from which a new "
            "segment could start; finish the epoch with the unchanged configuration first"
        )
        raise InputError(msg)
    return None
