"""The gate's setting: a small configuration derived from the researcher's own.

Invariants do not need width or time. The gate keeps the data, skeleton, BN and clip
settings, modes and seed, and shrinks what only costs: width, epochs, steps, batches, pool
and, on large frames, the crop. What it changed is printed in the header.
"""

import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from harness.comparing import changes
from harness.config import Config, field_kinds, parse_config
from harness.devices import SpecialFileError, open_regular
from harness.fc2.layout import MEMBERS, Triplet, left_lines, list_triplets, member_name
from harness.fc2.png import HEAD, PngError, read_header
from harness.fc2.subset import choose
from harness.fc2.synthetic import SMALLEST, make_sample, write_sample
from harness.promises.sampling import shuffles
from harness.supernet.space import SKELETONS
from harness.systems.protocol import Description

__all__ = [
    "EMBEDDED_SIZE", "EMBEDDED_TRAIN", "EMBEDDED_VAL", "EPOCH_MODES", "MATRIX_SIZE",
    "MATRIX_TRAIN", "MATRIX_VAL", "WHOLE_FRAMES", "crop_stride", "embedded_config",
    "fit_to_system", "frame_size", "gate_config", "link_gate_frames", "link_samples",
    "list_changes", "matrix_config",
]  # fmt: skip

EMBEDDED_TRAIN, EMBEDDED_VAL = 11, 7
"""Samples of the embedded data set: not multiples of any batch size in the gate."""

EMBEDDED_SIZE = (53, 75)
"""Frame height and width, px, of the embedded data set: odd, so that margins are odd."""

EPOCH_MODES = ("full_pass", "fixed_steps")
"""Values of ``train.epoch_mode``: each sample once, and steps that draw with replacement."""

MATRIX_TRAIN, MATRIX_VAL, MATRIX_SIZE = 8, 7, (29, 43)
"""Samples and frame size, px, in which faults are run: the first sample counts and sides that
leave a last batch of another size, odd margins, and H that cannot pass for W."""

WHOLE_FRAMES = "frame"
"""Value of ``eval.crop`` in the settings of a system that scores whole frames."""

_WIDTH, _POOL, _CROP = 2, 5, (64, 96)


def embedded_config(root: Path) -> Config:
    """Return the embedded default on the synthetic data set at `root`."""
    return parse_config(
        {
            "runtime": {"seed": 7},
            "model": {"width": _WIDTH},
            "data": {"base_path": str(root), "input_height": 32, "input_width": 48},
            "train": {
                "num_epochs": 2, "epoch_mode": "full_pass", "batch_size": 5,
                "micro_batch_size": 2, "lr": 1e-3, "grad_clip_global_norm": 50.0,
            },
            "eval": {
                "eval_pool_size": _POOL, "bn_recal_batches": 2, "eval_batches_per_arch": 3,
                "batch_size": 3,
            },
        }
    )  # fmt: skip


def matrix_config(root: Path, mode: str = EPOCH_MODES[0]) -> Config:
    """Return the still smaller setting in which faults are run, under one epoch mode."""
    tree = embedded_config(root).model_dump(mode="json", by_alias=True)
    tree["data"] |= {"input_height": 16, "input_width": 32}
    # Two epochs are trained; a miscounted step is then not the last.
    tree["train"] |= {"num_epochs": 4, "batch_size": 3, "epoch_mode": mode, "steps_per_epoch": 3}
    tree["eval"]["eval_pool_size"] = 4
    return parse_config(tree)


