"""Evidence about what is served: 7 x 10 frames, crop 4 x 6, batches of 2, 2 and 1."""

from dataclasses import replace

import numpy as np

from harness.promises import configured, draws, served
from harness.promises.configured import OwnSetting
from harness.promises.draws import TrainingDraws
from harness.promises.evaluation_batches import Served
from harness.systems.protocol import ServedBatch

RNG = np.random.default_rng(8)
IDS = ("a/0", "a/1", "b/2", "b/3", "c/4")


def decode():
    flow = RNG.normal(0, 6, (7, 10, 2)).astype(np.float32)
    flow[2, 3] = 2e9
    return RNG.integers(0, 256, (7, 10, 6), np.uint8), flow


DECODED = {sample: decode() for sample in IDS}


def serve(ids, corners, digest, size=(4, 6)):
    windows = tuple((top, left, *size) for top, left in corners)
    cut = [
        tuple(array[t : t + h, w : w + v] for array in DECODED[sample])
        for sample, (t, w, h, v) in zip(ids, windows, strict=True)
    ]
    frames, raw = (np.stack(arrays) for arrays in zip(*cut, strict=True))
    valid = (np.abs(raw) <= 1e9).all(axis=-1)
    flow = np.clip(np.where(valid[..., None], raw, np.float32(0)), -8, 8)
    return ServedBatch(ids, windows, frames, flow, valid, 8.0, digest)


def serve_all(order, corners, name, size=(4, 6)):
    sizes = [slice(0, 2), slice(2, 4), slice(4, 5)]
    ids = tuple(IDS[i] for i in order)
    return tuple(serve(ids[s], corners[s], f"{name}{i}", size) for i, s in enumerate(sizes))


def first(batches, **changes):
    return (replace(batches[0], **changes), *batches[1:])


EVALUATED = serve_all(range(5), [(1, 2)] * 5, "eval")
SERVED = Served((4, 6), 2, 8.0, 3, IDS, EVALUATED, EVALUATED, DECODED)
BEGUN = serve_all((3, 0, 4, 1, 2), [(0, 0), (3, 4), (1, 2), (0, 1), (2, 2)], "one")
LATER = serve_all((1, 2, 0, 3, 4), [(1, 0), (3, 4), (0, 2), (2, 1), (2, 2)], "two")
OTHER = serve_all((0, 2, 1, 4, 3), [(2, 0), (3, 1), (0, 0), (2, 4), (1, 2)], "three")
DRAWS = TrainingDraws(True, True, 8.0, IDS, (2, 2, 1), BEGUN, BEGUN, LATER, OTHER, DECODED)


def changed_pixel(array):
    out = np.array(array)
    out[0, 1, 2] = ~out[0, 1, 2] if out.dtype != np.float32 else out[0, 1, 2] + 1
    return out


def swapped_frames(batch):
    return np.concatenate([batch.frames[..., 3:], batch.frames[..., :3]], axis=-1)


def clipped(*ids):
    """Clip the flow of the centre windows without looking at what is unknown."""
    return np.stack([np.clip(DECODED[sample][1][1:5, 2:8], -8, 8) for sample in ids])


def small(flow):
    """Take every flow within 7 px for known, and all other for unknown."""
    return (np.abs(flow) < 7).all(axis=-1)


