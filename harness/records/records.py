"""What happened, as typed records. Strict JSON: null with a reason instead of NaN.

Records hold counters, norms, archs and digests. Arrays are evidence in memory.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from harness.records.declared import check_declared
from harness.records.packed import Named, PackedFloats
from harness.wording import quoted

__all__ = [
    "EPOCH_FIELDS",
    "FIRST_SEGMENT",
    "NOT_LOGGED",
    "RECORDS",
    "STOPPED_EARLY",
    "CheckpointRecord",
    "EpochRecord",
    "EvalRecord",
    "NormsRecord",
    "NoteRecord",
    "Record",
    "ResumeRecord",
    "RunRecord",
    "StepRecord",
    "from_json",
    "to_json",
]

NOT_LOGGED = "not logged by this system"
"""Reason of a column that a foreign system's log does not have."""

FIRST_SEGMENT = "main"
"""Segment of a run whose training dynamics have not been changed."""

STOPPED_EARLY = "stopped early: patience is used up"
"""Text of the note that ends a run whose scores have not improved for long enough."""


@dataclass(frozen=True, slots=True)
class RunRecord(Named):
    """The start of one attempt at a run: what was planned, and in which environment.

    ``planned_sizes`` run-length encodes the planned batch sizes of one epoch as
    (size, count) pairs; ``expected_clip_checks`` follows from them. ``segment`` names a
    stretch of one training dynamics, whose digest is ``identity``; ``protocol`` is the digest
    of what an evaluation measures, and another one starts a new metric series; ``data`` holds
    the digests of the lists of samples. ``seal`` is the digest of all other fields
    (:func:`harness.records.seals.seal_of`), empty in ledgers of earlier versions. ``code`` is what
    git knows of the trainer's (:meth:`harness.systems.code.CodeState.as_dict`), empty where nobody
    asked.
    """

    attempt: int
    config: dict[str, Any]
    environment: dict[str, Any]
    train_samples: int
    val_samples: int
    batch_size: int
    micro_batch_size: int
    planned_sizes: tuple[tuple[int, int], ...]
    expected_clip_checks: int
    identity: str
    segment: str = FIRST_SEGMENT
    protocol: str = ""
    data: dict[str, str] = field(default_factory=dict)
    seal: str = ""
    code: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResumeRecord(Named):
    """An attempt that continues from a checkpoint: earlier records beyond it are void.

    ``checkpoint`` is its digest, empty where the attempt starts again at step 0 because
    there was none yet.
    """

    attempt: int
    epoch: int
    step: int
    global_step: int
    checkpoint: str


@dataclass(frozen=True, slots=True)
class StepRecord(Named):
    """One training step, at most 300 bytes as JSON.

    ``step`` counts from 1 within the epoch; ``archs`` are the fair cycle's codes;
    ``lr`` is the one used; ``loss`` is the mean over archs and micro-batches;
    ``checks`` and ``clipped`` count clip checks, ``norm`` is the largest pre-clip norm.
    """

    epoch: int
    step: int
    archs: tuple[str, ...]
    batch: str
    lr: float
    loss: float
    checks: int
    clipped: int
    norm: float


@dataclass(frozen=True)
class NormsRecord(Named):
    """Every pre-clip global norm of an epoch, in the order of the checks."""

    __slots__ = ("_norms", "epoch")
    epoch: int
    norms: tuple[float, ...] = PackedFloats()  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return NormsRecord, (self.epoch, self.norms)


@dataclass(frozen=True, slots=True)
class EvalRecord(Named):
    """One evaluation of a pool: (weights, archs, batches) -> scores.

    Attributes
    ----------
    archs : tuple of str
        The pool, in order.
    per_arch_epe : tuple of float
        EPE in px, pool order.
    mean_epe, std_epe : float
        Over the pool, px; the standard deviation is divided by the pool's size.
    zero_flow_epe : float
        EPE of an all-zero flow on the same samples, px.
    samples, batches : int
        Scored samples and batches per arch.
    batches_asked : int or "full"
        ``eval_batches_per_arch``; larger than `batches` where the split ends earlier.
    eval_batch_hash, bn_recal_batch_hash : str
        Digests of the batches that were used.
    stats_digest : str
        Of all recalibrated statistics.
    weights_digest : str
        Of the weights that were scored.
    flow_clip : float or None
        Clip on the evaluation labels, px; None: whole labels.
    eval_seconds, bn_recal_seconds : float
        Wall time of scoring and of recalibration, s.
    unknown_pixels : int
        Pixels of the scored samples whose flow is unknown; they are left out.
    epoch : int
        Training epoch after which it ran; 0 for a standalone evaluation.
    """

    archs: tuple[str, ...]
    per_arch_epe: tuple[float, ...]
    mean_epe: float
    std_epe: float
    zero_flow_epe: float
    samples: int
    batches: int
    batches_asked: int | str
    recal_batches: int
    eval_batch_hash: str
    bn_recal_batch_hash: str
    stats_digest: str
    weights_digest: str
    flow_clip: float | None
    eval_seconds: float
    bn_recal_seconds: float
    epoch: int = 0
    unknown_pixels: int = 0


