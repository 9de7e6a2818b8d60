"""Environment variables that change what TensorFlow and its libraries compute.

Names are taken by their prefix, so that one which nobody here has heard of is recorded. Those
that cannot change a bit are left out by name.
"""

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

__all__ = ["LEFT_OUT", "auto_clustering", "numeric_variables", "variables_in_force"]

_PREFIXES = (
    "TF_", "TF2_", "XLA_", "TFXLA_", "ONEDNN_", "DNNL_", "CUBLAS_", "CUBLASLT_", "CUDNN_", "CUDA_",
    "NVIDIA_TF32_", "OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "NPY_", "OPENCV_",
    "GLIBC_TUNABLES",
)  # fmt: skip

LEFT_OUT: Mapping[str, str] = {
    "TF_ENABLE_ONEDNN_OPTS": "set from runtime.onednn, and recorded as onednn",
    "TF_CPP_(MIN|MAX).*|TF_CPP_VMODULE|TF_CPP_LOG.*|TF_LOG.*|.*_LOGINFO.*|.*_LOGLEVEL.*"
    "|.*_LOG(GING)?_?(LEVEL|FILE|INFO|DBG|PATH|DEST.*)?|.*VERBOS.*|.*_WARNINGS"
    "|OMP_DISPLAY_.*|KMP_SETTINGS|KMP_VERSION": "what is printed",
    ".*_DUMP_.*|.*_DUMP|.*JIT_PROFILE.*|.*ITT_TASK.*|TF_DEBUG_LOG.*|.*_CUPTI_.*"
    "|TF_DISABLE_PROFILING": "what is dumped or profiled",
    "TF_FORCE_GPU_ALLOW_GROWTH|TF_GPU_ALLOCATOR|TF_CPU_ALLOCATOR.*|TF_.*MEM_LIMIT_IN_MB"
    "|TF_CUDA_MALLOC_ASYNC.*|TF_FORCE_UNIFIED_MEMORY|KMP_DUPLICATE_LIB_OK|TF_ENABLE_GPU_GARBAGE.*"
    "|KMP_STACKSIZE|OMP_STACKSIZE": "where memory comes from",
    "TF_GPU_THREAD_MODE|TF_GPU_THREAD_COUNT|CUDA_LAUNCH_BLOCKING|CUDA_MODULE_LOADING"
    "|CUDA_DEVICE_MAX_CONNECTIONS|OMP_WAIT_POLICY|KMP_BLOCKTIME": "when work is started, not what",
    "OMP_PROC_BIND|OMP_PLACES|KMP_AFFINITY|KMP_HW_SUBSET|GOMP_CPU_AFFINITY"
    "|KMP_INIT_AT_FORK": "on which core a thread runs",
    "CUDA_VISIBLE_DEVICES|CUDA_DEVICE_ORDER": "which GPUs are seen; the one in use is recorded",
    "CUDA_(HOME|PATH|ROOT.*|DIR|BIN.*|INC.*|LIB.*|TOOLKIT.*|INSTALL.*|CACHE_.*|VERSION.*|MPS_.*)"
    "|CUDNN_(HOME|PATH|ROOT.*|DIR|INC.*|LIB.*|VERSION.*)|MKL_?ROOT|TF_JIT_CACHE_DIR"
    "|CUBLAS_VERSION|TF_DATA_DIR": "where files lie, and versions, which are asked of the library",
    "TF_CLI_.*|TF_VAR_.*|TF_TOKEN_.*|TF_IN_AUTOMATION|TF_INPUT|TF_WORKSPACE|TF_PLUGIN_.*"
    "|TF_REGISTRY_.*|TF_REATTACH_.*|TF_IGNORE|TF_STATE_.*": "Terraform's",
    "TF2_BEHAVIOR": "set by TensorFlow itself, and inherited by every process that is started",
    "TF_CONFIG": "the members of a cluster; one process trains here",
    "(?:.*_)?(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS)(_.*)?": "never written anywhere",
}
"""Patterns of names that are not recorded, and why they cannot change a bit, or must not be."""

_NOT_RECORDED = re.compile("|".join(f"(?:{pattern})" for pattern in LEFT_OUT))

_FLAGS = ("TF_XLA_FLAGS", "XLA_FLAGS")
_SILENT_FLAG = re.compile(r"--?(xla_dump_\S*|tf_xla_clustering_debug\S*|tf_dump_\S*)\s*")
_AUTO_JIT = re.compile(r"--?tf_xla_auto_jit=(\S+)")


def numeric_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that may change what is computed, by name."""
    found = {}
    for name in sorted(environ):
        if name.startswith(_PREFIXES) and not _NOT_RECORDED.fullmatch(name):
            found[name] = _flags(environ[name]) if name in _FLAGS else environ[name]
    # Flags that only dump leave nothing to record.
    return {name: value for name, value in found.items() if value or name not in _FLAGS}


def _flags(value: str) -> str:
    """Return XLA's flags without those that only dump; they may stand in a file."""
    text = value.strip()
    if text and not text.startswith("-"):
        try:
            text = Path(text).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return value
    return " ".join(_SILENT_FLAG.sub(" ", text).split())


@cache
def variables_in_force() -> Mapping[str, str]:
    """Return this process's variables as they were when this was called first.

    The libraries read them when they start; what is set afterwards has no effect.
    """
    return dict(os.environ)


def auto_clustering(variables: Mapping[str, str], *, jit: object) -> str:
    """Return what turns XLA's auto-clustering on, empty where nothing does.

    Parameters
    ----------
    variables : mapping
        As :func:`numeric_variables`.
    jit : object
        What ``tf.config.optimizer.get_jit()`` returns.
    """
    asked = _AUTO_JIT.findall(variables.get("TF_XLA_FLAGS", ""))
    # Of several equal flags the last one counts; 0 leaves it to the program, -1 is off.
    if asked and asked[-1] != "0":
        return "" if asked[-1] == "-1" else f"tf_xla_auto_jit={asked[-1]}"
    return f"tf.config.optimizer.set_jit: {jit}" if jit else ""
