"""A system that misbehaves as it is asked to; it runs in a worker of its own, Python 3.7 on."""

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import numpy as np

PRINTED_ON_IMPORT = "printed while it was imported"
print(PRINTED_ON_IMPORT)
os.write(1, b"written while it was imported\n")


class NotApplicableError(Exception):
    """Named as the harness's own, and otherwise unknown to it."""


class HarshError(ValueError):
    """A class that only this process knows."""


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's."""


def noise():
    print("print", flush=True)
    os.write(1, b"\x00\xff raw bytes on descriptor 1\n")
    print("dunder", file=sys.__stdout__, flush=True)
    ctypes.CDLL(None).puts(b"from C")
    subprocess.run(["echo", "from a child"], check=True)


def garbage():
    for descriptor in range(3, 30):  # the worker's own pipe is among them
        try:
            os.write(descriptor, b"garbage garbage")
        except OSError:
            continue


def raised(error):
    raise error


def fork():
    if os.fork():
        return "the parent"
    time.sleep(0.1)
    sys.exit(0)


class Unconvertible:
    """As a tensor whose gradient is recorded."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("requires grad")


class TextlessError(Exception):
    """Fails when it is asked for its text."""

    def __str__(self):
        return str(1 / 0)


def hoard():
    kept = np.ones(40 * 2**20, np.uint8)
    time.sleep(60)
    return kept


def mapped():
    with tempfile.TemporaryFile() as file:
        file.truncate(300 * 2**20)
        kept = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    whole = sum(kept[place] for place in range(0, len(kept), 4096))
    time.sleep(1.5)
    return whole


DEEDS = {
    "hoard": hoard,
    "mapped": mapped,
    "stuck": lambda: ctypes.PyDLL(None).sleep(60),  # and nobody else gets a turn
    "fork": fork,
    "no text": lambda: raised(TextlessError()),
    "noise": noise,
    "garbage": garbage,
    "exit": lambda: os._exit(7),
    "segv": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "sleep": lambda: time.sleep(60),
    "value": lambda: raised(HarshError("frame 3 is bad\nand a second line")),
    "memory": lambda: raised(ResourceExhaustedError("OOM: shape[7,9] and type half")),
    "key": lambda: raised(KeyError("w")),
    "system exit": lambda: sys.exit(3),
    "absent": lambda: raised(NotApplicableError("this version has no statistics")),
    "pid and seed": lambda: "%d %s" % (os.getpid(), os.environ.get("PYTHONHASHSEED")),
    "child": lambda: subprocess.Popen(["sleep", "60"]).pid,
}
STATS = {"unit": (np.zeros(2, np.float32), np.ones(2, np.float32))}


class Odd:
    def __init__(self, root=None):
        self.root, self.opened = root, None

    def describe(self):
        number, seed = str(id(self)), os.environ.get("PYTHONHASHSEED", "")
        return SimpleNamespace(
            name=str(self.root), can=["describe"], version="%d %s" % (os.getpid(), seed),
            options=[[[number, str(self.opened)], sys.path]],
        )  # fmt: skip

    def open(self, config):
        self.opened = config["name"]

    def close(self):
        print("closed")

    def recalibrate(self, arch, inputs=False):
        found = DEEDS[arch]() if arch in DEEDS else None
        answer = {"arch": arch, "stats": STATS, "inputs": {}, "batch_hash": str(found)}
        changes = {
            "unknown": {"extra": 1}, "type": {"batch_hash": 3},
            "dtype": {"stats": {"unit": (np.zeros(2), np.ones(2))}},
            "count": {"stats": {"unit": (np.zeros(2, np.float32),)}},
            "unsendable": {"inputs": {"unit": [b"bytes"]}},
            "unconvertible": {"inputs": {"unit": [Unconvertible()]}},
            "object": {"inputs": {"unit": [np.array([None])]}},
        }  # fmt: skip
        answer.update(changes.get(arch, {}))
        if arch == "no field":
            del answer["stats"]
        return None if arch == "nothing" else answer

    def evaluate(self, archs=None, batches_per_arch=None):
        nan = float("nan")
        return {
            "archs": ["a"], "per_arch_epe": [nan], "per_sample": {"a": [nan, float("inf")]},
            "mean_epe": np.float32(0.1), "zero_flow_epe": 1, "eval_batch_hash": "",
        }  # fmt: skip

    def train(self, epochs, steps=None):
        with open("%s/pid" % self.root, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)


class Needy(Odd):
    def __init__(self):
        import a_package_that_is_not_there  # noqa: F401
