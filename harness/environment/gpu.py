"""Which device is used, how much of its memory, and what is recorded of it.

A GPU that was asked for by name is used, or refused in one line; nothing falls to the CPU in
silence.
"""

import ctypes
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.records.environments import UNKNOWN

__all__ = [
    "ChosenDevice", "EnvironmentMismatchError", "choose_device", "driver_version",
    "library_version", "release",
]  # fmt: skip


class EnvironmentMismatchError(RuntimeError):
    """TensorFlow runs, or can run, with other settings or devices only than those asked for."""


@dataclass(frozen=True)
class ChosenDevice:
    """The device in use.

    Attributes
    ----------
    name : str
        ``"cpu"`` or the GPU's name.
    gpu : mapping of str to str
        What is recorded of the GPU; empty on the CPU.
    remark : str
        Why it is the CPU where somebody might expect a GPU.
    """

    name: str
    gpu: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""


def choose_device(
    tf: Any, index: int | None, *, required: bool = False, memory_mib: int | None = None,
    variables: Mapping[str, str] = os.environ, driver: str | None = None,
) -> ChosenDevice:  # fmt: skip
    """Make one GPU visible to TensorFlow, or none, and say which.

    Parameters
    ----------
    tf : module
        TensorFlow.
    index : int or None
        Which GPU; -1: the CPU; None: the first GPU if there is one. 0 stands in EdgeFlowNAS's
        files and those of earlier runs whether or not anybody asked for it: it is the CPU, too,
        on a machine without any sign of a GPU.
    required : bool, default False
        Whether the CPU is refused whatever `index` is.
    memory_mib : int, optional
        How much of the GPU's memory this process may use, in MiB. Default: as it needs it.
    variables : mapping
        The process's environment variables.
    driver : str, optional
        The NVIDIA driver's version, ``"unknown"`` where there is none. Default: looked up.

    Raises
    ------
    EnvironmentMismatchError
        If the GPU that was asked for is not there, or TensorFlow runs with another setting.
    InputError
        If the CPU and a GPU are asked for at once.
    """
    if index == -1:
        if required:
            msg = "runtime.require_gpu is true and train.gpu_device is -1, the CPU: change one"
            raise InputError(msg)
        _set(tf.config.set_visible_devices, "the visible GPUs", [], "GPU")
        return ChosenDevice("cpu")
    driver = driver_version() if driver is None else driver
    gpus = tf.config.list_physical_devices("GPU")
    if (index or 0) < len(gpus):
        return _take(tf, gpus[index or 0], memory_mib, driver)
    hidden = variables.get("CUDA_VISIBLE_DEVICES")
    # An empty one, or -1, asks for the CPU.
    signs = driver != UNKNOWN or hidden not in (None, "", "-1")
    if required or (index is not None and (index > 0 or signs)):
        raise EnvironmentMismatchError(_absent_text(tf, index, required, len(gpus), hidden, driver))
    _set(tf.config.set_visible_devices, "the visible GPUs", [], "GPU")
    return ChosenDevice("cpu", remark=_cpu_remark(index, driver))


def _cpu_remark(index: int | None, driver: str) -> str:
    if driver != UNKNOWN:
        return f"TensorFlow sees no GPU, although there is an NVIDIA driver {driver}"
    return "there is no GPU; train.gpu_device is 0" if index == 0 else ""


def _absent_text(
    tf: Any, index: int | None, required: bool, found: int, hidden: str | None, driver: str
) -> str:
    asked = f"train.gpu_device is {index}" if index is not None else "runtime.require_gpu is true"
    if required and index is not None:
        asked += " and runtime.require_gpu true"
    gpus = "1 GPU" if found == 1 else f"{found or 'no'} GPUs"
    shown = "not set" if hidden is None else repr(hidden)
    built = "with" if tf.test.is_built_with_cuda() else "without"
    instead = "runtime.require_gpu to false" if required else "train.gpu_device to -1"
    if driver == UNKNOWN:
        advice = "no NVIDIA driver answers: install or load it, ask the scheduler for a GPU"
    elif hidden is not None:
        advice = f"driver {driver} is there: let CUDA_VISIBLE_DEVICES name the GPU"
    else:
        advice = f"driver {driver} is there: install TensorFlow's CUDA libraries (.[gpu])"
    if found:
        advice = f"name one of 0 to {found - 1}"
    return (
        f"{asked}, but TensorFlow sees {gpus} (CUDA_VISIBLE_DEVICES is {shown}, TensorFlow is "
        f"built {built} CUDA); {advice}, or set {instead} for the CPU"
    )


