"""Damages checkpoints of TensorFlow's Saver, in a process where TensorFlow is its reader alone."""

import json
import os
import select
import signal
from functools import partial
from pathlib import Path

import numpy as np

from harness.training import saver_child, saver_files
from tests.fuzz.fuzzing import Limits, run_cases, seed
from tests.fuzz.mutators import BYTES, flip_bits, one_of, set_byte
from tests.saver_index import blocks, sealed

LIMITS = Limits(seconds=60)
ARRAYS = {
    "a/kernel": np.arange(36, dtype=np.float32).reshape(4, 9), "a/gamma": np.float32([1, 2, 3]),
    "step": np.int64(11), "z": np.ones((2, 1, 3), np.float32),
}  # fmt: skip


MAKE = []
"""TensorFlow's reader, once it is loaded."""


def _answer(prefix, target, limits, writer):
    """Do what the child does, and end as it ends: nothing of the driver may go on in a fork."""
    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        found = saver_child._read((MAKE[0], os.fsencode(prefix)), str(target), limits)
        os.write(writer, json.dumps(found).encode())
        code = 0
    finally:
        os._exit(code)


def forked(prefix, target, limits, seconds):
    """Do what the child does in a fork of this process: a hundredth of the time."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _answer(prefix, target, limits, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        # A fork of the driver's child holds no other end of the pipe, so it ends with it.
        if not select.select([answers], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
        text = answers.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        return ".index", saver_files._death(code, limits[0])
    answer = json.loads(text)
    return answer.get("place", ""), saver_files.plain_line(answer.get("reason", "")) * bool(answer)


def _read(prefix, suffix, content):
    path = prefix.with_name(prefix.name + suffix)
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        return saver_files.read_variables(prefix)
    finally:
        path.write_bytes(whole)


def _same(_, found):
    same = found.keys() == ARRAYS.keys() and all(
        (found[n].dtype, found[n].shape, found[n].tobytes()) == (a.dtype, a.shape, a.tobytes())
        for n, a in ((n, np.asarray(a)) for n, a in ARRAYS.items())
    )
    return None if same else "other variables"


def _anything(_, found):
    """Whoever sets the checksums too says what the variables are, and their digest changes."""
    return None if all(array.dtype.kind in "biufc" for array in found.values()) else "no numbers"


def _within(whole, random, content):
    """Damage what lies in the blocks, and set their checksums."""
    found = content
    for _ in range(random.choice([1, 1, 2, 5])):
        start, length = random.choice(blocks(whole))
        piece = random.choice([flip_bits, set_byte])(random, found[start : start + length])
        found = found[:start] + piece + found[start + length :]
    return sealed(found, whole)


def files(prefix):
    return {s: prefix.with_name(prefix.name + s).read_bytes()
            for s in (".index", ".data-00000-of-00001")}  # fmt: skip


def _fuzz(of, prefix, count, **given):
    # Loaded once here, for each fork: TensorFlow's reader and what it needs.
    MAKE.append(saver_child._new_reader(b"")[0])
    saver_files._ended = forked
    tally = run_cases(
        of, count=int(count), seed=seed(), limits=LIMITS, named=lambda _: "net.ckpt",
        read=partial(_read, Path(prefix)), **given,
    )  # fmt: skip
    tally.require_clean()
    return tally


def blind(prefix, count):
    """Damage either file in any way."""
    originals = files(Path(prefix))
    _fuzz("saver", prefix, count, originals=originals, mutate=one_of(*BYTES), judge=_same)


def with_checksums(prefix, count):
    """Damage what the index says, and set its checksums."""
    whole = files(Path(prefix))[".index"]
    tally = _fuzz(
        "saver-sealed", prefix, count, originals={".index": whole}, judge=_anything,
        mutate=partial(_within, whole),
    )  # fmt: skip
    assert any("died" in reason for reason in tally.reasons), "no input was fatal: use others"
