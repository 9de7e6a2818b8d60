"""Faults of what lies between: samples put together, batches handed over, records written."""

import dataclasses
from collections.abc import Generator
from typing import Any

import numpy as np

from harness.digest import digest_strings
from harness.faults.base import Fault, replaced
from harness.faults.hooks import after_open
from harness.fc2.batch import Batch, batch_key
from harness.fc2.order import batch_sizes
from harness.fc2.provider import assemble
from harness.records.ledger import write_line
from harness.runs.parts import Parts
from harness.training.progress import Progress, after_epoch
from harness.training.train_parts import run_step

__all__ = [
    "BatchRepeatedAtBorder", "BufferOverwritten", "CacheKeyWithoutClip", "CacheKeyWithoutCrop",
    "EpochSumsKept", "LabelsLagABatch", "LastLabelOfNeighbour", "LedgerDropsUnderLoad",
    "PartialBatchUnplanned", "RecalBufferOverwritten", "ScoredLabelsOverwritten",
]  # fmt: skip


def _overwritten(batch: Batch, by: Batch) -> Batch:
    """Return a batch whose first samples hold the pixels of another one, under its own digest."""
    count = min(batch.size, by.size)
    frames, flow, valid = np.array(batch.frames), np.array(batch.flow), np.array(batch.valid)
    frames[:count], flow[:count] = by.frames[:count], by.flow[:count]
    valid[:count] = by.valid[:count]
    return dataclasses.replace(batch, frames=frames, flow=flow, valid=valid)


class BufferOverwritten(Fault):
    """The loader puts the next batch into the buffer that training still reads."""

    id, family = "buffer-overwritten", "PARALLEL"
    citation = "TadaoYamaoka/DeepLearningShogi#39 (a prefetched batch overwrites the one in use)"
    expected = ("trained-as-served",)
    touches = ("draws", "consumed")

    def apply(self, parts: Parts) -> Parts:
        """Hand over each batch with the pixels of the one after it."""

        def hand_over(
            batches: Generator[Batch, None, None], **_: int
        ) -> Generator[Batch, None, None]:
            held = next(batches)
            for following in batches:
                yield _overwritten(held, following)
                held = following
            yield held

        return replaced(parts, "data", hand_over=hand_over)


class BatchRepeatedAtBorder(Fault):
    """What was prefetched for the last epoch is handed out first in the next one."""

    id, family = "batch-repeated-at-border", "PARALLEL"
    citation = "kohya-ss/musubi-tuner#283; apache/mxnet#19738 (a batch prefetched over the border)"
    expected = ("drawn-as-served",)
    touches = ("draws", "consumed")

    def apply(self, parts: Parts) -> Parts:
        """Hand out the last batch of an epoch again in place of the first of the next."""
        kept: dict[int, Batch] = {}

        def hand_over(
            batches: Generator[Batch, None, None], *, epoch: int, start: int
        ) -> Generator[Batch, None, None]:
            for index, batch in enumerate(batches, start):
                yield kept.get(epoch - 1, batch) if index == 0 else batch
                kept[epoch] = batch

        return replaced(parts, "data", hand_over=hand_over)


class LastLabelOfNeighbour(Fault):
    """In a last batch that is not full, one sample has its neighbour's label."""

    id, family = "last-label-of-neighbour", "DATA"
    citation = "alibaba/EasyCV#289 (labels that are not those of the images beside them)"
    expected = ("partial-batches-served",)
    touches = ("draws", "served", "consumed")
    modes = ("full_pass",)

    def apply(self, parts: Parts) -> Parts:
        """Give the last sample of a batch that is smaller than the largest its neighbour's."""
        most = 0

        def put_together(ids: Any, windows: Any, samples: Any, **options: Any) -> Batch:
            nonlocal most
            most, rest = max(most, len(ids)), list(samples)
            if options["role"] == "train" and 1 < len(ids) < most:
                rest[-1] = dataclasses.replace(rest[-1], flow=rest[-2].flow)
            return assemble(ids, windows, rest, **options)

        return replaced(parts, "data", assemble=put_together)


class LabelsLagABatch(Fault):
    """Frames are of this batch and labels of the one before."""

    id, family = "labels-lag-a-batch", "PARALLEL"
    citation = "TadaoYamaoka/DeepLearningShogi#39 (half of a batch is transferred too early)"
    expected = ("trained-as-served",)
    touches = ("draws", "consumed", "own_labels")

    def apply(self, parts: Parts) -> Parts:
        """Train on the flow of the last step's batch, where it is of the same size."""
        kept: list[Batch] = []

        def step(run: Any, archs: Any, batch: Batch, lr: float, taken: Any = None) -> Any:
            last = kept.pop() if kept else batch
            kept.append(batch)
            if last.flow.shape == batch.flow.shape:
                batch = dataclasses.replace(batch, flow=last.flow, valid=last.valid)
            return run_step(run, archs, batch, lr, taken)

        return replaced(parts, "train", step=step)


