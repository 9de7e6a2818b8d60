"""What is served for evaluation is what lies on disk, in the declared order and window."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from harness.promises.candidates import order_instead
from harness.promises.evaluation_batches import Served, odd_served, served, served_recal
from harness.promises.pixel_differences import first_pixel_differences
from harness.promises.promise import EACH_TIME, Outcome, Promise, Violation, outcome, with_shown
from harness.promises.samples import UNKNOWN_FLOW
from harness.promises.shown import Frames, Shown, Window, Windows, orders_beside
from harness.systems.protocol import ServedBatch
from harness.wording import counted, shortened

__all__ = [
    "EVAL_CROP_CENTRED", "EVAL_ORDER_FIXED", "RECAL_BATCHES_FIRST", "UNKNOWN_FLOW_MASKED",
    "eval_crop_is_centred", "eval_order_is_fixed", "recal_batches_are_the_first",
    "unknown_flow_is_masked",
]  # fmt: skip


_MOST = 6
"""Violations that one promise shows; what others would be instead is not looked for."""


def eval_crop_is_centred(evidence: Served) -> Outcome:
    """Require the centre window, the same for both frames and the flow, pixel by pixel."""
    violations, seen = _differences_in_windows(evidence, centred=True)
    crop = "whole frames" if evidence.crop is None else "crop {}x{}".format(*evidence.crop)
    figures = f"{counted(seen, 'sample')}, {crop}, equal to an independent decode"
    return outcome(violations[:_MOST], seen, figures)


def _differences_in_windows(evidence: Served, *, centred: bool) -> tuple[list[Violation], int]:
    """Return how the served samples differ from the files, and how many were compared.

    Parameters
    ----------
    centred : bool
        Whether the window must be the centre one; if not, whichever was served is compared.
    """
    violations: list[Violation] = []
    seen = 0
    for batch in evidence.batches:
        for position, sample in enumerate(batch.ids):
            seen += 1
            if sample not in evidence.decoded:
                violations.append(Violation("eval sample", "one of the split", sample, "order"))
                continue
            window = tuple(batch.windows[position])
            if centred:
                height, width = evidence.decoded[sample][0].shape[:2]
                crop = evidence.crop or (height, width)
                rows, columns = height - crop[0], width - crop[1]
                # EdgeFlowNAS's closed form (3261988): an odd margin has its
                # extra pixel below and to the right.
                centre = (rows // 2, columns // 2, *crop)
                if window != centre:
                    where = f"eval sample {sample}, window (top, left, height, width)"
                    shown = _windows(evidence, batch, position, centre)
                    violations.append(Violation(where, str(centre), str(window), "window", shown))
            if len(violations) < _MOST:
                violations += first_pixel_differences(
                    batch, position, window, evidence.decoded, evidence.flow_clip
                )
    return _of_each_time(evidence, violations), seen


def _windows(
    evidence: Served, batch: ServedBatch, position: int, expected: Window
) -> tuple[Shown, ...]:
    """Return both windows of a sample in its first frame, and what each of them cuts out."""
    sample, (top, left, height, width) = batch.ids[position], expected
    whole = evidence.decoded[sample][0][..., :3]
    size, found = (whole.shape[0], whole.shape[1]), batch.windows[position]
    cut, title = whole[top : top + height, left : left + width], f"sample {sample}, img_0 (BGR)"
    return (
        Windows(f"sample {sample}: windows in img_0", size, expected, found, whole),
        Frames(title, cut, batch.frames[position][..., :3]),
    )


def _of_each_time(evidence: Served, violations: list[Violation]) -> list[Violation]:
    """Return them with their kind, where samples and windows are others when asked for again."""
    # EdgeFlowNAS (8f83824) drew both at random: that they are not in order, or not centred, is
    # then no second finding.
    first, again = ([batch.digest for batch in b] for b in (evidence.batches, evidence.again))
    if first == again and not evidence.scored_otherwise:
        return violations
    return [
        replace(violation, kind=EACH_TIME) if violation.kind in ("order", "window") else violation
        for violation in violations
    ]


EVAL_CROP_CENTRED = Promise(
    id="eval-crop-centred",
    sentence="evaluation serves the centre crop, the same in frames and flow",
    evidence=served,
    check=eval_crop_is_centred,
    hint=(
        "The pixels served are not the centre window of the files. Check H against W, BGR against "
        "RGB, u against v, and that the flow is cropped with the frames."
    ),
    explained_by=("same-scores-again", "eval-order-fixed"),
    tier="smoke",
)


def eval_order_is_fixed(evidence: Served) -> Outcome:
    """Require the split's first samples in sorted order, each once, equal when asked again."""
    served = [sample for batch in evidence.batches for sample in batch.ids]
    expected = list(evidence.split[: evidence.count * evidence.batch_size])
    order = _order_instead(expected, served, evidence.split)
    violations = [
        Violation(f"eval position {i}", str(want), f"{got}{order}", "order")
        for i, (want, got) in enumerate(zip_longest(expected, served, fillvalue="no sample"))
        if want != got
    ][:3]
    violations = with_shown(
        violations, lambda: (orders_beside("samples of evaluation, in order", expected, served),)
    )
    first = [batch.digest for batch in evidence.batches]
    again = [batch.digest for batch in evidence.again]
    for index, (one, other) in enumerate(zip_longest(first, again, fillvalue="no batch")):
        if one != other:
            same = f": what was batch {first.index(other)}" if other in first else ""
            where, what = f"eval batch {index} served again", f"{shortened(other)}{same}"
            shown = _again(evidence, index)
            violations.append(Violation(where, shortened(one), what, EACH_TIME, shown))
    if len(set(first)) != len(first):
        what = "a batch is repeated"
        violations.append(Violation("eval batch digests", "all distinct", what, "order"))
    partial = [len(b.ids) for b in evidence.batches[:-1] if len(b.ids) != evidence.batch_size]
    if partial:
        violations.append(
            Violation(
                "eval batch sizes", f"{evidence.batch_size} but for the last", str(partial), "order"
            )
        )  # fmt: skip
    violations = _of_each_time(evidence, violations)
    if not violations:
        violations = _beyond_the_split(evidence, "evaluation")
    samples = f"{len(served)} of {counted(len(evidence.split), 'sample')}"
    return outcome(violations, len(served), f"{counted(len(first), 'batch')}, {samples}, in order")