WHOLE = replace(SERVED, crop=None, batches=serve_all(range(5), [(0, 0)] * 5, "eval", (7, 10)))
CENTRE = {
    "a window instead of the frame": (
        replace(SERVED, crop=None),
        r"eval sample a/0, window \(top, left, height, width\): expected \(0, 0, 7, 10\), "
        r"found \(1, 2, 4, 6\)",
    ),
    "another window": (
        replace(SERVED, batches=serve_all(range(5), [(1, 2)] * 4 + [(2, 1)], "eval")),
        r"eval sample c/4, window \(top, left, height, width\): expected \(1, 2, 4, 6\), "
        r"found \(2, 1, 4, 6\)",
    ),
    "a flow cropped elsewhere": (
        replace(SERVED, batches=first(EVALUATED, flow=serve(IDS[:2], [(2, 1)] * 2, "").flow)),
        r"sample a/0, flow, at \(0, 0, 0\): expected .* differ\)",
    ),
    "frames swapped": (
        replace(SERVED, batches=first(EVALUATED, frames=swapped_frames(EVALUATED[0]))),
        r"sample a/0, img_0 \(BGR\), at",
    ),
    "RGB": (
        replace(SERVED, batches=first(EVALUATED, frames=EVALUATED[0].frames[..., ::-1])),
        r"sample a/0, img_0 \(BGR\), at",
    ),
    "u and v swapped": (
        replace(SERVED, batches=first(EVALUATED, flow=EVALUATED[0].flow[..., ::-1])),
        r"sample a/0, flow, at",
    ),
    "a pixel of frame 2": (
        replace(SERVED, batches=first(EVALUATED, frames=changed_pixel(EVALUATED[0].frames))),
        r"sample a/0, img_1 \(BGR\), at \(1, 2, 0\)",
    ),
    "validity": (
        replace(SERVED, batches=first(EVALUATED, valid=changed_pixel(EVALUATED[0].valid))),
        r"sample a/0, valid, at \(1, 2\)",
    ),
    "unknown flow served as a label": (
        replace(SERVED, batches=first(EVALUATED, flow=clipped("a/0", "a/1"))),
        r"sample a/0, flow, at \(1, 1, 0\): expected 0\.0, found 8\.0",
    ),
    "large flow masked": (
        replace(SERVED, batches=first(EVALUATED, valid=small(EVALUATED[0].flow))),
        r"sample a/0, valid, at \(\d, \d\): expected True, found False",
    ),
    "a sample of another split": (
        replace(SERVED, batches=first(EVALUATED, ids=("x/9", "a/1"))),
        "eval sample: expected one of the split, found x/9",
    ),
    "labels not clipped as declared": (
        replace(SERVED, flow_clip=None),
        r"sample a/0, flow, at",
    ),
    "another size": (
        replace(SERVED, batches=first(EVALUATED, flow=EVALUATED[0].flow[:, :, :5])),
        r"sample a/0, flow: expected shape \(4, 6, 2\), found shape \(4, 5, 2\)",
    ),
}
OF_WINDOWS_ALONE = ("another window", "a window instead of the frame")
WINDOWS = {name: row for name, row in CENTRE.items() if name not in OF_WINDOWS_ALONE}
SHIFTED = serve_all((1, 2, 3, 4, 0), [(1, 2)] * 5, "other")
ORDER = {
    "another start": (
        replace(SERVED, batches=SHIFTED, again=SHIFTED),
        "eval position 0: expected a/0, found a/1",
    ),
    "moves on when asked again": (
        replace(SERVED, again=SHIFTED),
        "eval batch 0 served again: expected eval0, found other0",
    ),
    "a batch repeated": (
        replace(SERVED, batches=(EVALUATED[0],) * 2, again=(EVALUATED[0],) * 2),
        "eval batch digests: expected all distinct, found a batch is repeated",
    ),
    "more than the split": (
        replace(SERVED, split=IDS[:3]),
        "eval position 3: expected no sample, found b/3",
    ),
    "fewer than asked for": (
        replace(SERVED, batches=EVALUATED[:2], again=EVALUATED[:2]),
        "eval position 4: expected c/4, found no sample",
    ),
    "a partial batch before the last": (
        replace(SERVED, batches=(EVALUATED[0], replace(EVALUATED[1], ids=("b/2",)))[::-1]),
        r"eval batch sizes: expected 2 but for the last, found \[1\]",
    ),
}
DRAWN = {
    "a sample missing": (
        replace(DRAWS, first=serve_all((3, 0, 4, 1, 1), [(0, 0), (3, 4)] * 2 + [(1, 1)], "one")),
        r"full pass: expected each of 5 samples once, found 5 draws of 4 samples, missing \['b/2'",
    ),
    "a batch missing": (
        replace(DRAWS, first=BEGUN[:2], first_again=BEGUN[:2]),
        r"training batch sizes: expected \[2, 2, 1\], found \[2, 2\]",
    ),
    "ids of another split": (
        replace(DRAWS, split=IDS[:4], full_pass=False),
        "training ids: expected ids of the split, found 1 other, such as c/4",
    ),
    "ids of another split in a later epoch": (
        replace(DRAWS, full_pass=False, later=(*IDS, "c/9")),
        "training ids: expected ids of the split, found 1 other, such as c/9",
    ),
    "a sample that no epoch draws": (
        replace(DRAWS, full_pass=False, later=IDS[1:] * 30),
        r"epochs 3 and later, 120 draws of 5 samples: expected each sample drawn, found never \['",
    ),
    "other draws when served again": (
        replace(DRAWS, first_again=LATER),
        "epoch 1 served again: expected the same draws, found others",
    ),
    "epoch 2 repeats epoch 1": (
        replace(DRAWS, second=BEGUN),
        "draws of epoch 2: expected others than epoch 1, found the same",
    ),
    "the seed without effect": (
        replace(DRAWS, other_seed=BEGUN),
        "draws of another seed: expected others than epoch 1, found the same",
    ),
    "only crops differ in epoch 2": (
        replace(DRAWS, second=serve_all((3, 0, 4, 1, 2), [(1, 1)] * 5, "two"), full_pass=False),
        "order of epoch 2: expected another than epoch 1, found the same",
    ),
    "crops not random": (
        replace(DRAWS, first=serve_all((3, 0, 4, 1, 2), [(1, 1)] * 5, "one")),
        "random crops: expected several windows, found one",
    ),
    "a flow of another window": (
        replace(DRAWS, first=first(BEGUN, flow=serve(("b/3", "a/0"), [(1, 1)] * 2, "").flow)),
        "sample b/3, flow, at",
    ),
}
TWICE_ROUND = (
    replace(SERVED, all_of_split=(*SERVED.split, *SERVED.split[:2])),
    r"evaluation on more batches than there are: expected each of \d+ samples once, found \d+ "
    "samples: the same, and 2 more",
)
FIRST_BATCHES = {
    "the last batch left out where more are asked for": (
        replace(SERVED, all_of_split=SERVED.split[:-1]),
        r"recalibration on more batches than there are: expected each of \d+ samples once, found "
        r"\d+ samples?: the last is missing",
    ),
    "validation frames": (
        replace(SERVED, split=("t/0", "t/1", "t/2", "t/3", "t/4")),
        "recalibration sample 0: expected t/0, found a/0",
    ),
    "fewer batches than asked": (
        replace(SERVED, batches=EVALUATED[:2]),
        "recalibration sample 4: expected c/4, found none",
    ),
    "another window": (CENTRE["another window"][0], "eval sample c/4, window"),
}
SHORTER = replace(SERVED, split=(*IDS, "d/5"), count=2, batches=EVALUATED[:2], again=EVALUATED[:2])
OWN = OwnSetting(
    {"training": (16, 48), "evaluation": (32, 48)}, 16,
    {"training": {"a/0": (16, 75)}, "evaluation": {"a/1": (53, 75), "b/2": (40, 90)}},
)  # fmt: skip
OWN_CROPS = {
    "EdgeFlowNAS's default on strides of 16": (
        replace(OWN, crops={"training": (180, 240)}, frames={}),
        "training crop: expected multiples of 16 px, such as 176 x 240 or 192 x 240, found 180 x "
        "240",
    ),
    "a crop below one stride": (
        replace(OWN, crops={"evaluation": (8, 48)}),
        "evaluation crop: expected multiples of 16 px, such as 16 x 48 or 16 x 48, found 8 x 48",
    ),
    "a frame that the crop does not fit in": (
        replace(OWN, crops={"training": (16, 48), "evaluation": (48, 64)}),
        "evaluation crop: expected at most 40 x 90 px, the size of sample b/2, found 48 x 64",
    ),
}
CLEAN = {
    configured.own_crop_fits: [OWN],
    served.recal_batches_are_the_first: [SERVED, replace(SERVED, all_of_split=SERVED.split)],
    served.eval_crop_is_centred: [SERVED, replace(WHOLE, again=WHOLE.batches)],
    # The windows are another promise's matter.
    served.unknown_flow_is_masked: [
        SERVED,
        CENTRE["another window"][0],
        replace(SERVED, larger="c/4"),
    ],
    served.eval_order_is_fixed: [SERVED, SHORTER, replace(SERVED, all_of_split=SERVED.split)],
    draws.training_draws_are_declared: [DRAWS, replace(DRAWS, full_pass=False, later=IDS * 30)],
}
EMPTY = {
    configured.own_crop_fits: OwnSetting({}, 1, {}),
    served.recal_batches_are_the_first: replace(SERVED, batches=(), again=(), split=()),
    served.eval_crop_is_centred: replace(SERVED, batches=(), again=()),
    served.unknown_flow_is_masked: replace(SERVED, batches=(), again=()),
    served.eval_order_is_fixed: replace(SERVED, batches=(), again=()),
    draws.training_draws_are_declared: TrainingDraws(
        False, False, None, (), (), (), (), (), (), {}
    ),
}
CORRUPTED = {
    configured.own_crop_fits: OWN_CROPS,
    served.recal_batches_are_the_first: FIRST_BATCHES,
    served.eval_crop_is_centred: CENTRE,
    served.unknown_flow_is_masked: WINDOWS,
    served.eval_order_is_fixed: ORDER | {"a split gone through again": TWICE_ROUND},
    draws.training_draws_are_declared: DRAWN,
}
KNOWN = {sample: (frames, np.clip(flow, -50, 50)) for sample, (frames, flow) in DECODED.items()}
NOTHING_TO_TELL = {
    served.unknown_flow_is_masked: {
        "the window of smaller frames": (
            replace(CENTRE["another window"][0], larger="c/4"),
            "eval sample c/4, window .*, of larger frames than the others: expected .*, found ",
        ),
        "no unknown flow": (
            replace(SERVED, decoded=KNOWN),
            "found no sample with unknown flow was served",
        ),
    },
}
