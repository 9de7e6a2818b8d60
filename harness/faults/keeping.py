"""Faults of what a run keeps: best and last, retention, early stopping, the opening record."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.config import Config, parse_config
from harness.faults.base import Fault, replaced
from harness.runs.identity import run_identity
from harness.runs.parts import Parts, opening_record
from harness.training.checkpoint import kept_names, pointed_name
from harness.training.tracking import track_patience

__all__ = [
    "BestByDifference", "BestByHighest", "BestFollowsLast", "BestIsLast", "DefaultsAnnounced",
    "DeltaAgainstBest", "DeltaIgnored", "IdentityWithoutSamples", "LatestByName", "NothingRemoved",
    "PartialBatchUnannounced", "PatienceNeverReset", "PatienceOfOneLess", "PatienceOfOneMore",
    "RetentionDeletesBest", "SavesWithinEpochsMissed", "TieIsBetter", "WholeBatchesAnnounced",
]  # fmt: skip


class _Stores(Fault):
    family = "RESUME"
    touches: ClassVar[tuple[str, ...]] = ("kept", "checkpoint")
    expected: ClassVar[tuple[str, ...]] = ("checkpoints-kept",)


def _keeping(parts: Parts, kept: Callable[..., set[str]]) -> Parts:
    return replaced(parts, "store", kept=kept)


class RetentionDeletesBest(_Stores):
    """Only the newest checkpoints survive, and the best is none of them."""

    id = "retention-deletes-best"
    citation = "huggingface/transformers#15089"

    def apply(self, parts: Parts) -> Parts:
        """Let the pointer protect nothing."""
        return _keeping(parts, lambda names, *, best, **rest: kept_names(names, best="", **rest))


class NothingRemoved(_Stores):
    """The limit is accepted, and every checkpoint stays until the disk is full."""

    id = "nothing-removed"
    citation = "facebookresearch/fairseq2#1155; tensorflow/tensorflow#5929"

    def apply(self, parts: Parts) -> Parts:
        """Keep whatever is there."""
        return _keeping(parts, lambda names, **_: set(names))


class LatestByName(_Stores):
    """The newest checkpoints are those whose names sort last, whichever attempt wrote them."""

    id = "latest-by-name"
    citation = "malmaud/TensorFlow.jl#370; deepset-ai/FARM#282; allenai/open-instruct#541"

    def apply(self, parts: Parts) -> Parts:
        """Sort them as text."""

        def kept(names: Sequence[str], **rest: Any) -> set[str]:
            return kept_names(sorted(names, reverse=True), **rest)

        return _keeping(parts, kept)


class BestIsLast(_Stores):
    """Whoever asks for the best checkpoint is given the last one."""

    id = "best-is-last"
    citation = "luxonis/luxonis-train#272; Visual-Behavior/aloception-oss#151"

    def apply(self, parts: Parts) -> Parts:
        """Read the other pointer."""

        def pointed(folder: Path, which: str) -> str:
            return pointed_name(folder, "last")

        return replaced(parts, "store", pointed=pointed)


class BestFollowsLast(_Stores):
    """The pointer to the best checkpoint moves with every save."""

    id = "best-follows-last"
    citation = "torch-points3d/torch-points3d#216; facebookresearch/fairchem#345"
    touches: ClassVar[tuple[str, ...]] = ("kept", "ledger")
    expected: ClassVar[tuple[str, ...]] = ("checkpoints-kept", "ledger-best-checkpoint")

    def apply(self, parts: Parts) -> Parts:
        """Move both."""
        return replaced(parts, "store", moved=lambda is_best: ("best", "last"))


class _Scores(Fault):
    family = "METRIC"
    touches: ClassVar[tuple[str, ...]] = ("kept", "ledger")


class BestByHighest(_Scores):
    """The best checkpoint is that of the highest error."""

    id = "best-by-highest"
    citation = "pyg-team/pytorch_geometric#6306; mila-iqia/cookiecutter-pyml#119"
    expected = ("ledger-best-checkpoint",)

    def apply(self, parts: Parts) -> Parts:
        """Compare the other way round."""
        return replaced(parts, "train", is_best=lambda metric, best: metric > (best or 0.0))


class SavesWithinEpochsMissed(_Stores):
    """No checkpoint is saved within an epoch, whatever checkpoint.every_steps asks for."""

    id = "saves-within-epochs-missed"
    citation = "Lightning-AI/pytorch-lightning#11979 (no step is ever due, and nothing is saved)"

    def apply(self, parts: Parts) -> Parts:
        """Find no step of an epoch due."""
        return replaced(parts, "train", is_save_due=lambda step, every, steps: False)


class BestByDifference(_Scores):
    """Any other score takes the best one's place, a worse one too."""

    id = "best-by-difference"
    citation = "ebagdasa/backdoors101#26 (the comparison that saves the best model)"
    expected = ("ledger-best-checkpoint",)

    def apply(self, parts: Parts) -> Parts:
        """Compare for inequality."""
        return replaced(parts, "train", is_best=lambda metric, best: metric != best)


class TieIsBetter(_Scores):
    """A score that repeats the best one takes its place."""

    id = "tie-is-better"
    citation = "Bjarten/early-stopping-pytorch#19 (< for <=)"
    expected = ("ledger-best-checkpoint",)

    def apply(self, parts: Parts) -> Parts:
        """Accept equal scores."""
        return replaced(parts, "train", is_best=lambda metric, best: best is None or metric <= best)