def _beyond_the_split(evidence: Served, what: str) -> list[Violation]:
    """Return how more batches than a split has are not those of each sample once."""
    whole, split = evidence.all_of_split, list(evidence.split)
    if whole is None or list(whole) == split:
        return []
    found = f"{counted(len(whole), 'sample')}{_order_instead(split, whole, split)}"
    where, each = f"{what} on more batches than there are", counted(len(split), "sample")
    return [Violation(where, f"each of {each} once", found, "order")]


def _again(evidence: Served, index: int) -> tuple[Shown, ...]:
    """Return a batch beside what it was when it was asked for again: its samples, or pixels."""
    if index >= min(len(evidence.batches), len(evidence.again)):
        return ()
    one, other = evidence.batches[index], evidence.again[index]
    names = ("first", "again")
    if one.ids != other.ids:
        return (orders_beside(f"samples of eval batch {index}", one.ids, other.ids, names),)
    for sample, first, again, here, there in zip(
        one.ids, one.frames, other.frames, one.windows, other.windows, strict=False
    ):
        if sample not in evidence.decoded or np.array_equal(first, again):
            continue
        whole = evidence.decoded[sample][0][..., :3]
        size = (whole.shape[0], whole.shape[1])
        return (
            Windows(f"sample {sample}: windows in img_0", size, here, there, whole, names),
            Frames(f"sample {sample}, img_0 (BGR)", first[..., :3], again[..., :3], names=names),
        )
    return ()


