"""Faults of the data pipeline: what is listed, drawn, decoded and served."""

import dataclasses
import itertools
import os
from typing import Any

import numpy as np

from harness.faults.base import Fault, overriding, replaced
from harness.faults.hooks import after_open
from harness.fc2.crop import center_window, random_window
from harness.fc2.decode import decode_triplet
from harness.fc2.errors import SampleError
from harness.fc2.layout import list_triplets
from harness.fc2.order import eval_order, train_order
from harness.runs.parts import Parts
from harness.streams import permutation

__all__ = [
    "CorruptSampleReplaced", "CropsIgnoreEpoch", "CropsIgnoreIndex", "DecodeCachedByName",
    "EpochsAllAlike", "EvalCropsAtRandom", "EvalDrawsFromTraining", "EvalDropsRemainder",
    "EvalOrderAtRandom", "EvalPadsWithFirst", "EvalResumesCursor", "ListedByCreation",
    "ListedByPathHash", "OrderIgnoresEpoch", "OrderIgnoresSeed", "PrefetchSwapsBatches",
    "SplitRedrawnPerProcess", "TrainListsValidation", "TrainRunsUnaugmented",
    "UnknownFlowCounted", "ValidationIsTraining",
]  # fmt: skip


class EvalCropsAtRandom(Fault):
    """Evaluation shares the random crop of training."""

    id, family = "eval-random-crop", "DATA"
    citation = "linenmin/MCUFlowNet commit 3261988 (before it: one checkpoint had many scores)"
    expected = ("eval-crop-centred",)
    touches = ("served", "draws")

    def apply(self, parts: Parts) -> Parts:
        """Draw the window of an evaluation sample."""
        draws = itertools.count()
        return replaced(
            parts, "data",
            center=lambda frame, crop: random_window(
                frame, crop, seed=0, epoch=0, index=next(draws)
            ),
        )  # fmt: skip


class EvalOrderAtRandom(Fault):
    """Evaluation samples at random, as training does."""

    id, family = "eval-random-order", "DATA"
    citation = "linenmin/MCUFlowNet commit 3261988; davidsandberg/facenet#277"
    expected = ("eval-order-fixed",)
    touches = ("served", "draws")

    def apply(self, parts: Parts) -> Parts:
        """Shuffle the evaluation order."""
        return replaced(parts, "data", eval_order=lambda n: permutation(1, "eval", 0, n=n))


