"""A short run whose scores are given, so that best, patience and retention have something to do.

Training is real, of one sample a step; what an evaluation says is scripted, because two epochs
of true scores neither stop early nor leave the best behind.
"""

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import parse_config
from harness.digest import digest_strings
from harness.errors import InputError
from harness.promises.bench import Bench, changed
from harness.promises.drawn_cases import parts
from harness.promises.promise import needs
from harness.promises.recorded_run import ledger
from harness.promises.samples import listed_samples
from harness.promises.states import END
from harness.records.records import CheckpointRecord, EvalRecord, Record
from harness.records.run import RunEvidence, run_evidence
from harness.systems.protocol import System

__all__ = [
    "SCORES", "STRANGERS", "KeptRun", "Saved", "announced", "kept_by_stores", "scripted_ledger",
]  # fmt: skip

SCORES = (5.0, 4.9, 4.7, 4.75, 4.7, 4.699, 4.75, 4.9)
"""Mean EPE of each epoch, px: the second is better by less than the delta, the third improves on
the first by small steps that add up, the fourth is worse than the best and the fifth ties with it,
the sixth is the best, by little, and no improvement, so that the run ends there; the others are
those of a run that went on."""

_DELTA, _PATIENCE = 0.25, 3
_ENDS = 6  # epochs, by these scores
_STEPS, _EVERY = 4, 2  # of each epoch, and a save after every second: not after the last
_KEEP = 1

STRANGERS = ("notes.txt", "epoch-0001.bak", "epoch-best")
"""What a person may have put beside the checkpoints; it is nobody's to remove."""

_SAVES = (
    (1, 0, 1, 5.0), (1, 1, 1, None), (1, 2, 1, None), (2, 0, 1, 4.0), (2, 1, 1, None),
    (1, 1, 2, None), (2, 0, 2, 4.5), (3, 0, 2, 4.2), (3, 1, 10, None), (4, 0, 10, 3.9),
    (5, 0, 10, 3.95),
)  # fmt: skip
"""(epoch, step, attempt, mean EPE in px): saves within epochs, and attempts that go back."""


@dataclass(frozen=True)
class Saved:
    """What a folder of checkpoints held after a save.

    Attributes
    ----------
    name, digest : str
        Of the checkpoint that was saved, as recorded.
    epoch, step : int
        Where it stands: epochs completed, and steps in the next.
    metric : float or None
        Mean EPE of its evaluation, px; None where there was none.
    there : tuple of str
        Checkpoints in the folder, by name.
    best, last : str
        Digests of what loads as ``best`` and as ``last``, or why it does not.
    """

    name: str
    digest: str
    epoch: int
    step: int
    metric: float | None
    there: tuple[str, ...]
    best: str
    last: str


@dataclass(frozen=True)
class KeptRun:
    """The saves of a run, in order.

    Attributes
    ----------
    keep_latest : int
        As configured.
    due : int
        Saves until the run ends by itself.
    saves : tuple of Saved
    gone : tuple of str
        What somebody else had put there and is no longer there.
    """

    keep_latest: int
    due: int
    saves: tuple[Saved, ...]
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Scripted:
    """What the scripted run recorded, and what its folder held."""

    records: tuple[Record, ...]
    kept: KeptRun


def _scripted(bench: Bench) -> _Scripted:
    """Train with given scores until the trainer stops by itself."""
    # Imports TensorFlow, which promises are read without.
    from harness.training.trainer import TrainerOptions

    folder = bench.folder / "scripted"
    _place_strangers(folder)
    records, saves = list[Record](), list[Saved]()
    with bench.at(END) as system:
        session = _short_session(bench, system)
        store = session.store(folder)

        def observe(record: Record) -> None:
            records.append(record)
            if isinstance(record, CheckpointRecord):
                scored = [one.mean_epe for one in records[-2:] if isinstance(one, EvalRecord)]
                saves.append(_seen(store, record, scored[0] if scored else None))

        options = TrainerOptions(observers=(observe,), store=store, meta=session.meta())
        trainer = session.trainer(options)
        trainer.surround(options, _score)
        records.append(session.run_record(trainer, 1))
        trainer.run()
    return _Scripted(tuple(records), KeptRun(_KEEP, 2 * _ENDS, tuple(saves), _gone(folder)))


def _short_session(bench: Bench, system: Any) -> Any:
    """Return the session of a system that trains one sample a step."""
    tree = changed(
        bench.config,
        train={
            "num_epochs": len(SCORES), "batch_size": 1, "micro_batch_size": None,
            "epoch_mode": "fixed_steps", "steps_per_epoch": _STEPS, "train_sampling_mode": None,
        },
        eval={
            "eval_every_epoch": 1, "early_stop_patience": _PATIENCE,
            "early_stop_min_delta": _DELTA, "eval_batches_per_arch": 1, "batch_size": 1,
        },
        checkpoint={
            "keep_latest": _KEEP, "every_steps": _EVERY, "reset_early_stop_on_resume": False,
        },
    )  # fmt: skip
    session = system.session
    provider = dataclasses.replace(session.provider, batch_size=1, steps=_STEPS)
    return dataclasses.replace(session, config=parse_config(tree), provider=provider)


