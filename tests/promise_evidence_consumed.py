"""Evidence about what was computed on, and about last batches that are not full."""

from dataclasses import replace

from harness.promises import consumed, partial_batches
from harness.promises.consumed import ComputedOn, Use
from harness.promises.partial_batches import PartialBatches, SplitBatches
from tests.promise_evidence_data import DECODED, IDS, changed_pixel, serve

# ---- computed on: two steps, of two samples and of one, the first with two archs

TWO, ONE = (("a/0", "d0"), ("b/1", "d1")), (("c/2", "d2"),)
STEPS = ComputedOn(
    [
        Use("step 1", TWO, ("d0", "d1", "d0", "d1"), (1, 2)),
        Use("step 2", ONE, ("d2", "d2"), (1, 2)),
    ]
)
ONCE = ComputedOn(
    [Use("step 1", TWO, ("d0", "d1"), (1, 2)), Use("recalibration", ONE, ("d2",) * 5)]
)


def second(**changes):
    return ComputedOn([STEPS.uses[0], replace(STEPS.uses[1], **changes)])


def first(*digests):
    return ComputedOn([replace(STEPS.uses[0], consumed=digests), STEPS.uses[1]])


COMPUTED = {
    "another sample of the run": (
        first("d0", "d2", "d0", "d1"),
        "step 1, place 1, sample b/1: expected the pixels .*, found those of sample c/2",
    ),
    "pixels of the second arch alone": (
        first("d0", "d1", "x", "d1"),
        "step 1, place 2, sample a/0: expected the pixels .*, found others",
    ),
    "a sample that is left out": (
        first("d0", "d0", "d1"),
        "step 1, samples computed on: expected 2, 1 or 2 times, found 3",
    ),
    "an arch too many": (
        second(consumed=("d2",) * 3),
        "step 2, samples computed on: expected 1, 1 or 2 times, found 3",
    ),
    "a step that computed on nothing": (
        second(consumed=()),
        "step 2, samples computed on: expected 1, 1 or 2 times, found 0",
    ),
    "a step for which nothing is served": (
        second(served=()),
        "step 2, samples computed on: expected 0, 1 or 2 times, found 2",
    ),
}

# ---- a last batch of two samples, of three

TRAIN = (
    serve(IDS[:3], [(0, 0), (3, 4), (1, 2)], "one"),
    serve(IDS[3:], [(0, 1), (2, 2)], "two"),
)
PARTIAL = PartialBatches({"train": SplitBatches(3, TRAIN, DECODED, 8.0)})


def last(**changes):
    split = PARTIAL.roles["train"]
    batches = (TRAIN[0], replace(TRAIN[1], **changes))
    return PartialBatches({"train": replace(split, batches=batches)})


OF_NEIGHBOURS = TRAIN[1].flow.copy()
OF_NEIGHBOURS[1] = OF_NEIGHBOURS[0]
SERVED_PARTLY = {
    "the neighbour's label": (
        last(flow=OF_NEIGHBOURS), "sample c/4, flow, at .*: expected .*, found .*"
    ),
    "another pixel": (
        last(frames=changed_pixel(TRAIN[1].frames)), r"sample b/3, img_0 \(BGR\), at "
    ),
    "a sample of no split": (last(ids=("b/3", "z/9")), "train sample z/9: expected one of the"),
    "one sample over": (
        PartialBatches(
            {"train": SplitBatches(3, (TRAIN[0], serve(IDS[3:4], [(0, 1)], "x")), DECODED, 8.0)}
        ),
        "last batch of train: expected 2 to 2 samples under batches of 3, found 1",
    ),
    "a last batch that was filled": (
        PartialBatches({"train": SplitBatches(3, TRAIN[:1], DECODED, 8.0)}),
        "last batch of train: expected 2 to 2 samples under batches of 3, found 3",
    ),
}  # fmt: skip

CLEAN = {
    consumed.computed_on_what_is_served: [STEPS, ONCE],
    partial_batches.partial_batches_are_served: [PARTIAL],
}
EMPTY = {
    consumed.computed_on_what_is_served: ComputedOn([]),
    partial_batches.partial_batches_are_served: PartialBatches({}),
}
CORRUPTED = {
    consumed.computed_on_what_is_served: COMPUTED,
    partial_batches.partial_batches_are_served: SERVED_PARTLY,
}
