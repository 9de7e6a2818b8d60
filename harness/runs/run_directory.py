"""Training in a run directory: what is locked, recorded, resumed and repaired around it.

TensorFlow is imported once nothing is left to refuse without it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import MISSING, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from harness.config import Config, dump_config
from harness.environment import Environment, apply_environment
from harness.errors import InputError
from harness.evaluation.scoring import scored_on
from harness.locks import only_process
from harness.records.environments import environment_difference
from harness.records.ledger import Ledger, LedgerContent, read_ledger
from harness.records.records import (
    CheckpointRecord,
    EpochRecord,
    NoteRecord,
    Record,
    RunRecord,
)
from harness.runs.identity import SCORED, read_data_digests
from harness.runs.lineage import Continuation, plan_first, plan_resume
from harness.runs.stop import StopFlag, say
from harness.runs.unchanged import lost_end, require_same_batches, require_same_pixels
from harness.training.checkpoint import CheckpointStore
from harness.training.epoch_table import each_row, read_header, told_otherwise
from harness.training.epochlog import EpochCsv
from harness.training.progress import Progress
from harness.whole import write_text

if TYPE_CHECKING:
    from harness.runs.session import CompiledCache, Session
    from harness.training.trainer import Trainer

__all__ = [
    "MakeObservers", "Observers", "RunOptions", "RunResult", "WaitObserver", "train_run",
]  # fmt: skip

Observers = Sequence[Callable[[Record], None]]


@runtime_checkable
class WaitObserver(Protocol):
    """An observer that wants to know what each step waited for its batch, s, as well."""

    def waited(self, seconds: float) -> None:
        """Take note of it; the step's record comes after it."""


MakeObservers = Callable[
    [Path, Config, Ledger, Sequence[Record]], AbstractContextManager[Observers]
]
"""(run directory, configuration, ledger, what the ledger held that is still valid) -> observers."""


