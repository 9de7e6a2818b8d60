"""Faults of any system's training: of what it does, and of what it says that it did."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from harness.faults.anywhere.base import (
    NOT_THE_SYSTEMS,
    FaultAnywhere,
    float_arrays,
    opening,
    training,
)
from harness.faults.base import overriding
from harness.records.records import EpochRecord, StepRecord
from harness.systems.protocol import Training

__all__ = [
    "ClipDoesNothing", "ClipInTheLogAlone", "KernelNeverTrained", "LossLoggedAsSum",
    "NanSwallowed", "ObserverMovesAWeight", "RateLoggedNotUsed", "RowOfEpochBefore",
    "SecondConstructionDiffers", "SeedNeverArrives", "TrainingWithoutEffect",
]  # fmt: skip


class _Training(FaultAnywhere):
    family = "GRAD"
    touches: ClassVar[tuple[str, ...]] = ("training", "update")
    needs: ClassVar[tuple[str, ...]] = ("train",)


class SeedNeverArrives(_Training):
    """The seed is read and never used: every run draws the same."""

    id, family = "seed-never-arrives", "DETERM"
    citation = "lmcinnes/umap#1081 (a seed set, and not used); tensorflow/tensorflow#22871"
    expected = ("seeds-matter",)
    touches = ("elsewhere", "draws")
    keys = ("runtime.seed",)

    def wrap(self, system: Any) -> Any:
        """Open with one seed whatever was asked for."""
        return opening(self, system, "runtime", lambda _: {"seed": 20_231})


class RateLoggedNotUsed(_Training):
    """The learning rate of the log is not the one that is used."""

    id, family = "rate-logged-not-used", "CONFIG"
    citation = "ACEsuit/mace#884; thtrieu/darkflow#204"
    expected = ("update-is-adam",)
    keys = ("train.lr",)

    def wrap(self, system: Any) -> Any:
        """Train at half the rate and log the whole one."""
        slowed = opening(self, system, "train", lambda config: {"lr": 0.5 * config["train"]["lr"]})
        return training(self, slowed, lambda found: _logged(found, _whole_rate))


def _whole_rate(record: Any) -> Any:
    return dataclasses.replace(record, lr=2.0 * record.lr)


def _logged(found: Training, change: Any) -> Training:
    """Return a training of which the steps and rows are changed wherever they are logged."""

    def changed(record: Any) -> Any:
        return change(record) if isinstance(record, (StepRecord, EpochRecord)) else record

    return dataclasses.replace(
        found,
        steps=tuple(map(changed, found.steps)),
        epochs=tuple(map(changed, found.epochs)),
        records=tuple(map(changed, found.records)),
    )


class _Clipping(_Training):
    touches: ClassVar[tuple[str, ...]] = ("clip_checks", "micro_batches")
    keys: ClassVar[tuple[str, ...]] = ("train.grad_clip_global_norm",)
    idle = "no clip check was reported above the threshold (Training.checks)"
    reported: ClassVar[bool] = False

    def wrap(self, system: Any) -> Any:
        """Open with a threshold that nothing reaches."""
        asked: dict[str, float] = {}

        def opened(inner: Any, config: Mapping[str, Any]) -> None:
            asked["norm"] = float(config["train"]["grad_clip_global_norm"])
            train = {**config["train"], "grad_clip_global_norm": 1e30}
            inner.open({**config, "train": train})

        def train(inner: Any, *args: Any, **kwargs: Any) -> Training:
            found: Training = inner.train(*args, **kwargs)
            self.acted |= any(check.before > asked["norm"] for check in found.checks)
            return _as_if_clipped(found, asked["norm"]) if self.reported else found

        return overriding(system, open=opened, train=train)


class ClipDoesNothing(_Clipping):
    """Gradients are not clipped."""

    id = "clip-does-nothing"
    citation = "tensorflow/tensorflow#33929 and #45146"
    expected = ("clip-arithmetic-micro-step", "clip-arithmetic-update")


class ClipInTheLogAlone(_Clipping):
    """Gradients are not clipped, and the log says that they are."""

    id = "clip-in-the-log-alone"
    citation = "tensorflow/tensorflow#33929; linenmin/MCUFlowNet commit d7260f2 (made-up counters)"
    expected = ("clip-applied",)
    reported = True


def _as_if_clipped(found: Training, threshold: float) -> Training:
    """Return what a training would report that clips at a threshold."""
    checks = tuple(
        dataclasses.replace(check, after=min(check.before, threshold)) for check in found.checks
    )
    clipped: dict[tuple[int, int], int] = {}
    for check in checks:
        place = check.epoch, check.step
        clipped[place] = clipped.get(place, 0) + (check.before > threshold)

    def counted(record: Any) -> Any:
        if isinstance(record, StepRecord):
            count = clipped.get((record.epoch, record.step), 0)
            return dataclasses.replace(record, clipped=count)
        count = sum(number for (epoch, _), number in clipped.items() if epoch == record.epoch)
        rate = count / record.clip_checks if record.clip_checks else record.clip_rate
        return dataclasses.replace(record, clip_count=count, clip_rate=rate)

    return dataclasses.replace(_logged(found, counted), checks=checks)


class TrainingWithoutEffect(_Training):
    """Steps are made, logged and applied to nothing."""

    id = "training-without-effect"
    citation = "huggingface/accelerate#2665 (an optimizer of other parameters than the model's)"
    expected = ("training-moves",)
    needs = ("train", "state")
    idle = "state() has no array of floats that training moves"

    def _frozen(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        return dict(arrays)

    def wrap(self, system: Any) -> Any:
        """Put back what was there before each call."""

        def train(inner: Any, *args: Any, **kwargs: Any) -> Training:
            before = self._frozen(float_arrays(inner.state()))
            found: Training = inner.train(*args, **kwargs)
            moved = inner.state()
            self.acted |= any(not np.array_equal(a, moved[n]) for n, a in before.items())
            inner.state(before)
            return found

        return overriding(system, train=train)


class KernelNeverTrained(TrainingWithoutEffect):
    """One layer is left out of the optimizer."""

    id = "kernel-never-trained"
    citation = "PyTorch forum 84911; open-mmlab/mmpretrain#702"
    idle = "state() has no kernel, an array of four axes, that training moves"

    def _frozen(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        kernels = [name for name, array in arrays.items() if array.ndim == 4]
        return {name: arrays[name] for name in kernels[:1]}


class NanSwallowed(_Training):
    """What training raises is swallowed, and the run goes on."""

    id, family = "nan-swallowed", "NAN"
    citation = "epfLLM/Megatron-LLM#33"
    expected = ("nan-stops",)
    needs = ("train", "state")
    idle = "training raised nothing"

    def wrap(self, system: Any) -> Any:
        """Return as if all were well."""

        def train(inner: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return inner.train(*args, **kwargs)
            except NOT_THE_SYSTEMS:
                raise
            except Exception:  # noqa: BLE001 -- the fault is to swallow whatever it is
                self.acted = True
                return Training()

        return overriding(system, train=train)


class ObserverMovesAWeight(_Training):
    """Training that is logged trains otherwise than training that is not."""

    id, family = "observer-moves-a-weight", "DETERM"
    citation = "Lightning-AI/pytorch-lightning#6988; fartashf/vsepp#4"
    expected = ("train-unobserved",)
    needs = ("train", "state")
    idle = "state() has no array of floats that it assigns"

    def wrap(self, system: Any) -> Any:
        """Move the last array by a ten-thousandth after an observed stretch."""

        def train(inner: Any, *args: Any, observe: bool = True, **kwargs: Any) -> Any:
            found = inner.train(*args, **kwargs, **({} if observe else {"observe": False}))
            arrays = float_arrays(inner.state()) if observe else {}
            if arrays:
                name, old = list(arrays.items())[-1]
                moved = (old * 1.0001 + 1e-7).astype(old.dtype)
                self.acted |= not np.array_equal(inner.state({name: moved})[name], old)
            return found

        return overriding(system, train=train)


class _Log(FaultAnywhere):
    family = "METRIC"
    touches: ClassVar[tuple[str, ...]] = ("epoch_log", "ledger")
    needs: ClassVar[tuple[str, ...]] = ("train",)


class RowOfEpochBefore(_Log):
    """An epoch's row has the figures of the epoch before."""

    id = "row-of-epoch-before"
    citation = "Deci-AI/super-gradients#1932 (a field that holds another value)"
    expected = ("epoch-rows-add-up",)
    idle = "the system keeps no epoch log of two rows (Training.epochs)"

    def wrap(self, system: Any) -> Any:
        """Keep the previous row's loss, norm and score."""
        rows: dict[int, EpochRecord] = {}
        kept = ("train_loss_epoch_avg", "train_grad_norm_epoch_avg", "mean_epe_12")

        def stale(record: Any) -> Any:
            before = rows.get(getattr(record, "epoch", 0) - 1)
            if not isinstance(record, EpochRecord) or before is None:
                return record
            return dataclasses.replace(record, **{name: getattr(before, name) for name in kept})

        def change(found: Training) -> Training:
            rows.update({row.epoch: row for row in found.epochs})
            return _logged(found, stale)

        return training(self, system, change)


