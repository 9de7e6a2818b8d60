"""What an attempt at a run continues: its number, its segment, its checkpoint.

No TensorFlow here, so that what must not be continued is refused before anything starts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import Config, parse_config
from harness.errors import InputError
from harness.records.records import FIRST_SEGMENT, CheckpointRecord, Record, RunRecord
from harness.runs.identity import Data, identity_changes
from harness.training.checkpoint import Checkpoint, CheckpointStore

__all__ = ["Continuation", "plan_first", "plan_resume"]


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
class _Last:
    """What the run was before this attempt."""

    config: Config
    data: Data
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
    folder: Path, history: Sequence[Record], config: Config, data: Data, segment: str | None
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
        msg = f"{folder}: nothing to resume, no config.yaml there"
        raise InputError(msg)
    never = bool(runs) and not any(isinstance(r, CheckpointRecord) for r in history)
    checkpoint = None if store.is_empty() and never else store.load("last")
    last = _last(runs, checkpoint)
    changed = [
        (words, identity_changes(kind, (last.config, last.data), (config, data)))
        for kind, words in _KINDS
    ]
    _refuse_another_net(folder, changed[0][1])
    used = {record.segment for record in runs}
    name = _segment(folder, segment, last.segment, used, changed)
    attempt = 1 + max((record.attempt for record in runs), default=0)
    plan = Continuation(attempt, name)
    return _placed(store, checkpoint, plan, config, data, last.segment, begun=bool(runs))


_NONE_YET = "there is no checkpoint yet: the run starts again at step 0"
_NO_LEDGER = "ledger.jsonl is gone: what came before this attempt is no longer recorded"
_KINDS: tuple[tuple[Any, str], ...] = (
    ("dynamics", "changed training dynamics"), ("protocol", "a changed evaluation protocol"),
)  # fmt: skip


def _check_name(segment: str | None) -> None:
    """Refuse a name that is none, such as that of an unset variable of a job script."""
    if segment is not None and not re.fullmatch(r"[\w.+-]{1,60}", segment):
        msg = f"--segment: expected a name of letters, digits, '.', '+', '-', got {segment!r}"
        raise InputError(msg)


def _last(runs: Sequence[RunRecord], checkpoint: Checkpoint | None) -> _Last:
    if runs:
        return _Last(parse_config(runs[-1].config), runs[-1].data, runs[-1].segment)
    assert checkpoint is not None
    meta = checkpoint.meta
    segment = None if "imported_from" in meta else meta.get("segment", FIRST_SEGMENT)
    return _Last(parse_config(meta["config"]), meta.get("data", {}), segment)


def _refuse_another_net(folder: Path, changed: Sequence[str]) -> None:
    shapes = [text for text in changed if text.startswith("model.")]
    if shapes:
        msg = f"{folder}: {'; '.join(shapes)}: the weights would not fit. Name another --run."
        raise InputError(msg)


def _segment(
    folder: Path, asked: str | None, now: str | None, used: set[str],
    changed: Sequence[tuple[str, Sequence[str]]],
) -> str:  # fmt: skip
    """Return the segment's name, or refuse."""
    if asked is not None and asked != now and asked in used:
        msg = f"--segment {asked}: an earlier segment of {folder} has this name, choose another"
        raise InputError(msg)
    if asked is not None and asked != now:
        return asked
    if now is None:
        msg = (
            f"{folder} holds an imported checkpoint, and what trained it cannot be compared with "
            "this configuration. Name a new segment of the log with --segment NAME."
        )
        raise InputError(msg)
    found = [f"{words}: {'; '.join(texts)}" for words, texts in changed if texts]
    if found:
        msg = (
            f"{folder}: cannot resume with {' and '.join(found)}. Curves before and after do not "
            "compare: name a new segment of the log with --segment NAME, or another --run."
        )
        raise InputError(msg)
    return now


def _placed(
    store: CheckpointStore, checkpoint: Checkpoint | None, plan: Continuation,
    config: Config, data: Data, now: str | None, *, begun: bool,
) -> Continuation:  # fmt: skip
    """Add where the attempt starts: a segment that is new begins at an epoch's end."""
    notes = [] if now is None or begun else [_NO_LEDGER]
    if checkpoint is None:
        return Continuation(
            plan.attempt, plan.segment, None, plan.segment != now, False, (_NONE_YET,)
        )
    new = checkpoint.meta.get("segment", FIRST_SEGMENT) != plan.segment
    steps = int(checkpoint.progress["step"])
    if new and steps:
        epoch = int(checkpoint.progress["epoch"])
        notes.append(f"segment {plan.segment} starts after epoch {epoch}: {steps} steps are void")
        start = _epoch_end(store, epoch)
        if start is None:
            return Continuation(plan.attempt, plan.segment, None, True, False, tuple(notes))
        checkpoint = start
    series = identity_changes(
        "protocol", (parse_config(checkpoint.meta["config"]), checkpoint.meta.get("data", {})),
        (config, data),
    )  # fmt: skip
    if "imported_from" in checkpoint.meta:
        series = ["the imported best metric is forgotten, it was measured otherwise"]
    if series:
        notes.append(f"a new metric series starts: {'; '.join(series)}")
    return Continuation(
        plan.attempt, plan.segment, checkpoint, new, bool(series), tuple(notes)
    )  # fmt: skip


def _epoch_end(store: CheckpointStore, epoch: int) -> Checkpoint | None:
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