def _no_observers(*_: Any) -> AbstractContextManager[Observers]:
    return nullcontext(())


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
    planned : callable
        Called once it is known that the directory can be trained in, before TensorFlow is imported.
    check_environment : callable
        Called with the environment before anything is written; may refuse. What it returns is
        noted in the ledger, unless it is empty.
    observers : MakeObservers
        Opens what receives every record after the logs: a progress line, the watch. Default:
        the logs alone.
    code : callable
        Returns what is recorded of the trainer's code.
    cache : harness.runs.session.CompiledCache or None
        Where compiled functions are kept between runs; None: compiled anew.
    """

    resume: bool = False
    segment: str | None = None
    until: int | None = None
    planned: Callable[[], None] = lambda: None
    check_environment: Callable[[Environment], str] = lambda _: ""
    observers: MakeObservers = _no_observers
    code: Callable[[], Mapping[str, Any]] = dict
    cache: "CompiledCache | None" = None


@dataclass(frozen=True)
class RunResult:
    """What an attempt came to: how it ended, where it stands, and in which segment."""

    status: str
    progress: Progress
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
        known = _scored_so_far(config, content.records, options)
        plan = _plan(folder, content, config, options, known or "host")
        options.planned()
        environment = apply_environment(config)
        say(environment.line())
        scored = known or scored_on("auto", environment.device)
        if scored != (known or "host"):
            plan = _plan(folder, content, config, options, scored)
        if environment.device != "cpu" and (config.runtime.score_on, scored) == ("auto", "host"):
            plan = replace(plan, notes=(*plan.notes, _AS_BEFORE))
        note = options.check_environment(environment)
        if note:
            plan = replace(plan, notes=(note, *plan.notes))
        return _train(config, folder, plan, content, options, stop, scored)


_AS_BEFORE = (
    "scores are summed up on the host, as so far in this run, and not on the GPU: a new segment "
    "(--segment NAME) would, as a new metric series"
)


def _scored_so_far(config: Config, history: Sequence[Record], options: RunOptions) -> str | None:
    """Return where scores are to be summed up, if that is known before the device is.

    A run goes on as it began, on another device too: its scores would not compare otherwise.
    """
    if config.runtime.score_on != "auto":
        return config.runtime.score_on
    runs = [record for record in history if isinstance(record, RunRecord)]
    if not options.resume or not runs or options.segment not in (None, runs[-1].segment):
        return None
    return runs[-1].data.get(SCORED, "host")


@contextmanager
def _locked(folder: Path, *, new: bool) -> Iterator[None]:
    """Keep every other process out of the run directory."""
    if not new and not folder.is_dir():
        msg = f"{folder}: nothing to resume, no such run directory; start it without --resume"
        raise InputError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".lock"
    busy = f"{folder}: another process trains there; wait for it or end it first"
    with lock.open("a") as file, only_process(file, lock, busy):
        yield


_MOST_TOLD = 3
"""Of a kind: lines that the ledger has lost, cells that say something else than the ledger."""


def _plan(
    folder: Path, content: LedgerContent, config: Config, options: RunOptions, scored: str
) -> Continuation:
    # Before anything slow: a table that is none is refused at once.
    read_header(folder / "epochs.csv")
    if not options.resume:
        return plan_first(folder, content.records, options.segment)
    known, valid = (
        [record for record in records if isinstance(record, EpochRecord)]
        for records in (content.records, content.effective())
    )
    other = [
        f"epochs.csv: {text}"
        for text in told_otherwise(each_row(folder / "epochs.csv"), known, valid)
    ]
    data = read_data_digests(config, scored=scored)
    plan = plan_resume(folder, content.records, config, data, options.segment)
    # An attempt whose first line is lost has its number all the same.
    plan = replace(plan, attempt=max(plan.attempt, 1 + max(content.attempts, default=0)))
    lost = [f"ledger.jsonl: {line}" for line in content.lost()]
    lost += lost_end(content, plan)
    return replace(plan, notes=(*plan.notes, *_first(lost), *_first(other)))


def _first(notes: Sequence[str]) -> list[str]:
    more = [f"and {len(notes) - _MOST_TOLD} more of the kind"] if len(notes) > _MOST_TOLD else []
    return [*notes[:_MOST_TOLD], *more]


def _train(
    config: Config, folder: Path, plan: Continuation, content: LedgerContent,
    options: RunOptions, stop: Callable[[], bool], scored: str,
) -> RunResult:  # fmt: skip
    from harness.runs.pictures import evaluation
    from harness.runs.session import open_session
    from harness.training.trainer import TrainerOptions

    session = open_session(config, cache=options.cache, scored=scored)
    until = options.until
    meta = session.meta(plan.segment)
    store = session.store(folder / "checkpoints")
    with _observed(folder, config, plan, content, options) as observers:
        around = TrainerOptions(
            observers=tuple(observers), store=store, meta=meta, attempt=plan.attempt,
            segment=plan.segment, protocol=meta["protocol"], should_stop=stop,
            waited=partial(_tell_waited, observers),
        )  # fmt: skip
        trainer = session.trainer(around)
        trainer.surround(around, evaluation(session, observers))
        # Before anything is recorded, so that a resume that is refused leaves the run as it was.
        if plan.checkpoint is not None and not plan.new_segment:
            require_same_pixels(session, content, plan)
        last = config.train.num_epochs if until is None else until
        _require_evaluation(session, content, plan, last)
        write_text(folder / "config.yaml", dump_config(config))
        opening = session.run_record(
            trainer, plan.attempt, segment=plan.segment, code=options.code()
        )
        _emit(opening, observers)
        notes = [*_environment_border(content.records, opening), *plan.notes]
        if options.resume:
            notes += _resume(session, trainer, plan, content, observers, store)
        for note in notes:
            _emit(NoteRecord(trainer.progress.epoch, note), observers)
        status = trainer.run(until=until)
    return RunResult(status, trainer.progress, plan.segment)


@contextmanager
def _observed(
    folder: Path, config: Config, plan: Continuation, content: LedgerContent, options: RunOptions
) -> Iterator[Observers]:
    """Open the logs and, behind them, the observers that were handed in.

    The logs come first: whatever stops a run, what led to it is recorded.
    """
    with closing(Ledger(folder / "ledger.jsonl", attempt=plan.attempt)) as ledger:
        table = EpochCsv(folder / "epochs.csv")
        if table.absent:
            absent = ", ".join(table.absent)
            say(f"note: epochs.csv was begun without {absent}: only the ledger has them")
        with options.observers(folder, config, ledger, content.effective()) as others:
            yield ledger, table, *others


def _tell_waited(observers: Observers, seconds: float) -> None:
    """Hand what a step waited for its batch to those observers that have a method for it."""
    for observer in observers:
        if isinstance(observer, WaitObserver):
            observer.waited(seconds)


def _emit(record: Record, observers: Observers) -> None:
    for observer in observers:
        observer(record)


def _resume(
    session: "Session", trainer: "Trainer", plan: Continuation, content: LedgerContent,
    observers: Observers, store: CheckpointStore,
) -> list[str]:  # fmt: skip
    """Set the trainer to the plan's checkpoint, and logs and ``best`` to what it says."""
    notes = session.restore(
        trainer, plan.checkpoint, plan.attempt, observers, new_series=plan.new_series
    )
    where = trainer.progress
    notes += _repair_logs(where, plan, content, observers)
    moved = store.forget_void_best((where.epoch, where.step), where.best_metric)
    say(f"resumed after epoch {where.epoch}, step {where.step}, segment {plan.segment}")
    return notes if moved is None else [*notes, moved]


