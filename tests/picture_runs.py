"""Pictures of a run that never was: samples and predictions by NumPy, scores as records say."""

import numpy as np

from harness.digest import digest_strings
from harness.records.picture_files import FOLDER, PictureWriter
from harness.records.pictures import PictureFlow, Pictures, PictureSample, Scored
from harness.records.records import EvalRecord
from harness.supernet.epe import sample_epe

SIZE, FRAME, PLACE = (24, 40), (37, 58), (6, 9)


def picture_sample(number, *, size=SIZE, frame=FRAME, place=PLACE):
    v, u = np.mgrid[0 : size[0], 0 : size[1]]
    flow = np.stack([np.sin(u / 9 + number) * 3, np.cos(v / 7) * 2 + number], axis=-1)
    valid = u + 2 * v > size[1] / 4 + number  # a corner is not known
    flow[~valid] = 0
    shape = size if place is None else frame
    # As smooth as frames of a camera are: JPEG is for those.
    ramp = np.add.outer(np.arange(shape[0]), np.arange(shape[1]))[..., None]
    frames = (ramp * 2 + np.arange(6) * 20 + 5 * number) % 256
    key = digest_strings([str(number), str(size), str(place)])
    return PictureSample(
        key, f"{number:07d}", frames.astype(np.uint8), flow.astype(np.float32), valid, place
    )


def picture_flow(sample, arch, off, seed=0):
    rng = np.random.default_rng(seed)
    height, width = sample.valid.shape
    coarse = rng.standard_normal((-(-height // 8), -(-width // 8), 2))
    noise = off * coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    flow = (sample.flow + noise).astype(np.float32)
    (epe,) = sample_epe(flow[None], sample.flow[None], sample.valid[None])
    return PictureFlow(sample.key, arch, float(epe), flow)


def pictures_of(record, *, frozen=2, **look):
    """Return what an evaluation of a ledger might have shown."""
    archs = [Scored(*pair) for pair in zip(record.archs, record.per_arch_epe, strict=True)]
    ends = [choose(archs, key=lambda one: one.epe) for choose in (min, max)]
    numbers = [*range(frozen), frozen + record.epoch % 3, frozen + 3]
    samples = [picture_sample(number, **look) for number in numbers]
    flows = [
        picture_flow(sample, arch.name, 3 / record.epoch * (1 + n), record.epoch)
        for sample in samples
        for n, arch in enumerate(ends)
    ]
    return Pictures(
        record.epoch, record.weights_digest, record.eval_batch_hash, *ends,
        tuple(one.key for one in samples[:frozen]), Scored(samples[-2].key, 0.5),
        Scored(samples[-1].key, 2.5), tuple(flows), {one.key: one for one in samples},
    )  # fmt: skip


def write_pictures(folder, records, **look):
    """Write pictures beside a ledger; return their folder."""
    write = PictureWriter(folder / FOLDER)
    for record in records:
        if isinstance(record, EvalRecord):
            write(pictures_of(record, **look))
    return folder / FOLDER