def _take(tf: Any, gpu: Any, memory_mib: int | None, driver: str) -> ChosenDevice:
    config = tf.config
    _set(config.set_visible_devices, "the visible GPUs", [gpu], "GPU")
    # On demand: a process that takes all of a device leaves its neighbours nothing.
    if memory_mib is None:
        _set(config.experimental.set_memory_growth, "memory on demand", gpu, True)
    else:
        limit = config.LogicalDeviceConfiguration(memory_limit=memory_mib)
        _set(config.set_logical_device_configuration, "runtime.gpu_memory_mib", gpu, [limit])
    details = _details(config, gpu)
    return ChosenDevice(
        str(details.get("device_name") or "gpu"),
        {
            "compute_capability": _dotted(details.get("compute_capability")),
            "driver": driver,
            "cuda": library_version(tf, "cuda"),
            "cudnn": library_version(tf, "cudnn"),
            "memory": "on demand" if memory_mib is None else f"{memory_mib} MiB at most",
        },
    )


def _set(setter: Callable[..., object], what: str, *values: object) -> None:
    try:
        setter(*values)
    except (RuntimeError, ValueError) as error:
        msg = f"{what} cannot be set: {error}. Start a fresh process."
        raise EnvironmentMismatchError(msg) from None


def _details(config: Any, gpu: Any) -> Mapping[str, Any]:
    try:
        return dict(config.experimental.get_device_details(gpu) or {})
    except Exception:  # noqa: BLE001 -- whatever a driver answers, the record says "unknown"
        return {}


def _dotted(version: object) -> str:
    if isinstance(version, tuple | list) and version:
        return ".".join(map(str, version))
    return str(version) if version else UNKNOWN


@cache
def driver_version(file: Path = Path("/proc/driver/nvidia/version")) -> str:
    """Return the NVIDIA driver's version, ``"unknown"`` where there is none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = _ask_nvidia_smi()
    found = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", text)
    return found[0] if found else UNKNOWN


def _ask_nvidia_smi() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


_LIBRARIES: Mapping[str, tuple[str, str, str]] = {
    "cuda": ("libcudart.so", "nvidia-cuda-runtime-cu", "cuda_version"),
    "cudnn": ("libcudnn.so", "nvidia-cudnn-cu", "cudnn_version"),
}
"""File, package of the Python index and key of TensorFlow's build information."""


# Asked once: what is loaded later would make the records of one process differ.
@cache
def library_version(tf: Any, name: str) -> str:
    """Return the version of CUDA or cuDNN that this process uses, as far as it can be told.

    That is what the loaded library says, else the installed package, else what TensorFlow was
    built with, which is said.
    """
    file, package, key = _LIBRARIES[name]
    built = str(dict(tf.sysconfig.get_build_info()).get(key) or "")
    major = built.split(".")[0]
    loaded = _asked_library(name, f"{file}.{major}") if major else None
    if loaded:
        return loaded
    toolkit = str(dict(tf.sysconfig.get_build_info()).get("cuda_version") or "").split(".")[0]
    try:
        return metadata.version(f"{package}{toolkit}")
    except metadata.PackageNotFoundError:
        return f"built with {built}" if built else UNKNOWN


def release(library: str, number: int) -> str:
    """Return a version that a library gives as one number in the form that people write.

    CUDA counts 1000 for a major and 10 for a minor release; cuDNN 10000 and 100, and before its
    release 9 1000 and 100 (``CUDART_VERSION`` and ``CUDNN_VERSION`` in NVIDIA's headers).
    """
    if library == "cuda":
        return f"{number // 1000}.{number % 1000 // 10}"
    major = 10000 if number >= 90000 else 1000
    return f"{number // major}.{number % major // 100}.{number % 100}"


def _asked_library(name: str, file: str) -> str | None:
    """Return the version that a library which is already loaded gives, None if it is not."""
    try:
        library = ctypes.CDLL(file, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        if name == "cudnn":
            library.cudnnGetVersion.restype = ctypes.c_size_t
            return release("cudnn", int(library.cudnnGetVersion()))
        found = ctypes.c_int(0)
        failed = library.cudaRuntimeGetVersion(ctypes.byref(found))
        return None if failed or not found.value else release("cuda", found.value)
    except (OSError, AttributeError):
        return None
