"""The worker of a foreign system: one file for Python 3.7 and up that needs NumPy alone.

The harness starts it by its path, in the interpreter of the system under test, and speaks to
it over pipes: a frame is a JSON header and the arrays that it names, as .npy. Nothing is
pickled. Both ends read and write frames with the functions of this file, which therefore
imports nothing of the package that it lies in.
"""

from __future__ import annotations

import os
import sys


def _claim() -> tuple[int, int]:
    """Keep the pipes for frames alone, and forget this folder; return both descriptors.

    Before any other import: whatever a system prints, from Python or from C, then goes to the
    log, and no module beside this file can be imported by accident.
    """
    pipes = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    return pipes


def _guard(pipe: int) -> None:
    """Let a process of the group end it when the harness has gone, whatever this one is doing.

    A thread does the same, but gets no turn while a system's C code holds the interpreter.
    """
    if os.getpgrp() != os.getpid() or not hasattr(select, "poll"):
        return
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if os.fork():
        os._exit(0)  # so that the guard is nobody's child, whom a system might wait for
    try:
        for descriptor in range(256):
            if descriptor != pipe:
                try:
                    os.close(descriptor)
                except OSError:
                    continue
        gone = select.poll()
        gone.register(pipe, 0)  # reads nothing: that the other end is closed is told anyway
        gone.poll()
    finally:
        os.killpg(0, signal.SIGKILL)


_PIPES = _claim() if __name__ == "__main__" else (-1, -1)

import select
import signal

if __name__ == "__main__":
    _guard(_PIPES[0])

import dataclasses
import functools
import importlib
import importlib.machinery
import importlib.util
import io
import json
import platform
import queue
import struct
import threading
import traceback
import types
from typing import Any, BinaryIO, Callable

try:
    import numpy as np
except ImportError:
    if __name__ != "__main__":
        raise
    sys.stderr.write("ImportError: no NumPy in %s\n" % sys.executable)
    sys.exit(3)

__all__ = [
    "MAGIC",
    "PREFIX",
    "FrameError",
    "decode",
    "encode",
    "pack",
    "unpack_array",
    "unpack_header",
]

MAGIC = b"sb1\n"
PREFIX = struct.Struct(">4sI")
"""What a frame begins with: the magic bytes and the length of its header in bytes."""

_DEPTH = 40
_SILENT = ("open", "save", "close")
_PACKAGES = ("numpy", "tensorflow", "torch", "tf_keras", "jax")


class FrameError(ValueError):
    """A value that cannot be sent, or bytes that are no frame."""


def encode(value: Any, arrays: list[Any], where: str = "the value", depth: int = 0) -> Any:
    """Return a JSON-able form of a value; its arrays are appended to `arrays`.

    Raises
    ------
    FrameError
        If a part of it is neither JSON-able, nor an array, nor a plain object with fields.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        return {"$scalar": value.dtype.str, "value": encode(value.item(), arrays, where)}
    if isinstance(value, float):
        # Not 0 for NaN and the infinities, which strict JSON does not have.
        return value if value - value == 0 else {"$float": repr(float(value))}
    if isinstance(value, np.ndarray) or hasattr(type(value), "__array__"):
        try:
            array = np.asarray(value)
        except Exception as error:
            raise FrameError("%s: cannot be made an array: %s" % (where, _text(error)))
        return _encode_array(array, arrays, where)
    if depth > _DEPTH:
        raise FrameError("%s: nested deeper than %d levels" % (where, _DEPTH))
    if isinstance(value, dict) or (hasattr(value, "keys") and hasattr(value, "items")):
        return _encode_dict(value, arrays, where, depth)
    fields = _fields(value)
    if fields is not None:
        inner = _encode_dict(fields, arrays, where, depth)
        return {"$object": type(value).__name__, "fields": inner}
    if isinstance(value, (set, frozenset)):
        # The order of a set may differ from process to process.
        value = sorted(value, key=repr)
    if isinstance(value, (list, tuple, range)) or hasattr(value, "__next__"):
        return [
            encode(item, arrays, "%s[%d]" % (where, i), depth + 1) for i, item in enumerate(value)
        ]
    raise FrameError("%s: cannot send a %s" % (where, type(value).__name__))


def _encode_array(array: Any, arrays: list[Any], where: str) -> Any:
    if array.dtype.hasobject or array.dtype.kind not in "biufSU":
        raise FrameError("%s: cannot send an array of dtype %s" % (where, array.dtype))
    arrays.append(array)
    return {"$array": len(arrays) - 1}


def _encode_dict(value: Any, arrays: list[Any], where: str, depth: int) -> Any:
    found = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise FrameError("%s: keys must be strings, found %.80r" % (where, key))
        found[key] = encode(item, arrays, "%s.%s" % (where, key), depth + 1)
    # Such a key would be taken for a mark of this encoding.
    if any(key.startswith("$") for key in found):
        return {"$items": [[key, item] for key, item in found.items()]}
    return found


def _fields(value: Any) -> Any:
    """Return the fields of a named tuple, a dataclass or a plain object; None for others."""
    if isinstance(value, tuple):
        return dict(zip(value._fields, value)) if hasattr(value, "_fields") else None
    if isinstance(value, (type, types.ModuleType, bytes, bytearray)) or callable(value):
        return None
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if hasattr(value, "__next__") or isinstance(value, (list, set, frozenset)):
        return None
    if hasattr(value, "__dict__"):
        return {name: item for name, item in vars(value).items() if not name.startswith("_")}
    return None


def decode(value: Any, arrays: list[Any], build: Callable[[str, Any], Any]) -> Any:
    """Return the value of :func:`encode`'s form; `build` makes objects of name and fields."""
    if isinstance(value, list):
        return [decode(item, arrays, build) for item in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return arrays[value["$array"]]
    if "$float" in value:
        return float(value["$float"])
    if "$scalar" in value:
        return np.dtype(value["$scalar"]).type(decode(value["value"], arrays, build))
    if "$items" in value:
        return {key: decode(item, arrays, build) for key, item in value["$items"]}
    if "$object" in value:
        return build(value["$object"], decode(value["fields"], arrays, build))
    return {key: decode(item, arrays, build) for key, item in value.items()}


def pack(header: Any, what: str = "the value") -> list[bytes]:
    """Return a frame, in pieces; arrays may lie anywhere in the header.

    Raises
    ------
    FrameError
        If a part of it cannot be sent; `what` says what it is.
    """
    arrays: list[Any] = []
    body = encode(header, arrays, what)
    payloads = []
    for array in arrays:
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, allow_pickle=False)
        payloads.append(buffer.getvalue())
    frame = {"body": body, "sizes": [len(payload) for payload in payloads]}
    text = json.dumps(frame, allow_nan=False, separators=(",", ":")).encode("ascii")
    return [PREFIX.pack(MAGIC, len(text)), text] + payloads


