"""What is wrong in what an adapter serves, draws, scores and reports of training, in words."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.fc2.layout import list_triplets
from harness.promises.adapter_findings import Finding
from harness.promises.sampling import shuffles
from harness.systems.protocol import (
    Arrays,
    Description,
    Evaluation,
    ServedBatch,
    Training,
    TrainingSample,
)
from harness.wording import counted

__all__ = [
    "asked_for",
    "augmented",
    "drawn",
    "draws_anew",
    "evaluated",
    "served",
    "steps_told",
    "trained",
]  # fmt: skip

Tree = Mapping[str, Any]


def served(
    batches: Sequence[ServedBatch], config: Tree, about: Description, role: str
) -> Iterator[Finding]:
    """Yield what the batches of a role lack.

    Parameters
    ----------
    config : mapping
        Configuration tree that the system was opened with.
    """
    if not batches:
        yield Finding(f"no batch was served for {role!r}", "serve those of the split, in order")
        return
    empty = [place for place, batch in enumerate(batches) if not batch.ids]
    if empty:
        yield Finding(f"batch {empty[0]} for {role!r} has no sample", "leave it out")
        return
    crop, shape = _crop(config, about, role), tuple(batches[0].frames.shape[1:3])
    if crop is not None and shape != crop:
        yield Finding(
            f"expected crops of {crop[0]} x {crop[1]} px, found {shape[0]} x {shape[1]}",
            "crop to data.input_height x data.input_width, or say in settings what you have",
        )
    yield from _sizes(batches, config, role)
    yield from _windows(batches)
    yield from _pixels(batches)
    yield from _ids(batches, config, role)
    digests = [batch.digest for batch in batches]
    if len(set(digests)) < len({batch.frames.tobytes() for batch in batches}):
        yield Finding(
            "batches of other samples have the same digest",
            "digest ids, windows, pixels and flow",
        )


def _crop(config: Tree, about: Description, role: str) -> tuple[int, int] | None:
    """Return height and width of the crop that is asked for, px; None where there is none."""
    crop = config["eval"].get("crop") if role != "train" else None
    if role != "train" and isinstance(about.settings.get("eval.crop"), str):
        return None  # a mode of its own: whole frames
    height, width = crop or (config["data"]["input_height"], config["data"]["input_width"])
    return height, width


def _sizes(batches: Sequence[ServedBatch], config: Tree, role: str) -> Iterator[Finding]:
    size = config["train"]["batch_size"]
    if role != "train":
        size = config["eval"].get("batch_size") or size
    if len(batches[0].ids) != size:
        key = "train.batch_size" if role == "train" else "eval.batch_size"
        yield Finding(
            f"expected {counted(size, 'sample')} in the first batch ({key}), found "
            f"{len(batches[0].ids)}",
            "read it from the configuration, or say in settings what you have",
        )


def _windows(batches: Sequence[ServedBatch]) -> Iterator[Finding]:
    for index, batch in enumerate(batches):
        for window in batch.windows:
            if tuple(window[2:]) != batch.frames.shape[1:3] or min(window[:2]) < 0:
                yield Finding(
                    f"batch {index}: expected (top, left, height, width) of its crop, found "
                    f"{window} beside frames of {batch.frames.shape[1:3]}",
                    "top and left in px from 0, then the crop's height and width",
                )
                return


def _pixels(batches: Sequence[ServedBatch]) -> Iterator[Finding]:
    brightest = max(int(batch.frames.max(initial=0)) for batch in batches)
    if brightest <= 1:
        yield Finding(
            f"frames hold at most {brightest}, expected bytes up to 255",
            "hand over the pixels before they are scaled",
        )
    if not any(batch.valid.any() for batch in batches):
        yield Finding("no pixel of any batch has a known flow", "valid is true where it is known")
    for index, batch in enumerate(batches):
        if np.any(batch.flow[~batch.valid]):
            yield Finding(
                f"batch {index}: flow is not 0 where it is unknown", "set it to 0 where not valid"
            )
            return


def _ids(batches: Sequence[ServedBatch], config: Tree, role: str) -> Iterator[Finding]:
    split = config["data"]["val_dir" if role == "eval" else "train_dir"]
    there = [t.id for t in list_triplets(Path(config["data"]["base_path"]) / split)]
    for batch in batches:
        for name in batch.ids:
            if name not in there:
                yield Finding(
                    f"expected ids of {split}, such as {there[0]!r}, found {name!r}",
                    "the path below the split, without the member's suffix",
                )
                return


def draws_anew(
    epochs: Sequence[Sequence[ServedBatch]], config: Tree, about: Description
) -> Iterator[Finding]:
    """Yield what is random where it should not be, and what is not where it should be.

    Parameters
    ----------
    epochs : three sequences of ServedBatch
        Of epoch 1, of epoch 1 asked once more, and of epoch 2.
    """
    plans = [[(b.ids, b.windows) for b in batches] for batches in epochs]
    if plans[0] != plans[1]:
        yield Finding(
            "epoch 1 serves other samples or windows when it is asked again",
            "draw from the seed and the epoch's number, from a generator of its own",
        )
    fixed, train = about.settings, config["train"]
    mode = fixed.get("train.train_crop_mode", train.get("train_crop_mode", "random"))
    order = shuffles({"train_sampling_mode": fixed.get("train.train_sampling_mode")})
    if plans[0] == plans[2] and (mode == "random" or order):
        yield Finding(
            "epoch 2 serves the samples and windows of epoch 1: nothing is drawn",
            "draw each epoch anew, or say in settings that train.train_sampling_mode is "
            "'sequential' and train.train_crop_mode 'center'",
        )


def evaluated(found: Evaluation) -> Iterator[Finding]:
    """Yield what an evaluation lacks."""
    if not found.archs:
        yield Finding("no arch was scored", "a net without archs is one: ['net']")
        return
    counts = {arch: len(found.per_sample[arch]) for arch in found.archs}
    if min(counts.values()) == 0:
        yield Finding(f"per_sample has no score of {min(counts, key=counts.__getitem__)!r}",
                      "give each sample's EPE, px")  # fmt: skip
        return
    if len(set(counts.values())) > 1:
        yield Finding(
            f"archs are scored on other numbers of samples: {counts}", "score all on the same"
        )
    values = [*found.per_arch_epe, found.mean_epe, found.zero_flow_epe]
    values += [epe for arch in found.archs for epe in found.per_sample[arch]]
    if not np.isfinite(values).all() or min(values) < 0:
        yield Finding("an EPE is NaN, infinite or negative", "look at what is not known (valid)")
    elif set(found.per_arch_epe) == {found.zero_flow_epe}:
        yield Finding(
            f"every arch scores {found.zero_flow_epe:.6g} px, as the all-zero flow does",
            "score what the net predicts; a head that starts at 0 is right to do so",
            wrong=False,
        )  # fmt: skip
    if not found.eval_batch_hash:
        yield Finding("eval_batch_hash is empty", "digest what was scored")


def trained(run: Training, plan: Sequence[str] | None) -> Iterator[Finding]:
    """Yield what a first epoch of training says that cannot be.

    Parameters
    ----------
    plan : sequence of str or None
        Digests of the batches that are served for it; None: not known.
    """
    if not run.steps:
        yield Finding(
            "no steps: promises about training see nothing and do not apply",
            "return a record for each step", wrong=False,
        )  # fmt: skip
        return
    places = [(step.epoch, step.step) for step in run.steps]
    expected = [(1, number) for number in range(1, len(places) + 1)]
    if places != expected:
        at = next(i for i, place in enumerate(places) if place != expected[i])
        yield Finding(
            f"steps[{at}]: expected epoch, step = {expected[at]}, found {places[at]}",
            "both are counted from 1, the step within its epoch",
        )
    losses = [step.loss for step in run.steps] + list(run.losses)
    if not np.isfinite(losses).all():
        yield Finding("a loss is NaN or infinite", "look at the loss, or lower train.lr")
    digests = [step.batch for step in run.steps]
    if plan is not None and digests != list(plan):
        if len(digests) != len(plan):
            told = f"{len(digests)} steps, found {counted(len(plan), 'batch')} in batches('train')"
            yield Finding(f"expected as many batches served as {told}", "serve what is trained")
        else:
            at = next(i for i, digest in enumerate(digests) if digest != plan[i])
            yield Finding(
                f"steps[{at}].batch is not the digest of batches('train')[{at}]",
                "train what is served, and report the same digest",
            )


def steps_told(run: Training) -> Iterator[Finding]:
    """Yield what a call for one step made other than one step."""
    if len(run.steps) != 1:
        yield Finding(
            f"train(steps=1): expected one step, found {len(run.steps)}",
            "stop within the epoch, or take 'steps' off supports",
        )


_AXES = {"order": 1, "windows": 2, "archs": 3}


def drawn(what: str, answers: Sequence[Arrays]) -> Iterator[Finding]:
    """Yield what is wrong in the draws of one kind.

    Parameters
    ----------
    answers : three mappings
        Of a seed, of the same seed once more, and of another seed.
    """
    first, again, other = answers
    if what in _AXES:
        array = first.get(what)
        if array is None or array.dtype.kind not in "iu" or array.ndim != _AXES[what]:
            shown = sorted(first) if array is None else f"{array.dtype} of shape {array.shape}"
            yield Finding(
                f"expected {what!r}: integers on {counted(_AXES[what], 'axis', 'axes')}, "
                f"found {shown}",
                "docs/your-trainer.md, Draws",
            )
            return
    if not first:
        yield Finding(f"nothing was drawn of {what!r}", "raise NotApplicableError with the reason")
        return
    if not _equal(first, again):
        yield Finding("the same seed draws otherwise when asked again", "start from the seed")
    if _equal(first, other):
        yield Finding("another seed draws the same: nothing is drawn", "start from the seed given")


def _equal(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


def asked_for(found: Evaluation, whole: Evaluation, asked: Sequence[str]) -> Iterator[Finding]:
    """Yield where an evaluation of one arch, on as many batches or fewer, is not that."""
    if list(found.archs) != list(asked):
        yield Finding(
            f"expected the archs that were asked for, {list(asked)}, found {list(found.archs)}",
            "score archs where it is given, your pool where it is None",
        )
        return
    arch = asked[0]
    before, after = whole.per_sample[arch], found.per_sample[arch]
    if tuple(before[: len(after)]) != tuple(after):
        at = next(
            (i for i, (b, a) in enumerate(zip(before, after, strict=False)) if a != b), len(before)
        )
        yield Finding(
            f"sample {at} of {arch!r} scores otherwise when it is asked for alone: the same "
            "weights should give the same number",
            "evaluate in a fixed order on fixed crops, with no state of the last evaluation",
        )


def augmented(found: Sequence[TrainingSample]) -> Iterator[Finding]:
    """Yield what the samples of an epoch lack, as its steps get them."""
    if not found:
        yield Finding("expected the samples of an epoch, found none", "return what steps are given")
    elif not any(one.valid.any() for one in found):
        yield Finding(
            "valid is nowhere true, of no sample", "say where the flow of each sample is known"
        )
    for index, one in enumerate(found):
        if not all(np.isfinite(a).all() for a in (one.first, one.second, one.flow[one.valid])):
            yield Finding(
                f"sample {index} holds NaN or infinity where its flow is valid",
                "hand over the arrays that the step computes on",
            )
            return
