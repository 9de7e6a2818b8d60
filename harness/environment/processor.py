"""The processor, and which of its instructions oneDNN uses: pure functions of what Linux says."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from harness.records.environments import UNKNOWN

__all__ = ["onednn_isa", "processor_flags", "processor_name", "read_cpuinfo"]

_LEVELS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("avx10_1_512_amx_fp16", 0x1FEF, ("amx_fp16",)),
    ("avx512_core_amx", 0x0FEF, ("amx_tile", "amx_int8", "amx_bf16")),
    ("avx512_core_fp16", 0x01EF, ("avx512_fp16", "avx_vnni")),
    ("avx512_core_bf16", 0x00E7, ("avx512_bf16",)),
    ("avx512_core_vnni", 0x0067, ("avx512_vnni",)),
    ("avx512_core", 0x0027, ("avx512f", "avx512bw", "avx512vl", "avx512dq")),
    ("avx2_vnni_2", 0x001F, ("avx_vnni_int8", "avx_ne_convert")),
    ("avx2_vnni", 0x000F, ("avx_vnni",)),
    ("avx2", 0x0007, ("avx2",)),
    ("avx", 0x0003, ("avx",)),
    ("sse41", 0x0001, ("sse4_1",)),
)
"""oneDNN's levels, best first: name, bits of `dnnl_cpu_isa_t`, what it adds to those within it."""

_ALIASES = {
    "avx10_1_512": "avx512_core_fp16",
    "avx10_1_512_amx": "avx512_core_amx",
    "avx512_core_amx_fp16": "avx10_1_512_amx_fp16",
}


def read_cpuinfo(path: Path = Path("/proc/cpuinfo")) -> str:
    """Return what Linux says of the first processor; empty elsewhere."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    except OSError:
        return ""


def _lines(cpuinfo: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def processor_name(cpuinfo: str) -> str:
    """Return the processor's name, family and model.

    Blocks of a matrix product follow from the sizes of its caches, and with them the order of
    its sums: the instruction set alone is not enough.
    """
    found = _lines(cpuinfo)
    name = found.get("model name") or platform.processor() or UNKNOWN
    if "cpu family" not in found or "model" not in found:
        return name
    return f"{name}, family {found['cpu family']}, model {found['model']}"


def processor_flags(cpuinfo: str) -> frozenset[str]:
    """Return the instruction sets that the processor offers, in Linux's names."""
    found = _lines(cpuinfo)
    return frozenset((found.get("flags") or found.get("Features") or "").split())


def onednn_isa(
    flags: frozenset[str], environ: Mapping[str, str] = os.environ, machine: str = "x86_64"
) -> str:
    """Return the instruction set that oneDNN uses: what the processor offers, capped.

    It counts where oneDNN's operations are off, too: TensorFlow's own matrix product calls
    oneDNN's kernel.

    Parameters
    ----------
    flags : frozenset of str
        As :func:`processor_flags`.
    environ : mapping
        Where ``ONEDNN_MAX_CPU_ISA`` is looked up, and ``DNNL_MAX_CPU_ISA`` where it is not set.
        A value that oneDNN does not know caps nothing.
    machine : str
        Processor architecture.

    Returns
    -------
    str
        oneDNN's name of the level in lower case, ``"x86_64"`` below its lowest, and
        ``"unknown"`` where Linux does not tell, or on another architecture.
    """
    if not flags or machine.lower() not in ("x86_64", "amd64"):
        return UNKNOWN
    bits = {name: mask for name, mask, _ in _LEVELS}
    asked = environ.get("ONEDNN_MAX_CPU_ISA", environ.get("DNNL_MAX_CPU_ISA", "")).lower()
    cap = bits.get(_ALIASES.get(asked, asked), ~0)
    for name, mask, _ in _LEVELS:
        if mask & ~cap == 0 and _offered(mask, flags):
            return name
    return "x86_64"


def _offered(mask: int, flags: frozenset[str]) -> bool:
    """Return whether the processor has a level and all those within it."""
    within = (needs for _, bits, needs in _LEVELS if bits & ~mask == 0)
    return all(flags.issuperset(needs) for needs in within)