class EvalResumesCursor(Fault):
    """Evaluation goes on where the last one stopped: the cursor is never reset."""

    id, family = "eval-cursor-kept", "DATA"
    citation = "linenmin/MCUFlowNet plan of 2026-02-17 (evaluation draws from next_batch)"
    expected = ("same-scores-again", "eval-order-fixed")
    touches = ("scores", "purity")

    def __init__(self) -> None:
        self.cursor = 0

    def apply(self, parts: Parts) -> Parts:
        """Start each listing later."""

        def order(count: int) -> list[int]:
            return [(i + self.cursor) % count for i in eval_order(count)]

        return replaced(parts, "data", eval_order=order)

    def wrap(self, system: Any) -> Any:
        """Move the cursor with each use, and decode anew."""

        def moving(inner: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            # Kept for the process once decoded, which would hide where the cursor stands.
            inner.session.fixed._eval = ()
            found = getattr(inner, name)(*args, **kwargs)
            self.cursor += 3
            return found

        return overriding(
            system,
            evaluate=lambda s, *a, **k: moving(s, "evaluate", *a, **k),
            batches=lambda s, role, *a, **k: moving(s, "batches", role, *a, **k),
        )


class EvalDrawsFromTraining(Fault):
    """Each evaluation advances the stream that training draws from."""

    id, family = "eval-draws-from-training", "DETERM"
    citation = "Lightning-AI/pytorch-lightning#6988; linenmin/MCUFlowNet plan of 2026-02-17"
    expected = ("eval-pure", "train-unobserved")
    touches = ("scores", "purity")

    def __init__(self) -> None:
        self.drawn = 0

    def apply(self, parts: Parts) -> Parts:
        """Let the order depend on how many evaluations there were."""

        def order(count: int, *, seed: int, **kwargs: Any) -> list[int]:
            return train_order(count, seed=seed + 1000 * self.drawn, **kwargs)

        return replaced(parts, "data", train_order=order)

    def wrap(self, system: Any) -> Any:
        """Count evaluations, those within training too."""

        def opened(inner: Any, config: Any) -> None:
            inner.open(config)
            evaluate = inner.session.evaluator.evaluate

            def counting(*args: Any, **kwargs: Any) -> Any:
                self.drawn += 1
                return evaluate(*args, **kwargs)

            inner.session.evaluator.evaluate = counting

        return overriding(system, open=opened)


class EvalDropsRemainder(Fault):
    """Evaluation leaves out the last, partial batch."""

    id, family = "eval-drops-remainder", "DATA"
    citation = "google/uncertainty-baselines#303; thuml/Autoformer#104"
    expected = ("eval-order-fixed",)
    touches = ("served", "draws")

    def wrap(self, system: Any) -> Any:
        """Keep full batches."""

        def change(inner: Any) -> None:
            fixed = inner.session.fixed
            batches = fixed.eval_batches
            fixed.eval_batches = lambda: tuple(b for b in batches() if b.size == batches()[0].size)

        return after_open(system, change)


class EvalPadsWithFirst(Fault):
    """Evaluation pads its last batch with the first samples."""

    id, family = "eval-pads-duplicates", "DATA"
    citation = "pytorch/pytorch#25162; mosaicml/composer#2218"
    expected = ("eval-order-fixed",)
    touches = ("served", "draws")

    def apply(self, parts: Parts) -> Parts:
        """Repeat the first samples until batches of 3 are full."""
        return replaced(
            parts, "data", eval_order=lambda n: [*eval_order(n), *eval_order(n)[: -n % 3]]
        )


class CropsIgnoreIndex(Fault):
    """All samples of an epoch share one crop: workers inherit one generator state."""

    id, family = "crops-repeat", "DATA"
    citation = "xingyizhou/CenterNet#233; pytorch/pytorch#5059"
    expected = ("train-draws-declared",)
    touches = ("served", "draws")

    def apply(self, parts: Parts) -> Parts:
        """Draw by epoch alone."""
        return replaced(
            parts, "data",
            random=lambda frame, crop, *, seed, epoch, index: random_window(
                frame, crop, seed=seed, epoch=epoch, index=0 * index
            ),
        )  # fmt: skip


class CropsIgnoreEpoch(Fault):
    """Every epoch replays the same crops."""

    id, family = "crops-same-each-epoch", "DATA"
    citation = "pytorch/pytorch#41329; Lightning-AI/pytorch-lightning#20412"
    expected = ("train-draws-declared",)
    touches = ("served", "draws")

    def apply(self, parts: Parts) -> Parts:
        """Draw by index alone."""
        return replaced(
            parts, "data",
            random=lambda frame, crop, *, seed, epoch, index: random_window(
                frame, crop, seed=seed, epoch=0 * epoch, index=index
            ),
        )  # fmt: skip


class OrderIgnoresEpoch(Fault):
    """Every epoch trains in the same order."""

    id, family = "order-same-each-epoch", "DATA"
    citation = "tensorflow/tensorflow#29558; huggingface/transformers#4398"
    expected = ("train-draws-declared",)
    touches = ("served", "draws")

    def apply(self, parts: Parts) -> Parts:
        """Draw the first epoch's order always."""
        return replaced(
            parts, "data", train_order=lambda n, *, epoch, **k: train_order(n, epoch=1, **k)
        )


class EpochsAllAlike(Fault):
    """Order and crops of every epoch are those of the first."""

    id, family = "epochs-all-alike", "DATA"
    citation = "Project-MONAI/MONAI#1068; cszn/KAIR#106"
    expected = ("train-draws-declared", "ledger-draws-new")
    touches = ("served", "draws")

    def apply(self, parts: Parts) -> Parts:
        """Draw order and windows of epoch 1 always."""
        return replaced(
            parts, "data",
            train_order=lambda n, *, epoch, **k: train_order(n, epoch=1, **k),
            random=lambda frame, crop, *, epoch, **k: random_window(frame, crop, epoch=1, **k),
        )  # fmt: skip


class OrderIgnoresSeed(Fault):
    """The seed never reaches the shuffle."""

    id, family = "order-ignores-seed", "DATA"
    citation = "tensorflow/tensorflow#22871"
    expected = ("train-draws-declared",)
    touches = ("served", "draws")

    def apply(self, parts: Parts) -> Parts:
        """Draw with seed 0 always."""
        return replaced(
            parts, "data", train_order=lambda n, *, seed, **k: train_order(n, seed=0, **k)
        )


class TrainRunsUnaugmented(Fault):
    """Training crops at the centre although random crops are configured."""

    id, family = "train-unaugmented", "DATA"
    citation = "growingnet/gromo#58"
    expected = ("train-draws-declared",)
    touches = ("served", "draws")

    def apply(self, parts: Parts) -> Parts:
        """Crop training samples as evaluation does."""
        return replaced(parts, "data", random=lambda frame, crop, **_: center_window(frame, crop))


class CorruptSampleReplaced(Fault):
    """A sample that does not decode is replaced by another one in silence."""

    id, family = "corrupt-sample-replaced", "DATA"
    citation = "rom1504/clip-retrieval#13; linenmin/MCUFlowNet commit 5c2cbda"
    expected = ("bad-files-named",)
    touches = ("refusals",)

    def apply(self, parts: Parts) -> Parts:
        """Fall back to the first sample of the folder."""

        def decode(triplet: Any) -> Any:
            try:
                return decode_triplet(triplet)
            except SampleError:
                return decode_triplet(list_triplets(triplet.img_0.parent)[0])

        return replaced(parts, "data", decode=decode)


class ListedByCreation(Fault):
    """Samples come in the order of the directory, not of their names."""

    id, family = "listed-unsorted", "DATA"
    citation = "ByteDance-Seed/VeOmni#330; fastai/fastai_dev#239"
    expected = ("same-run-elsewhere",)
    touches = ("elsewhere",)

    def apply(self, parts: Parts) -> Parts:
        """Order by when an entry was made."""
        return replaced(
            parts, "data",
            list_samples=lambda root: tuple(
                sorted(list_triplets(root), key=lambda t: t.img_0.lstat().st_mtime_ns)
            ),
        )  # fmt: skip


class ListedByPathHash(Fault):
    """The order of samples depends on where the folder lies."""

    id, family = "listed-by-path", "DATA"
    citation = "suhangpro/mvcnn#17"
    expected = ("same-run-elsewhere",)
    touches = ("elsewhere",)

    def apply(self, parts: Parts) -> Parts:
        """Rotate the samples by a sum over the path."""

        def listed(root: Any) -> Any:
            samples = list_triplets(root)
            shift = sum(map(ord, str(root.parent))) % len(samples)
            return samples[shift:] + samples[:shift]

        return replaced(parts, "data", list_samples=listed)


class ValidationIsTraining(Fault):
    """The validation split reads the training folder."""

    id, family = "validation-is-training", "DATA"
    citation = "JackieHanLab/TOSICA#11"
    expected = ("eval-crop-centred", "eval-order-fixed")
    touches = ("served", "draws")

    def apply(self, parts: Parts) -> Parts:
        """List the folder beside the one asked for."""

        def listed(root: Any) -> Any:
            count = len(list_triplets(root))
            return list_triplets(root.parent / "train")[:count]

        return replaced(parts, "data", list_samples=listed)


class TrainListsValidation(Fault):
    """Validation samples leak into the training split."""

    id, family = "validation-leaks", "DATA"
    citation = "TensorAuto/OpenTau#498"
    expected = ("train-draws-declared",)
    touches = ("served", "draws")

    def apply(self, parts: Parts) -> Parts:
        """Add the first validation sample to the training ones, under another id."""

        def listed(root: Any) -> Any:
            samples = list_triplets(root)
            if root.name != "train":
                return samples
            extra = list_triplets(root.parent / "val")[0]
            return (*samples, dataclasses.replace(extra, id="9999999"))

        return replaced(parts, "data", list_samples=listed)


class SplitRedrawnPerProcess(Fault):
    """The subset that is trained on is drawn anew at each start."""

    id, family = "split-redrawn", "DATA"
    citation = "kekmodel/FixMatch-pytorch#41; talmolab/sleap-nn#600"
    expected = ("resume-exact",)
    touches = ("checkpoint", "resume")

    def apply(self, parts: Parts) -> Parts:
        """Order the samples by a draw of this process."""

        def listed(root: Any) -> Any:
            samples = list_triplets(root)
            order = permutation(os.getpid(), "split", 0, n=len(samples))
            return tuple(samples[i] for i in order)

        return replaced(parts, "data", list_samples=listed)


class PrefetchSwapsBatches(Fault):
    """Two workers hand their batches to training in the wrong order."""

    id, family = "prefetch-swaps-batches", "PARALLEL"
    citation = "google/grain commit 50d2dd0; tensorflow/tensorflow#13932"
    expected = ("drawn-as-served",)
    touches = ("served", "draws")

    def wrap(self, system: Any) -> Any:
        """Swap the first two batches of each epoch on their way to the trainer."""

        def opened(inner: Any, config: Any) -> None:
            inner.open(config)
            provider = inner.session.provider

            def stream(_: Any, epoch: int, **kwargs: Any) -> Any:
                batches = list(provider.stream(epoch, **kwargs))
                yield from [*batches[1::-1], *batches[2:]]

            inner.trainer.provider = overriding(provider, stream=stream)

        return overriding(system, open=opened)


class DecodeCachedByName(Fault):
    """A decoded sample is cached by its name alone."""

    id, family = "cache-by-name", "CACHE"
    citation = "deepset-ai/FARM#222; IBM/unitxt#7"
    expected = ("recal-batches-fixed", "unknown-flow-masked", "cache-never-stale")
    touches = ("cache",)

    def apply(self, parts: Parts) -> Parts:
        """Remember by split and id, not by content."""
        kept = self._kept

        def decode(triplet: Any) -> Any:
            key = triplet.img_0.parent.name, triplet.id
            if key not in kept:
                kept[key] = decode_triplet(triplet)
            return kept[key]

        return replaced(parts, "data", decode=decode)

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}


class UnknownFlowCounted(Fault):
    """Unknown flow is set to zero and then counted as known."""

    id, family = "unknown-flow-counted", "METRIC"
    citation = "opencv/opencv#9183"
    expected = ("unknown-flow-masked",)
    touches = ("loss",)

    def apply(self, parts: Parts) -> Parts:
        """Call every pixel valid."""

        def decode(triplet: Any) -> Any:
            sample = decode_triplet(triplet)
            return dataclasses.replace(sample, valid=np.ones_like(sample.valid))

        return replaced(parts, "data", decode=decode)
