"""Training in a run directory: what is locked, recorded, resumed and repaired around it."""

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from harness.config import Config, dump_config
from harness.environment import Environment, apply_environment
from harness.errors import InputError
from harness.records.ledger import Ledger, LedgerContent, read_ledger
from harness.records.records import (
    CheckpointRecord,
    EpochRecord,
    NoteRecord,
    Record,
    RunRecord,
    StepRecord,
)
from harness.runs.identity import read_data_digests
from harness.runs.lineage import Continuation, plan_first, plan_resume
from harness.runs.stop import StopFlag, say
from harness.whole import write_text

__all__ = ["RunOptions", "RunResult", "train_run"]

Observers = tuple[Callable[[Record], None], ...]


@dataclass(frozen=True)
class RunOptions:
    """How a run directory is trained in.

    Attributes
    ----------
    resume : bool
        Whether to continue what is there.
    segment : str or None
        Name of a new segment.
    until : int or None
        Epochs to complete; None: as configured.
    check : callable
        Called with the environment before anything is written; may refuse.
    kit : harness.runs.kit.Kit or None
        Where compiled functions come from; None: compiled anew.
    """

    resume: bool = False
    segment: str | None = None
    until: int | None = None
    check: Callable[[Environment], None] = lambda _: None
    kit: Any = None


@dataclass(frozen=True)
class RunResult:
    """What an attempt came to: how it ended, where it stands, and in which segment."""

    status: str
    progress: Any
    segment: str


def train_run(config: Config, folder: Path, options: RunOptions) -> RunResult:
    """Train in a run directory, and record everything.

    Raises
    ------
    InputError
        If the directory, the configuration or the data cannot be trained in or continued.
    """
    # A signal counts from the start: TensorFlow's import alone takes seconds.
    with _locked(folder, new=not options.resume), StopFlag() as stop:
        ledger = folder / "ledger.jsonl"
        content = read_ledger(ledger) if ledger.exists() else LedgerContent((), ())
        plan = _plan(folder, content.records, config, options)
        environment = apply_environment(config)
        say(environment.line())
        options.check(environment)
        with ExitStack() as stack:
            return _train(config, folder, plan, content, options, stack, stop)


@contextmanager
def _locked(folder: Path, *, new: bool) -> Iterator[None]:
    """Keep every other process out of the run directory."""
    if not new and not folder.is_dir():
        msg = f"{folder}: nothing to resume, no such run directory"
        raise InputError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"{folder}: another process trains there; wait for it or end it first"
            raise InputError(msg) from None
        yield


def _plan(
    folder: Path, history: Sequence[Record], config: Config, options: RunOptions
) -> Continuation:
    if not options.resume:
        return plan_first(folder, history, options.segment)
    return plan_resume(folder, history, config, read_data_digests(config), options.segment)


def _train(
    config: Config, folder: Path, plan: Continuation, content: LedgerContent,
    options: RunOptions, stack: ExitStack, stop: Callable[[], bool],
) -> RunResult:  # fmt: skip
    from harness.runs.session import open_session
    from harness.training.checkpoint import CheckpointStore
    from harness.training.trainer import TrainerOptions

    session = open_session(config, kit=options.kit)
    meta = session.meta(plan.segment)
    observers = _observers(folder, config, stack, content, plan)
    store = CheckpointStore(folder / "checkpoints", keep_latest=config.checkpoint.keep_latest)
    trainer = session.trainer(
        TrainerOptions(
            observers=observers,
            store=store,
            meta=meta,
            attempt=plan.attempt,
            segment=plan.segment,
            protocol=meta["protocol"],
            should_stop=stop,
        )
    )
    if plan.checkpoint is not None and not plan.new_segment:
        _require_same_pixels(session, content, plan)
    write_text(folder / "config.yaml", dump_config(config))
    opening = session.run_record(trainer, plan.attempt, segment=plan.segment)
    notes = [*_border(content.records, opening), *plan.notes]
    _start(opening, observers)
    if options.resume:
        notes += session.restore(
            trainer, plan.checkpoint, plan.attempt, observers, new_series=plan.new_series
        )
        notes += _repair(trainer.progress, plan, content, observers)
        where = trainer.progress
        moved = store.forget_void_best((where.epoch, where.step), where.best_metric)
        notes += [] if moved is None else [moved]
        say(f"resumed after epoch {where.epoch}, step {where.step}, segment {plan.segment}")
    for note in notes:
        for observer in observers:
            observer(NoteRecord(trainer.progress.epoch, note))
    status = trainer.run(until=options.until)
    return RunResult(status, trainer.progress, plan.segment)


