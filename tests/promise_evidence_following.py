"""Evidence about augmented labels: scenes of known flow, 60 x 80 px, and crops of them."""

from functools import cache

import cv2
import numpy as np

from harness.promises import augmented_labels
from harness.promises.augmented_labels import AugmentedSamples
from harness.promises.known_scenes import known_scene
from harness.systems.protocol import TrainingSample

HEIGHT, WIDTH = 60, 80
WINDOW = slice(9, 51), slice(13, 69)
BESIDE = slice(9, 51), slice(21, 77)
ROW_BELOW = slice(10, 52), slice(13, 69)
RNG = np.random.default_rng(4)


@cache
def scene(number):
    return known_scene(number, height=HEIGHT, width=WIDTH)


def sample(first, second, flow, valid=None):
    arrays = (np.ascontiguousarray(a, np.float32) for a in (first, second, flow))
    valid = np.ones(flow.shape[:2], bool) if valid is None else np.ascontiguousarray(valid)
    return TrainingSample(*arrays, valid=valid)


def given(change, *, often=1, least=3):
    """Return a few samples, every `often`-th of them changed."""

    def kept(*arrays):
        return arrays

    return AugmentedSamples([
        sample(*(kept if n % often else change)(*scene(n))) for n in range(max(least, 3 * often))
    ])  # fmt: skip


def holed(change, *, mask=lambda flow, valid: valid, unknown=0.0):
    """Return samples of scenes with a hole, its flow made `unknown`, in their corner."""
    samples = []
    for number in range(8):
        first, second, flow = scene(number)
        flow, valid = flow.copy(), np.ones(flow.shape[:2], np.uint8)
        flow[HOLE], valid[HOLE] = unknown, 0
        first, second, flow = change(first, second, flow)
        valid = mask(flow, change(valid, valid, np.stack([valid, valid], axis=-1))[0])
        samples.append(sample(first, second, flow, valid > 0))
    return AugmentedSamples(samples, 20 * 15)


HOLE = slice(7, 22), slice(10, 30)


def cut(*arrays, window=WINDOW):
    return tuple(a[window] for a in arrays)


def upon(flow, u=1, v=1):
    return flow * np.float32((u, v))


def flipped(first, second, flow, **signs):
    return (*(a[:, ::-1] for a in (first, second)), upon(flow[:, ::-1], **signs))


def upside_down(first, second, flow, **signs):
    return (*(a[::-1] for a in (first, second)), upon(flow[::-1], **signs))


def resized(first, second, flow, x, y, **lengths):
    small = (cv2.resize(a, None, fx=x, fy=y) for a in (first, second, flow))
    first, second, flow = small
    return first, second, upon(flow, **(lengths or {"u": x, "v": y}))


def turned(first, second, flow, vectors=17):
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), 17, 1)
    first, second, flow = cut(
        *(cv2.warpAffine(a, matrix, (WIDTH, HEIGHT)) for a in (first, second, flow))
    )
    cos, sin = np.cos(np.deg2rad(vectors)), np.sin(np.deg2rad(vectors))
    u, v = flow[..., 0], flow[..., 1]
    return first, second, np.stack([cos * u + sin * v, cos * v - sin * u], axis=-1)


def coloured(first, second, flow):
    """Return frames of other brightness, contrast and gamma, each of its own, and some noise."""
    first = first * np.float32(1.3) - 20 + RNG.normal(0, 2, first.shape)
    second = 255 * (second / 255.0) ** 0.7
    return first.clip(0, 255), second[..., [1, 2, 0]], flow


def erased(first, second, flow):
    second = second.copy()
    second[5:45, 5:60] = second.mean(axis=(0, 1))
    return first, second, flow


def normalised(first, second, flow):
    return first / 127.5 - 1, second / 127.5 - 1, flow


def shifted(first, second, flow):
    return first[:, 1:], second[:, 1:], flow[:, :-1]


def another_scene(first, second, flow):
    return first, second, scene(7)[2]


