"""The protocol between the harness and a system under test, and what its calls return.

Nothing else is asked of a system. ``docs/your-trainer.md`` says what each call must do
and return, for somebody who brings a trainer of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.archs import Space
from harness.digest import state_digests
from harness.records.records import EpochRecord, Record, StepRecord
from harness.schedules import Schedule
from harness.systems.declared import UpdateRule

__all__ = [
    "INITIALIZERS",
    "METHODS",
    "PRETRAINED",
    "PROTOCOL",
    "Arrays",
    "Check",
    "Description",
    "Drawn",
    "Evaluation",
    "Recalibration",
    "Role",
    "ServedBatch",
    "System",
    "Training",
    "TrainingSample",
    "digests_of",
]  # fmt: skip

Arrays = Mapping[str, NDArray[Any]]

PROTOCOL = 1
"""Version of this protocol. A field or call that is added has a default and leaves it as it is."""


@dataclass(frozen=True)
class Description:
    """What a system is and which calls it can answer.

    Attributes
    ----------
    name : str
        For people.
    can : frozenset of str
        Names of protocol methods that it implements. A promise that needs another one is
        reported as not applicable, by name.
    heads : mapping of str to tuple of str
        Output head to the names (in ``state()``) of its kernels.
    version : str
        Of the system under test.
    slots : mapping of str to (str, str)
        Weight to its Adam moments, by their names in ``state()``; empty where there are
        none to be seen. Of SGD the momentum's buffer alone, or twice.
    options : sequence of sequence of tuple of str
        For each block and each of its options, the kernels that the option runs.
    option_arrays : sequence of sequence of tuple of str
        For each block and each of its options, further arrays of ``state()`` that belong to what
        the option runs: scales, offsets, moving statistics. Empty: those whose names begin with
        what stands before ``/kernel`` in the name of a kernel of the option.
    supports : frozenset of str
        Optional features: ``frozen`` (evaluation from a frozen artifact), ``steps``
        (``train(steps=N)``, so that a run can be cut within an epoch), ``skeletons`` (every
        ``model.skeleton``), ``knobs`` (every key of the configuration).
    settings : mapping of str to any
        Configuration keys (``section.key``) that the system cannot vary, with the value that
        each has; the gate asks for no other.
    stride : int
        What must divide height and width of a crop, px; 1 where any crop will do.
    whole_batches : bool
        Whether a last batch that the split does not fill is filled with samples that were
        served before.
    epe_epsilon : float
        What the metric adds under its square root, px^2: an exact prediction then scores its
        root.
    known_defects : mapping of str to str
        Promises that the system is known to break, with the reason of each.
    initializer : str
        What kernels start from, of :data:`INITIALIZERS`; their scale is judged then. Empty: not
        told.
    protocol : int
        Version of the protocol that it was written for, :data:`PROTOCOL` at most.
    augmentation : bool
        Whether samples are augmented at random before a step gets them: what training is served
        is then held against no file, and judged by the digests of what each step trained on.
    drop_last : bool
        Whether a last batch that the split does not fill is left out of a pass over it.
    offline_differs : str
        Why ``evaluate_offline`` scores otherwise than ``evaluate`` by design: their scores are
        not compared then. Empty: they must agree.
    update : UpdateRule or None
        How a step moves the weights. None: not told, by Adam with its usual betas.
    space : Space or None
        Names of options, and how an arch's code is written. None: not told, a digit for each
        block.
    mean : {"samples", "pixels"}
        What an arch's EPE averages over.
    devices : int
        Devices that a batch of training is shared out to.
    finite_by_adapter : frozenset of str
        Calls, of ``train`` and ``evaluate``, in which the adapter and not the trainer refuses
        what is not finite.
    loss : {"", "l1", "l2", "epe", "own", "detached"}
        What a step's loss is, of :data:`harness.systems.declared.LOSSES`. Empty: not told;
        ``own``: it is not recomputed; ``detached``: nor is its gradient its slope.
    schedule : Schedule or None
        How the learning rate falls. None: as ``settings`` name it (``train.lr_schedule``), else
        half a cosine.
    clip : {"norm", "own"}
        How gradients are clipped before a step, of :data:`harness.systems.declared.CLIPS`; ``own``:
        what is applied is not held against a loss or a norm.
    frozen : tuple of str
        Arrays of ``state()`` that training leaves as they are by design, by names or patterns.
    statistics_kept : float or None
        Which share of a moving statistic an update keeps: TensorFlow's momentum, 1 less PyTorch's.
        None: not told, 0.9 where it is recomputed.
    """

    name: str
    can: frozenset[str]
    heads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    version: str = ""
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: Sequence[Sequence[tuple[str, ...]]] = ()
    supports: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)
    stride: int = 1
    whole_batches: bool = False
    epe_epsilon: float = 0.0
    known_defects: Mapping[str, str] = field(default_factory=dict)
    option_arrays: Sequence[Sequence[tuple[str, ...]]] = ()
    initializer: str = ""
    protocol: int = 1
    augmentation: bool = False
    drop_last: bool = False
    offline_differs: str = ""
    update: UpdateRule | None = None
    space: Space | None = None
    mean: str = "samples"
    devices: int = 1
    finite_by_adapter: frozenset[str] = frozenset()
    loss: str = ""
    schedule: Schedule | None = None
    statistics_kept: float | None = None
    clip: str = "norm"
    frozen: tuple[str, ...] = ()

    def is_frozen(self, name: str) -> bool:
        """Return whether training leaves an array of the state as it is, as declared."""
        return any(fnmatchcase(name, pattern) for pattern in self.frozen)


@dataclass(frozen=True)
class ServedBatch:
    """A batch as the system served it.

    Attributes
    ----------
    ids : tuple of str
        Sample ids: path below the split without the member suffix.
    windows : tuple of (top, left, height, width)
        Crop windows in px.
    frames : numpy.ndarray
        Shape (B, H, W, 6), uint8, BGR of both frames.
    flow : numpy.ndarray
        Shape (B, H, W, 2), float32, px.
    valid : numpy.ndarray
        Shape (B, H, W), bool.
    flow_clip : float or None
        Clip on the labels, px.
    digest : str
        The system's own digest of the batch.
    """

    ids: tuple[str, ...]
    windows: tuple[tuple[int, int, int, int], ...]
    frames: NDArray[np.uint8]
    flow: NDArray[np.float32]
    valid: NDArray[np.bool_]
    flow_clip: float | None
    digest: str


@dataclass(frozen=True)
class Check:
    """One clip check: epoch, step, norm before, and norm of what was applied."""

    epoch: int
    step: int
    before: float
    after: float


@dataclass(frozen=True)
class Training:
    """What a stretch of training did.

    Attributes
    ----------
    planned_sizes : tuple of int
        Planned batch sizes of one epoch, from data and configuration.
    batch_size, micro_batch, position, threshold
        Of the configuration: samples, samples, clip position, global norm.
    steps, epochs : tuple of record
        In order.
    checks : tuple of Check
        Every clip check made.
    losses : tuple of float
        Every micro-batch's mean loss.
    records : tuple of Record
        Everything that would go to a ledger, in order; empty where a system keeps none.
    consumed : tuple of tuple of str
        For each step, the digests of the samples that it computed on, arch by arch, taken from
        the arrays that entered the computation: blake2b of 16 bytes, in hex, over one sample's
        frames, flow and validity. Empty of a system that does not look.
    samples : tuple of tuple of str
        For each step, a digest of each sample that it trained on, augmented, in order: of its
        arrays alone and of no id, made in any way that is the same in another process. Empty:
        those of `consumed` are looked at.
    modes : tuple of mapping of str to bool
        For each step, whether each module that it trained was in training mode, by its name; of
        a net within a net behind a dot. Empty of a system that does not look.
    """

    planned_sizes: tuple[int, ...] = ()
    batch_size: int = 0
    micro_batch: int = 0
    position: str = ""
    threshold: float = 0.0
    steps: tuple[StepRecord, ...] = ()
    epochs: tuple[EpochRecord, ...] = ()
    checks: tuple[Check, ...] = ()
    losses: tuple[float, ...] = ()
    records: tuple[Record, ...] = ()
    consumed: tuple[tuple[str, ...], ...] = ()
    samples: tuple[tuple[str, ...], ...] = ()
    modes: tuple[Mapping[str, bool], ...] = ()


@dataclass(frozen=True)
class TrainingSample:
    """One sample as a training step got it, augmented.

    Attributes
    ----------
    first, second : numpy.ndarray
        Both frames, shape (H, W, 3), float32, of any range and order of colours, the same of both.
    flow : numpy.ndarray
        Shape (H, W, 2), float32, px of these frames.
    valid : numpy.ndarray
        Shape (H, W), bool.
    """

    first: NDArray[np.float32]
    second: NDArray[np.float32]
    flow: NDArray[np.float32]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation.

    Attributes
    ----------
    archs : tuple of str
        As asked, in order.
    per_arch_epe : tuple of float
        Reported EPE, px.
    per_sample : mapping of str to tuple of float
        Arch to EPE per sample, px.
    mean_epe : float
        Reported mean over the pool, px.
    zero_flow_epe : float
        EPE of the all-zero flow, px.
    eval_batch_hash, bn_recal_batch_hash, stats_digest : str
        Digests.
    consumed : mapping of str to tuple of str
        Arch to the digests of the samples that it was scored on, as those of
        :class:`Training`. Empty of a system that does not look.
    recal_consumed : tuple of str
        The digests of the samples that were recalibrated on, in order.
    pixels : tuple of int
        Valid pixels of each sample, which are the same for every arch; of a mean over pixels.
    """

    archs: tuple[str, ...]
    per_arch_epe: tuple[float, ...]
    per_sample: Mapping[str, tuple[float, ...]]
    mean_epe: float
    zero_flow_epe: float
    eval_batch_hash: str
    bn_recal_batch_hash: str = ""
    stats_digest: str = ""
    consumed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    recal_consumed: tuple[str, ...] = ()
    pixels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Recalibration:
    """One recalibration of one arch.

    Attributes
    ----------
    arch : str
        The arch code.
    stats : mapping of str to (mean, variance)
        Per unit that runs, each of shape (channels,).
    inputs : mapping of str to tuple of numpy.ndarray
        Per unit, its input in every recalibration batch, (B, h, w, channels), float32.
    batch_hash : str
        Digest of the batches.
    """

    arch: str
    stats: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    inputs: Mapping[str, tuple[NDArray[np.float32], ...]]
    batch_hash: str


