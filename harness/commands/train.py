"""``harness train``: train, evaluate, record, resume."""

import json
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.commands.common import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    StopFlag,
    add_config_options,
    configured,
    say,
    write_json,
)
from harness.config import Config, dump_config, load_config, with_overrides
from harness.environment import Environment, apply_environment
from harness.errors import InputError
from harness.evidence.ledger import Ledger, effective, read_ledger
from harness.evidence.records import EpochRecord, Record, RunRecord

__all__ = ["add_parser", "run"]


def add_parser(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    add_config_options(parser)
    parser.add_argument(
        "--run", type=Path, metavar="DIR",
        help="run directory (default: runtime.output_root/runtime.experiment_name)",
    )  # fmt: skip
    parser.add_argument("--epochs", type=int, metavar="N", help="override train.num_epochs")
    parser.add_argument("--resume", action="store_true", help="continue from checkpoints/last")
    parser.add_argument(
        "--require-gate", type=Path, metavar="FILE",
        help="refuse to start unless FILE is a green --gate-file for this configuration",
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Train as asked; exit code 75 when interrupted and resumable."""
    config = configured(args)
    if args.epochs is not None:
        config = with_overrides(config, [f"train.num_epochs={args.epochs}"])
    folder = args.run or Path(config.runtime.output_root) / config.runtime.experiment_name
    resume = args.resume or config.checkpoint.load_checkpoint
    _check_folder(folder, config, resume=resume)
    environment = apply_environment(config)
    say(environment.line())
    if args.require_gate is not None:
        _require_gate(args.require_gate, config, environment)
    status, trainer = _train(config, folder, resume=resume)
    say(f"{status}: {trainer.progress.epoch} epochs, {trainer.progress.global_step} steps")
    write_json(
        args.json, {"status": status, "run": str(folder), "progress": trainer.progress.get_state()}
    )
    return EXIT_INTERRUPTED if status == "interrupted" else EXIT_DONE


@dataclass(frozen=True)
class _RunFiles:
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.jsonl"


def _check_folder(folder: Path, config: Config, *, resume: bool) -> None:
    from harness.systems.identity import identity_differences

    files = _RunFiles(folder)
    if not resume:
        if files.ledger.exists():
            msg = f"{folder} already holds a run; continue it with --resume or name another --run"
            raise InputError(msg)
        return
    if not files.config.exists():
        msg = f"{folder}: nothing to resume, no config.yaml there"
        raise InputError(msg)
    changed = identity_differences(load_config(files.config), config)
    if changed:
        msg = (
            f"{folder}: cannot resume with changed training dynamics: {'; '.join(changed)}. "
            "Name another --run for another experiment."
        )
        raise InputError(msg)


def _require_gate(path: Path, config: Config, environment: Environment) -> None:
    """Refuse unless the gate was green for this configuration, data and environment."""
    from harness.systems.identity import gate_values

    try:
        gate = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"--require-gate {path}: no such file; `pytest invariants/ --gate-file` writes it"
        raise InputError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"--require-gate {path}: not a gate file: {error}"
        raise InputError(msg) from None
    wrong = []
    if gate.get("verdict") != "green" or gate.get("system") != "builtin":
        wrong.append(f"verdict {gate.get('verdict')!r} of system {gate.get('system')!r}")
    for name, expected in (
        ("configuration", gate_values(config)),
        ("environment", environment.as_dict()),
    ):
        found = gate.get(name) or {}
        wrong += [
            f"{key}: gated {found.get(key)!r}, asked {value!r}"
            for key, value in expected.items()
            if json.dumps(found.get(key)) != json.dumps(value)
        ]
    if wrong:
        shown = "; ".join(wrong[:6]) + ("; ..." if len(wrong) > 6 else "")
        msg = f"--require-gate {path}: {shown}. Gate what you want to train, then train it."
        raise InputError(msg)
    say(f"gate: green ({path})")


def _train(config: Config, folder: Path, *, resume: bool) -> tuple[str, Any]:
    from harness.systems.session import open_session
    from harness.training.checkpoint import CheckpointStore
    from harness.training.trainer import TrainerOptions

    session = open_session(config)
    store = CheckpointStore(folder / "checkpoints")
    checkpoint = store.load("last") if resume else None
    folder.mkdir(parents=True, exist_ok=True)
    files = _RunFiles(folder)
    history = list(read_ledger(files.ledger).records) if files.ledger.exists() else []
    attempt = 1 + sum(isinstance(record, RunRecord) for record in history)
    with ExitStack() as stack:
        stop = stack.enter_context(StopFlag())
        observers = _observers(folder, config, stack, history)
        options = TrainerOptions(
            observers=observers, store=store, meta=session.meta(), attempt=attempt,
            should_stop=stop,
        )  # fmt: skip
        trainer = session.trainer(options)
        files.config.write_text(dump_config(config), encoding="utf-8")
        opening = session.run_record(trainer, attempt)
        _start(opening, observers)
        if checkpoint is not None:
            _warn_of_other_environment(checkpoint.meta, session.environment)
            session.restore(trainer, checkpoint, attempt, observers)
            _repair_row(trainer.progress.row, checkpoint.digest, history, observers)
            say(f"resumed after epoch {trainer.progress.epoch}, step {trainer.progress.step}")
        return trainer.run(), trainer


def _observers(
    folder: Path, config: Config, stack: ExitStack, history: list[Record]
) -> tuple[Any, ...]:
    from harness.relations.watch import Watch
    from harness.reporting.tensorboard import TensorBoardObserver, tensorboard_available
    from harness.reporting.terminal import ProgressPrinter
    from harness.training.epochlog import EpochCsv

    ledger = Ledger(folder / "ledger.jsonl")
    stack.callback(ledger.close)
    observers: list[Any] = [ledger, EpochCsv(folder / "epochs.csv")]
    observers.append(ProgressPrinter(say, config.train.num_epochs))
    if tensorboard_available():
        board = TensorBoardObserver(folder / "tensorboard")
        stack.callback(board.close)
        observers.append(board)
    else:
        say("TensorBoard is not installed, no scalars are written: pip install tensorboard")
    # Last: a run is stopped once everything that led to it is recorded.
    modes = config.watch.model_dump()
    observers.append(Watch(modes, say=say, observers=(ledger,), history=history))
    return tuple(observers)


def _start(opening: RunRecord, observers: tuple[Any, ...]) -> None:
    from harness.reporting.terminal import run_lines

    for line in run_lines(opening):
        say(line)
    for observer in observers:
        observer(opening)


def _warn_of_other_environment(meta: dict[str, Any], environment: Environment) -> None:
    old, new = meta["environment"], environment.as_dict()
    changed = [f"{key}: {old.get(key)} -> {new[key]}" for key in new if old.get(key) != new[key]]
    if changed:
        say(
            "note: resuming in another environment, bit equality with an uncut run is not "
            f"promised: {'; '.join(changed)}"
        )


def _repair_row(row: Any, digest: str, history: list[Record], observers: tuple[Any, ...]) -> None:
    """Write the row of an epoch whose checkpoint was saved just before a crash.

    The CSV looks for itself whether it has the row.
    """
    from harness.training.epochlog import EpochCsv

    if row is None:
        return
    logged = {r.epoch for r in effective(history) if isinstance(r, EpochRecord)}
    for observer in observers:
        if row["epoch"] not in logged or isinstance(observer, EpochCsv):
            observer(EpochRecord(**{**row, "checkpoint_digest": digest}))