def _environment_border(history: Sequence[Record], opening: RunRecord) -> list[str]:
    """Say what is not promised: where the environment differs, or the last attempt's is silent."""
    runs = [record for record in history if isinstance(record, RunRecord)]
    if not runs:
        return []
    found = environment_difference(runs[-1].environment, opening.environment)
    notes = []
    if found.changed:
        notes.append(
            "resuming in another environment, bit equality with an uncut run is not promised: "
            f"{'; '.join(map(str, found.changed))}"
        )
    then, now = (_code_text(one.code) for one in (runs[-1], opening))
    if then and now and then != now:
        notes.append(f"resuming with other code, the same is not promised: {then} -> {now}")
    silent = found.note("resuming: the record of the attempt before")
    return [*notes, silent] if silent else notes


def _code_text(code: Mapping[str, Any]) -> str:
    """Return the commit of recorded code and whether it is what was committed; "" of none."""
    known = {"True": ", changed since", "False": ""}
    state = known.get(str(code.get("dirty")), ", perhaps changed since")
    return f"commit {code['commit']}{state}" if code.get("commit") else ""


def _require_evaluation(
    session: "Session", content: LedgerContent, plan: Continuation, last: int
) -> None:
    """Open what the first evaluation needs, before the steps that come before it are trained.

    Raises
    ------
    InputError
        If a file cannot be read, a frame is smaller than the crop, or a sample cannot be scored; if
        batches are others than this metric series was scored on, and the watch would stop for it.
    """
    done = 0 if plan.checkpoint is None else int(plan.checkpoint.progress["epoch"])
    every = session.config.eval.eval_every_epoch
    first = (done // every + 1) * every
    if first <= last:
        protocol = session.fixed.checked_protocol(first)
        if not plan.new_segment and session.config.watch.batch_hashes == "stop":
            require_same_batches(session, content, protocol)


def _repair_logs(
    progress: Progress, plan: Continuation, content: LedgerContent, observers: Observers
) -> list[str]:
    """Write what a crash just after the checkpoint kept from the logs: its record and its row.

    The CSV looks for itself whether it has the row.
    """
    checkpoint = plan.checkpoint
    if checkpoint is None:
        return []
    known = content.effective()
    if checkpoint.digest not in {r.digest for r in known if isinstance(r, CheckpointRecord)}:
        now = progress
        saved = CheckpointRecord(
            now.epoch, now.step, now.global_step, checkpoint.path.name, checkpoint.digest
        )
        _emit(saved, observers)
    row = progress.row
    if row is None or progress.step:
        return []
    absent = [f.name for f in fields(EpochRecord) if f.name not in row and _is_required(f)]
    if absent:
        return [f"the row of epoch {row['epoch']} lacks {', '.join(absent)}, as earlier versions"]
    logged = {record.epoch for record in known if isinstance(record, EpochRecord)}
    for observer in observers:
        # A crash between the two logs leaves the row in the ledger alone.
        if row["epoch"] not in logged or isinstance(observer, EpochCsv):
            observer(EpochRecord(**{**row, "checkpoint_digest": checkpoint.digest}))
    return []


def _is_required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
