"""Faults of any system's checkpoints: of what a save keeps and a restore brings back."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.faults.anywhere.base import NOT_THE_SYSTEMS, FaultAnywhere, float_arrays
from harness.faults.base import overriding
from harness.systems.protocol import Description

__all__ = [
    "CheckpointOfSaveBefore", "DamagedRestoreGoesOn", "FallsBack", "RestoreDoesNothing",
    "SlotsStartAnew", "SomeArraysNotRestored", "WeightsAloneRestored",
]  # fmt: skip


class _Checkpoint(FaultAnywhere):
    family = "RESUME"
    expected: ClassVar[tuple[str, ...]] = ("resume-exact",)
    touches: ClassVar[tuple[str, ...]] = ("checkpoint", "resume")
    needs: ClassVar[tuple[str, ...]] = ("train", "state", "save", "restore")


class RestoreDoesNothing(_Checkpoint):
    """A restore finds nothing to load, says nothing and goes on."""

    id = "restore-does-nothing"
    citation = "pytorch/examples#1029; ritheshkumar95/im2latex-tensorflow#6"

    def wrap(self, system: Any) -> Any:
        """Leave everything as it is."""

        def restore(inner: Any, path: str) -> None:
            inner.state()
            self.acted |= Path(path).exists()

        return overriding(system, restore=restore)


class SlotsStartAnew(_Checkpoint):
    """The optimizer's moments are not restored: they start from zero."""

    id = "slots-start-anew"
    citation = "OpenNMT/OpenNMT-py#617; LibreYOLO/libreyolo#277"
    idle = "describe().slots names no array that a restore brings back"

    def wrap(self, system: Any) -> Any:
        """Zero what the description names as slots."""

        def restore(inner: Any, path: str) -> Any:
            said = inner.restore(path)
            about: Description = inner.describe()
            named = {name for pair in about.slots.values() for name in pair}
            slots = {n: a for n, a in float_arrays(inner.state()).items() if n in named}
            if slots:
                self.acted |= any(array.any() for array in slots.values())
                inner.state({name: np.zeros_like(array) for name, array in slots.items()})
            return said

        return overriding(system, restore=restore)


class SomeArraysNotRestored(_Checkpoint):
    """An array that the loading code does not know of keeps the value it had."""

    id = "some-arrays-not-restored"
    citation = "linenmin/MCUFlowNet commit 856493e; pytorch/examples#1029 (names skipped)"
    idle = "state() has no array of floats that a restore brings back"

    def wrap(self, system: Any) -> Any:
        """Put the last array back to what it was before the restore."""

        def restore(inner: Any, path: str) -> Any:
            before = dict(list(float_arrays(inner.state()).items())[-1:])
            said = inner.restore(path)
            found = inner.state()
            if any(not np.array_equal(found[name], array) for name, array in before.items()):
                after = inner.state(before)
                self.acted |= all(np.array_equal(after[n], a) for n, a in before.items())
            return said

        return overriding(system, restore=restore)


class WeightsAloneRestored(_Checkpoint):
    """Counters and generators start anew: a checkpoint holds arrays alone."""

    id = "weights-alone-restored"
    citation = "karpathy/nanoGPT#467; mosaicml/streaming#437; IntelLabs/distiller#145"
    idle = "state() has no counters that a restore brings back"

    def wrap(self, system: Any) -> Any:
        """Open anew and assign the arrays."""
        asked: dict[str, Any] = {}

        def opened(inner: Any, config: Mapping[str, Any]) -> None:
            asked["config"] = config
            inner.open(config)

        def restore(inner: Any, path: str) -> Any:
            said = inner.restore(path)
            state = {name: np.array(array) for name, array in inner.state().items()}
            inner.close()
            inner.open(asked["config"])
            after = inner.state(float_arrays(state))
            counters = [name for name in state if name.startswith("progress/")]
            self.acted |= any(not np.array_equal(state[n], after[n]) for n in counters)
            return said

        return overriding(system, open=opened, restore=restore)


class CheckpointOfSaveBefore(_Checkpoint):
    """A save writes what was to be saved the time before."""

    id = "checkpoint-of-save-before"
    citation = "linenmin/MCUFlowNet commit 15aaa11; open-mmlab/mmocr#292"
    expected = ("checkpoint-complete",)

    def wrap(self, system: Any) -> Any:
        """Copy the last checkpoint, and keep this one for the next save."""
        kept: list[Path] = []

        def save(inner: Any, path: str) -> None:
            aside = Path(path).with_name(f"{Path(path).name}-aside")
            inner.save(str(aside))
            shutil.copytree(kept[-1] if kept else aside, path)
            self.acted |= bool(kept)
            kept[:] = [aside]

        return overriding(system, save=save)


class DamagedRestoreGoesOn(_Checkpoint):
    """A checkpoint that cannot be read is skipped, and the run goes on with what it has."""

    id = "damaged-restore-goes-on"
    citation = "Lightning-AI/pytorch-lightning#688; meta-pytorch/torchrec#1268"
    expected = ("checkpoint-verified",)
    touches = ("refusals", "checkpoint")
    idle = "no restore failed"

    def wrap(self, system: Any) -> Any:
        """Swallow what a restore raises."""

        def restore(inner: Any, path: str) -> Any:
            try:
                return inner.restore(path)
            except NOT_THE_SYSTEMS:
                raise
            except Exception:  # noqa: BLE001 -- the fault is to swallow whatever it is
                self.acted = True
                return None

        return overriding(system, restore=restore)


class FallsBack(FaultAnywhere):
    """A checkpoint that cannot be read is replaced by the last one that could."""

    id, family = "silent-fall-back", "RESUME"
    citation = "antonioterpin/flowgym#51; open-mmlab/mmrazor commit 1abad087 (#193)"
    expected = ("checkpoint-verified",)
    touches = ("checkpoint", "resume")
    needs = ("train", "state", "save", "restore")
    idle = "no restore failed after one that did not"

    def wrap(self, system: Any) -> Any:
        """Remember a path that worked."""
        good: list[str] = []

        def restore(inner: Any, path: str) -> None:
            try:
                inner.restore(path)
                good.append(path)
            except NOT_THE_SYSTEMS:
                raise
            except Exception:
                if not good:
                    raise
                self.acted = True
                inner.restore(good[-1])

        return overriding(system, restore=restore)
