"""Samples that promises read and change: which lie in a folder, what they hold, odd ones.

Found and decoded in another way than the provider does it, so that a fault of the one is seen
by the other.
"""

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.errors import UnseenError
from harness.promises.bench import Bench
from harness.promises.setting import link_samples
from harness.systems.protocol import ServedBatch

__all__ = [
    "FEW_SAMPLES", "UNKNOWN_FLOW", "copy_samples", "data_section", "decode_independently",
    "decoded_samples", "known_in_files", "listed_samples", "odd_files", "odd_samples",
    "require_files", "same_content", "split_folder", "with_a_larger_sample", "write_flow",
    "write_image",
]  # fmt: skip


def listed_samples(folder: Path) -> tuple[str, ...]:
    """Return the sample ids of a split, sorted."""
    suffix = "-img_0.png"
    found = (path.relative_to(folder).as_posix() for path in folder.rglob(f"*{suffix}"))
    return tuple(sorted(name.removesuffix(suffix) for name in found))


def require_files(folder: Path, sample: str) -> None:
    """Require a served sample to be one of a split, whose files can be changed.

    Raises
    ------
    UnseenError
        If it is none.
    """
    if sample not in listed_samples(folder):
        msg = f"sample {sample!r} was served, which names no files of {folder}"
        raise UnseenError(msg)


def split_folder(bench: Bench, split: str) -> Path:
    """Return the folder of one split of the gate's data."""
    data = bench.config["data"]
    return Path(data.get("base_path", "."), data.get(f"{split}_dir", split))


