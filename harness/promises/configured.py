"""What was configured fits the system and the frames, before a gate shrinks any of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.config import parse_config
from harness.fc2.layout import list_triplets
from harness.promises.bench import Bench
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.promises.setting import WHOLE_FRAMES, crop_stride, frame_size
from harness.systems.protocol import Description

__all__ = ["OWN_CROP_FITS", "OwnSetting", "own_crop_fits", "own_setting"]

_Size = tuple[int, int]


@dataclass(frozen=True)
class OwnSetting:
    """Crops and batches as they were configured, and what they must fit.

    Attributes
    ----------
    crops : mapping of str to (int, int)
        ``training`` and, where it is not of whole frames, ``evaluation`` to (height, width), px.
    stride : int
        What must divide both, px.
    frames : mapping of str to mapping of str to (int, int)
        For each of the crops the samples that are cropped so, and their frame sizes, px.
    filled : sequence of str
        What a system that serves whole batches has to fill up with samples served before.
    """

    crops: Mapping[str, _Size]
    stride: int
    frames: Mapping[str, Mapping[str, _Size]]
    filled: Sequence[str] = field(default_factory=tuple)


@needs("describe", "open")
def own_setting(bench: Bench) -> OwnSetting:
    """Read the configuration that was asked for, and the headers of the gate's frames."""
    about, tree = bench.describe(), dict(bench.asked or bench.config)
    # What the system cannot vary is as the system has it.
    skeleton = about.settings.get("model.skeleton")
    if bench.spec.system != "builtin" and skeleton is None:
        stride = about.stride
    else:
        model = {**tree["model"], **({"skeleton": skeleton} if skeleton else {})}
        stride = crop_stride({"model": model}, about)
    config = parse_config(tree)
    evaluation = config.train_crop if "eval.crop" in about.settings else config.eval_crop
    whole = about.settings.get("eval.crop") == WHOLE_FRAMES
    shown = parse_config(bench.config).data
    sizes = {
        split: {
            triplet.id: size
            for triplet in list_triplets(shown.split_dir(split))
            if (size := frame_size(triplet.img_0)) is not None
        }
        for split in _SPLITS
    }
    return OwnSetting(
        {"training": config.train_crop, **({} if whole else {"evaluation": evaluation})}, stride,
        {"training": sizes["train"], "evaluation": sizes["val"]},
        _filled(bench, about),
    )  # fmt: skip


_SPLITS: tuple[Literal["train", "val"], ...] = ("train", "val")


def _filled(bench: Bench, about: Description) -> list[str]:
    """Return what is served more than once, by a system that serves whole batches alone."""
    if not about.whole_batches:
        return []
    config = parse_config(dict(bench.asked or bench.config))
    train, val = (len(list_triplets(config.data.split_dir(split))) for split in _SPLITS)
    size, found = config.train.batch_size, []
    if config.train.epoch_mode == "full_pass" and train % size:
        again = size - train % size
        found.append(f"an epoch of {train} samples in batches of {size} trains on {again} again")
    batches = about.settings.get("eval.eval_batches_per_arch", config.eval.eval_batches_per_arch)
    scored = size if "eval.batch_size" in about.settings else config.eval_batch_size
    if batches != "full" and int(batches) * scored > val:
        found.append(
            f"an evaluation of {batches} x {scored} samples scores some of a split of {val} more "
            "than once"
        )
    return found


def own_crop_fits(evidence: OwnSetting) -> Outcome:
    """Require crops that the system's strides divide and that lie within the frames."""
    violations, step = [], evidence.stride
    for role, crop in evidence.crops.items():
        if any(side % step for side in crop):
            below = _text(max(step, side // step * step) for side in crop)
            above = _text(-(-side // step) * step for side in crop)
            expected = f"multiples of {step} px, such as {below} or {above}"
            violations.append(Violation(f"{role} crop", expected, _text(crop)))
        small = [
            (sample, size) for sample, size in evidence.frames.get(role, {}).items()
            if size[0] < crop[0] or size[1] < crop[1]
        ]  # fmt: skip
        if small:
            sample, size = small[0]
            expected = f"at most {_text(size)} px, the size of sample {sample}"
            violations.append(Violation(f"{role} crop", expected, _text(crop)))
    crops = ", ".join(f"{role} {_text(crop)}" for role, crop in evidence.crops.items())
    frames = sum(map(len, evidence.frames.values()))
    figures = f"crops: {crops}, multiples of {step} px and within {frames} frames"
    return outcome(violations, len(evidence.crops), figures, tuple(evidence.filled))


def _text(size: Iterable[int]) -> str:
    return " x ".join(map(str, size))


OWN_CROP_FITS = Promise(
    id="own-crop-fits",
    sentence="the configured crop is one that the network's strides divide, within the frames",
    evidence=own_setting,
    check=own_crop_fits,
    hint=(
        "The gate itself runs on a crop that fits. On the configured one the network pads, or "
        "labels are stretched to its outputs, so that a flow in px is no longer that of the frames."
    ),
)
