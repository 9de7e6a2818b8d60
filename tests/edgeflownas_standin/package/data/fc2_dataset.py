"""Batches of FlyingChairs2: bad files are skipped in silence, like in the original."""

import random
from pathlib import Path

import cv2
import numpy as np


def list_samples(folder):
    """Return the first frames below a folder."""
    return [str(path) for path in sorted(Path(folder).rglob("*-img_0.png"))]


def read_flow(path):
    """Read a .flo file."""
    with Path(path).open("rb") as file:
        if file.read(4) != b"PIEH":
            raise ValueError("bad magic")
        width, height = np.fromfile(file, np.int32, 2)
        return np.fromfile(file, np.float32, width * height * 2).reshape(height, width, 2)


class FC2BatchProvider:
    """Serves batches, at random or in order."""

    def __init__(self, samples, crop, seed, mode):
        self.samples, self.crop, self.mode = list(samples), crop, mode
        self.rng = random.Random(seed)
        self._cursor, self._order = 0, list(range(len(self.samples)))

    def __len__(self):
        return len(self.samples)

    def _next_path(self):
        if self.mode == "random":
            return self.samples[self.rng.randint(0, len(self.samples) - 1)]
        path = self.samples[self._order[self._cursor]]
        self._cursor = (self._cursor + 1) % len(self.samples)
        return path

    def _window(self, shape):
        rows, columns = shape[0] - self.crop[0], shape[1] - self.crop[1]
        if self.mode == "eval" or self.mode == "center":
            return rows // 2, columns // 2
        return self.rng.randint(0, rows), self.rng.randint(0, columns)

    def _load(self):
        for _ in range(64):
            path = self._next_path()
            base = path[: -len("img_0.png")]
            frames = [cv2.imread(f"{base}img_{i}.png", cv2.IMREAD_COLOR) for i in (0, 1)]
            try:
                flow = np.clip(read_flow(base + "flow_01.flo"), -50, 50)
                top, left = self._window(frames[0].shape)
                rows = slice(top, top + self.crop[0])
                columns = slice(left, left + self.crop[1])
                return [np.float32(array[rows, columns]) for array in (*frames, flow)]
            except (AttributeError, ValueError):
                continue
        raise RuntimeError("no sample could be loaded")

    def next_batch(self, batch_size):
        """Return (frame pair, frame 0, frame 1, flow)."""
        loaded = [self._load() for _ in range(batch_size)]
        first, second, flow = (np.stack(arrays) for arrays in zip(*loaded))
        return np.concatenate([first, second], axis=3), first, second, flow


class CursorProvider(FC2BatchProvider):
    """The provider after the first fix: it can start again from the first sample."""

    def reset_cursor(self, index=0):
        """Go back to a sample."""
        self._cursor = index


class EpochProvider(CursorProvider):
    """The provider that can pass over the split without replacement."""

    def start_epoch(self, shuffle=True):
        """Draw the order of an epoch."""
        if self.mode in ("shuffle", "center"):
            self._order = list(range(len(self.samples)))
            if shuffle:
                self.rng.shuffle(self._order)
            self._cursor = 0
