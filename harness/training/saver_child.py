"""Run as a script: reads a checkpoint of TensorFlow's Saver and writes its arrays to a file.

TensorFlow's reader ends the process on an index that is damaged in some ways, and believes the
sizes that it names. Here it may: :mod:`harness.training.saver_files` starts this in a process of
its own, which imports nothing of this package.
"""

import errno
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


def _new_reader(prefix: bytes, *, whole: bool = False) -> Any:
    """Return TensorFlow's reader and what it is to be called with.

    Parameters
    ----------
    whole : bool, default False
        Import all of TensorFlow, and not as little of it as the reader needs: seconds of imports.
    """
    if whole:
        import tensorflow as tf

        return tf.train.load_checkpoint, os.fsdecode(prefix)
    spec = importlib.util.find_spec("tensorflow")
    bare = types.ModuleType("tensorflow")
    bare.__path__ = list(spec.submodule_search_locations or ()) if spec else []
    sys.modules["tensorflow"] = bare
    from tensorflow.python.training import py_checkpoint_reader

    return py_checkpoint_reader.NewCheckpointReader, prefix


def _limit(memory: int, length: int, seconds: int) -> None:
    """Limit memory above what is taken already, the length of files, and time, of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 -- no import more
        pages = int(file.read().split()[0])
    most = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, length))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read(made: Any, target: str, limits: Sequence[int]) -> dict[str, Any]:
    """Write every variable to `target` and return nothing, or what is wrong with which.

    Parameters
    ----------
    made : pair
        As :func:`_new_reader`.
    """
    place, arrays, others = ".index", dict[str, Any](), dict[str, str]()
    _limit(*limits)
    try:
        reader = made[0](made[1])
        for name in sorted(reader.get_variable_to_shape_map()):
            place = f".data-*: {name}"
            array = np.asarray(reader.get_tensor(name))
            if array.dtype.kind in _NUMBERS:
                arrays[name] = array
            else:
                others[name] = str(array.dtype)
    except MemoryError:
        return {"place": place, "reason": "more memory than its files can fill"}
    # Whatever it is, the process that asked says it.
    except Exception as error:  # noqa: BLE001
        return {"place": place, "reason": f"{error}" or type(error).__name__}
    if others:
        name, kind = next(iter(others.items()))
        return {"place": place, "reason": f"{name} is of type {kind}, expected numbers"}
    return _written(target, arrays)


def _written(target: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Write the arrays; what hinders it is no damage of the checkpoint."""
    try:
        with open(target, "wb") as file:  # noqa: PTH123 -- no import more
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        # Beyond the limit of length: more than the files can hold.
        if error.errno == errno.EFBIG:
            return {"place": ".data-*", "reason": "more numbers than its files can hold"}
        return {"system": str(error)}
    return {}


if __name__ == "__main__":
    # What TensorFlow prints is no answer.
    answers = os.dup(1)
    os.dup2(2, 1)
    words = sys.argv[1:]
    try:
        made = _new_reader(os.fsencode(words[0]), whole=words[-1] == "whole")
    except (ImportError, AttributeError):  # another TensorFlow has its reader elsewhere
        if words[-1] == "whole":
            raise
        os.dup2(answers, 1)
        os.execv(sys.executable, [sys.executable, "-P", *sys.argv, "whole"])
    found = _read(made, words[1], [int(text) for text in words[2:5]])
    os.write(answers, json.dumps(found).encode())
