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

_THIRD = {
    "nas.eval_pool_builder ": "nas.eval_pool_builder_v3 ",
    "nas.fair_sampler ": "nas.fair_sampler_v3 ",
    "network.MultiScaleResNet_supernet import": "network.MultiScaleResNet_supernet_v3 import",
    "MultiScaleResNetSupernet\n": "MultiScaleResNetSupernetV3\n",
    "MultiScaleResNetSupernet(": "MultiScaleResNetSupernetV3(",
    ", num_blocks=9)\n    g =": ")\n    g =",
    "from tqdm import tqdm": "from PACKAGE.data.prefetch_provider import PrefetchBatchProvider\n"
    "from tqdm import tqdm",
    "    steps = int(train[": '    ahead = int(config["data"]["prefetch_batches"])\n'
    "    train_provider = PrefetchBatchProvider(train_provider, prefetch_batches=ahead)\n"
    "    steps = int(train[",
}
"""What the trainer of the third generation has in place of the first's: its space, its prefetch."""


def write_checkout(version: str, root: Path) -> Path:
    """Write a checkout of one version, of layout ``efnas`` where it is mended; return `root`."""
    layout = "efnas" if version == "mended" else "code"
    folder = root / "EdgeFlowNAS" / layout
    shutil.copytree(
        Path(__file__).parent / "package", folder, ignore=shutil.ignore_patterns("__pycache__")
    )
    trainer = folder / "engine" / "supernet_trainer.py"
    text = trainer.read_text(encoding="utf-8")
    for old, new in _THIRD.items():
        assert old in text, old
        text = text.replace(old, new)
    trainer.with_name("supernet_trainer_v3.py").write_text(text, encoding="utf-8")
    flags = "".join(f"{flag} = {flag in VERSIONS[version]}\n" for flag in _FLAGS)
    (folder / "history.py").write_text(f'"""What this version has mended."""\n\n{flags}')
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("from PACKAGE.", f"from {layout}."), encoding="utf-8")
    return root
