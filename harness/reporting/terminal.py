"""Lines and tables for people."""

from collections.abc import Callable, Sequence

from harness.records.records import EpochRecord, EvalRecord, NoteRecord, Record, RunRecord
from harness.wording import counted

__all__ = ["ProgressPrinter", "epoch_line", "eval_table", "run_lines"]


def run_lines(record: RunRecord) -> list[str]:
    """Return the first lines of a run: what is planned, before anything is counted."""
    steps = sum(count for _, count in record.planned_sizes)
    sizes = ", ".join(
        f"{count} of {counted(size, 'sample')}" for size, count in record.planned_sizes
    )
    train = record.config["train"]
    per = "micro-batch" if train["clip_position"] == "micro_step" else "update"
    return [
        f"data: {record.train_samples} training and {record.val_samples} validation samples",
        (
            f"plan: {counted(train['num_epochs'], 'epoch')} of {counted(steps, 'step')} "
            f"({train['epoch_mode']}), batches: {sizes}, micro-batches of "
            f"{record.micro_batch_size}"
        ),
        (
            f"clip: each {per} at global norm {train['grad_clip_global_norm']:g}; "
            f"{counted(record.expected_clip_checks, 'check')} planned per epoch"
        ),
    ]


def epoch_line(row: EpochRecord, epochs: int) -> str:
    """Return one line for an epoch."""
    parts = [f"epoch {row.epoch}/{epochs}", f"loss {row.train_loss_epoch_avg:.4g}"]
    if row.mean_epe_12 is not None and row.zero_flow_epe is not None:
        parts.append(
            f"EPE {row.mean_epe_12:.4f} +- {row.std_epe_12 or 0.0:.4f} px "
            f"(zero flow {row.zero_flow_epe:.4f})"
        )
        tau = row.kendall_tau_prev
        reason = row.reasons.get("kendall_tau_prev", "")
        parts.append(f"tau {tau:.3f}" if tau is not None else f"tau undefined: {reason}")
        parts.append(
            f"eval {row.eval_seconds or 0:.1f} s + recal {row.bn_recal_seconds or 0:.1f} s"
        )
    parts.append(
        f"clipped {row.clip_count}/{row.clip_checks} (planned {row.expected_clip_checks}), "
        f"norm p50 {row.grad_norm_p50:.3g} p90 {row.grad_norm_p90:.3g}"
    )
    return " | ".join(parts)


class ProgressPrinter:
    """Observer that prints the plan, a line per epoch and every note."""

    def __init__(
        self, write: Callable[[str], None], epochs: int,
        left: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:  # fmt: skip
        self._write, self._epochs, self._left = write, epochs, left

    def __call__(self, record: Record) -> None:
        """Print the record if it is for people."""
        if isinstance(record, RunRecord):
            for line in run_lines(record):
                self._write(line)
        elif isinstance(record, EpochRecord):
            self._write(" | ".join([epoch_line(record, self._epochs), *self._left()]))
        elif isinstance(record, NoteRecord):
            self._write(f"note: {record.text}")


def eval_table(record: EvalRecord, *, rows: int = 20) -> list[str]:
    """Return the pool's scores, best first, and their summary."""
    ranked = sorted(zip(record.per_arch_epe, record.archs, strict=True))
    lines = ["rank  arch       EPE (px)"]
    lines += [f"{i:4d}  {arch}  {epe:.6f}" for i, (epe, arch) in enumerate(ranked[:rows], 1)]
    if len(ranked) > rows:
        lines.append(f"      ... and {len(ranked) - rows} more")
    lines += [
        # All digits, so that two evaluations can be compared to the last bit by eye.
        (
            f"mean {record.mean_epe!r} px, std {record.std_epe!r} px over "
            f"{counted(len(ranked), 'arch')}"
        ),
        f"{counted(record.unknown_pixels, 'pixel')} of unknown flow left out",
        (
            f"zero flow scores {record.zero_flow_epe!r} px on the same "
            f"{counted(record.samples, 'sample')}"
        ),
        (
            f"{counted(record.batches, 'batch')} per arch{_fewer_batches(record)}, "
            f"{counted(record.recal_batches, 'recalibration batch')}; labels "
            f"{'whole' if record.flow_clip is None else f'clipped at {record.flow_clip:g} px'}"
        ),
        f"eval batches {record.eval_batch_hash}, recal batches {record.bn_recal_batch_hash}",
        f"scoring {record.eval_seconds:.2f} s, recalibration {record.bn_recal_seconds:.2f} s",
    ]
    return lines


def _fewer_batches(record: EvalRecord) -> str:
    asked: Sequence[object] = (record.batches, "full")
    if record.batches_asked in asked:
        return ""
    return f" ({record.batches_asked} asked, the split has no more)"
