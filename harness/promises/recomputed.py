"""Residual outputs of a system beside the scores that it reported for them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.promises.bench import Bench
from harness.promises.promise import needs, require_seen
from harness.promises.samples import data_section, known_in_files, odd_files
from harness.promises.scores import base_evaluation
from harness.promises.states import other_kernel
from harness.systems.protocol import Evaluation, System

__all__ = ["Recomputation", "odd_recomputation", "recomputation", "recomputed_rows"]


@dataclass(frozen=True)
class Recomputation:
    """Residual outputs, labels and the EPE that the system reported for them.

    ``own`` is, for each row, what the metric gives those outputs when it is fed with them, px;
    ``epsilon`` is what it adds under its root, px^2.
    ``rows`` hold arch, sample ids, three outputs (B, h, w, >= 2), label, valid and the
    reported per-sample EPE, px; ``reported`` maps an arch to its reported EPE. ``mean`` is what
    that averages over, and ``pixels`` are the valid ones of each sample, as reported, if they are.
    """

    rows: Sequence[
        tuple[
            str, tuple[str, ...], Sequence[NDArray[Any]], NDArray[Any], NDArray[Any],
            tuple[float, ...],
        ]
    ]  # fmt: skip
    reported: Mapping[str, float]
    zero_flow: float
    epsilon: float = 0.0
    own: Sequence[Sequence[float]] = ()
    mean: str = "samples"
    pixels: Sequence[int] = ()
    turned: "Recomputation | None" = None
    """The same of one arch, once a kernel was changed and no step was made; None: not asked."""


@needs("predict", "evaluate", "batches")
def recomputation(bench: Bench) -> Recomputation:
    """Collect residual outputs for every evaluation batch beside the reported EPE."""
    base = base_evaluation(bench)
    with bench.scored() as system:
        found = recomputed_rows(system, base)
        return dataclasses.replace(found, turned=_turned(system, base.archs[:1]))


def _turned(system: System, archs: Sequence[str]) -> Recomputation | None:
    """Do the same with another second kernel: what is kept from before would be scored by.

    Not the first one, by which alone something may be kept.
    """
    about = system.describe()
    if "state" not in about.can:
        return None
    state = system.state()
    weights = [name for name in state if name in (about.slots or state)]
    kernels = [name for name in weights if np.asarray(state[name]).ndim == 4]
    if not kernels:
        return None
    name = (kernels[1:] or kernels)[0]
    kernel = np.array(state[name])
    system.evaluate(archs)  # here and now: the pool may have been scored by another process
    system.state({name: other_kernel(kernel)})
    found = recomputed_rows(system, system.evaluate(archs))
    system.state({name: kernel})
    return found


def recomputed_rows(system: System, base: Evaluation) -> Recomputation:
    """Collect the outputs of three archs beside what an evaluation reported for them."""
    rows, own, batches = [], [], system.batches("eval")
    require_seen(batches, "no evaluation batch was served (batches('eval'))")
    about = system.describe()
    for arch in base.archs[:3]:
        position = 0
        require_seen(base.per_sample.get(arch), f"no score of a sample of arch {arch}")
        for batch in batches:
            reported = base.per_sample[arch][position : position + len(batch.ids)]
            position += len(batch.ids)
            outputs = system.predict(arch, batch)
            require_seen(outputs, f"no output was predicted for arch {arch}")
            rows.append((arch, batch.ids, outputs, batch.flow, batch.valid, reported))
            if "score" in about.can:
                own.append(list(map(float, system.score(outputs, batch.flow, batch.valid))))
    scores = dict(zip(base.archs, base.per_arch_epe, strict=True))
    zero, pixels = base.zero_flow_epe, base.pixels
    return Recomputation(rows, scores, zero, about.epe_epsilon, own, about.mean, pixels)


@needs("batches", "evaluate", "predict")
def odd_recomputation(bench: Bench) -> Recomputation:
    """Score samples with unknown flow, beside the outputs they were scored on."""
    folder = bench.evidence(odd_files)
    with bench.open(data=data_section(folder)) as system:
        found, batches = recomputed_rows(system, system.evaluate()), system.batches("eval")
    # By the files: EdgeFlowNAS serves every pixel as known, and scores what is not.
    known = {batch.ids: known_in_files(folder / "val", batch) for batch in batches}
    rows = [(*row[:4], known.get(row[1], row[4]), row[5]) for row in found.rows]
    return dataclasses.replace(found, rows=rows)