def gate_config(config: Config) -> Config:
    """Return the gate's variant of a researcher's configuration."""
    tree = config.model_dump(mode="json", by_alias=True)
    train, evaluation, data = tree["train"], tree["eval"], tree["data"]
    tree["model"]["width"] = min(config.model.width, _WIDTH)
    tree["checkpoint"], tree["watch"] = {}, {}
    train["num_epochs"] = 2
    train["steps_per_epoch"] = min(config.train.steps_per_epoch, 3)
    samples = len(list_triplets(config.data.split_dir("train")))
    validation = len(list_triplets(config.data.split_dir("val")))
    # Most real faults hide where batches fill a split, or micro-batches a batch (decision 0004).
    train["batch_size"] = _uneven(config.train.batch_size, samples)
    train["micro_batch_size"] = min(config.train.micro_batch, max(1, train["batch_size"] // 2))
    limits = _limits(config)
    data["input_height"], data["input_width"] = _crop(config, config.train_crop, limits)
    if config.eval.crop is not None:
        evaluation["crop"] = _crop(config, config.eval.crop, limits)
    evaluation |= {
        "eval_pool_size": _POOL,
        "eval_every_epoch": 1,
        "bn_recal_batches": 2,
        "eval_batches_per_arch": 3,
        "batch_size": 3 if validation > 3 else max(1, validation - 1),
        # Both epochs are evidence, whatever the scores do.
        "early_stop_patience": 100,
        "frozen": "",
    }
    return parse_config(tree)


def _uneven(batch_size: int, samples: int) -> int:
    """Return a batch size of at most 5 that does not divide the number of samples."""
    largest = max(1, min(5, batch_size, samples - 1))
    fits = [size for size in range(largest, 1, -1) if samples % size]
    return fits[0] if fits else largest


def _limits(config: Config) -> tuple[int, int]:
    """Return the largest crop of a gate: none of the frames is smaller."""
    sizes = [_CROP]
    for split in (config.data.split_dir("train"), config.data.split_dir("val")):
        found = (frame_size(triplet.img_0) for triplet in list_triplets(split))
        sizes += [size for size in found if size is not None]
    return min(height for height, _ in sizes), min(width for _, width in sizes)


def _crop(config: Config, crop: tuple[int, int], limits: tuple[int, int]) -> tuple[int, int]:
    step = SKELETONS[config.model.skeleton].stride
    small = (min(side, limit) // step * step for side, limit in zip(crop, limits, strict=True))
    height, width = (max(step, side) for side in small)
    return height, width


def link_samples(
    source: Path, ids: Iterable[str], target: Path, *, names: Iterable[str] | None = None
) -> None:
    """Link the files of the named samples of one split into a new folder.

    Parameters
    ----------
    names : iterable of str, optional
        What each is called there. Default: as it is.
    """
    ids = list(ids)
    for sample, name in zip(ids, ids if names is None else names, strict=True):
        for member in MEMBERS:
            link = target / f"{name}-{member}"
            link.parent.mkdir(parents=True, exist_ok=True)
            # Resolved: a relative path would be taken from the link's own folder.
            link.symlink_to((source / f"{sample}-{member}").resolve())


def link_gate_frames(config: Config, folder: Path) -> tuple[Config, str]:
    """Return the configuration on a few samples of its own data, and a line that says which.

    The gate serves whole epochs several times, which 22,000 samples would not allow. A split of
    few samples is filled up with synthetic ones: with batches of one, a last batch that is
    wrapped around or dropped would go unseen.
    """
    notes, left = [], []
    for split, most in (("train", EMBEDDED_TRAIN), ("val", EMBEDDED_VAL)):
        name: Literal["train", "val"] = "train" if split == "train" else "val"
        source = config.data.split_dir(name)
        samples = list_triplets(source)
        left += left_lines(samples)
        count = min(most, len(samples))
        chosen = choose(samples, count, seed=config.runtime.seed, split=name)
        link_samples(source, [triplet.id for triplet in chosen], folder / split)
        notes.append(f"{count} of {len(samples)} {split} samples of {source}")
        if count < most:
            notes[-1] += _fill_up(chosen, most - count, folder / split, config.runtime.seed)
    data = config.data.model_copy(
        update={"base_path": str(folder), "train_dir": "train", "val_dir": "val"}
    )
    return config.model_copy(update={"data": data}), "\n".join(
        ["frames: " + ", ".join(notes), *left]
    )


def _fill_up(own: Sequence[Triplet], count: int, folder: Path, seed: int) -> str:
    """Write synthetic samples behind a split's own, of their frame size; return what to say.

    Nothing is written where a header cannot be read: whoever decodes the file names it.
    """
    sizes = [size for triplet in own if (size := frame_size(triplet.img_0)) is not None]
    if len(sizes) < len(own):
        return ""
    # The smallest, so that every crop that fits the split's own frames fits these.
    height, width = (max(SMALLEST, min(sides)) for sides in zip(*sizes, strict=True))
    last = max(triplet.id for triplet in own)
    place = folder / last.rpartition("/")[0]  # behind it, the split's own are served first
    free = (n for n in range(_SYNTHETIC[folder.name], 10**7)
            if not (place / member_name(n, MEMBERS[0])).exists())  # fmt: skip

    def write(number: int) -> None:
        sample = make_sample(height=height, width=width, seed=seed, index=number)
        write_sample(place, number, sample)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, itertools.islice(free, count)))
    return f" and {count} synthetic ones of {height} x {width} px"


_SYNTHETIC = {"train": 9_999_800, "val": 9_999_900}
"""Number of the first synthetic sample of a split: larger than those of a real data set."""


def frame_size(path: Path) -> tuple[int, int] | None:
    """Return (height, width) in px from a PNG's header; None if it is none, or lies."""
    try:
        with open_regular(path) as file:
            header, length = read_header(file.read(HEAD)), os.fstat(file.fileno()).st_size
    except (PngError, SpecialFileError):  # whoever decodes it names it
        return None
    return (header.height, header.width) if header.fits(length) else None


def list_changes(before: Config, after: Config) -> list[str]:
    """Return ``key old -> new`` for everything that the gate changed."""
    found = changes(before.model_dump(mode="json"), after.model_dump(mode="json"))
    return [f"{change.key} {change.old} -> {change.new}" for change in found]


def fit_to_system(config: Config, description: Description) -> Config:
    """Return a gate's configuration with what the system cannot vary, and in whole batches.

    A system that fills its last batch with samples it has served before is asked for counts
    that need no filling, but where a split is passed over.
    """
    tree, kinds = config.model_dump(mode="json", by_alias=True), field_kinds()
    fixed = description.settings
    for key, value in fixed.items():
        section, name = key.split(".")
        # Of a key that has one value here no configuration can say another: promises read it
        # from the description.
        whole = key == "eval.crop" and value == WHOLE_FRAMES
        if kinds.get(key) != "fixed" and shuffles({name: value}) and not whole:
            tree[section][name] = value
    train, evaluation = tree["train"], tree["eval"]
    micro = train["micro_batch_size"]
    if micro is not None and "train.micro_batch_size" not in fixed:
        train["micro_batch_size"] = min(micro, train["batch_size"])
    if description.whole_batches:
        training, validation = (
            len(list_triplets(config.data.split_dir(split))) for split in ("train", "val")
        )
        size = max(1, min(train["batch_size"], validation // 2, training))
        size = fixed.get("train.batch_size", size)
        # A little over half: two micro-batches of unequal size.
        micro = min(train["micro_batch_size"] or size, max(1, size // 2 + 1))
        wanted = {
            "batch_size": size, "micro_batch_size": micro,
            "steps_per_epoch": min(train["steps_per_epoch"], 3),
        }  # fmt: skip
        train |= {name: v for name, v in wanted.items() if f"train.{name}" not in fixed}
        if "eval.batch_size" not in description.settings:
            evaluation["batch_size"] = size
        if "eval.eval_batches_per_arch" not in description.settings:
            evaluation["eval_batches_per_arch"] = min(3, max(1, validation // size))
        if "eval.bn_recal_batches" not in description.settings:
            most = max(1, training // size)
            evaluation["bn_recal_batches"] = min(evaluation["bn_recal_batches"], most)
    train_crop = tree["data"]["input_height"], tree["data"]["input_width"]
    step = crop_stride(tree, description)
    for name, side in zip(("input_height", "input_width"), train_crop, strict=True):
        if f"data.{name}" not in fixed:
            tree["data"][name] = max(step, side // step * step)
    return parse_config(tree)


def crop_stride(config: Mapping[str, Any], description: Description) -> int:
    """Return what must divide both sides of a crop, px: by skeleton, and by the system's word."""
    return math.lcm(SKELETONS[config["model"]["skeleton"]].stride, description.stride)