def _order_instead(expected: Sequence[str], served: Sequence[str], split: Sequence[str]) -> str:
    """Return in which order samples were served instead, or that they are of another split."""
    if list(served) == list(expected):
        return ""
    if not set(served) & set(split):
        return ": no sample of this split" if served else ""
    start, count = split.index(served[0]) if served[0] in split else 0, len(served)
    if start and list(served) == list(split[start : start + count]):
        return f": the split from its sample {start} on"
    return order_instead(expected, served)


EVAL_ORDER_FIXED = Promise(
    id="eval-order-fixed",
    sentence="evaluation serves the split in a fixed order, each sample once",
    evidence=served,
    check=eval_order_is_fixed,
    hint="Evaluation must start from the first sample each time, never where it stopped before.",
    explained_by=("same-scores-again",),
    tier="smoke",
)


def recal_batches_are_the_first(evidence: Served) -> Outcome:
    """Require the first R batches of the training split, in order, cropped at the centre."""
    served = [sample for batch in evidence.batches for sample in batch.ids]
    expected = list(evidence.split[: evidence.count * evidence.batch_size])
    order = _order_instead(expected, served, evidence.split)
    violations = [
        Violation(f"recalibration sample {i}", str(want), f"{got}{order}", "order")
        for i, (want, got) in enumerate(zip_longest(expected, served, fillvalue="none"))
        if want != got
    ]
    violations = with_shown(
        violations, lambda: (orders_beside("samples of recalibration, in order", expected, served),)
    )
    violations = _of_each_time(evidence, violations)
    violations += _beyond_the_split(evidence, "recalibration")
    if not violations:
        violations = list(eval_crop_is_centred(evidence).violations)
    batches, samples = (
        counted(len(evidence.batches), "batch"), counted(len(served), "sample"),
    )  # fmt: skip
    figures = f"{batches}, {samples} from the start of train"
    return outcome(violations[:_MOST], len(served), figures)


RECAL_BATCHES_FIRST = Promise(
    id="recal-batches-first",
    sentence="recalibration uses the first batches of the training split, centre crop",
    evidence=served_recal,
    check=recal_batches_are_the_first,
    hint="Recalibration must see training frames, all R batches of them, from the start.",
    explained_by=("same-scores-again", "eval-order-fixed", "eval-crop-centred"),
    varied=True,
)


def unknown_flow_is_masked(evidence: Served) -> Outcome:
    """Require a mask, and the files' flow beside it, in whichever window was served."""
    # Not in the centre window: EdgeFlowNAS (8f83824) evaluated on random ones, and scored unknown
    # flow besides.
    violations, seen = _differences_in_windows(evidence, centred=False)
    unknown = sum(int(batch.valid.size - batch.valid.sum()) for batch in evidence.batches)
    violations += _larger_off_centre(evidence)
    raw = sum(int((np.abs(flow) > UNKNOWN_FLOW).any()) for _, flow in evidence.decoded.values())
    unseen = "" if raw else "no sample with unknown flow was served"
    figures = f"{counted(unknown, 'unknown pixel')} masked; {counted(seen, 'sample')} equal to an"
    figures += " independent decode"
    return outcome(violations[:_MOST], seen, figures, unseen=unseen)


def _larger_off_centre(evidence: Served) -> list[Violation]:
    """Return how the window of a sample with larger frames lies, where all others are centred."""
    off = [v for v in _differences_in_windows(evidence, centred=True)[0] if v.kind == "window"]
    name = f"eval sample {evidence.larger},"
    if not evidence.larger or not all(v.where.startswith(name) for v in off):
        return []
    return [replace(v, where=f"{v.where}, of larger frames than the others") for v in off]


UNKNOWN_FLOW_MASKED = Promise(
    id="unknown-flow-masked",
    sentence="unknown flow is masked and other flow is served as it is",
    evidence=odd_served,
    check=unknown_flow_is_masked,
    hint=(
        "Middlebury's unknown flow (over 1e9) must be masked; large flow must not. A window is "
        "that of the sample's own frame, not of the first one's size."
    ),
    explained_by=("eval-crop-centred", "eval-order-fixed", "cache-never-stale", "bad-files-named"),
)
