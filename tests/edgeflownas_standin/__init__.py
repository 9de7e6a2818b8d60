"""A stand-in with EdgeFlowNAS's modules, signatures and faults, written for these tests.

It is small (a width of 1 or 2 and few layers), needs no tf-keras, and can be the state that the
plan of 2026-02-17 complains about, the one after the first fix, or one in which everything that
the gate found is mended.
"""

import shutil
from pathlib import Path

__all__ = ["VERSIONS", "write_checkout"]

VERSIONS = {
    "early": (),
    "fixed-eval": ("EVAL_FIXED",),
    "mended": (
        "EVAL_FIXED", "METRIC_ACCUMULATED", "RECAL_UPDATES", "GENERATORS_KEPT", "CLIP_PER_UPDATE",
        "FULL_PASS",
    ),
    "by-batch": (
        "EVAL_FIXED", "METRIC_ACCUMULATED", "EVAL_BY_BATCH", "CLIP_PER_UPDATE", "FULL_PASS",
    ),
}  # fmt: skip
"""Name to the mended faults; ``early`` is like commit 8f83824, ``fixed-eval`` like 3261988.

``by-batch`` is like 5f197cd: it evaluates by batch statistics, and logs a recalibration.
"""

_FLAGS = sorted({flag for flags in VERSIONS.values() for flag in flags})


def write_checkout(version: str, root: Path) -> Path:
    """Write a checkout of one version, of layout ``efnas`` where it is mended; return `root`."""
    layout = "efnas" if version == "mended" else "code"
    folder = root / "EdgeFlowNAS" / layout
    shutil.copytree(
        Path(__file__).parent / "package", folder, ignore=shutil.ignore_patterns("__pycache__")
    )
    flags = "".join(f"{flag} = {flag in VERSIONS[version]}\n" for flag in _FLAGS)
    (folder / "history.py").write_text(f'"""What this version has mended."""\n\n{flags}')
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("from PACKAGE.", f"from {layout}."), encoding="utf-8")
    return root