class LossLoggedAsSum(_Log):
    """The log has the sum of losses that the step averages."""

    id = "loss-logged-as-sum"
    citation = "deepinsight/insightface#2258 (a division that is missing)"
    expected = ("loss-recomputed",)
    touches = ("epoch_log", "ledger", "loss")
    idle = "the system reports no loss other than 0 (Training.steps)"

    def wrap(self, system: Any) -> Any:
        """Double the loss wherever it is logged."""

        def doubled(record: Any) -> Any:
            if isinstance(record, StepRecord):
                return dataclasses.replace(record, loss=2.0 * record.loss)
            average = 2.0 * record.train_loss_epoch_avg
            return dataclasses.replace(record, train_loss_epoch_avg=average)

        def change(found: Training) -> Training:
            losses = tuple(2.0 * loss for loss in found.losses)
            return dataclasses.replace(_logged(found, doubled), losses=losses)

        return training(self, system, change)


class SecondConstructionDiffers(FaultAnywhere):
    """A default is popped from a shared dict: the second system lacks it."""

    id, family = "second-construction-differs", "CONFIG"
    citation = "KatherLab/MediSwarm#430; UKGovernmentBEIS/inspect_ai#3863"
    expected = ("same-run-elsewhere",)
    touches = ("elsewhere",)
    needs = ("train",)
    keys = ("train.lr",)

    def __init__(self) -> None:
        super().__init__()
        self._shared = {"lr": "as configured"}

    def wrap(self, system: Any) -> Any:
        """Give the configured learning rate to the first system alone."""
        shared = self._shared

        def opened(inner: Any, config: Any) -> None:
            train = {**config["train"]}
            if not shared:
                train["lr"] = 1e-4
                self.acted |= train != config["train"]
            shared.pop("lr", None)
            inner.open({**config, "train": train})

        return overriding(system, open=opened)