class _Patience(Fault):
    family = "CONFIG"
    touches: ClassVar[tuple[str, ...]] = ("ledger",)
    expected: ClassVar[tuple[str, ...]] = ("ledger-patience-kept",)


class DeltaIgnored(_Patience):
    """Any improvement, however small, starts the patience anew."""

    id = "delta-ignored"
    citation = (
        "pytorch/ignite#685; plutoyuxie/Reconstruction-by-inpainting-for-visual-anomaly-detection#8"
    )

    def apply(self, parts: Parts) -> Parts:
        """Ask for no least improvement."""

        def track(*now: Any, min_delta: float) -> tuple[float, int]:
            return track_patience(*now, min_delta=0.0)

        return replaced(parts, "train", track_patience=track)


class DeltaAgainstBest(_Patience):
    """Small steps never add up: each score is compared with the best one and not the last gain."""

    id = "delta-against-best"
    citation = "pytorch/ignite#685 (which score is kept where the gain is below the delta)"

    def apply(self, parts: Parts) -> Parts:
        """Move the reference with the best score."""

        def track(
            metric: float, reference: float | None, bad: int, *, min_delta: float
        ) -> tuple[float, int]:
            found, count = track_patience(metric, reference, bad, min_delta=min_delta)
            return min(found, metric), count

        return replaced(parts, "train", track_patience=track)


class PatienceNeverReset(_Patience):
    """Evaluations without improvement are counted over the whole run."""

    id = "patience-never-reset"
    citation = "modelscope/ms-swift#5326"

    def apply(self, parts: Parts) -> Parts:
        """Go on counting after an improvement."""

        def track(
            metric: float, reference: float | None, bad: int, *, min_delta: float
        ) -> tuple[float, int]:
            found, count = track_patience(metric, reference, bad, min_delta=min_delta)
            return found, count or bad

        return replaced(parts, "train", track_patience=track)


class PatienceOfOneMore(_Patience):
    """Training goes on for one evaluation more than was asked for."""

    id = "patience-of-one-more"
    citation = "keras-team/keras#8100; freud14/poutyne#109"

    def apply(self, parts: Parts) -> Parts:
        """Stop once the patience is exceeded."""
        return replaced(parts, "train", is_used_up=lambda bad, patience: bad > patience)


class PatienceOfOneLess(_Patience):
    """Training stops one evaluation before the patience is used up."""

    id = "patience-of-one-less"
    citation = "CoderPat/structured-neural-summarization#7; mlverse/luz#63"

    def apply(self, parts: Parts) -> Parts:
        """Stop one too early."""
        return replaced(parts, "train", is_used_up=lambda bad, patience: bad + 1 >= patience)


class _Opening(Fault):
    family = "CONFIG"
    touches: ClassVar[tuple[str, ...]] = ("ledger",)
    expected: ClassVar[tuple[str, ...]] = ("ledger-opening-follows",)


def _announcing(parts: Parts, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Parts:
    """Return parts whose opening record says something else, and is sealed like any."""

    def opening(**values: Any) -> Any:
        return opening_record(**{**values, **change(values)})

    return dataclasses.replace(parts, opening=opening)


class PartialBatchUnannounced(_Opening):
    """The plan that is announced has one batch less than the epoch."""

    id = "partial-batch-unannounced"
    citation = "DigitalPhonetics/IMS-Toucan#128"

    def apply(self, parts: Parts) -> Parts:
        """Announce what is left without the last batch."""

        def change(values: dict[str, Any]) -> dict[str, Any]:
            sizes = [size for size, count in values["planned_sizes"] for _ in range(count)]
            return {"planned_sizes": tuple((size, 1) for size in sizes[:-1])}

        return _announcing(parts, change)


class WholeBatchesAnnounced(_Opening):
    """The micro-batch that is announced is the whole batch, and the checks are those of it."""

    id = "whole-batches-announced"
    citation = "mosaicml/examples#126 (what is reported of micro-batches is not what runs)"

    def apply(self, parts: Parts) -> Parts:
        """Announce the batch size twice."""
        return _announcing(parts, lambda values: {"micro_batch_size": values["batch_size"]})


class DefaultsAnnounced(_Opening):
    """The configuration that is recorded is the one before overrides were applied."""

    id = "defaults-announced"
    citation = "kaiko-ai/eva#917 (the log has the file's values, and not the overrides)"

    def apply(self, parts: Parts) -> Parts:
        """Record another learning rate than is trained with, and the identity of that."""

        def change(values: dict[str, Any]) -> dict[str, Any]:
            train = {**values["config"]["train"], "lr": Config().train.lr / 2}
            config = {**values["config"], "train": train}
            identity = run_identity(parse_config(config), values["data"])
            return {"config": config, "identity": identity}

        return _announcing(parts, change)


class IdentityWithoutSamples(_Opening):
    """Runs on other samples have the same identity."""

    id = "identity-without-samples"
    citation = "daisybio/drevalpy#77"

    def apply(self, parts: Parts) -> Parts:
        """Leave the samples out of it."""

        def change(values: dict[str, Any]) -> dict[str, Any]:
            return {"identity": run_identity(parse_config(values["config"]), {})}

        return _announcing(parts, change)
