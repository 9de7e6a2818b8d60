"""Whether a resume goes on from what is recorded: the same files, and a ledger that tells it all.

No TensorFlow here.
"""

from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.fc2.batch import join_digests
from harness.records.ledger import LedgerContent
from harness.records.records import (
    CheckpointRecord,
    EvalRecord,
    ResumeRecord,
    RunRecord,
    StepRecord,
)
from harness.runs.lineage import Continuation

if TYPE_CHECKING:  # import TensorFlow, which the environment must precede
    from harness.evaluation.evaluator import Protocol
    from harness.runs.session import Session

__all__ = ["lost_end", "require_same_batches", "require_same_pixels"]


def require_same_pixels(session: "Session", content: LedgerContent, plan: Continuation) -> None:
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


def require_same_batches(session: "Session", content: LedgerContent, protocol: "Protocol") -> None:
    """Refuse to train on towards an evaluation whose files have been replaced meanwhile."""
    before, series, protocol_now = None, "", session.meta()["protocol"]
    for record in content.effective():
        series = record.protocol if isinstance(record, RunRecord) else series
        if isinstance(record, EvalRecord) and series == protocol_now:
            before = record
    if before is None:
        return
    batches = {"eval": (before.eval_batch_hash, protocol.eval_batches)}
    if session.config.eval.recal_mode == "fixed":
        batches["bn_recal"] = (before.bn_recal_batch_hash, protocol.recal_batches)
    for name, (due, found) in batches.items():
        if join_digests(found) != due:
            msg = (
                f"data: {name}_batch_hash was {due} in epoch {before.epoch} and is now "
                f"{join_digests(found)}: files have been replaced. Restore them, or name a new "
                "segment with --segment NAME (watch.batch_hashes=warn goes on)."
            )
            raise InputError(msg)


def lost_end(content: LedgerContent, plan: Continuation) -> list[str]:
    """Say that the ledger ends before the checkpoint: each step is recorded before it is saved.

    No chain tells of lines that are missing at the end, as where a machine lost power.
    """
    checkpoint, runs = plan.checkpoint, [r for r in content.records if isinstance(r, RunRecord)]
    known = {r.digest for r in content.records if isinstance(r, CheckpointRecord)}
    known |= {r.checkpoint for r in content.records if isinstance(r, ResumeRecord)}
    if checkpoint is None or not runs or checkpoint.digest in known:
        return []
    epoch, step = (int(checkpoint.progress[key]) for key in ("epoch", "step"))
    planned = sum(count for _, count in runs[-1].planned_sizes)
    place = (epoch + 1, step) if step else (epoch, planned)
    steps = [(r.epoch, r.step) for r in content.records if isinstance(r, StepRecord)]
    imported, begun = "imported_from" in checkpoint.meta, epoch + step > 0
    if imported or not begun or max(steps, default=(0, 0)) >= place:
        return []
    end = "before its first step" if not steps else "after epoch {}, step {}".format(*max(steps))
    return [
        f"ledger.jsonl ends {end}, before the checkpoint {checkpoint.path.name}: what lies between "
        "is no longer recorded"
    ]