def _observers(
    folder: Path, config: Config, stack: ExitStack, content: LedgerContent, plan: Continuation
) -> Observers:
    from harness.reporting.tensorboard import TensorBoardObserver, tensorboard_available
    from harness.reporting.terminal import ProgressPrinter
    from harness.training.epochlog import EpochCsv
    from harness.watch import Watch

    ledger = Ledger(folder / "ledger.jsonl", attempt=plan.attempt)
    stack.callback(ledger.close)
    csv = EpochCsv(folder / "epochs.csv")
    observers: list[Any] = [ledger, csv, ProgressPrinter(say, config.train.num_epochs)]
    if csv.absent:
        say(f"note: epochs.csv was begun without {', '.join(csv.absent)}: only the ledger has them")
    if tensorboard_available():
        board = TensorBoardObserver(folder / "tensorboard")
        stack.callback(board.close)
        observers.append(board)
    else:
        say("TensorBoard is not installed, no scalars are written: pip install tensorboard")
    # Last: a run is stopped once everything that led to it is recorded.
    modes = config.watch.model_dump()
    observers.append(Watch(modes, say=say, observers=(ledger,), history=content.effective()))
    return tuple(observers)


def _start(opening: RunRecord, observers: Observers) -> None:
    from harness.reporting.terminal import run_lines

    for line in run_lines(opening):
        say(line)
    for observer in observers:
        observer(opening)


def _border(history: Sequence[Record], opening: RunRecord) -> list[str]:
    """Say, where the environment differs from the last attempt's, what is no longer promised."""
    runs = [record for record in history if isinstance(record, RunRecord)]
    if not runs:
        return []
    old, new = runs[-1].environment, opening.environment
    changed = [f"{key}: {old.get(key)} -> {new[key]}" for key in new if old.get(key) != new[key]]
    if not changed:
        return []
    return [
        "resuming in another environment, bit equality with an uncut run is not promised: "
        f"{'; '.join(changed)}"
    ]


def _require_same_pixels(session: Any, content: LedgerContent, plan: Continuation) -> None:
    """Serve the last batch before the checkpoint again, and hold it against the ledger's digest.

    Sample ids alone would not show files that were replaced in place.

    Raises
    ------
    InputError
        If its content is another.
    """
    assert plan.checkpoint is not None
    epoch, step = (int(plan.checkpoint.progress[key]) for key in ("epoch", "step"))
    place = (epoch + 1, step) if step else (epoch, len(session.provider.planned_sizes))
    for record in content.effective():
        if isinstance(record, StepRecord) and (record.epoch, record.step) == place:
            found = session.provider.batch(place[0], place[1] - 1).digest
            if found != record.batch:
                msg = (
                    f"data: the batch of epoch {place[0]}, step {place[1]} was trained on as "
                    f"{record.batch} and is now served as {found}: files have been replaced. "
                    "Restore them, or name a new segment with --segment NAME."
                )
                raise InputError(msg)


def _repair(
    progress: Any, plan: Continuation, content: LedgerContent, observers: Observers
) -> list[str]:
    """Write what a crash just after the checkpoint kept from the logs: its record and its row.

    The CSV looks for itself whether it has the row.
    """
    from harness.training.epochlog import EpochCsv

    checkpoint = plan.checkpoint
    if checkpoint is None:
        return []
    known = content.effective()
    if checkpoint.digest not in {r.digest for r in known if isinstance(r, CheckpointRecord)}:
        now = progress
        saved = CheckpointRecord(
            now.epoch, now.step, now.global_step, checkpoint.path.name, checkpoint.digest
        )
        for observer in observers:
            observer(saved)
    row = progress.row
    if row is None or progress.step:
        return []
    absent = [f.name for f in fields(EpochRecord) if f.name not in row and _is_required(f)]
    if absent:
        return [f"the row of epoch {row['epoch']} lacks {', '.join(absent)}, as earlier versions"]
    logged = {record.epoch for record in known if isinstance(record, EpochRecord)}
    for observer in observers:
        if row["epoch"] not in logged or isinstance(observer, EpochCsv):
            observer(EpochRecord(**{**row, "checkpoint_digest": checkpoint.digest}))
    return []


def _is_required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
