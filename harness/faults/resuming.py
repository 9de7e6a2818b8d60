"""Faults of checkpoints and of what follows a resume."""

import dataclasses
import json
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.faults.base import Fault, overriding, replaced
from harness.fc2.order import train_order
from harness.runs.parts import Parts
from harness.training.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from harness.training.fairness import no_counts
from harness.training.model import Supernet
from harness.training.progress import EpochSums, Progress

__all__ = [
    "AggregatesForgotten", "AnotherPlanInSilence", "BestForgotten", "BetaPowersForgotten",
    "CheckpointIsRounded", "CheckpointNotVerified", "CheckpointOfAverages",
    "CheckpointOfTwoSaves", "CountsForgotten", "DrawsRestart",
    "DueEvaluationSkipped", "EpochRepeated", "MovingForgotten", "PatienceForgotten",
    "PermutationForgotten", "PositionForgotten", "PositionForgottenAnywhere",
    "PreviousForgotten", "SavedBeforeUpdate", "SavedInPlace", "SchedulerRestarts",
    "SlotsForgotten", "SomeNamesForgotten",
]  # fmt: skip


class _Restore(Fault):
    family = "RESUME"
    expected = ("checkpoint-complete", "resume-exact")
    touches = ("checkpoint", "resume")
    forgets: ClassVar[tuple[str, ...]] = ()
    """Variables whose names hold one of these are not restored."""

    def apply(self, parts: Parts) -> Parts:
        """Restore some variables alone."""

        def restore(model: Supernet, state: Mapping[str, Any]) -> None:
            for name, variable in model.variables().items():
                if not any(part in name for part in self.forgets):
                    variable.assign(state[name])

        return replaced(parts, "train", restore=restore)


class SlotsForgotten(_Restore):
    """Adam's moments are lost: the optimizer is made anew after loading."""

    id = "slots-forgotten"
    citation = "OpenNMT/OpenNMT-py#617; LibreYOLO/libreyolo#277"
    forgets = ("adam/m/", "adam/v/")


class BetaPowersForgotten(_Restore):
    """Bias correction starts anew."""

    id = "beta-powers-forgotten"
    citation = "tensorflow/tensorflow#52346; lightly-ai/lightly-train#892"
    forgets = ("_power",)


class MovingForgotten(_Restore):
    """Moving statistics are not restored."""

    id = "moving-forgotten"
    citation = "ritheshkumar95/im2latex-tensorflow#6 (released weights hold initial statistics)"
    forgets = ("moving_",)


class SomeNamesForgotten(_Restore):
    """Names that do not match are skipped in silence."""

    id = "names-skipped"
    citation = "pytorch/examples#1029; linenmin/MCUFlowNet commit 856493e"
    forgets = ("deep3", "branch3")


def _progress(system: Any, change: Callable[[Any], Any]) -> Any:
    """Return a system whose counters are changed by each restore."""

    def restore(inner: Any, path: str) -> None:
        inner.restore(path)
        inner.trainer.progress = change(inner.trainer.progress)

    return overriding(system, restore=restore)


class _Counters(Fault):
    family = "RESUME"
    expected: ClassVar[tuple[str, ...]] = ("resume-exact",)
    touches: ClassVar[tuple[str, ...]] = ("checkpoint",)


class SchedulerRestarts(_Counters):
    """The schedule starts anew after a resume."""

    id = "schedule-restarts"
    citation = "IntelLabs/distiller#145; linenmin/MCUFlowNet commit 04cc919"

    def wrap(self, system: Any) -> Any:
        """Forget the global step."""
        return _progress(system, lambda p: dataclasses.replace(p, global_step=0))


class EpochRepeated(_Counters):
    """The last epoch is trained again after a resume."""

    id = "epoch-repeated"
    citation = "catalyst-team/catalyst#764; facebookresearch/FFCV-SSL#3"

    def wrap(self, system: Any) -> Any:
        """Count one epoch less."""
        return _progress(system, lambda p: dataclasses.replace(p, epoch=max(p.epoch - 1, 0)))


class BestForgotten(_Counters):
    """The best metric is not in the checkpoint."""

    id = "best-forgotten"
    citation = "facebookresearch/fairchem#349; open-mmlab/mmsegmentation#2428"

    def wrap(self, system: Any) -> Any:
        """Forget it."""
        return _progress(system, lambda p: dataclasses.replace(p, best_metric=None))


class PatienceForgotten(_Counters):
    """Early stopping counts from zero after a resume."""

    id = "patience-forgotten"
    citation = "PolymathicAI/the_well#77; OpenRLHF/OpenRLHF#1333"

    def wrap(self, system: Any) -> Any:
        """Forget the reference value."""
        return _progress(system, lambda p: dataclasses.replace(p, patience_metric=1e9))


