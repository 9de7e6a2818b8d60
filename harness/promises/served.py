"""What is served for evaluation is what lies on disk, in the declared order and window."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.candidates import order_instead
from harness.promises.pixels import Expected, flow_instead, frames_instead, valid_instead
from harness.promises.promise import (
    EACH_TIME,
    Outcome,
    Promise,
    Violation,
    needs,
    outcome,
    require_seen,
)
from harness.promises.samples import (
    data_section,
    decoded_samples,
    listed_samples,
    odd_files,
    split_folder,
)
from harness.promises.scores import repeat_again
from harness.systems.protocol import ServedBatch
from harness.wording import counted, shortened

__all__ = [
    "EVAL_CROP_CENTRED", "EVAL_ORDER_FIXED", "RECAL_BATCHES_FIRST", "UNKNOWN_FLOW_MASKED",
    "Decoded", "Served", "eval_crop_is_centred", "eval_order_is_fixed", "first_pixel_differences",
    "odd_served", "recal_batches_are_the_first", "served", "served_in", "served_recal",
    "unknown_flow_is_masked",
]  # fmt: skip


Decoded = Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]


@dataclass(frozen=True)
class Served:
    """Evaluation batches, served twice, beside an independent decode of the same files.

    Attributes
    ----------
    crop : (height, width), px
    batch_size : int
    split : tuple of str
        Every sample id of the split, sorted.
    batches, again : sequence of ServedBatch
    decoded : mapping of str to (frames, flow)
        Uncropped: (H, W, 6) uint8 BGR and (H, W, 2) float32, px.
    flow_clip : float or None
        Label clip that the configuration asks for, px.
    count : int
        Batches that the configuration asks for, at most.
    scored_otherwise : bool
        Whether an evaluation that was repeated used other batches than before.
    """

    crop: tuple[int, int]
    batch_size: int
    flow_clip: float | None
    count: int
    split: tuple[str, ...]
    batches: Sequence[ServedBatch]
    again: Sequence[ServedBatch]
    decoded: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]
    scored_otherwise: bool = False


@needs("batches")
def served(bench: Bench) -> Served:
    """Ask for the evaluation batches twice and decode the same files independently."""
    with bench.open() as system:
        batches, again = system.batches("eval"), system.batches("eval")
    require_seen(batches, "no evaluation batch was served (batches('eval'))")
    return _served(bench, "val", batches, again)


@needs("batches")
def served_recal(bench: Bench) -> Served:
    """Ask for the recalibration batches twice and decode the same files independently."""
    if bench.config["eval"].get("recal_mode", "fixed") != "fixed":
        msg = "eval.recal_mode is random"
        raise NotApplicableError(msg)
    with bench.open() as system:
        batches, again = system.batches("recal"), system.batches("recal")
    if not batches and "recalibrate" not in bench.describe().can:
        msg = "the system does not recalibrate"
        raise NotApplicableError(msg)
    require_seen(batches, "no recalibration batch was served (batches('recal'))")
    return _served(bench, "train", batches, again)


def _served(
    bench: Bench, split: str, batches: Sequence[ServedBatch], again: Sequence[ServedBatch]
) -> Served:
    folder = split_folder(bench, split)
    asked = bench.config["eval"][
        "bn_recal_batches" if split == "train" else "eval_batches_per_arch"
    ]
    return served_in(bench, folder, batches, again, asked=asked)


def served_in(
    bench: Bench, folder: Path, batches: Sequence[ServedBatch], again: Sequence[ServedBatch],
    *, asked: int | str = "full",
) -> Served:  # fmt: skip
    """Put served batches beside an independent decode of the files in a folder."""
    evaluation, data, train = (bench.config.get(s, {}) for s in ("eval", "data", "train"))
    split = listed_samples(folder)
    return Served(
        crop=tuple(evaluation.get("crop") or (data["input_height"], data["input_width"])),
        batch_size=evaluation.get("batch_size") or train["batch_size"],
        flow_clip=evaluation.get("flow_clip"),
        # No split has more batches than samples.
        count=len(split) if asked == "full" else int(asked),
        split=split, batches=batches, again=again, decoded=decoded_samples(folder, batches),
        scored_otherwise=_scored_otherwise(bench),
    )  # fmt: skip


def _scored_otherwise(bench: Bench) -> bool:
    """Return whether an evaluation is known to have used other batches when it was repeated."""
    # Batches that a system serves for us may repeat where those that it scores do not.
    twice = bench.made(repeat_again)
    return twice is not None and any(
        getattr(twice.first, name) != getattr(twice.again, name)
        for name in ("eval_batch_hash", "bn_recal_batch_hash")
    )


_MOST = 6
"""Violations that one promise shows; what others would be instead is not looked for."""

# Middlebury's convention for .flo files: anything larger is not known.
_UNKNOWN = 1e9


def eval_crop_is_centred(evidence: Served) -> Outcome:
    """Require the centre window, the same for both frames and the flow, pixel by pixel."""
    violations, seen = _differences_in_windows(evidence, centred=True)
    crop = f"{evidence.crop[0]}x{evidence.crop[1]}"
    figures = f"{counted(seen, 'sample')}, crop {crop}, equal to an independent decode"
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
                rows, columns = height - evidence.crop[0], width - evidence.crop[1]
                # EdgeFlowNAS's closed form (3261988): an odd margin has its
                # extra pixel below and to the right.
                centre = (rows // 2, columns // 2, *evidence.crop)
                if window != centre:
                    where = f"eval sample {sample}, window (top, left, height, width)"
                    violations.append(Violation(where, str(centre), str(window), "window"))
            if len(violations) < _MOST:
                violations += first_pixel_differences(
                    batch, position, window, evidence.decoded, evidence.flow_clip
                )
    return _of_each_time(evidence, violations), seen


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
)


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
    instead = partial(_instead, sample, window, decoded, flow_clip)
    return [
        replace(violation, kind="label" if name in ("flow", "valid") else "frames")
        for name, (expected, found) in served.items()
        if (violation := _first_difference(f"sample {sample}, {name}", expected, found,
                                           partial(instead, name)))
    ]  # fmt: skip


def _instead(
    sample: str, window: tuple[int, ...], decoded: Decoded, flow_clip: float | None, name: str,
    found: Any,
) -> str:  # fmt: skip
    """Return what a served array is instead, in words."""
    if name.startswith("img"):
        frames = {key: value[0] for key, value in decoded.items()}
        return frames_instead(
            Expected(sample, window, frames), found, second=name.startswith("img_1")
        )
    known = {k: np.asarray((np.abs(f) <= _UNKNOWN).all(-1)) for k, (_, f) in decoded.items()}
    if name == "valid":
        return valid_instead(Expected(sample, window, known), found)
    limit = np.inf if flow_clip is None else flow_clip
    flows = {
        key: np.clip(np.where(known[key][..., np.newaxis], flow, np.float32(0)), -limit, limit)
        for key, (_, flow) in decoded.items()
    }
    raw = Expected(sample, window, {sample: decoded[sample][1]}).cut
    return flow_instead(Expected(sample, window, flows), found, raw)


def _first_difference(
    where: str, expected: Any, found: Any, instead: Callable[[Any], str]
) -> Violation | None:
    if expected.shape != found.shape:
        what = f"shape {found.shape}{instead(found)}"
        return Violation(where, f"shape {expected.shape}", what)
    if np.array_equal(expected, found):
        return None
    different = expected != found
    place = tuple(int(i) for i in np.argwhere(different)[0])
    share = 100.0 * float(different.mean())
    what = f"{found[place]} ({share:.1f} % differ){instead(found)}"
    return Violation(f"{where}, at {place}", str(expected[place]), what)


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
    first = [batch.digest for batch in evidence.batches]
    again = [batch.digest for batch in evidence.again]
    for index, (one, other) in enumerate(zip_longest(first, again, fillvalue="no batch")):
        if one != other:
            same = f": what was batch {first.index(other)}" if other in first else ""
            where, what = f"eval batch {index} served again", f"{shortened(other)}{same}"
            violations.append(Violation(where, shortened(one), what, EACH_TIME))
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
    samples = f"{len(served)} of {counted(len(evidence.split), 'sample')}"
    return outcome(violations, len(served), f"{counted(len(first), 'batch')}, {samples}, in order")


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
    violations = _of_each_time(evidence, violations)
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
)


@needs("batches")
def odd_served(bench: Bench) -> Served:
    """Serve evaluation batches of samples with unknown flow and with very large flow."""
    folder = bench.evidence(odd_files)
    with bench.open(data=data_section(folder)) as system:
        batches, again = system.batches("eval"), system.batches("eval")
    require_seen(batches, "no evaluation batch was served (batches('eval'))")
    return served_in(bench, folder / "val", batches, again)


def unknown_flow_is_masked(evidence: Served) -> Outcome:
    """Require a mask, and the files' flow beside it, in whichever window was served."""
    # Not in the centre window: EdgeFlowNAS (8f83824) evaluated on random ones, and scored unknown
    # flow besides.
    violations, seen = _differences_in_windows(evidence, centred=False)
    unknown = sum(int(batch.valid.size - batch.valid.sum()) for batch in evidence.batches)
    raw = sum(int((np.abs(flow) > _UNKNOWN).any()) for _, flow in evidence.decoded.values())
    unseen = "" if raw else "no sample with unknown flow was served"
    figures = f"{counted(unknown, 'unknown pixel')} masked; {counted(seen, 'sample')} equal to an"
    figures += " independent decode"
    return outcome(violations[:_MOST], seen, figures, unseen=unseen)


UNKNOWN_FLOW_MASKED = Promise(
    id="unknown-flow-masked",
    sentence="unknown flow is masked and other flow is served as it is",
    evidence=odd_served,
    check=unknown_flow_is_masked,
    hint="Middlebury's unknown flow (over 1e9) must be masked; large flow must not.",
    explained_by=("eval-crop-centred", "eval-order-fixed", "cache-never-stale", "bad-files-named"),
)
