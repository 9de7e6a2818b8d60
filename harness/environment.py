"""The environment is set, not inherited.

Threads, oneDNN, TF32 and determinism come from the configuration and are applied before
TensorFlow starts. Measured on CPU: the thread count changes filter and BN gradients, and
with oneDNN eager and graph execution differ in the last bits. Bit equality is therefore
promised within one environment, and each record of a run names it.
"""

import logging
import os
import platform
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from harness.config import Config

__all__ = ["Environment", "EnvironmentMismatchError", "apply_environment"]

# One cause of variation less, and no measurable loss with these networks (decision 0001).
_INTER_OP_THREADS = 1


class EnvironmentMismatchError(RuntimeError):
    """TensorFlow already runs in this process with other settings than those asked for."""


@dataclass(frozen=True)
class Environment:
    """Everything that may change the last bits of a result.

    Attributes
    ----------
    python, numpy, tensorflow, opencv : str
        Versions.
    device : str
        ``"cpu"`` or the GPU's name.
    machine : str
        Processor architecture, such as ``"x86_64"``.
    intra_op_threads, inter_op_threads : int
        TensorFlow's thread pools.
    onednn, tf32 : bool
        Whether oneDNN kernels and TensorFloat-32 are on.
    deterministic : bool
        Whether op determinism is on.
    mode : str
        ``"graph"``: the compiled functions, without XLA.
    """

    python: str
    numpy: str
    tensorflow: str
    opencv: str
    device: str
    machine: str
    intra_op_threads: int
    inter_op_threads: int
    onednn: bool
    tf32: bool = False
    deterministic: bool = True
    mode: str = "graph"

    def as_dict(self) -> dict[str, str | int | bool]:
        """Return the fields as a JSON-able mapping."""
        return asdict(self)

    def line(self) -> str:
        """Return the one-line form that headers print."""
        return (
            f"TensorFlow {self.tensorflow}, NumPy {self.numpy}, OpenCV {self.opencv}, "
            f"Python {self.python}, {self.device}, threads {self.intra_op_threads}+"
            f"{self.inter_op_threads}, oneDNN {'on' if self.onednn else 'off'}, TF32 off, "
            "deterministic ops"
        )


def apply_environment(config: Config) -> Environment:
    """Apply the configured environment and return it.

    Call it before anything imports TensorFlow. A second call in one process checks that
    the settings are the ones already in force.

    Raises
    ------
    EnvironmentMismatchError
        If TensorFlow already runs with other settings; start a fresh process then.
    """
    wanted = "1" if config.runtime.onednn else "0"
    if "tensorflow" in sys.modules:
        _require("TF_ENABLE_ONEDNN_OPTS", os.environ.get("TF_ENABLE_ONEDNN_OPTS"), wanted)
    # TensorFlow reads it once, when it is imported.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = wanted
    tf = _import_tensorflow()
    tf.get_logger().setLevel(logging.ERROR)
    threading = tf.config.threading
    for name, value in (
        ("intra_op_parallelism_threads", config.runtime.threads),
        ("inter_op_parallelism_threads", _INTER_OP_THREADS),
    ):
        if getattr(threading, f"get_{name}")() != value:
            _set_threads(getattr(threading, f"set_{name}"), name, value)
    device = _choose_device(tf, config.train.gpu_device)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.experimental.enable_op_determinism()
    # With op determinism on, a random op without a seed raises.
    _set_seed(tf, config.runtime.seed)
    import cv2

    cv2.setNumThreads(0)  # loader threads are ours; OpenCV's own pool would fight them
    return Environment(
        platform.python_version(), metadata.version("numpy"), tf.__version__, cv2.__version__,
        device, platform.machine(), config.runtime.threads, _INTER_OP_THREADS,
        config.runtime.onednn,
    )  # fmt: skip


def _import_tensorflow() -> Any:
    """Import TensorFlow without the lines its C++ part prints before logging starts.

    Whoever sets TF_CPP_MIN_LOG_LEVEL sees them. If the import fails, they are shown.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        import tensorflow as tf

        return tf
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    # The descriptor itself: C++ knows nothing of sys.stderr.
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            import tensorflow as tf

            # Looking for GPUs prints more of those lines: now, while they go to the log.
            tf.config.list_physical_devices()
        except BaseException:
            log.seek(0)
            os.write(kept, log.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    return tf


def _set_seed(tf: Any, seed: int) -> None:
    """Seed TensorFlow's own random ops, of which we use none, once in a process.

    Setting it again would drop every instantiated function, which costs seconds.
    """
    from tensorflow.python.eager import context

    if context.global_seed() is None:
        tf.random.set_seed(seed)


def _set_threads(setter: object, name: str, value: int) -> None:
    try:
        setter(value)  # type: ignore[operator]
    except RuntimeError as error:
        msg = f"{name} cannot become {value}: {error} Start a fresh process."
        raise EnvironmentMismatchError(msg) from None


def _require(name: str, found: str | None, wanted: str) -> None:
    if found != wanted:
        msg = (
            f"{name} is {found!r} and TensorFlow is already imported, expected {wanted!r}; "
            "apply the environment before importing TensorFlow, in a fresh process"
        )
        raise EnvironmentMismatchError(msg)


def _choose_device(tf: object, index: int) -> str:
    """Make one GPU visible, or none, and return the device's name."""
    config = tf.config  # type: ignore[attr-defined]
    gpus = config.list_physical_devices("GPU")
    if index < 0 or not gpus:
        config.set_visible_devices([], "GPU")
        return "cpu"
    if index >= len(gpus):
        msg = f"train.gpu_device is {index}, but this machine has {len(gpus)} GPUs"
        raise EnvironmentMismatchError(msg)
    config.set_visible_devices([gpus[index]], "GPU")
    details = config.experimental.get_device_details(gpus[index])
    return str(details.get("device_name", "gpu"))