class PreviousForgotten(_Counters):
    """The previous ranking is lost, so the first tau after a resume is missing."""

    id = "previous-ranking-forgotten"
    citation = "linenmin/MCUFlowNet commit 27a1ea7 (in-memory history starts empty)"

    def wrap(self, system: Any) -> Any:
        """Forget it."""
        return _progress(system, lambda p: dataclasses.replace(p, previous=None))


class CountsForgotten(_Counters):
    """Fairness counts start from zero after a resume."""

    id = "counts-forgotten"
    citation = "lightly-ai/lightly-train#892 (a counter outside the saved state)"

    def wrap(self, system: Any) -> Any:
        """Zero them."""
        return _progress(system, lambda p: dataclasses.replace(p, counts=no_counts()))


class DrawsRestart(_Counters):
    """Every resume replays the batches of the first epoch."""

    id = "draws-restart"
    citation = "karpathy/nanoGPT#467; mosaicml/streaming#437"

    def __init__(self) -> None:
        self.offset = 0

    def apply(self, parts: Parts) -> Parts:
        """Count epochs from the restart."""

        def order(count: int, *, epoch: int, **kwargs: Any) -> list[int]:
            return train_order(count, epoch=max(epoch - self.offset, 1), **kwargs)

        return replaced(parts, "data", train_order=order)

    def wrap(self, system: Any) -> Any:
        """Remember where it restarted."""

        def restore(inner: Any, path: str) -> None:
            inner.restore(path)
            self.offset = inner.trainer.progress.epoch

        return overriding(system, restore=restore)


class PositionForgotten(_Counters):
    """The place within the epoch is lost: its first batches are trained on again."""

    id = "position-forgotten"
    citation = "KempnerInstitute/KempnerForge#51; huggingface/accelerate#4071"
    expected: ClassVar[tuple[str, ...]] = ("resume-mid-epoch", "resume-before-evaluation")
    touches: ClassVar[tuple[str, ...]] = ("resume",)

    def wrap(self, system: Any) -> Any:
        """Start the epoch anew."""
        return _progress(system, lambda p: dataclasses.replace(p, step=0))


class PositionForgottenAnywhere(PositionForgotten):
    """The same, seen by the cuts after every step."""

    id = "position-forgotten-anywhere"
    expected = ("resume-anywhere",)
    touches: ClassVar[tuple[str, ...]] = ()
    slow = True
    modes = ("full_pass",)


class AggregatesForgotten(_Counters):
    """The figures of a partial epoch start from nothing after a resume."""

    id = "aggregates-forgotten"
    citation = "linenmin/MCUFlowNet commit 27a1ea7 (in-memory history starts empty)"
    expected = ("resume-mid-epoch", "resume-before-evaluation")
    touches = ("resume",)

    def wrap(self, system: Any) -> Any:
        """Keep the last loss and the last norm before the cut alone."""

        def forget(now: Progress) -> Progress:
            last = dataclasses.replace(
                now.sums, losses=now.sums.losses[-1:], norms=now.sums.norms[-1:]
            )
            return dataclasses.replace(now, sums=last)

        return _progress(system, forget)


class PermutationForgotten(_Counters):
    """The place within the epoch is kept and its order is drawn anew."""

    id = "permutation-forgotten"
    citation = "huggingface/accelerate#4203"
    expected = ("resume-mid-epoch",)
    touches = ("resume",)

    def __init__(self) -> None:
        self.cut = 0

    def apply(self, parts: Parts) -> Parts:
        """Draw another order for the epoch under way."""

        def order(count: int, *, seed: int, epoch: int, **kwargs: Any) -> list[int]:
            other = seed + 1 if epoch == self.cut else seed
            return train_order(count, seed=other, epoch=epoch, **kwargs)

        return replaced(parts, "data", train_order=order)

    def wrap(self, system: Any) -> Any:
        """Remember the epoch that was cut."""

        def restore(inner: Any, path: str) -> None:
            inner.restore(path)
            now = inner.trainer.progress
            self.cut = now.epoch + 1 if now.step else 0

        return overriding(system, restore=restore)


class DueEvaluationSkipped(_Counters):
    """A resume after an epoch's last batch goes on to the next epoch without the evaluation."""

    id = "due-evaluation-skipped"
    citation = "linenmin/MCUFlowNet commit 15aaa11 (a crash between two writes of one epoch)"
    expected = ("resume-before-evaluation",)
    touches = ("resume",)

    def wrap(self, system: Any) -> Any:
        """Count the epoch as complete."""

        def restore(inner: Any, path: str) -> None:
            inner.restore(path)
            now, planned = inner.trainer.progress, inner.trainer.steps_per_epoch
            if now.step == planned:
                inner.trainer.progress = dataclasses.replace(
                    now, epoch=now.epoch + 1, step=0, sums=EpochSums()
                )

        return overriding(system, restore=restore)


