"""One batch's values for a pool: computed when first needed, freed after the last use."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import Executor, Future
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from harness.supernet.sharing.flow import as_samples, double
from harness.supernet.sharing.layers import Layers, head_kernel
from harness.supernet.sharing.plan import FRAMES, Key, Node, Plan
from harness.supernet.sharing.runs import Part, Step, chain_run, in_leaf, leaf_run, parts_of
from harness.supernet.sharing.scores import Labels, Scoring, picks_of

__all__ = ["Model", "Walk"]

Tensor = Any
Arch = Sequence[int]
Pairs = Sequence[tuple[Any, Any]]


class Model:
    """Weights, and the heads' kernels laid side by side.

    Parameters
    ----------
    plan : Plan
        Of the skeleton.
    layers : Layers
        Compiled functions.
    weights : mapping of str to tensor
        By name.
    """

    def __init__(self, plan: Plan, layers: Layers, weights: Mapping[str, Tensor]) -> None:
        self.plan, self.layers, self.weights = plan, layers, weights

    @cached_property
    def _arguments(self) -> dict[str, list[Tensor]]:
        return {name: self._of(node) for name, node in self.plan.nodes.items()}

    def _of(self, node: Node) -> list[Tensor]:
        kernels = [self.weights[kernel] for kernel in node.kernels]
        if node.kind == "output":
            return [head_kernel(kernels)]
        found = []
        for kernel, unit in zip(kernels, node.units, strict=True):
            found += [kernel, self.weights[f"{unit}/gamma"], self.weights[f"{unit}/beta"]]
        return found

    def arguments(self, node: Node) -> list[Tensor]:
        """Return a node's weights, as :meth:`Layers.run` takes them; a head's side by side."""
        return self._arguments[node.name]


class Walk:
    """The values of one batch, or of several of equal size.

    Parameters
    ----------
    model : Model
        What is run.
    x : tensor
        Shape (B, H, W, 6), float32.
    uses : mapping of key to int
        How many computations take each value, as in a schedule.
    wanted : set of key
        Every value that an arch of the pool needs.
    batches : int, default 1
        How many batches lie one after another in `x`, each with statistics of its own.
    given : callable, optional
        Statistics of a node's units by its key. Default: the batch's own, and no heads.
    archs : sequence of arch code
        Whose flows are asked for, once each: the uses are counted for these.
    ahead : Executor, optional
        Runs the next leaf of `archs` while flows of the last are summed and scored.
    stay : bool, default False
        Whether outputs stay where they were computed, for :meth:`scores`. Then no flow is
        given out.

    Attributes
    ----------
    found : dict
        Statistics by a node's key: of the batch, (channels,) each, or of several, (batches,
        channels).
    waiting : set of arch code
        Whose flows were not asked for yet.
    """

    def __init__(
        self, model: Model, x: Tensor, uses: Mapping[Key, int], wanted: Set[Key], *,
        batches: int = 1, given: Callable[[Key], Pairs] | None = None,
        archs: Sequence[tuple[int, ...]] = (), ahead: Executor | None = None, stay: bool = False,
    ) -> None:  # fmt: skip
        self._model, self._left, self._given = model, dict(uses), given
        self._values: dict[Key, Tensor] = {FRAMES: x}
        self._planes: dict[Key, Any] = {}
        self._stay = stay
        self._wanted, self._batches = set(wanted), batches
        self._order, self._ahead = deque(archs), ahead
        self._running: Future[None] | None = None
        self.found: dict[Key, Pairs] = {}
        self.waiting = set(archs)

    def close(self) -> None:
        """Wait for what is computed ahead, which nobody asks for any more."""
        if self._running is not None and not self._running.cancel():
            self._running.exception()

    def recalibrate(self, arch: Arch) -> None:
        """Run what normalises for an arch and has not run; `found` gets the statistics."""
        for node in reversed(tuple(self._model.plan.chain(arch))):  # each brings what feeds it
            if node.units and node.key(arch) not in self.found:
                self._compute(node, arch)

    def flow(self, arch: Arch) -> NDArray[np.float32]:
        """Return the accumulated flow at full scale, a view of shape (B, H, W, 2), px."""
        self.waiting.discard(tuple(arch))
        key = self._model.plan.partial_key(arch)
        if key not in self._planes:
            self._planes[key] = self._partial(arch)
        last = self._model.plan.outputs[-1]
        planes = self._planes[key] + self._chosen(last, arch)
        self._release(key)
        self._release(last.key(arch))
        return as_samples(planes)

    def scores(
        self, archs: Sequence[tuple[int, ...]], scoring: Scoring, labels: Labels
    ) -> list[Tensor]:
        """Return the EPE of archs that agree in every depth choice, (archs, B), px, in parts.

        Asked for once, with all archs of the pool that agree in them.
        """
        plan = self._model.plan
        trunk = set(plan.trunk_codes)
        codes = tuple([tuple([0 if i in trunk else c for i, c in enumerate(a)]) for a in archs])
        picks = picks_of(plan.skeleton.name, codes)
        firsts = [[archs[i] for i in numbers] for numbers in picks.firsts]
        for arch in dict.fromkeys(arch for some in firsts for arch in some):
            self.compute_outputs(arch)
        outputs = []
        for node, some, uses in zip(plan.outputs, firsts, picks.uses, strict=True):
            keys = [node.key(arch) for arch in some]
            outputs.append(tf.concat([self._planes[key] for key in keys], axis=0))
            for key, times in zip(keys, uses, strict=True):
                self._release(key, times)
        self.waiting.difference_update(archs)
        return scoring(outputs, picks, labels)

    def _partial(self, arch: Arch) -> NDArray[np.float32]:
        total: Any = None
        for node in self._model.plan.outputs[:-1]:
            chosen = self._chosen(node, arch)
            total = double(chosen if total is None else total + chosen)
            self._release(node.key(arch))
        return total  # type: ignore[no-any-return]

    def _chosen(self, node: Node, arch: Arch) -> NDArray[np.float32]:
        key = node.key(arch)
        if key not in self._planes:
            self._fetch(arch)
        option = arch[self._model.plan.skeleton.code_index(node.stage)]
        planes: NDArray[np.float32] = self._planes[key][option]
        return planes

    def _fetch(self, arch: Arch) -> None:
        """Get the heads of an arch, and have those of the next leaf computed meanwhile.

        Tensors are touched by one thread at a time; that of the caller sums planes meanwhile.
        """
        if self._running is not None:
            # What the other thread raised is raised here.
            self._running.result()
            self._running = None
        self.compute_outputs(arch)
        # Archs of this leaf have their heads by now; the first that has not is in the next leaf.
        while self._order and not self._missing(self._order[0]):
            self._order.popleft()
        if self._ahead is not None and self._order:
            self._running = self._ahead.submit(self.compute_outputs, self._order[0])

    def _missing(self, arch: Arch) -> list[Node]:
        return [node for node in self._model.plan.outputs if node.key(arch) in self._wanted]

    def compute_outputs(self, arch: Arch) -> None:
        """Run what the outputs of an arch need and has not run."""
        for node in self._missing(arch):
            if node.key(arch) in self._wanted:  # one may have brought the next
                self._compute(node, arch)

    def _compute(self, node: Node, arch: Arch) -> None:
        """Run a node and what runs with it, and before that what they take."""
        plan = self._model.plan
        if in_leaf(plan, node):
            heads = self._given is not None
            steps = leaf_run(plan, arch, self._wanted.__contains__, heads=heads)
        else:
            steps = chain_run(plan, node, arch, self._values)
        parts, inputs = parts_of(steps, lambda key: self._left.get(key, 0))
        for key in inputs:
            if key not in self._values:
                first = next(step for step in steps if step.source == key)
                before = plan.source(first.node, first.arch)
                assert before is not None, "the frames are there"
                self._compute(before, first.arch)
        self._run(steps, parts, [self._values[key] for key in inputs])
        for step in steps:
            self._release(step.source)

    def _run(self, steps: Sequence[Step], parts: tuple[Part, ...], inputs: Sequence[Any]) -> None:
        stats: list[Any] | None = None
        if self._given is not None:
            normalised = [step.key for step in steps if step.node.units]
            stats = [values for key in normalised for pair in self._given(key) for values in pair]
        weights = [tensor for step in steps for tensor in self._model.arguments(step.node)]
        values, flat = self._model.layers.run(parts, inputs, weights, stats, self._batches)
        found = iter(zip(flat[::2], flat[1::2], strict=True))
        returned = iter(values)
        for step, part in zip(steps, parts, strict=True):
            self._wanted.discard(step.key)
            if self._given is None:
                self.found[step.key] = [next(found) for _ in step.node.units]
            if part.returned:
                y = next(returned)
                if part.kind == "output":
                    self._planes[step.key] = y if self._stay else np.asarray(y)
                elif self._left.get(step.key, 0):
                    self._values[step.key] = y

    def _release(self, key: Key, times: int = 1) -> None:
        left = self._left[key] = self._left.get(key, 0) - times
        if left <= 0:
            self._values.pop(key, None)
            self._planes.pop(key, None)