Role = Literal["train", "eval", "recal"]
Drawn = Literal["order", "windows", "archs", "kernels"]
"""What training draws at random."""

INITIALIZERS = ("glorot_uniform", "he_uniform", "lecun_uniform")
PRETRAINED = "pretrained"
"""What kernels start from that are read from a file, whatever the seed."""
"""Initialisers of which the gate knows the scale."""

METHODS = (
    "describe", "open", "batches", "draws", "train", "evaluate", "evaluate_offline",
    "recalibrate", "predict", "score", "state", "save", "restore", "close", "training_samples",
)  # fmt: skip
"""Every call of the protocol."""


class System(Protocol):
    """A data provider, a supernet trainer and its evaluator, behind one small protocol."""

    def describe(self) -> Description:
        """Return what the system is and which calls it can answer."""

    def open(self, config: Mapping[str, Any]) -> None:
        """Get ready to train from the start under a configuration tree (JSON-able)."""

    def batches(self, role: Role, epoch: int = 1) -> Sequence[ServedBatch]:
        """Return the batches of one epoch, or the fixed ones of evaluation."""

    def draws(
        self, what: Drawn, seed: int, epoch: int = 1, *,
        samples: int | None = None, frame: tuple[int, int] | None = None,
    ) -> Arrays:  # fmt: skip
        """Return what training draws for a seed and an epoch; trains, decodes and moves nothing.

        Parameters
        ----------
        what : {"order", "windows", "archs", "kernels"}
            ``order``: index of the sample of every draw, in the sorted split, shape (n,).
            ``windows``: top and left corner of every draw's crop, px, shape (n, 2).
            ``archs``: the options that every step trains, shape (steps, archs, blocks).
            All of integers, under the one name `what`. ``kernels``: the drawn kernels before
            training, by their names in ``state()``; of any epoch.
        seed, epoch : int
            Of which run (``runtime.seed``), and of which epoch of it, from 1.
        samples : int, optional
            As if the training split had so many, and an epoch were one pass over it, in the
            configured mode. Default: the split's own, in the configured plan.
        frame : (height, width), optional
            As if every frame were so large, px; with `samples` alone. Default: their own.
        """

    def train(
        self, epochs: int, *, evaluate: bool = True, observe: bool = True, steps: int | None = None
    ) -> Training:
        """Train until `epochs` are completed and return what was done in this call.

        With `steps`, stop after so many steps of this call, before the evaluation that may be
        due then. A system that can says so by ``steps`` in ``Description.supports``; no other
        is asked.
        """

    def training_samples(self) -> Sequence[TrainingSample]:
        """Return the samples of the next epoch, as its steps get them.

        It may be trained for that; nothing else is asked of the system afterwards.
        """

    def evaluate(
        self, archs: Sequence[str] | None = None, *, batches_per_arch: int | None = None
    ) -> Evaluation:
        """Score archs (default: the configured pool) with the present weights."""

    def evaluate_offline(
        self, path: str, archs: Sequence[str] | None = None, *,
        batches_per_arch: int | None = None, workers: int = 1,
    ) -> Evaluation:  # fmt: skip
        """Score archs of a saved checkpoint, as what evaluates outside of training does.

        The checkpoint and the open system are left as they are.

        Parameters
        ----------
        path : str
            Folder that :meth:`save` wrote.
        archs : sequence of str, optional
            Default: the configured pool.
        batches_per_arch : int, optional
            Default: as configured.
        workers : int, default 1
            Among how many workers the archs are dealt out.
        """

    def recalibrate(self, arch: str, *, inputs: bool = False) -> Recalibration:
        """Return an arch's recalibrated statistics, and each unit's inputs if asked."""

    def predict(self, arch: str, batch: ServedBatch) -> Sequence[NDArray[np.float32]]:
        """Return the three residual outputs, coarse to fine, with recalibrated statistics."""

    def score(
        self,
        outputs: Sequence[NDArray[np.float32]],
        label: NDArray[np.float32],
        valid: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Return the metric's per-sample EPE for given residual outputs."""

    def state(self, changes: Arrays | None = None) -> Arrays:
        """Set the named arrays, if any, and return the complete training state."""

    def save(self, path: str) -> None:
        """Write a checkpoint to a folder that does not exist yet."""

    def restore(self, path: str) -> Sequence[str] | None:
        """Continue from a checkpoint; return what is to be said of it, None if nothing.

        Such as: that the learning rate is another one from here on.
        """

    def close(self) -> None:
        """Release what the system holds."""


def digests_of(system: System) -> dict[str, str]:
    """Return the digest of every array of a system's state, by its name.

    A system of another process may offer ``state_digests()``, which computes them there.
    """
    # No call of the protocol: a foreign system need not know how the harness makes its digests.
    there = getattr(system, "state_digests", None)
    return state_digests(system.state()) if there is None else dict(there())