class SavedInPlace(Fault):
    """A checkpoint is written under its own name from the start, so that a kill leaves half."""

    id, family = "saved-in-place", "RESUME"
    citation = "Lightning-AI/pytorch-lightning#688"
    expected = ("resume-after-kill",)
    touches = ()
    slow = True
    modes = ("full_pass",)

    def wrap(self, system: Any) -> Any:
        """Make the folder first, and take a second for what goes into it."""

        def save(inner: Any, path: str) -> None:
            Path(path).mkdir(parents=True)
            time.sleep(1.0)
            Path(path).rmdir()
            inner.save(path)

        return overriding(system, save=save)


class CheckpointIsRounded(Fault):
    """Weights are saved in half precision."""

    id, family = "checkpoint-rounded", "RESUME"
    citation = "mosaicml/composer#3725 (repeated resumes diverge)"
    expected = ("checkpoint-complete", "resume-exact")
    touches = ("checkpoint", "resume")

    def apply(self, parts: Parts) -> Parts:
        """Round what is saved."""
        return replaced(
            parts, "train",
            save=lambda model: {
                n: a.astype(np.float16).astype(np.float32) for n, a in model.get_state().items()
            },
        )  # fmt: skip


class CheckpointOfAverages(Fault):
    """Averaged weights are saved as if they were the trained ones."""

    id, family = "checkpoint-of-averages", "RESUME"
    citation = "Megvii-BaseDetection/YOLOX#1318; atomistic-machine-learning/schnetpack#785"
    expected = ("checkpoint-complete", "resume-exact")
    touches = ("checkpoint", "resume")

    def apply(self, parts: Parts) -> Parts:
        """Average with what was saved before."""
        kept: dict[str, Any] = {}

        def save(model: Supernet) -> dict[str, Any]:
            state = model.get_state()
            mixed = {
                n: (0.5 * a + 0.5 * kept.get(n, a)).astype(np.float32) for n, a in state.items()
            }
            kept.update(state)
            return mixed

        return replaced(parts, "train", save=save)


class SavedBeforeUpdate(Fault):
    """The counters of a checkpoint are one step ahead of its weights."""

    id, family = "counters-ahead", "RESUME"
    citation = "linenmin/MCUFlowNet commit 15aaa11; open-mmlab/mmocr#292"
    expected = ("resume-exact",)
    touches = ("checkpoint", "resume")

    def wrap(self, system: Any) -> Any:
        """Count one step more in what is saved."""

        def save(inner: Any, path: str) -> None:
            now = inner.trainer.progress
            inner.trainer.progress = dataclasses.replace(now, global_step=now.global_step + 1)
            inner.save(path)
            inner.trainer.progress = now

        return overriding(system, save=save)


class CheckpointNotVerified(Fault):
    """Digests are read from the file that they should vouch for: damage passes."""

    id, family = "manifest-against-itself", "RESUME"
    citation = "Lightning-AI/pytorch-lightning#688; meta-pytorch/torchrec#1268"
    expected = ("checkpoint-verified",)
    touches = ("checkpoint", "resume")

    def wrap(self, system: Any) -> Any:
        """Take whatever arrays can be read, and keep the rest as it is."""

        def restore(inner: Any, path: str) -> None:
            try:
                inner.restore(path)
            except Exception:  # noqa: BLE001 -- the fault is to go on
                archive = Path(path) / "arrays.npz"
                readable = archive.exists() and zipfile.is_zipfile(archive)
                inner.state({} if readable else None)

        return overriding(system, restore=restore)


class AnotherPlanInSilence(Fault):
    """A changed plan is gone on with from a checkpoint, and nothing is said."""

    id, family = "another-plan-in-silence", "RESUME"
    citation = (
        "linenmin/MCUFlowNet commit 2ef204e: resumed with another num_epochs, the rate jumps from "
        "0.0005 to 0.00099"
    )
    expected = ("changed-plan-told",)
    touches = ("checkpoint",)

    def wrap(self, system: Any) -> Any:
        """Hold nothing against the configuration."""

        def restore(inner: Any, path: str) -> None:
            inner.continue_from(load_checkpoint(Path(path)))

        return overriding(system, restore=restore)


class CheckpointOfTwoSaves(Fault):
    """Weights and counters lie in two files that know nothing of each other."""

    id, family = "checkpoint-of-two-saves", "RESUME"
    citation = "linenmin/MCUFlowNet (`Saver` files and meta.json are written one after the other)"
    expected = ("checkpoint-of-one-save",)
    touches = ("checkpoint",)

    def wrap(self, system: Any) -> Any:
        """Take the arrays as they are, and the counters beside them."""

        def restore(inner: Any, path: str) -> None:
            try:
                inner.restore(path)
            except CheckpointError:
                folder = Path(path)
                manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
                with np.load(folder / "arrays.npz") as archive:
                    arrays = {name: archive[name] for name in archive.files}
                counters = manifest["progress"]
                inner.continue_from(Checkpoint(folder, arrays, counters, manifest["meta"], ""))

        return overriding(system, restore=restore)