CLEAN = {augmented_labels.augmented_labels_follow: [
    given(change, often=often, least=5) for change, often in (
        (cut, 1), (lambda *a: flipped(*a, u=-1), 2), (lambda *a: upside_down(*a, v=-1), 2),
        (lambda *a: resized(*a, 1.4, 1.2), 2), (lambda *a: resized(*a, 0.6, 0.6), 1),
        (lambda *a: cut(*resized(*a, 1.7, 1.7)), 1), (turned, 1), (coloured, 1), (erased, 1),
        (normalised, 1),
    )
]}  # fmt: skip
EMPTY = {augmented_labels.augmented_labels_follow: AugmentedSamples([])}
ONE_PX = "samples, their second frames .*: expected the first ones, found .*with that flow taken "
SEEN = (
    r"sample \d+ of \d+, its second frame taken back by its flow: expected the first one, found .*"
)
CLEAN[augmented_labels.augmented_labels_follow] += [
    holed(cut), holed(lambda *a: flipped(*a, u=-1)), holed(lambda *a: upside_down(*a, v=-1)),
    holed(lambda *a: resized(*a, 1.4, 1.2)), holed(lambda *a: resized(*a, 0.6, 0.6)), holed(turned),
    # No mask at all, and one that is made of what is huge.
    holed(cut, mask=lambda _, v: np.ones_like(v)),
    holed(
        lambda *a: resized(*a, 1.4, 1.2), unknown=1e10,
        mask=lambda flow, _: np.abs(flow).max(axis=-1) < 1000,
    ),
]  # fmt: skip
CORRUPTED = {augmented_labels.augmented_labels_follow: {
    name: (given(change, often=often), SEEN + found) for name, change, often, found in (
        ("a flip that keeps u", flipped, 10, "u has the wrong sign"),
        ("a flip upside down that keeps v", upside_down, 3, "v has the wrong sign"),
        ("a flow that is negated", lambda a, b, f: (a, b, -f), 1, "both have the wrong sign"),
        ("frames that are flipped alone", lambda a, b, f: (a[:, ::-1], b[:, ::-1], f), 2,
         "flipped left to right, as the frames are"),
        ("frames that are turned upside down alone", lambda a, b, f: (a[::-1], b[::-1], f), 2,
         "flipped upside down, as the frames are"),
        ("a size that leaves the length", lambda *a: resized(*a, 1.4, 1.4, u=1, v=1), 2,
         "1.4 times as long"),
        ("a window of the flow 8 px beside", lambda a, b, f: (
            *cut(a, b), *cut(f, window=BESIDE)), 2,
         "taken 0 px further down and -8 px further right"),
        ("frames in the other order", lambda a, b, f: (b, a, f), 2, "frames in the other order"),
        ("axes that are exchanged", lambda a, b, f: (a, b, f[..., ::-1]), 1, "its axes are"),
        ("vectors that do not turn", lambda *a: turned(*a, vectors=0), 2,
         "turned by 34[05] degrees"),
        ("flow that is divided by 20", lambda a, b, f: (a, b, f / 20), 1, "(19|20|21) times as"),
        ("the flow of another sample", another_scene, 1, "nothing in common"),
    )
} | {
    "a mask that is not flipped": (
        holed(lambda *a: flipped(*a, u=-1), mask=lambda _, v: v[:, ::-1]),
        r"sample 1 of 8, flow that its scene lacks: expected masked, found \d+ pixels of it",
    ),
    "a mask of another window": (
        holed(cut, mask=lambda _, v: np.roll(v, 12, axis=1)),
        r"flow that its scene lacks: expected masked, found \d+ pixels of it counted as known",
    ),
    "a flow of one row further down": (
        given(lambda a, b, f: (*cut(a, b), *cut(f, window=ROW_BELOW)), least=7),
        ONE_PX + "-1 px further down and 0 px further right",
    ),
    "scaled frames and a flow of one column beside": (
        given(lambda *a: shifted(*resized(*a, 1.3, 1.3)), least=14),
        ONE_PX + "0 px further down and 1 px further right",
    ),
}}  # fmt: skip