def _of_archs(metric: float) -> tuple[float, ...]:
    """Return EPEs of seven archs of which the mean falls alone, px.

    The smallest, the median and the largest, which come first, in the middle and last, rise where
    the mean falls.
    """
    rise = 0.1 * (5.0 - metric)
    ends = (3.0 + rise, 5.0 + rise, 7.0 + rise)
    below = (7 * metric - sum(ends) - 2 * 5.3) / 2  # two between the first and the middle
    return (ends[0], below, below, ends[1], 5.3, 5.3, ends[2])


def _score(_: Any, epoch: int, **__: Any) -> EvalRecord:
    """Return the scripted evaluation of an epoch."""
    metric = SCORES[epoch - 1]
    epe = _of_archs(metric)
    return EvalRecord(
        archs=tuple(f"{np.base_repr(place, 3):0>9}" for place in range(len(epe))),
        per_arch_epe=epe, mean_epe=metric, std_epe=statistics.pstdev(epe),
        zero_flow_epe=9.0, samples=1, batches=1, batches_asked=1, recal_batches=1,
        eval_batch_hash="scripted", bn_recal_batch_hash="scripted", stats_digest=f"epoch {epoch}",
        weights_digest=f"epoch {epoch}", flow_clip=None, eval_seconds=0.0, bn_recal_seconds=0.0,
        epoch=epoch,
    )  # fmt: skip


def _stored(session: Any, folder: Path, keep_latest: int) -> KeptRun:
    """Save checkpoints of one array in a store as configured, within epochs too."""
    _place_strangers(folder)
    tree = session.config.model_dump(mode="json", by_alias=True)
    config = parse_config(changed(tree, checkpoint={"keep_latest": keep_latest}))
    store = dataclasses.replace(session, config=config).store(folder)
    saves, lowest = list[Saved](), float("inf")
    for number, (epoch, step, attempt, metric) in enumerate(_SAVES):
        name = f"epoch-{epoch:04d}-step-{step:05d}-attempt-{attempt}"
        best = metric is not None and metric < lowest
        lowest = min(lowest, metric or lowest)
        digest = store.save(
            name, {"x": np.full(1, number, np.float32)}, {"epoch": epoch}, {}, best=best
        )
        saves.append(_seen(store, CheckpointRecord(epoch, step, number, name, digest), metric))
    return KeptRun(keep_latest, len(_SAVES), tuple(saves), _gone(folder))


def _seen(store: Any, record: CheckpointRecord, metric: float | None) -> Saved:
    loaded = []
    for which in ("best", "last"):
        try:
            loaded.append(store.load(which).digest)
        except InputError as error:
            loaded.append(str(error))
    there = tuple(sorted(store.names()))
    place = (record.epoch, record.step)
    return Saved(record.name, record.digest, *place, metric, there, *loaded)


def _place_strangers(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in STRANGERS:
        (folder / name).write_text("mine", encoding="utf-8")


def _gone(folder: Path) -> tuple[str, ...]:
    return tuple(name for name in STRANGERS if not (folder / name).is_file())


@needs("train", "save", "restore", "state", says=("parts",))
def kept_by_stores(bench: Bench) -> Sequence[KeptRun]:
    """Look at what folders of checkpoints hold after each save: a run's, and two of one array."""
    parts(bench)  # for what it raises: nobody else's trainer is said to keep any of this
    scripted = bench.evidence(_scripted).kept
    return (scripted, *_stores(bench))


def _stores(bench: Bench) -> Iterator[KeptRun]:
    with bench.at(END) as system:
        session = _builtin(system).session
        for keep_latest in (0, 2):
            yield _stored(session, bench.folder / f"kept-{keep_latest}", keep_latest)


def _builtin(system: System) -> Any:
    """Return a system of parts as what it is: beyond the protocol, it has session and trainer."""
    return system


@needs("train", "save", "restore", "state", says=("parts",))
def scripted_ledger(bench: Bench) -> RunEvidence:
    """Return what the run with given scores recorded, as a ledger would hold it."""
    parts(bench)
    return run_evidence(bench.evidence(_scripted).records)


@needs("train", "save", "restore", "state", says=("parts",))
def announced(bench: Bench) -> RunEvidence:
    """Return the trained run as the system opens it, beside what it should announce."""
    parts(bench)
    run = bench.evidence(ledger)
    with bench.at(END) as system:
        builtin = _builtin(system)
        own = builtin.session.run_record(builtin.trainer, 1)
    config = parse_config(bench.config)
    listed = {split: listed_samples(config.data.split_dir(split)) for split in ("train", "val")}
    beside = dataclasses.replace(
        own, config=config.model_dump(mode="json", by_alias=True),
        train_samples=len(listed["train"]), val_samples=len(listed["val"]),
        data={split: digest_strings(ids) for split, ids in listed.items()},
    )  # fmt: skip
    return dataclasses.replace(run, openings=(own,), beside=beside)