def decode_independently(
    folder: Path, sample: str
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return frames (H, W, 6) uint8, BGR twice, and flow (H, W, 2) float32, px.

    Parameters
    ----------
    folder : pathlib.Path
        The split.
    sample : str
        Path below it, without the member's suffix.
    """
    images = []
    for member in ("img_0.png", "img_1.png"):
        # Pillow's decoder is its own: OpenCV's, which the provider uses, is libpng's.
        # PNG alone: of some formats Pillow asks another program.
        with Image.open(folder / f"{sample}-{member}", formats=("PNG",)) as image:
            images.append(np.asarray(image.convert("RGB"))[..., ::-1])
    content = (folder / f"{sample}-flow_01.flo").read_bytes()
    width, height = np.frombuffer(content, "<i4", count=2, offset=4)
    flow = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2)
    return np.concatenate(images, axis=-1), flow.astype(np.float32)


def decoded_samples(folder: Path, batches: Iterable[ServedBatch]) -> dict[str, Any]:
    """Decode every sample of the folder that the batches name; a foreign one stays out."""
    ids = {sample for batch in batches for sample in batch.ids}
    return {
        sample: decode_independently(folder, sample)
        for sample in listed_samples(folder)
        if sample in ids
    }


FEW_SAMPLES = 5


_MEMBERS = ("img_0.png", "img_1.png", "flow_01.flo")


def odd_samples(
    bench: Bench, name: str, *, train: int = FEW_SAMPLES, val: int = FEW_SAMPLES
) -> Path:
    """Link a few samples; some have unknown flow in their middle, another a flow of 80 px.

    The last one of validation, and where there is one sample alone, it has both. Unknown is what
    either component says.

    Parameters
    ----------
    train, val : int, default 5
        Samples of each split, at most.
    """
    folder = bench.folder / name
    for split, most in (("train", train), ("val", val)):
        source = split_folder(bench, split)
        link_samples(source, listed_samples(source)[:most], folder / split)
        samples = listed_samples(folder / split)
        # Middlebury's files mark an unknown flow by a value above 1e9; 80 px is large, but known.
        # Every second sample: of one alone, a system that draws at random may serve nothing. And
        # the last of validation, which is in a batch that is not full.
        last = samples[-1:] if split == "val" else ()
        for sample in dict.fromkeys((*(samples[:-1:2] or samples), *last)):
            _write_block(folder / split, sample, (1e10, 1e10))
            # One component says so: a mask of the other one takes these for known.
            _write_block(folder / split, sample, (2.0, -1e10), right=2)
            _write_block(folder / split, sample, (1e10, 2.0), right=4)
        _write_block(folder / split, samples[-1], (80.0, -80.0), above=4)
    return folder


def with_a_larger_sample(source: Path, folder: Path) -> str:
    """Link the samples of both splits; the second one of validation gets larger frames.

    Returns
    -------
    str
        Its name; empty where it would be the only one, and nothing is made.
    """
    samples = listed_samples(source / "val")
    if len(samples) < 2:
        return ""
    for split in ("train", "val"):
        link_samples(source / split, listed_samples(source / split), folder / split)
    sample = samples[1]
    decoded = decode_independently(source / "val", sample)
    frames, flow = (np.pad(array, (*_MORE, (0, 0)), mode="wrap") for array in decoded)
    paths = [folder / "val" / f"{sample}-{member}" for member in _MEMBERS]
    for path in paths:
        path.unlink()  # a link to the user's own file, which writing through it would change
    write_image(paths[0], np.ascontiguousarray(frames[..., :3], np.uint8))
    write_image(paths[1], np.ascontiguousarray(frames[..., 3:], np.uint8))
    write_flow(paths[2], np.ascontiguousarray(flow, np.float32))
    return sample


_MORE = ((0, 6), (0, 10))
"""Rows and columns, px, that a larger sample has more."""


def _write_block(
    folder: Path, sample: str, value: tuple[float, float], *, above: int = 0, right: int = 0
) -> None:
    """Overwrite the flow of a few pixels in a sample's middle, or so far above or right of it."""
    path = folder / f"{sample}-flow_01.flo"
    flow = np.array(decode_independently(folder, sample)[1])
    row, column = flow.shape[0] // 2 - above, flow.shape[1] // 2
    flow[row - 2 : row + 2, column - 3 + right : column + 4 - (right and 1)] = value
    # A link to the user's own file, which writing through it would change.
    path.unlink()
    write_flow(path, flow)


def write_flow(path: Path, flow: NDArray[np.float32]) -> None:
    """Write a flow file, (H, W, 2) px, as OpenCV does, which takes only paths in UTF-8."""
    height, width = flow.shape[:2]
    path.write_bytes(b"PIEH" + struct.pack("<ii", width, height) + flow.astype("<f4").tobytes())


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an 8-bit BGR image as PNG, at any path."""
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def known_in_files(folder: Path, batch: ServedBatch) -> NDArray[np.bool_]:
    """Return where the files of a served batch know the flow, (B, H, W), whatever it says.

    As it says where its samples are not those of the folder.
    """
    if not set(batch.ids) <= set(listed_samples(folder)):
        return batch.valid
    masks = np.array(batch.valid)
    for position, (sample, (top, left, height, width)) in enumerate(
        zip(batch.ids, batch.windows, strict=True)
    ):
        flow = decode_independently(folder, sample)[1][top : top + height, left : left + width]
        masks[position] = (np.abs(flow) <= UNKNOWN_FLOW).all(axis=-1)
    return masks


UNKNOWN_FLOW = 1e9
"""Middlebury's convention for .flo files: anything larger is not known."""


def odd_files(bench: Bench) -> Path:
    """Write samples with unknown flow and with very large flow."""
    evaluation, train = bench.config.get("eval", {}), bench.config.get("train", {})
    size = evaluation.get("batch_size") or train.get("batch_size") or FEW_SAMPLES
    # Batches of sizes that the gate's own evaluation has: others would be compiled anew.
    whole = int(evaluation.get("bn_recal_batches", 2)) * size + 1
    return odd_samples(bench, "odd", train=max(whole, FEW_SAMPLES), val=size + 1)


def data_section(folder: Path) -> dict[str, str]:
    """Return the section of a configuration that reads the splits of a folder."""
    return {"base_path": str(folder), "train_dir": "train", "val_dir": "val"}


def same_content(folder: Path, one: str, other: str) -> bool:
    """Return whether two samples of a folder hold the same frames and flow."""
    return all(
        (folder / f"{one}-{member}").read_bytes() == (folder / f"{other}-{member}").read_bytes()
        for member in _MEMBERS
    )


def copy_samples(
    source: Path,
    contents: Mapping[str, str],
    folder: Path,
    *,
    crop: tuple[int, int] | None = None,
) -> None:
    """Make a split whose samples have the named contents; validation is a copy of it.

    Parameters
    ----------
    crop : (height, width), optional
        The contents are cut to their centre window of this size, px. Default: left whole.
    """
    members = {
        content: _centre_members(source, content, crop) if crop else _members(source, content)
        for content in set(contents.values())
    }
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        for sample, content in contents.items():
            for member, data in members[content].items():
                (folder / split / f"{sample}-{member}").write_bytes(data)


def _members(source: Path, sample: str) -> dict[str, bytes]:
    return {member: (source / f"{sample}-{member}").read_bytes() for member in _MEMBERS}


def _centre_members(source: Path, sample: str, crop: tuple[int, int]) -> dict[str, bytes]:
    """Return a sample's files, cut to the centre window; an odd margin's extra pixel is below."""
    frames, flow = decode_independently(source, sample)
    window = tuple(
        slice((side - length) // 2, (side - length) // 2 + length)
        for side, length in zip(flow.shape[:2], crop, strict=True)
    )
    images = {
        member: cv2.imencode(".png", np.ascontiguousarray(part))[1].tobytes()
        for member, part in zip(_MEMBERS, (frames[window][..., :3], frames[window][..., 3:]),
                                strict=False)
    }  # fmt: skip
    head = b"PIEH" + np.asarray(crop[::-1], "<i4").tobytes()
    return {**images, _MEMBERS[2]: head + flow[window].astype("<f4").tobytes()}
