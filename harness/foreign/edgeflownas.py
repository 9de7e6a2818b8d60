"""A run directory of EdgeFlowNAS's supernet trainers, of all generations.

What lies in it: ``train.log`` from the start; ``eval_epe_history.csv``, ``fairness_counts.json``
and ``train_manifest.json`` once it has ended; ``run_manifest.json`` from commit 902a0e1 on; and
``checkpoints/supernet_{best,last}.ckpt.meta.json``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.foreign.columns import epochs_of_rows, named_columns, row_of_cells
from harness.foreign.run import Epoch, ForeignRun, Kept, Plan
from harness.foreign.tables import open_table
from harness.foreign.text import logged_number, read_document, refusal, whole_of
from harness.foreign.train_log import TrainLog, read_train_log
from harness.wording import counted, quoted

__all__ = ["HISTORY", "LOG", "read_edgeflownas"]

LOG, HISTORY = "train.log", "eval_epe_history.csv"
_COUNTS, _MANIFEST, _RUN_MANIFEST = (
    "fairness_counts.json", "train_manifest.json", "run_manifest.json",
)  # fmt: skip
_METAS = tuple(f"checkpoints/supernet_{which}.ckpt.meta.json" for which in ("last", "best"))

_FLOW_CLIP = 50.0
"""px: its loader clips every label, by ``np.clip`` in ``data/fc2_dataset.py``."""

_SECTIONS = {"train_snapshot": "train", "eval_snapshot": "eval"}
_COUNTED = (
    "num_epochs", "steps_per_epoch", "batch_size", "micro_batch_size", "eval_every_epoch",
    "eval_pool_size", "bn_recal_batches", "eval_batches_per_arch", "lr", "grad_clip_global_norm",
)  # fmt: skip

_UNMADE = {
    "eval-batches-fixed": "no digest of the scored batches is logged",
    "recalibration-effective": "no digest of BN statistics is logged",
    "metric-of-the-flow": "the scored prediction is not kept",
    "resume-exact": "generators are in no file of it",
}
"""What the plan found that no file of a run tells."""


def read_edgeflownas(folder: Path) -> ForeignRun:
    """Read a run, finished, running or killed.

    Raises
    ------
    InputError
        Naming file, line and reason.
    """
    read = _Read(folder)
    log = read_train_log(folder / LOG) if read.has(LOG) else None
    table = _table(folder / HISTORY) if read.has(HISTORY) else None
    documents = {name: read_document(folder / name) for name in
                 (_MANIFEST, _RUN_MANIFEST, _COUNTS, *_METAS) if read.has(name)}  # fmt: skip
    kept = tuple(_kept(folder / name, documents[name]) for name in _METAS if name in documents)
    counts: Mapping[str, tuple[int, ...]] | None = None
    if _COUNTS in documents:
        counts = _counts(folder / _COUNTS, documents[_COUNTS])
    elif kept:
        counts = kept[0].counts
    epochs = _joined(log.epochs if log else (), table or ())
    if not epochs:
        msg = f"{folder}: no epoch is finished yet, there is nothing to audit"
        raise InputError(msg)
    strict = (not log.later) if log else _mode(documents) != "balanced_irregular_fairness"
    return ForeignRun(
        f"EdgeFlowNAS{' ' + log.later if log and log.later else ''}", tuple(read.files), epochs,
        plan=_plan(log, kept, epochs), configured=_configured(folder, documents), kept=kept,
        counts=counts, table=table, log=log.epochs if log else None,
        finished=log.finished if log else None,
        notes=tuple(_notes(log, documents)), strict=strict, label_clip=_FLOW_CLIP, unmade=_UNMADE,
    )  # fmt: skip


@dataclass
class _Read:
    """What of a folder was read."""

    folder: Path

    def __post_init__(self) -> None:
        self.files: list[str] = []

    def has(self, name: str) -> bool:
        there = (self.folder / name).exists()
        self.files += [name] * there
        return there


def _table(path: Path) -> tuple[Epoch, ...]:
    table = open_table(path)
    try:
        columns = named_columns({}, table.columns)
    except InputError as error:
        raise refusal(path, 1, str(error)) from None
    if "epoch" not in columns or "epe" not in columns:
        raise refusal(path, 1, "expected the columns epoch and mean_epe_12")

    def rows() -> Any:
        before = -1
        for number, cells in table.rows():

            def refuse(reason: str, number: int = number) -> InputError:
                return refusal(path, number, reason)

            row = row_of_cells(f"{path.name}, line {number}", cells, columns, refuse)
            if row.epoch <= before:
                raise refuse(f"epoch: expected one after {before}, found {row.epoch}")
            before = row.epoch
            yield row

    return epochs_of_rows(rows())[0]


def _joined(log: tuple[Epoch, ...], table: tuple[Epoch, ...]) -> tuple[Epoch, ...]:
    """Return every epoch; what the table has, with all its digits, goes before the log."""
    found = {epoch.number: epoch for epoch in log}
    for row in table:
        said = found.get(row.number)
        found[row.number] = row if said is None else _both(said, row)
    return tuple(found[number] for number in sorted(found))


def _both(said: Epoch, row: Epoch) -> Epoch:
    missing = {
        name: getattr(said, name)
        for name in ("norm_mean", "norm_p90", "clip_count", "clip_rate", "loss", "ranking", "lr")
        if getattr(row, name) in (None, ()) and getattr(said, name) not in (None, ())
    }
    if "clip_rate" in missing:
        missing["rate_error"] = said.rate_error
    if "lr" in missing:
        missing["lr_error"] = said.lr_error
    return replace(row, **missing)


def _plan(log: TrainLog | None, kept: tuple[Kept, ...], epochs: tuple[Epoch, ...]) -> Plan:
    """Return what the run itself tells of how it was made."""
    plan = _one("train.lr_schedule", "cosine", "the only schedule that it has")
    # In later spaces, too, whose largest blocks have three options.
    plan = _one("search.archs_per_step", 3, "its cycles of three archs").over(plan)
    last = next((one for one in kept if "last" in one.name and one.epoch), None)
    if last is not None and last.global_step % last.epoch == 0:
        source = f"{last.name}: {last.global_step} steps in {counted(last.epoch, 'epoch')}"
        plan = _one("train.steps_per_epoch", last.global_step // last.epoch, source).over(plan)
    if log is None:
        return plan
    said = Plan(log.planned, {key: f"{LOG}, line {line}" for key, line in log.lines.items()})
    if log.finished and not log.stopped:
        source = f"{LOG}: it ended after epoch {epochs[-1].number}"
        plan = _one("train.num_epochs", epochs[-1].number, source).over(plan)
    return said.over(plan)


def _one(key: str, value: float | str, source: str) -> Plan:
    return Plan({key: value}, {key: source})


def _configured(folder: Path, documents: Mapping[str, Mapping[str, Any]]) -> Plan:
    found = [_said(folder / name, documents[name]) for name in (_RUN_MANIFEST, _MANIFEST)
             if name in documents]  # fmt: skip
    return found[0].over(found[-1]) if found else Plan()


def _said(path: Path, document: Mapping[str, Any]) -> Plan:
    """Return what a manifest says was configured."""
    found: dict[str, float | str] = {}
    for section, mine in _SECTIONS.items():
        part = _section(path, document, section)
        # What a configuration does not say, it writes as 0.
        found |= {
            f"{mine}.{key}": _number(path, f"{section}.{key}", part[key])
            for key in _COUNTED
            if part.get(key)
        }
    if document.get("grad_clip"):
        found["train.grad_clip_global_norm"] = _number(path, "grad_clip", document["grad_clip"])
    if isinstance(document.get("lr_schedule"), str):
        found["train.lr_schedule"] = str(document["lr_schedule"])
    signature = document.get("resume_signature")
    shape = document.get("input_shape")
    if not shape and isinstance(signature, dict):
        shape = signature.get("input_shape")
    if shape:
        if not isinstance(shape, list) or len(shape) != 2:
            raise refusal(path, None, f"input_shape: expected two sides, found {quoted(shape)}")
        sides = ("data.input_height", "data.input_width")
        found |= {k: _number(path, k, v) for k, v in zip(sides, shape, strict=True) if v}
    if _section(path, document, "train_snapshot").get("epoch_mode") == "full_pass":
        # A full pass has as many as there are batches, whatever is configured.
        found.pop("train.steps_per_epoch", None)
    return Plan(found, dict.fromkeys(found, path.name))


def _section(path: Path, document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = document.get(name) or {}
    if not isinstance(part, dict):
        raise refusal(path, None, f"{name}: expected an object, found {quoted(part)}")
    return part


def _number(path: Path, key: str, value: object) -> float:
    try:
        return logged_number(value)
    except ValueError as error:
        raise refusal(path, None, f"{key}: {error}") from None


def _mode(documents: Mapping[str, Mapping[str, Any]]) -> object:
    signature = documents.get(_RUN_MANIFEST, {}).get("resume_signature")
    return signature.get("supernet_mode") if isinstance(signature, dict) else None


def _kept(path: Path, document: Mapping[str, Any]) -> Kept:
    try:
        epoch, step = (whole_of(document.get(name)) for name in ("epoch", "global_step"))
    except ValueError as error:
        raise refusal(path, None, f"epoch and global_step: {error}") from None
    metric, best = (_number(path, name, document.get(name)) for name in ("metric", "best_metric"))
    extra = document.get("extra")
    row = extra.get("row") if isinstance(extra, dict) else None
    epe = row.get("mean_epe_12") if isinstance(row, dict) else None
    row_epe = None if epe is None else _number(path, "extra.row.mean_epe_12", epe)
    counts = _counts(path, document.get("fairness_counts") or {})
    return Kept(path.name, epoch, step, metric, best, counts, row_epe)


def _counts(path: Path, document: object) -> dict[str, tuple[int, ...]]:
    if not isinstance(document, dict):
        raise refusal(path, None, f"expected counts by block, found {quoted(document)}")
    found = {}
    for block, options in document.items():
        if not isinstance(options, dict) or not options:
            reason = f"block {quoted(block, 20)}: expected a count for each option"
            raise refusal(path, None, f"{reason}, found {quoted(options)}")
        try:
            found[block] = tuple(whole_of(count) for count in options.values())
        except ValueError as error:
            raise refusal(path, None, f"block {quoted(block, 20)}: {error}") from None
    return found


def _notes(log: TrainLog | None, documents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = []
    commit = next((d["git_commit"] for d in documents.values() if "git_commit" in d), None)
    if isinstance(commit, str):
        found.append(f"made by commit {quoted(commit[:12])}")
    if log is None:
        return [*found, f"there is no {LOG}"]
    if log.attempts > 1:
        again = f"{LOG} was begun {log.attempts} times, {log.resumed} of them from a checkpoint"
        void = f", which made {counted(log.void, 'epoch')} void" if log.void else ""
        found.append(again + void)
    if log.cut:
        found.append(f"the last line of {LOG} has no end and is left out")
    if not log.finished:
        found.append(f"{LOG} has no end: the run is under way or was killed")
    if log.stopped:
        found.append("it stopped early")
    return found
