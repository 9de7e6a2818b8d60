"""What a configuration sets before TensorFlow starts, and the record of all that is in force.

Measured on CPU: the thread count changes filter and BN gradients, and with oneDNN eager and graph
execution differ in the last bits.
"""

import importlib.util
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from harness.config import Config
from harness.environment.gpu import ChosenDevice, EnvironmentMismatchError, choose_device
from harness.environment.processor import (
    onednn_isa,
    processor_flags,
    processor_name,
    read_cpuinfo,
)
from harness.environment.record import Environment
from harness.environment.variables import auto_clustering, numeric_variables, variables_in_force
from harness.wording import install

__all__ = ["EnvironmentMismatchError", "apply_environment"]

# One cause of variation less, and no measurable loss with these networks (decision 0001).
_INTER_OP_THREADS = 1


def apply_environment(config: Config) -> Environment:
    """Apply the configured environment and return it.

    Call it before anything imports TensorFlow. A second call in one process checks that
    the settings are the ones already in force.

    Raises
    ------
    EnvironmentMismatchError
        If TensorFlow already runs with other settings; start a fresh process then. Or if the
        GPU that was asked for is not there.
    """
    # Before anything of ours is set.
    inherited = variables_in_force()
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
    chosen = choose_device(
        tf, config.train.gpu_device, required=config.runtime.require_gpu,
        memory_mib=config.runtime.gpu_memory_mib, variables=inherited,
    )  # fmt: skip
    tf.config.experimental.enable_tensor_float_32_execution(config.runtime.tf32)
    tf.config.experimental.enable_op_determinism()
    # With op determinism on, a random op without a seed raises.
    _set_seed(tf, config.runtime.seed)
    import cv2

    cv2.setNumThreads(0)  # loader threads are ours; OpenCV's own pool would fight them
    return _recorded(tf, config, chosen, inherited, cv2.__version__)


def _recorded(
    tf: Any, config: Config, chosen: ChosenDevice, inherited: Mapping[str, str], opencv: str
) -> Environment:
    """Return the record of what is in force now."""
    cpuinfo, variables = read_cpuinfo(), numeric_variables(inherited)
    return Environment(
        python=platform.python_version(), numpy=metadata.version("numpy"),
        tensorflow=tf.__version__, opencv=opencv, device=chosen.name, machine=platform.machine(),
        intra_op_threads=config.runtime.threads, inter_op_threads=_INTER_OP_THREADS,
        onednn=config.runtime.onednn,
        tf32=bool(tf.config.experimental.tensor_float_32_execution_enabled()),
        mode=_mode(tf, variables), cpu=processor_name(cpuinfo),
        onednn_isa=onednn_isa(processor_flags(cpuinfo), inherited, platform.machine()),
        variables=variables, gpu=chosen.gpu, remark=chosen.remark,
    )  # fmt: skip


def _mode(tf: Any, variables: Mapping[str, str]) -> str:
    """Return how the compiled functions run: ``"graph"``, and what changes that."""
    clustering = auto_clustering(variables, jit=tf.config.optimizer.get_jit())
    parts = ["eager" if tf.config.functions_run_eagerly() else "graph"]
    return ", ".join(parts + [f"XLA auto-clustering ({clustering})"] * bool(clustering))


def _import_tensorflow() -> Any:
    """Import TensorFlow without the lines its C++ part prints before logging starts.

    Whoever sets TF_CPP_MIN_LOG_LEVEL sees them. If the import fails, they are shown.

    Raises
    ------
    EnvironmentMismatchError
        If it is not installed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        msg = (
            "TensorFlow is not installed, which the builtin trainer alone needs: "
            f"{install('tensorflow')}"
        )
        raise EnvironmentMismatchError(msg)
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
