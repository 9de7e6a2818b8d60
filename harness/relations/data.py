"""The pixels that are served are the pixels on disk, in the declared order and window."""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evidence.bundles import Served, TrainingDraws
from harness.evidence.observations import ServedBatch
from harness.relations.base import Outcome, Violation, outcome

__all__ = [
    "eval_crop_is_centred",
    "eval_order_is_fixed",
    "first_pixel_differences",
    "recal_batches_are_the_first",
    "training_draws_are_declared",
    "unknown_flow_is_masked",
]

Decoded = Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]
_UNKNOWN = 1e9
_COINCIDENCE = 1_000
"""Equal draws are no coincidence from this many equally likely ones on."""


def eval_crop_is_centred(evidence: Served) -> Outcome:
    """Require the centre window, the same for both frames and the flow, pixel by pixel."""
    violations: list[Violation] = []
    seen = 0
    for batch in evidence.batches:
        for position, sample in enumerate(batch.ids):
            seen += 1
            if sample not in evidence.decoded:
                violations.append(Violation("eval sample", "one of the split", sample))
                continue
            frames, _ = evidence.decoded[sample]
            height, width = frames.shape[:2]
            rows, columns = height - evidence.crop[0], width - evidence.crop[1]
            centre = (rows // 2, columns // 2, *evidence.crop)
            if batch.windows[position] != centre:
                violations.append(
                    Violation(
                        f"eval sample {sample}, window (top, left, height, width)", str(centre),
                        str(batch.windows[position]),
                    )
                )  # fmt: skip
            violations += first_pixel_differences(
                batch, position, centre, evidence.decoded, evidence.flow_clip
            )
    crop = f"{evidence.crop[0]}x{evidence.crop[1]}"
    figures = f"{seen} samples, crop {crop}, equal to an independent decode"
    return outcome(violations[:6], seen, figures)


def unknown_flow_is_masked(evidence: Served) -> Outcome:
    """Require the centre window of samples of which some pixels have no known flow."""
    found = eval_crop_is_centred(evidence)
    unknown = sum(int(batch.valid.size - batch.valid.sum()) for batch in evidence.batches)
    raw = sum(int((np.abs(flow) > _UNKNOWN).any()) for _, flow in evidence.decoded.values())
    if raw == 0:
        nothing = Violation("evidence", "a sample with unknown flow", "none: nothing to mask")
        return Outcome((*found.violations, nothing), found.figures)
    return Outcome(found.violations, f"{unknown} unknown pixels masked; {found.figures}")


def first_pixel_differences(
    batch: ServedBatch,
    position: int,
    window: tuple[int, ...],
    decoded: Decoded,
    flow_clip: float | None,
) -> list[Violation]:
    """Compare a served sample with the window of an independent decode."""
    sample = batch.ids[position]
    top, left, height, width = window
    rows, columns = slice(top, top + height), slice(left, left + width)
    frames = decoded[sample][0][rows, columns]
    raw = decoded[sample][1][rows, columns]
    known = np.asarray((np.abs(raw) <= _UNKNOWN).all(axis=-1))
    flow = np.where(known[..., np.newaxis], raw, np.float32(0))
    if flow_clip is not None:
        flow = np.clip(flow, -flow_clip, flow_clip)
    served = {
        "img_0 (BGR)": (frames[..., :3], batch.frames[position][..., :3]),
        "img_1 (BGR)": (frames[..., 3:], batch.frames[position][..., 3:]),
        "flow": (flow, batch.flow[position]),
        "valid": (known, batch.valid[position]),
    }
    return [
        violation
        for name, (expected, found) in served.items()
        if (violation := _first_difference(f"sample {sample}, {name}", expected, found))
    ]


def _first_difference(where: str, expected: Any, found: Any) -> Violation | None:
    if expected.shape != found.shape:
        return Violation(where, f"shape {expected.shape}", f"shape {found.shape}")
    if np.array_equal(expected, found):
        return None
    different = expected != found
    place = tuple(int(i) for i in np.argwhere(different)[0])
    share = 100.0 * float(different.mean())
    return Violation(
        f"{where}, at {place}", str(expected[place]), f"{found[place]} ({share:.1f} % differ)"
    )


def recal_batches_are_the_first(evidence: Served) -> Outcome:
    """Require the first R batches of the training split, in order, cropped at the centre."""
    served = [sample for batch in evidence.batches for sample in batch.ids]
    expected = list(evidence.split[: evidence.count * evidence.batch_size])
    violations = [
        Violation(f"recalibration sample {i}", str(want), str(got))
        for i, (want, got) in enumerate(zip_longest(expected, served, fillvalue="none"))
        if want != got
    ]
    if not violations:
        violations = list(eval_crop_is_centred(evidence).violations)
    figures = f"{len(evidence.batches)} batches, {len(served)} samples from the start of train"
    return outcome(violations[:6], len(served), figures)


def eval_order_is_fixed(evidence: Served) -> Outcome:
    """Require the split's first samples in sorted order, each once, equal when asked again."""
    served = [sample for batch in evidence.batches for sample in batch.ids]
    expected = list(evidence.split[: evidence.count * evidence.batch_size])
    violations = [
        Violation(f"eval position {i}", str(want), str(got))
        for i, (want, got) in enumerate(zip_longest(expected, served, fillvalue="no sample"))
        if want != got
    ][:3]
    first = [batch.digest for batch in evidence.batches]
    again = [batch.digest for batch in evidence.again]
    for index, (one, other) in enumerate(zip_longest(first, again, fillvalue="no batch")):
        if one != other:
            violations.append(Violation(f"eval batch {index} served again", one, other))
    if len(set(first)) != len(first):
        violations.append(Violation("eval batch digests", "all distinct", "a batch is repeated"))
    partial = [len(b.ids) for b in evidence.batches[:-1] if len(b.ids) != evidence.batch_size]
    if partial:
        violations.append(
            Violation("eval batch sizes", f"{evidence.batch_size} but for the last", str(partial))
        )
    figures = f"{len(first)} batches, {len(served)} of {len(evidence.split)} samples, in order"
    return outcome(violations, len(served), figures)


def training_draws_are_declared(evidence: TrainingDraws) -> Outcome:
    """Require declared training draws: a permutation per epoch, new each epoch, per seed."""
    first = _ids(evidence.first)
    violations: list[Violation] = []
    sizes = [len(batch.ids) for batch in evidence.first]
    if sizes != list(evidence.planned_sizes):
        violations.append(
            Violation("training batch sizes", str(list(evidence.planned_sizes)), str(sizes))
        )
    if evidence.full_pass and sorted(first) != sorted(evidence.split):
        missing = sorted(set(evidence.split) - set(first))
        violations.append(
            Violation(
                "full pass", f"each of {len(evidence.split)} samples once",
                f"{len(first)} draws of {len(set(first))} samples, missing {missing[:3]}",
            )
        )  # fmt: skip
    if set(first) - set(evidence.split):
        violations.append(Violation("training ids", "ids of the split", str(set(first))))
    violations += _two_sided(evidence)
    for batch in (*evidence.first, *evidence.second):
        for position, window in enumerate(batch.windows):
            if batch.ids[position] in evidence.decoded:  # a foreign id is reported above
                violations += first_pixel_differences(
                    batch, position, window, evidence.decoded, evidence.flow_clip
                )
    told = "epochs and seeds differ" if _tellable(evidence) else "too few to tell epochs apart"
    figures = f"{len(first)} draws in {len(sizes)} batches; {told}"
    return outcome(violations[:6], len(first), figures)


def _tellable(evidence: TrainingDraws) -> bool:
    """Return whether two epochs of one order would be no coincidence."""
    draws, samples = len(_ids(evidence.first)), len(evidence.split)
    orders = math.factorial(draws) if evidence.full_pass else samples**draws
    return orders >= _COINCIDENCE


def _places(evidence: TrainingDraws) -> int:
    """Return at how many places the crop fits the smallest frame; 1 if it is not random."""
    if not evidence.random_crop:
        return 1
    windows = [window for batch in evidence.first for window in batch.windows]
    sizes = [flow.shape[:2] for _, flow in evidence.decoded.values()]
    return min(((h - w[2] + 1) * (v - w[3] + 1) for h, v in sizes for w in windows[:1]), default=1)


def _ids(batches: Sequence[ServedBatch]) -> list[str]:
    return [sample for batch in batches for sample in batch.ids]


def _draws(batches: Sequence[ServedBatch]) -> list[tuple[str, tuple[int, ...]]]:
    return [d for batch in batches for d in zip(batch.ids, batch.windows, strict=True)]


def _two_sided(evidence: TrainingDraws) -> list[Violation]:
    first, places = _draws(evidence.first), _places(evidence)
    violations = []
    if _draws(evidence.first_again) != first:
        violations.append(Violation("epoch 1 served again", "the same draws", "others"))
    orders_tell = _tellable(evidence)
    draws_tell = orders_tell or places ** len(first) >= _COINCIDENCE
    for name, other in (("epoch 2", evidence.second), ("another seed", evidence.other_seed)):
        if draws_tell and _draws(other) == first:
            violations.append(Violation(f"draws of {name}", "others than epoch 1", "the same"))
        if orders_tell and _ids(other) == _ids(evidence.first):
            violations.append(Violation(f"order of {name}", "another than epoch 1", "the same"))
        crops_tell = places ** len(first) >= _COINCIDENCE
        if crops_tell and [w for _, w in _draws(other)] == [w for _, w in first]:
            violations.append(Violation(f"crops of {name}", "others than epoch 1", "the same"))
    windows = {window for _, window in first}
    if len(windows) == 1 and places ** (len(first) - 1) >= _COINCIDENCE:
        violations.append(Violation("random crops", "several windows", f"one: {windows}"))
    return violations
