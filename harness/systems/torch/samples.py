"""The samples of a split, their files, and the layout of FlyingChairs that trainers read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["FlowSample", "digest", "known_flow", "listed", "read_flo", "write_chairs"]

_FLOW = "-flow_01.flo"
_UNKNOWN = 1e9
"""A component beyond this says that the flow is unknown, px; Middlebury's files hold 1e10 there."""


class FlowSample(NamedTuple):
    """One sample: its id, and the paths of both images (PNG) and of the flow (.flo)."""

    id: str
    image1: str
    image2: str
    flow: str


def listed(folder: str) -> list[FlowSample]:
    """Return the samples below a folder, sorted by id: path without the member's suffix."""
    found = (
        os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
        for place, _, names in os.walk(folder)
        for name in names
        if name.endswith(_FLOW)
    )
    return [
        FlowSample(name, *(os.path.join(folder, name + end) for end in _ENDS))
        for name in sorted(path[: -len(_FLOW)] for path in found)
    ]


_ENDS = ("-img_0.png", "-img_1.png", _FLOW)


def read_flo(path: str) -> Any:
    """Return the flow of a file, float32 (H, W, 2), px.

    Raises
    ------
    ValueError
        If it is no whole .flo file; the message has its path.
    """
    with open(path, "rb") as file:
        data = file.read()
    width, height = np.frombuffer(data[4:12].ljust(8, b"\0"), "<i4").tolist()
    if data[:4] != b"PIEH" or len(data) != 12 + 8 * width * height:
        raise ValueError(
            "%s: %d bytes are no .flo of %d x %d px" % (path, len(data), width, height)
        )
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)


def known_flow(flow: Any, valid: Any = None) -> tuple[Any, Any]:
    """Return flow (..., 2) with 0 where it is unknown, and where it is known, bool (...)."""
    with np.errstate(invalid="ignore"):
        known = (np.abs(flow) <= _UNKNOWN).all(axis=-1)
    if valid is not None:
        known = known & (np.asarray(valid) >= 0.5)
    return np.where(known[..., None], flow, np.float32(0)).astype(np.float32), known


def digest(*parts: Any) -> str:
    """Return a hex digest of arrays, bytes, and anything that repr tells apart."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            made.update(repr((part.shape, part.dtype.str)).encode())
            part = part.tobytes()
        made.update(part if isinstance(part, bytes) else repr(part).encode())
    return made.hexdigest()


def write_chairs(
    folder: str, train: Sequence[FlowSample], val: Sequence[FlowSample], split: str = ""
) -> None:
    """Lay samples out as FlyingChairs 1 has them: one folder, .ppm, and a file of the split.

    Images are links to the PNG files: Pillow and OpenCV tell formats by content, so that the
    trainer's own reader meets each file as it is. A link's name holds that of its file
    (``val-0000012-img_0.png.ppm``), so that a message that names the one names the other.

    Parameters
    ----------
    folder : str
        Made if it is absent; whatever else it holds is taken away.
    train, val : sequence of FlowSample
    split : str, optional
        File with a line for each sample in the order of its flows' names: 1 for training and 2
        for validation.
    """
    os.makedirs(folder, exist_ok=True)
    kinds, links = {}, {}
    for number, (role, samples) in enumerate((("train", train), ("val", val)), 1):
        for sample in samples:
            name = role + "-" + sample.id.replace("/", "-")
            kinds[name + _FLOW] = number
            for end, path in zip(_ENDS, sample[1:]):
                links[name + end + ("" if end == _FLOW else ".ppm")] = os.path.abspath(path)
    for name in sorted(set(os.listdir(folder)) - set(links)):
        os.remove(os.path.join(folder, name))
    for name, path in links.items():
        link = os.path.join(folder, name)
        if not (os.path.islink(link) and os.readlink(link) == path):
            if os.path.lexists(link):
                os.remove(link)
            os.symlink(path, link)
    if split:
        with open(split, "w", encoding="ascii") as file:
            file.write("".join("%d\n" % kinds[name] for name in sorted(kinds)))
