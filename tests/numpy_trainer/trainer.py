"""A small optical-flow trainer in NumPy, as somebody else might have written it.

Two 3x3 convolutions on frames of a quarter of the size; two widths ("half" and "full") share
their kernels. Nothing in it knows of the harness.
"""

import json
import os
import zlib

import numpy as np

SCALE, HIDDEN = 4, 4
WIDTHS = {"half": HIDDEN // 2, "full": HIDDEN}


def read_png(path):
    """Return an 8-bit RGB image (H, W, 3); files of any other kind are refused by name."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        chunks, at = {}, 8
        while at < len(data):
            size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
            chunks[kind] = chunks.get(kind, b"") + data[at + 8 : at + 8 + size]
            at += size + 12
        width, height = np.frombuffer(chunks[b"IHDR"], ">u4", 2).tolist()
        if chunks[b"IHDR"][8:] != bytes([8, 2, 0, 0, 0]) or b"IEND" not in chunks:
            raise ValueError("not a whole 8-bit RGB image")
        raw = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8)
        return unfiltered(raw.reshape(height, 1 + 3 * width)).reshape(height, width, 3)
    except (ValueError, KeyError, zlib.error) as error:
        raise ValueError("%s: %s" % (path, error))


def unfiltered(lines):
    """Undo PNG's filters, line by line (RFC 2083, section 6)."""
    before = np.zeros(lines.shape[1] - 1, np.uint8)
    rows = []
    for kind, line in zip(lines[:, 0], lines[:, 1:]):
        if kind == 1:
            row = np.cumsum(line.reshape(-1, 3), axis=0, dtype=np.uint8).reshape(-1)
        elif kind in (0, 2):
            row = line + before * np.uint8(kind // 2)
        else:
            row = sequential(int(kind), line, before)
        rows.append(row)
        before = row
    return np.stack(rows)


def sequential(kind, line, before):
    """Undo the two filters that need the pixel to the left: average and Paeth."""
    row = np.zeros(len(line) + 3, np.int64)
    for i, value in enumerate(line.tolist()):
        left, up, corner = int(row[i]), int(before[i]), int(before[i - 3]) if i >= 3 else 0
        guess = (left + up) // 2
        if kind == 4:
            far = {c: abs(left + up - corner - c) for c in (corner, up, left)}
            guess = min((left, up, corner), key=far.__getitem__)
        row[i + 3] = (value + guess) % 256
    return row[3:].astype(np.uint8)


def read_flow(path):
    """Return flow (H, W, 2) in px; a file of another size, or with NaN, is refused by name."""
    with open(path, "rb") as file:
        data = file.read()
    width, height = np.frombuffer(data, "<i4", 2, 4).tolist()
    if data[:4] != b"PIEH" or len(data) != 12 + 8 * width * height:
        raise ValueError("%s: %d bytes do not hold %d x %d" % (path, len(data), width, height))
    flow = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)
    if np.isnan(flow).any():
        raise ValueError("%s: NaN in the flow" % path)
    return flow


class Folder:
    """The samples of one split, decoded once."""

    def __init__(self, folder):
        self.folder, self.cache = folder, {}
        suffix = "-flow_01.flo"
        found = (os.path.join(r, f) for r, _, files in os.walk(folder) for f in files)
        names = (os.path.relpath(path, folder).replace(os.sep, "/") for path in found)
        self.names = sorted(name[: -len(suffix)] for name in names if name.endswith(suffix))

    def read(self, name):
        """Return both frames (H, W, 6), flow (H, W, 2) and where the flow is known (H, W)."""
        if name not in self.cache:
            path = os.path.join(self.folder, name)
            images = [read_png(path + "-img_%d.png" % i)[..., ::-1] for i in (0, 1)]
            flow = read_flow(path + "-flow_01.flo")
            for i, image in enumerate(images):
                if image.shape[:2] != flow.shape[:2]:
                    raise ValueError("%s-img_%d.png: another size than its flow" % (path, i))
            known = (np.abs(flow) <= 1e9).all(axis=-1)
            flow = np.where(known[..., None], flow, np.float32(0))
            self.cache[name] = np.concatenate(images, axis=-1), flow, known
        return self.cache[name]

    def batch(self, draws):
        """Return stacked crops; a draw is a name and a window (top, left, height, width)."""
        found = []
        for name, (top, left, height, width) in draws:
            rows, columns = slice(top, top + height), slice(left, left + width)
            found.append([array[rows, columns] for array in self.read(name)])
        return [np.stack(arrays) for arrays in zip(*found)]


def patches(x):
    """Return the 3x3 neighbourhood of each pixel, (B, h, w, 9 C)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    shifts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.concatenate(shifts, axis=-1)


def pooled(x):
    """Return means over blocks of SCALE x SCALE pixels."""
    batch, height, width = x.shape[:3]
    blocks = x.reshape(batch, height // SCALE, SCALE, width // SCALE, SCALE, -1)
    return blocks.mean(axis=(2, 4))


class Trainer:
    """Trains both widths on each batch, with momentum and a constant learning rate."""

    def __init__(self, train, val, crop, batch, lr=1e-3, seed=0, steps=None, random_crop=True):
        self.train, self.val = Folder(train), Folder(val)
        self.crop, self.batch, self.lr, self.seed = tuple(crop), batch, lr, seed
        self.steps, self.random_crop = steps, random_crop
        self.rng = np.random.default_rng(seed)
        shapes = {"hidden/kernel": (3, 3, 6, HIDDEN), "head/kernel": (3, 3, HIDDEN, 2)}
        self.weights = {name: self.rng.normal(0, 0.2, shape) for name, shape in shapes.items()}
        self.momentum = {name: np.zeros(shape) for name, shape in shapes.items()}
        self.epoch, self.step = 0, 0  # completed epochs, and steps of the next one

    def window(self, name, rng=None):
        """Return a random window of a sample, or the centre one."""
        room = [side - crop for side, crop in zip(self.train_size(name), self.crop)]
        top, left = (side // 2 if rng is None else int(rng.integers(side + 1)) for side in room)
        return (top, left) + self.crop

    def train_size(self, name):
        folder = self.train if name in self.train.names else self.val
        return folder.read(name)[1].shape[:2]

    def plan(self, epoch):
        """Return the batches of an epoch, from 1: lists of (name, window)."""
        rng, size = np.random.default_rng([self.seed, epoch]), self.batch
        names = self.train.names
        # So many draws of all the samples: a permutation would leave out what it has no room for.
        if self.steps is None:
            drawn = rng.permutation(len(names))
        else:
            drawn = rng.integers(len(names), size=self.steps * size)
        order = [names[i] for i in drawn]
        draws = [(name, self.window(name, rng if self.random_crop else None)) for name in order]
        return [draws[i : i + size] for i in range(0, len(order), size)]

    def flow(self, frames, width, weights=None):
        """Return what the net predicts at a quarter of the size, and what its gradient needs."""
        weights, n = weights or self.weights, WIDTHS[width]
        first = patches(frames)
        hidden = np.maximum(first @ weights["hidden/kernel"][..., :n].reshape(54, n), 0)
        second = patches(hidden)
        return second @ weights["head/kernel"][:, :, :n].reshape(9 * n, 2), (first, hidden, second)

    def predict(self, frames, width):
        """Return the flow at full size, (B, H, W, 2), px."""
        small = self.flow(pooled(frames / 127.5 - 1), width)[0]
        return small.repeat(SCALE, axis=1).repeat(SCALE, axis=2)

    def gradients(self, frames, flow, known, width):
        """Return the masked mean square error and its gradient by kernel."""
        n, share = WIDTHS[width], pooled(known[..., None].astype(float))
        label = pooled(flow.astype(float)) / np.maximum(share, 1e-9)
        found, (first, hidden, second) = self.flow(frames, width)
        error = share * (found - label)
        slope = 2 * error / share.sum()
        head = np.zeros_like(self.weights["head/kernel"])
        head[:, :, :n] = np.tensordot(second, slope, [[0, 1, 2]] * 2).reshape(3, 3, n, 2)
        kernel = self.weights["head/kernel"][::-1, ::-1, :n].transpose(0, 1, 3, 2)
        back = (patches(slope) @ kernel.reshape(18, n)) * (hidden > 0)
        inner = np.zeros_like(self.weights["hidden/kernel"])
        inner[..., :n] = np.tensordot(first, back, [[0, 1, 2]] * 2).reshape(3, 3, 6, n)
        loss = float((error * (found - label)).sum() / share.sum())
        return loss, {"hidden/kernel": inner, "head/kernel": head}

    def train_step(self):
        """Make the next step; return its batch, mean loss and gradient norm."""
        batches = self.plan(self.epoch + 1)
        draws = batches[self.step]
        frames, flow, known = self.train.batch(draws)
        frames = pooled(frames / 127.5 - 1)
        frames = frames + self.rng.normal(0, 0.01, frames.shape)  # noise against overfitting
        found = [self.gradients(frames, flow, known, width) for width in WIDTHS]
        loss = sum(one for one, _ in found) / len(found)
        mean = {name: sum(g[name] for _, g in found) / len(found) for name in self.weights}
        self.require_finite(loss)
        for name in self.weights:
            self.momentum[name] = 0.9 * self.momentum[name] + mean[name]
            self.weights[name] = self.weights[name] - self.lr * self.momentum[name]
        self.step += 1
        if self.step == len(batches):
            self.epoch, self.step = self.epoch + 1, 0
        return draws, loss, float(np.sqrt(sum((g * g).sum() for g in mean.values())))

    def require_finite(self, value):
        if not np.isfinite(value).all():
            bad = [name for name, array in self.weights.items() if not np.isfinite(array).all()]
            raise FloatingPointError("not finite: %s; weights: %s" % (value, bad or "finite"))

    def eval_batches(self, size, count):
        """Return the first batches of validation, centre crop: lists of (name, window)."""
        draws = [(name, self.window(name)) for name in self.val.names[: size * count]]
        return [draws[i : i + size] for i in range(0, len(draws), size)]

    def epe(self, flow, label, known):
        """Return each sample's mean end-point error over its known pixels, px."""
        distance = np.sqrt(((flow - label) ** 2).sum(axis=-1))
        return [float(d[k].mean()) for d, k in zip(distance, known)]

    def plan_values(self):
        return {"crop": list(self.crop), "batch_size": self.batch, "lr": self.lr}

    def require_plan(self, folder, saved):
        """Refuse to go on under another plan: the curve would have a border that nobody sees."""
        for name, value in self.plan_values().items():
            if saved[name] != value:
                told = (folder, name, saved[name], value)
                raise ValueError("%s: saved under %s %s, and opened under %s" % told)

    def save(self, folder):
        """Write a checkpoint: a checksum, the counters as JSON, the arrays."""
        arrays = [g[name] for g in (self.weights, self.momentum) for name in sorted(g)]
        state = [self.epoch, self.step, self.rng.bit_generator.state, self.plan_values()]
        body = json.dumps(state).encode() + b"\n" + b"".join(a.tobytes() for a in arrays)
        os.makedirs(folder + ".part")
        with open(os.path.join(folder + ".part", "run.ckpt"), "wb") as file:
            file.write(b"%08x" % zlib.crc32(body) + body)
        os.rename(folder + ".part", folder)

    def restore(self, folder):
        """Continue from a checkpoint; a damaged one, or one of another plan, is refused."""
        with open(os.path.join(folder, "run.ckpt"), "rb") as file:
            content = file.read()
        if content[:8] != b"%08x" % zlib.crc32(content[8:]):
            raise ValueError("%s: the checkpoint is damaged" % folder)
        text, _, data = content[8:].partition(b"\n")
        epoch, step, rng, saved = json.loads(text.decode())
        self.require_plan(folder, saved)
        self.epoch, self.step, self.rng.bit_generator.state = epoch, step, rng
        values, at = np.frombuffer(data), 0
        for group in (self.weights, self.momentum):
            for name in sorted(group):
                size, shape = group[name].size, group[name].shape
                group[name] = values[at : at + size].reshape(shape).copy()
                at += size
