"""Faults of what evaluates outside of training: of its company, its workers and what it leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from harness.faults.anywhere.base import FaultAnywhere, rescored
from harness.faults.base import overriding
from harness.systems.protocol import Evaluation

__all__ = [
    "CarriedFromArchToArch", "CheckpointTouchedOffline", "EachWorkerItsOwnStart",
    "OfflineByBatchStatistics", "OfflineScoresOfNow", "OfflineScoresPileUp",
]  # fmt: skip


class _Offline(FaultAnywhere):
    family = "METRIC"
    touches: ClassVar[tuple[str, ...]] = ("offline",)
    needs: ClassVar[tuple[str, ...]] = ("evaluate_offline", "train", "state", "save", "restore")
    idle = "nothing was evaluated offline in a way that it changes"

    def rescoring(self, system: Any, change: Callable[[Evaluation, int], Evaluation]) -> Any:
        """Return a system that reports ``change(evaluation, workers)`` of an offline one."""

        def evaluate_offline(inner: Any, *args: Any, **kwargs: Any) -> Evaluation:
            found = inner.evaluate_offline(*args, **kwargs)
            changed = change(found, kwargs.get("workers", 1))
            self.acted |= changed != found
            return changed

        return overriding(system, evaluate_offline=evaluate_offline)


def _scaled(found: Evaluation, factors: dict[str, float]) -> Evaluation:
    return rescored(
        found, {a: tuple(epe * factors[a] for epe in found.per_sample[a]) for a in found.archs}
    )


class CarriedFromArchToArch(_Offline):
    """Statistics are recalibrated with a momentum, on top of what the arch before left."""

    id = "carried-from-arch-to-arch"
    citation = "linenmin/MCUFlowNet commit 485b348 (recalibration starts from the arch before)"
    expected = ("offline-permuted", "offline-alone")

    def wrap(self, system: Any) -> Any:
        """Let the first arch of a pool score as it does alone, and the others a little worse."""

        def change(found: Evaluation, _: int) -> Evaluation:
            return _scaled(found, {a: 1 + 1e-3 * bool(i) for i, a in enumerate(found.archs)})

        return self.rescoring(system, change)


class EachWorkerItsOwnStart(_Offline):
    """Each worker begins elsewhere in the split, so that scores follow the number of workers."""

    id, family = "each-worker-its-own-start", "PARALLEL"
    citation = "linenmin/MCUFlowNet commit dd93174 (workers reset no cursor between archs)"
    expected = ("offline-workers",)

    def wrap(self, system: Any) -> Any:
        """Let the scores of an arch follow the place that it has within its worker."""

        def change(found: Evaluation, workers: int) -> Evaluation:
            if workers == 1:
                return found
            places = {arch: index // workers + 1 for index, arch in enumerate(found.archs)}
            return _scaled(found, {arch: 1 + 1e-3 * place for arch, place in places.items()})

        return self.rescoring(system, change)


class OfflineByBatchStatistics(_Offline):
    """The offline evaluator normalises otherwise than training's evaluation does."""

    id, family = "offline-normalises-otherwise", "BN"
    citation = "linenmin/MCUFlowNet commits 74bf8f7, b3916a2 (the mode of BN differs by evaluator)"
    expected = ("offline-as-in-training",)

    def wrap(self, system: Any) -> Any:
        """Score every arch a little higher, alike in every offline evaluation."""
        return self.rescoring(
            system, lambda found, _: _scaled(found, dict.fromkeys(found.archs, 1.01))
        )


class OfflineScoresPileUp(_Offline):
    """A running mean is not reset between offline evaluations."""

    id = "offline-scores-pile-up"
    citation = "Lightning-AI/pytorch-lightning#18282 (metrics are not reset between evaluations)"
    expected = ("offline-again",)

    def wrap(self, system: Any) -> Any:
        """Add a little with every call."""
        calls: list[int] = []

        def change(found: Evaluation, _: int) -> Evaluation:
            calls.append(1)
            return _scaled(found, dict.fromkeys(found.archs, 1 + 1e-4 * len(calls)))

        return self.rescoring(system, change)


class OfflineScoresOfNow(_Offline):
    """The offline evaluator scores the weights that are open, and not those that were saved."""

    id, family = "offline-scores-of-now", "RESUME"
    citation = "longzw1997/Open-GroundingDino#67 (what is tested is not what was asked for)"
    expected = ("offline-as-in-training",)

    def wrap(self, system: Any) -> Any:
        """Evaluate what is there, whatever the path is."""

        def evaluate_offline(inner: Any, path: str, *args: Any, **kwargs: Any) -> Evaluation:
            kwargs.pop("workers", None)
            self.acted = Path(path).exists()
            found: Evaluation = inner.evaluate(*args, **kwargs)
            return found

        return overriding(system, evaluate_offline=evaluate_offline)


class CheckpointTouchedOffline(_Offline):
    """The checkpoint that was scored is written anew, with something else in one of its files."""

    id, family = "checkpoint-touched-offline", "RESUME"
    citation = "cool-xuan/msflow#3 (a test writes the model files anew)"
    expected = ("offline-pure",)

    def wrap(self, system: Any) -> Any:
        """Put a line behind the last of its files; whoever reads it next finds it as it was."""
        whole: dict[Path, bytes] = {}

        def put_back() -> None:
            for file, content in whole.items():
                file.write_bytes(content)
            whole.clear()

        def evaluate_offline(inner: Any, path: str, *args: Any, **kwargs: Any) -> Evaluation:
            put_back()
            found: Evaluation = inner.evaluate_offline(path, *args, **kwargs)
            files = sorted(file for file in Path(path).rglob("*") if file.is_file())
            for file in files[-1:]:
                whole[file] = file.read_bytes()
                file.write_bytes(whole[file] + b"\n")
                self.acted = True
            return found

        def restore(inner: Any, path: str) -> Any:
            put_back()
            return inner.restore(path)

        return overriding(system, evaluate_offline=evaluate_offline, restore=restore)
