"""The settings that epoch rows log, beside what an evaluation was seen to use."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.promise import needs
from harness.promises.recorded_run import both_epochs, with_epoch_log
from harness.promises.samples import listed_samples, split_folder
from harness.promises.scores import base_evaluation
from harness.records.records import EpochRecord
from harness.systems.protocol import Evaluation, ServedBatch, System

__all__ = ["LoggedSettings", "logged_settings"]


@dataclass(frozen=True)
class LoggedSettings:
    """The settings that epoch rows log, beside what an evaluation was seen to use.

    Attributes
    ----------
    rows : sequence of EpochRecord
    recal_batches : int or None
        Batches that recalibration used; None where the system does not tell.
    eval_batches : int or None
        Batches that each arch was scored on; None where the system does not tell.
    whole_split : bool
        Whether every validation sample was scored: a larger number than used is then no more
        than what was asked for.
    pool : int
        Archs scored.
    """

    rows: Sequence[EpochRecord]
    recal_batches: int | None
    eval_batches: int | None
    whole_split: bool
    pool: int


@needs("train", "evaluate", "batches", "save", "restore", says=("Training.epochs",))
def logged_settings(bench: Bench) -> LoggedSettings:
    """Count the batches that an evaluation recalibrates and scores on."""
    rows, base = with_epoch_log(both_epochs(bench)).epochs, base_evaluation(bench)
    with bench.scored() as system:
        scored = _batches_of(len(base.per_sample[base.archs[0]]), system.batches("eval"))
        recalibrated = _recalibrated_on(system, base)
    samples = sum(len(found) for found in base.per_sample.values()) // len(base.archs)
    return LoggedSettings(
        rows, recalibrated, scored, samples >= len(listed_samples(split_folder(bench, "val"))),
        len(base.archs),
    )  # fmt: skip


def _batches_of(samples: int, batches: Sequence[ServedBatch]) -> int | None:
    """Return how many of the first batches hold so many samples; None if they end elsewhere."""
    sizes = [len(batch.ids) for batch in batches]
    found = [count for count in range(len(sizes) + 1) if sum(sizes[:count]) == samples]
    return found[0] if found else None


def _recalibrated_on(system: System, evaluation: Evaluation) -> int | None:
    """Return how many batches an evaluation recalibrated on; None if there is no telling.

    None, too, where one answer says that nothing is recalibrated, and another that something is.
    """
    try:
        batches = system.batches("recal")
    except NotApplicableError:
        batches = ()
    if bool(batches) != bool(evaluation.bn_recal_batch_hash):
        return None
    return len(batches) if batches or not _recalibrates(system, evaluation.archs[0]) else None


def _recalibrates(system: System, arch: str) -> bool:
    if "recalibrate" not in system.describe().can:
        return False
    try:
        return bool(system.recalibrate(arch).stats)
    except NotApplicableError:
        return False