@dataclass(frozen=True, slots=True)
class EpochRecord(Named):
    """One row of the epoch log. Fields and formulas: ``docs/epoch-log.md``.

    Fields that need an evaluation are None in an epoch without one, and ``reasons`` says
    so; nothing is ever NaN. A foreign system's log may lack columns: they are None too, and
    their reason is :data:`NOT_LOGGED`.
    """

    epoch: int
    global_step: int
    mean_epe_12: float | None
    std_epe_12: float | None
    fairness_gap: int
    lr: float
    bn_recal_batches: int | None
    eval_batches_per_arch: int | None
    train_loss_epoch_avg: float
    train_grad_norm_epoch_avg: float
    grad_norm_p50: float | None
    grad_norm_p90: float | None
    grad_norm_p99: float | None
    clip_checks: int | None
    expected_clip_checks: int | None
    clip_count: int
    clip_rate: float
    eval_seconds: float | None
    bn_recal_seconds: float | None
    per_arch_epe_min: float | None
    per_arch_epe_median: float | None
    per_arch_epe_max: float | None
    kendall_tau_prev: float | None
    eval_batch_hash: str | None
    bn_recal_batch_hash: str | None
    # Fields of later versions come last and have defaults, so that older ledgers can be read.
    eval_pool_size: int | None = None
    zero_flow_epe: float | None = None
    checkpoint_digest: str | None = None
    best_epe: float | None = None
    segment: str = FIRST_SEGMENT
    protocol: str = ""
    reasons: dict[str, str] = field(default_factory=dict)


EPOCH_FIELDS: tuple[str, ...] = tuple(f.name for f in fields(EpochRecord) if f.name != "reasons")
"""Columns of ``epochs.csv``, in order; the ledger's record adds ``reasons``."""


@dataclass(frozen=True, slots=True)
class CheckpointRecord(Named):
    """A checkpoint was written: its directory's name and its digest.

    ``best`` is the checkpoint that the pointer file ``best`` named once it was written: empty
    where there was no such file, None where nobody looked, as in earlier versions.
    """

    epoch: int
    step: int
    global_step: int
    name: str
    digest: str
    best: str | None = None


@dataclass(frozen=True, slots=True)
class NoteRecord(Named):
    """A sentence for people, such as an early stop or a warning."""

    epoch: int
    text: str


Record = (
    RunRecord | ResumeRecord | StepRecord | NormsRecord | EvalRecord | EpochRecord
    | CheckpointRecord | NoteRecord
)  # fmt: skip

RECORDS: Mapping[str, type[Record]] = {
    "run": RunRecord,
    "resume": ResumeRecord,
    "step": StepRecord,
    "norms": NormsRecord,
    "eval": EvalRecord,
    "epoch": EpochRecord,
    "checkpoint": CheckpointRecord,
    "note": NoteRecord,
}
"""Ledger names of the record types."""

_KINDS = {cls: kind for kind, cls in RECORDS.items()}


def to_json(record: Record, *, attempt: int | None = None) -> dict[str, Any]:
    """Return the record as a JSON-able mapping with its ``kind`` first.

    Parameters
    ----------
    attempt : int, optional
        Number of the attempt that made it, from 1. Default: as the record itself says.

    Raises
    ------
    ValueError
        If a number is not finite, naming the field.
    """
    values = asdict(record)
    for name, value in values.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                msg = f"{type(record).__name__}.{name} is {number}, expected a finite number"
                # JSON has no NaN, and a reader must not find one: what
                # has no value is null, with a reason.
                raise ValueError(msg)
    made = {} if attempt is None else {"attempt": attempt}
    return {"kind": _KINDS[type(record)], **made, **values}


def from_json(data: Mapping[str, Any]) -> Record:
    """Rebuild a record from :func:`to_json`'s mapping.

    Raises
    ------
    ValueError
        If the kind is unknown, or a value is not what the record's class declares.
    """
    values = dict(data)
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in RECORDS:
        msg = f"unknown record kind {quoted(kind)}, expected one of {', '.join(RECORDS)}"
        raise ValueError(msg)
    if kind not in ("run", "resume"):
        values.pop("attempt", None)  # the ledger's, not the record's own
    check_declared(RECORDS[kind], values, kind)
    if kind == "run":
        _require_readable(values)
    return RECORDS[kind](**{name: _tuples(value) for name, value in values.items()})


_MOST_STEPS = 10**7
"""Steps of an epoch that are believed; whoever reads on makes a list of them, of 80 MB."""


_SECTIONS = ("train", "eval", "data", "model", "runtime", "search", "watch", "checkpoint")
"""Of a configuration: what is looked up in them, and so is a mapping where it is there."""


def _require_readable(opening: Mapping[str, Any]) -> None:
    """Refuse what no type says: a plan without end, a section that is none."""
    for number, (size, count) in enumerate(opening["planned_sizes"]):
        if size < 1 or count < 0:
            msg = f"run.planned_sizes[{number}]: expected a size and a count, found {[size, count]}"
            raise ValueError(msg)
    steps = sum(count for _, count in opening["planned_sizes"])
    if steps > _MOST_STEPS:
        msg = f"run.planned_sizes: expected at most {_MOST_STEPS} steps an epoch, found {steps}"
        raise ValueError(msg)
    for name in _SECTIONS:
        section = opening["config"].get(name)
        if section is not None and not isinstance(section, Mapping):
            msg = f"run.config.{name}: expected a section, found {quoted(section)}"
            raise ValueError(msg)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
