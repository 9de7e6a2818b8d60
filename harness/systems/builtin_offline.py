"""Scores of a checkpoint by the functions of ``harness eval``, in an open session."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.runs.session import Session
from harness.supernet.space import format_arch
from harness.systems.protocol import Evaluation
from harness.training.checkpoint import CheckpointStore

__all__ = ["evaluate_checkpoint"]

Scored = Callable[[int, Sequence[str] | None, int | None], Evaluation]
"""Scores archs with the weights that the session holds: epoch, archs, batches per arch."""


def evaluate_checkpoint(
    session: Session, path: str, scored: Scored, archs: Sequence[str] | None,
    batches_per_arch: int | None, workers: int,
) -> Evaluation:  # fmt: skip
    """Score archs with a checkpoint's weights, and put back those that the session held.

    Parameters
    ----------
    workers : int
        The pool is dealt out to so many evaluations that share nothing, as several processes of
        ``harness eval --pool FILE`` are.

    Raises
    ------
    ValueError
        If there is no worker.
    """
    if workers < 1:
        msg = f"workers {workers}: expected at least 1"
        raise ValueError(msg)
    folder = Path(path)
    checkpoint = CheckpointStore(folder.parent).load(str(folder))
    epoch, kept = int(checkpoint.progress["epoch"]), session.model.get_state()
    try:
        session.parts.train.restore(session.model, checkpoint.arrays)
        if workers == 1:
            return scored(epoch, archs, batches_per_arch)
        pool = archs or [format_arch(arch) for arch in session.fixed.protocol(epoch).pool]
        dealt = [share for worker in range(workers) if (share := pool[worker::workers])]
        return _joined([scored(epoch, share, batches_per_arch) for share in dealt], pool, session)
    finally:
        session.model.set_state(kept)


def _joined(found: Sequence[Evaluation], pool: Sequence[str], session: Session) -> Evaluation:
    """Return the evaluation of a pool from those of its parts, which saw the same batches."""
    epe = dict(pair for part in found for pair in zip(part.archs, part.per_arch_epe, strict=True))
    per_arch = tuple(epe[arch] for arch in pool)
    return dataclasses.replace(
        found[0], archs=tuple(pool), per_arch_epe=per_arch,
        mean_epe=session.parts.evaluation.mean(per_arch), stats_digest="",
        per_sample={a: samples for part in found for a, samples in part.per_sample.items()},
        consumed={a: taken for part in found for a, taken in part.consumed.items()},
    )  # fmt: skip