def unpack_header(text: bytes) -> tuple[Any, list[int]]:
    """Return a frame's body, still encoded, and the sizes of its arrays in bytes.

    Raises
    ------
    FrameError
        If it is not strict JSON with these two.
    """
    try:
        frame = json.loads(text.decode("ascii"), parse_constant=_refuse)
        body, sizes = frame["body"], frame["sizes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FrameError("no frame's header: %.80s: %.80r" % (error, text[:80]))
    for size in sizes if isinstance(sizes, list) else [sizes]:
        if type(size) is not int or not 0 <= size < 1 << 40:
            raise FrameError("no frame's header: a size of %.80r bytes" % (size,))
    return body, sizes


def unpack_array(payload: bytes) -> Any:
    """Return the array of a payload.

    Raises
    ------
    FrameError
        If its header says another size than it has; nothing is made of that size before.
    """
    buffer = io.BytesIO(payload)
    try:
        version = np.lib.format.read_magic(buffer)
        if version != (1, 0):
            raise FrameError("version %s of the array format" % (version,))
        shape, _, dtype = np.lib.format.read_array_header_1_0(buffer)
    except Exception as error:
        raise FrameError("no array's header: %s: %.80r" % (_text(error), payload[:80]))
    expected = dtype.itemsize
    for side in shape:  # Python's integers, which no shape overflows
        expected *= side
    found = len(payload) - buffer.tell()
    if dtype.hasobject or expected != found or any(side < 0 for side in shape):
        raise FrameError(
            "an array of %s and shape %.80s: expected %d bytes, found %d"
            % (dtype, shape, expected, found)
        )
    buffer.seek(0)
    return np.lib.format.read_array(buffer, allow_pickle=False)


def _refuse(name: str) -> Any:
    raise FrameError("%s is not strict JSON" % name)


def _read(pipe: BinaryIO) -> Any:
    """Return the next frame's body; EOFError where the harness has gone."""
    prefix = pipe.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        raise EOFError
    body, sizes = unpack_header(pipe.read(PREFIX.unpack(prefix)[1]))
    arrays = []
    for size in sizes:
        payload = pipe.read(size)
        if len(payload) < size:
            raise EOFError
        arrays.append(unpack_array(payload))
    return decode(body, arrays, lambda _, fields: types.SimpleNamespace(**fields))


def _write(pipe: BinaryIO, header: Any, what: str = "the value") -> None:
    for piece in pack(header, what):
        pipe.write(piece)
    pipe.flush()


def _listen(pipe: BinaryIO, requests: Any) -> None:
    """Hand on requests; end with the harness, even in the middle of a call."""
    try:
        while True:
            requests.put(_read(pipe))
    except (EOFError, OSError):
        pass
    finally:
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)  # loader processes of the system too
        os._exit(0)


