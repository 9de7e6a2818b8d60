"""Run as a script: reads a checkpoint of TensorFlow's Saver and writes its arrays to a file.

TensorFlow's reader ends the process on an index that is damaged in some ways, and believes the
sizes that it names. Here it may: :mod:`harness.training.saver_files` starts this in a process of
its own, which imports nothing of this package.
"""

import importlib.util
import json
import os
import resource
import sys
import types
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__: list[str] = []  # run, not imported

_NUMBERS = "biufc"


def _new_reader(prefix: bytes) -> Any:
    """Return TensorFlow's reader, of as little of TensorFlow as it needs."""
    try:
        # Seconds of imports are not needed for it, and take most of the memory.
        spec = importlib.util.find_spec("tensorflow")
        bare = types.ModuleType("tensorflow")
        bare.__path__ = list(spec.submodule_search_locations or ()) if spec else []
        sys.modules["tensorflow"] = bare
        from tensorflow.python.training import py_checkpoint_reader

        return py_checkpoint_reader.NewCheckpointReader, prefix
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]:
            del sys.modules[name]
        import tensorflow as tf

        return tf.train.load_checkpoint, os.fsdecode(prefix)


def _limit(memory: int, length: int, seconds: int) -> None:
    """Limit memory above what is taken already, the length of files, and time, of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 -- no import more
        pages = int(file.read().split()[0])
    most = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, length))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read(prefix: bytes, target: str, limits: Sequence[int]) -> dict[str, str]:
    """Write every variable to `target` and return nothing, or what is wrong with which."""
    place, arrays, others = ".index", dict[str, Any](), dict[str, str]()
    try:
        make, name_of = _new_reader(prefix)
        _limit(*limits)
        reader = make(name_of)
        for name in sorted(reader.get_variable_to_shape_map()):
            place = f".data-*: {name}"
            array = np.asarray(reader.get_tensor(name))
            if array.dtype.kind in _NUMBERS:
                arrays[name] = array
            else:
                others[name] = str(array.dtype)
        place = ".data-*"
        with open(target, "wb") as file:  # noqa: PTH123 -- no import more
            np.savez(file, allow_pickle=False, **arrays)
    except MemoryError:
        return {"place": place, "reason": "more memory than its files can fill"}
    # Whatever it is, the process that asked says it.
    except Exception as error:  # noqa: BLE001
        return {"place": place, "reason": f"{error}" or type(error).__name__}
    if others:
        name, kind = next(iter(others.items()))
        return {"place": place, "reason": f"{name} is of type {kind}, expected numbers"}
    return {}


if __name__ == "__main__":
    # What TensorFlow prints is no answer.
    answers = os.dup(1)
    os.dup2(2, 1)
    found = _read(os.fsencode(sys.argv[1]), sys.argv[2], [int(text) for text in sys.argv[3:]])
    os.write(answers, json.dumps(found).encode())