class RecalBufferOverwritten(Fault):
    """The first recalibration batch is overwritten by the last before it is used."""

    id, family = "recal-buffer-overwritten", "BN"
    citation = "TadaoYamaoka/DeepLearningShogi#39 (a prefetched batch overwrites the one in use)"
    expected = ("recalibrated-as-served",)
    touches = ("consumed", "recalibration")

    def wrap(self, system: Any) -> Any:
        """Give evaluations another first batch than is served."""
        return _evaluated_on(system, "recal_batches")


class ScoredLabelsOverwritten(Fault):
    """The first evaluation batch is overwritten by the last before it is scored."""

    id, family = "scored-buffer-overwritten", "METRIC"
    citation = "TadaoYamaoka/DeepLearningShogi#39 (a prefetched batch overwrites the one in use)"
    expected = ("scored-as-served",)
    touches = ("consumed", "metric", "served")

    def wrap(self, system: Any) -> Any:
        """Give evaluations another first batch than is served."""
        return _evaluated_on(system, "eval_batches")


def _evaluated_on(system: Any, which: str) -> Any:
    def change(inner: Any) -> None:
        fixed = inner.session.fixed
        protocol = fixed.protocol

        def overwritten(*args: Any, **kwargs: Any) -> Any:
            found = protocol(*args, **kwargs)
            first, *rest = getattr(found, which)
            used = (_overwritten(first, rest[-1]), *rest) if rest else (first,)
            return dataclasses.replace(found, **{which: used})

        fixed.protocol = overwritten

    return after_open(system, change)


class EpochSumsKept(Fault):
    """The sums that the log averages are never set back."""

    id, family = "epoch-sums-kept", "METRIC"
    citation = "ludwig-ai/ludwig#1659 (the running mean is not reset after an epoch)"
    expected = ("epoch-rows-add-up",)
    touches = ("epoch_log", "ledger", "clip_checks")

    def apply(self, parts: Parts) -> Parts:
        """Take the sums of an epoch over into the next."""

        def kept(now: Progress) -> Progress:
            return dataclasses.replace(after_epoch(now), sums=now.sums)

        return replaced(parts, "train", after_epoch=kept)


class PartialBatchUnplanned(Fault):
    """The plan of an epoch leaves out the last batch, which is not full and is trained on."""

    id, family = "partial-batch-unplanned", "CONFIG"
    citation = "deepset-ai/FARM#46; ageron/handson-ml2#275 (steps of an epoch rounded down)"
    expected = ("ledger-learning-rate",)
    touches = ("ledger", "epoch_log", "clip_checks")
    modes = ("full_pass",)

    def apply(self, parts: Parts) -> Parts:
        """Plan whole batches alone, unless there is none."""

        def planned(count: int, **plan: Any) -> list[int]:
            sizes = batch_sizes(count, **plan)
            return [size for size in sizes if size == sizes[0]]

        return replaced(parts, "data", batch_sizes=planned)


class _CacheKey(Fault):
    family = "CACHE"
    expected = ("cache-never-stale",)
    left_out: dict[str, Any]

    def apply(self, parts: Parts) -> Parts:
        """Leave something out of the name of a cached batch."""

        def key(**given: Any) -> str:
            # Marked, because a key of its own cannot find what the right one wrote.
            return digest_strings(["short", batch_key(**{**given, **self.left_out})])

        return replaced(parts, "data", cache_key=key)


class CacheKeyWithoutCrop(_CacheKey):
    """Cached batches are found again whatever the crop."""

    id = "cache-key-without-crop"
    citation = "brain-score/vision#2503 (the key of a cache omits the image size)"
    left_out = {"crop": (0, 0)}  # noqa: RUF012 -- never changed


class CacheKeyWithoutClip(_CacheKey):
    """Cached batches are found again whatever clip their labels have."""

    id = "cache-key-without-clip"
    citation = "Project-MONAI/MONAI#317 (the key of a cache knows nothing of the transforms)"
    left_out = {"flow_clip": None}  # noqa: RUF012 -- never changed


class LedgerDropsUnderLoad(Fault):
    """The writer of the ledger drops a record when several come between two syncs."""

    id, family = "ledger-drops-under-load", "PARALLEL"
    citation = "MengRao/fmtlog#6; DataDog/serilog-sinks-datadog-logs#138 (a full queue drops)"
    expected = ("ledger-steps-planned",)
    touches = ("ledger", "epoch_log")

    def apply(self, parts: Parts) -> Parts:
        """Hold two records between two syncs, and drop the third."""
        waiting = 0

        def write(file: Any, line: str, *, sync: bool) -> None:
            nonlocal waiting
            waiting = 0 if sync else waiting + 1
            if waiting != _QUEUE + 1:
                write_line(file, line, sync=sync)

        return dataclasses.replace(parts, write_line=write)


_QUEUE = 2
"""Records that the writer's queue holds."""