def _versions() -> dict[str, str]:
    """Return the versions of what a result may depend on, where they are installed."""
    try:
        from importlib import metadata
    except ImportError:  # before Python 3.8
        return {"numpy": np.__version__}
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class _Harness:
    """Finds the package that this file lies in, where the interpreter has none of that name.

    As a package of files alone: nothing of what lies beside it comes along, and an adapter may
    take what of it needs no other package, such as ``harness.torch_system``.
    """

    @staticmethod
    def find_spec(name: str, *_: Any) -> Any:
        """Return where the package lies, for its own name alone."""
        if name != "harness":
            return None
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        here = os.path.dirname(os.path.abspath(__file__))
        spec.submodule_search_locations = [os.path.dirname(here)]
        return spec


def _load(target: str, path: list[str]) -> Any:
    """Return the class that ``MODULE:CLASS`` or ``FILE.py:CLASS`` names."""
    sys.path[:] = path + [entry for entry in sys.path if entry not in path]
    place, _, name = target.rpartition(":")
    if place.endswith(".py"):
        stem = os.path.basename(place)[:-3]
        folder = [os.path.dirname(place)] if stem == "__init__" else None  # then a package
        stem = os.path.basename(folder[0]) if folder else stem
        # The file may be called like a module that is imported already.
        title = stem if stem not in sys.modules else "system_" + stem
        spec = importlib.util.spec_from_file_location(
            title, place, submodule_search_locations=folder
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[title] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    if not hasattr(module, name):
        own = [v for v in vars(module).values() if isinstance(v, type)]
        found = [v.__name__ for v in own if v.__module__ == module.__name__]
        text = "no class %r in %s, found %s" % (name, place, ", ".join(found) or "none")
        raise AttributeError(text)
    return getattr(module, name)


def _text(error: BaseException) -> str:
    """Return the text of an exception, whatever it does when it is asked."""
    try:
        return str(error)
    except Exception as another:
        return "(its text cannot be made: %s)" % type(another).__name__


def _problem(error: BaseException, stage: str) -> dict[str, Any]:
    """Return what the other end needs to raise the error again."""
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:
        text = "".join(traceback.format_tb(error.__traceback__))
    return {
        "stage": stage,
        "name": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__],
        "text": _text(error),
        "trace": text[-4000:],
        "pid": os.getpid(),
    }


def _notes(returned: Any) -> Any:
    """Return the texts that a restore returned; None where it returned anything else."""
    texts = [returned] if isinstance(returned, str) else returned
    if isinstance(texts, (list, tuple)) and all(isinstance(text, str) for text in texts):
        return list(texts)
    return None  # what a trainer's own function happens to return, such as itself


class _Host:
    """The systems of this process, by number."""

    def __init__(self) -> None:
        self.make: Any = None
        self.systems: dict[int, Any] = {}

    def answer(self, request: Any) -> Any:
        """Return the reply to one request."""
        stage, what = "load", str(request["call"])
        try:
            if what == "load":
                made = _load(request["target"], request["path"])
                module = sys.modules.get(str(getattr(made, "__module__", "")))
                source = getattr(module, "__file__", None)
                if request["once"] is not None:  # then it returns what makes systems
                    made = made(**request["once"])
                self.make = functools.partial(made, **request["each"])
                return {"result": source}
            self.forget(request["drop"])
            stage, number = "make", request["system"]
            if number not in self.systems:
                self.systems[number] = self.make()
            stage = "call"
            if what == "close" and getattr(self.systems[number], what, None) is None:
                return {"result": self.systems.pop(number) and None}
            result = getattr(self.systems[number], what)(*request["args"], **request["options"])
            if what == "close":
                del self.systems[number]
            # What these return means nothing, and may be something that cannot be sent.
            if what in _SILENT:
                return {"result": None}
            return {"result": _notes(result) if what == "restore" else result}
        # A system that calls sys.exit() is told of like any other
        # error, and does not end the worker.
        except (Exception, SystemExit) as error:
            return {"error": _problem(error, stage)}

    def forget(self, numbers: list[int]) -> None:
        """Close systems that nobody holds any longer."""
        for number in numbers:
            system = self.systems.pop(number, None)
            try:
                (getattr(system, "close", None) or int)()
            except Exception:
                traceback.print_exc()  # into the log: nobody waits for an answer


def _serve() -> None:
    pipe, out = os.fdopen(_PIPES[0], "rb"), os.fdopen(_PIPES[1], "wb")
    requests: Any = queue.Queue()
    threading.Thread(target=_listen, args=(pipe, requests), daemon=True).start()
    about = {"python": platform.python_version(), "platform": platform.platform()}
    _write(out, {"hello": dict(about, executable=sys.executable, packages=_versions())})
    host, own = _Host(), os.getpid()
    while True:
        request = requests.get()
        reply = host.answer(request)
        if os.getpid() != own:
            os._exit(0)  # a copy that the system forked has nothing to say
        reply["number"] = request["number"]
        try:
            _write(out, reply, "%s()" % request["call"])
        except Exception as error:
            found = {"error": _problem(error, "result"), "number": request["number"]}
            _write(out, found)


if __name__ == "__main__":
    sys.meta_path.append(_Harness)
    _serve()
