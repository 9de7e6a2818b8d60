"""A last batch that is not full, of several samples, serves each sample's own pixels and label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.pixel_differences import Decoded, first_pixel_differences
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.promises.samples import decoded_samples, listed_samples, split_folder
from harness.systems.protocol import ServedBatch
from harness.wording import counted

__all__ = [
    "PARTIAL_BATCHES_SERVED", "PartialBatches", "SplitBatches", "partial_batches",
    "partial_batches_are_served", "partial_size",
]  # fmt: skip


@dataclass(frozen=True)
class SplitBatches:
    """Batches of one role, beside an independent decode of their files.

    Attributes
    ----------
    size : int
        Samples of a full batch that were asked for.
    batches : sequence of ServedBatch
    decoded : mapping of str to (frames, flow)
        Uncropped: (H, W, 6) uint8 BGR and (H, W, 2) float32, px.
    flow_clip : float or None
        Label clip that the configuration asks for, px.
    """

    size: int
    batches: Sequence[ServedBatch]
    decoded: Decoded
    flow_clip: float | None


@dataclass(frozen=True)
class PartialBatches:
    """Batches under sizes that leave a last batch of several samples, by role."""

    roles: Mapping[str, SplitBatches]


def partial_size(count: int, *, near: int) -> int | None:
    """Return the batch size nearest to one that leaves at least two of `count` samples over.

    None where no size does: of fewer than 5 samples.
    """
    sizes = [size for size in range(3, count) if count % size >= 2]
    return min(sizes, key=lambda size: (abs(size - near), size), default=None)


@needs("batches")
def partial_batches(bench: Bench) -> PartialBatches:
    """Serve training and evaluation batches of a size that leaves several samples over."""
    sections, sizes = _sections(bench)
    if not sizes:
        msg = "no batch size that can be asked for leaves several samples over"
        raise NotApplicableError(msg)
    with bench.open(**sections) as system:
        served = {role: tuple(system.batches(_ROLES[role])) for role in sizes}
    return PartialBatches(
        {
            role: SplitBatches(
                sizes[role], batches,
                decoded_samples(split_folder(bench, "train" if role == "train" else "val"),
                                batches),
                bench.config["data" if role == "train" else "eval"].get("flow_clip"),
            )
            for role, batches in served.items()
        }
    )  # fmt: skip


_ROLES: Mapping[str, Any] = {"train": "train", "eval": "eval"}


def _sections(bench: Bench) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Return the keys to open with and the batch size of each role that can be shown."""
    config, about = bench.config, bench.describe()
    train, evaluation = config["train"], config["eval"]
    sections: dict[str, dict[str, Any]] = {}
    sizes: dict[str, int] = {}
    size = partial_size(
        len(listed_samples(split_folder(bench, "train"))), near=int(train["batch_size"])
    )
    # What is augmented is held against no file.
    served_as_is = not (about.whole_batches or about.drop_last or about.augmentation)
    if size and train.get("epoch_mode") == "full_pass" and served_as_is:
        micro = min(int(train.get("micro_batch_size") or size), size)
        asked = bench.settable("train", {"batch_size": size, "micro_batch_size": micro})
        if "batch_size" in asked:
            sections["train"], sizes["train"] = asked, size
    count = len(listed_samples(split_folder(bench, "val")))
    size = partial_size(count, near=int(evaluation.get("batch_size") or train["batch_size"]))
    batches = -(-count // (size or 1))
    asked = bench.settable("eval", {"batch_size": size, "eval_batches_per_arch": batches})
    if size and len(asked) == 2 and not about.whole_batches:
        sections["eval"], sizes["eval"] = asked, size
    return sections, sizes


def partial_batches_are_served(evidence: PartialBatches) -> Outcome:
    """Require a last batch of several samples, each of them pixel by pixel that of its files."""
    violations: list[Violation] = []
    seen = 0
    for role, split in evidence.roles.items():
        sizes = [len(batch.ids) for batch in split.batches]
        if not sizes or not 2 <= sizes[-1] < split.size:
            expected = f"2 to {split.size - 1} samples under batches of {split.size}"
            found = str(sizes[-1]) if sizes else "no batch"
            violations.append(Violation(f"last batch of {role}", expected, found))
        for batch in split.batches:
            for position, window in enumerate(batch.windows):
                seen += 1
                if batch.ids[position] not in split.decoded:
                    where = f"{role} sample {batch.ids[position]}"
                    violations.append(Violation(where, "one of the split", "another"))
                elif len(violations) < _MOST:
                    violations += first_pixel_differences(
                        batch, position, tuple(window), split.decoded, split.flow_clip
                    )
    lasts = ", ".join(
        f"{role} {len(split.batches[-1].ids)} of {split.size}"
        for role, split in evidence.roles.items()
        if split.batches
    )
    return outcome(violations[:_MOST], seen, f"{counted(seen, 'sample')}; last batches: {lasts}")


_MOST = 6
"""Violations that are shown."""

PARTIAL_BATCHES_SERVED = Promise(
    id="partial-batches-served",
    sentence="a last batch of several samples serves each one's own pixels and label",
    evidence=partial_batches,
    check=partial_batches_are_served,
    hint=(
        "Where a split does not fill its last batch, samples are put together otherwise: a label "
        "of its neighbour, a buffer of a full batch's size. Batches that divide never show it."
    ),
    explained_by=("eval-crop-centred", "eval-order-fixed", "train-draws-declared"),
)
