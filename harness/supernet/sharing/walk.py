"""One batch's values for a pool: computed when first needed, freed after the last use."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.supernet.sharing.flow import as_planes, as_samples, double
from harness.supernet.sharing.layers import FLOW_CHANNELS, Layers, head_kernel
from harness.supernet.sharing.plan import FRAMES, Key, Node, Plan

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
    def heads(self) -> dict[str, Tensor]:
        """Kernel of every head by its name, as :func:`head_kernel`."""
        return {
            node.name: head_kernel([self.weights[kernel] for kernel in node.kernels])
            for node in self.plan.outputs
        }


class Walk:
    """The values of one batch.

    Parameters
    ----------
    model : Model
        What is run.
    x : tensor
        Shape (B, H, W, 6), float32.
    uses : mapping of key to int
        How many computations take each value, as in a schedule.
    given : callable, optional
        Statistics of a node's units by its key. Default: the batch's own.
    archs : iterable of arch code
        Whose flows are asked for, once each: the uses are counted for these.

    Attributes
    ----------
    found : dict
        Statistics of the batch by a node's key.
    waiting : set of arch code
        Whose flows were not asked for yet.
    """

    def __init__(
        self, model: Model, x: Tensor, uses: Mapping[Key, int],
        given: Callable[[Key], Pairs] | None = None, archs: Iterable[Arch] = (),
    ) -> None:  # fmt: skip
        self._model, self._left, self._given = model, dict(uses), given
        self._values: dict[Key, Any] = {FRAMES: x}
        self.found: dict[Key, Pairs] = {}
        self.waiting = {tuple(arch) for arch in archs}

    def recalibrate(self, arch: Arch) -> None:
        """Run what normalises for an arch and has not run; `found` gets the statistics."""
        for node in self._model.plan.chain(arch):
            if node.units and node.key(arch) not in self.found:
                self._value(node, arch)

    def flow(self, arch: Arch) -> NDArray[np.float32]:
        """Return the accumulated flow at full scale, a view of shape (B, H, W, 2), px."""
        self.waiting.discard(tuple(arch))
        key = self._model.plan.partial_key(arch)
        if key not in self._values:
            self._values[key] = self._partial(arch)
        last = self._model.plan.outputs[-1]
        planes = self._values[key] + self._chosen(last, arch)
        self._release(key)
        self._release(last.key(arch))
        return as_samples(planes)

    def _partial(self, arch: Arch) -> NDArray[np.float32]:
        total: Any = None
        for node in self._model.plan.outputs[:-1]:
            chosen = self._chosen(node, arch)
            total = double(chosen if total is None else total + chosen)
            self._release(node.key(arch))
        return total  # type: ignore[no-any-return]

    def _chosen(self, node: Node, arch: Arch) -> NDArray[np.float32]:
        option = arch[self._model.plan.skeleton.code_index(node.stage)]
        planes: NDArray[np.float32] = self._value(node, arch)[option]
        return planes

    def _value(self, node: Node, arch: Arch) -> Any:
        key = node.key(arch)
        if key in self._values:
            return self._values[key]
        source = self._model.plan.source(node, arch)
        before = FRAMES if source is None else source.key(arch)
        x = self._values[FRAMES] if source is None else self._value(source, arch)
        y = self._run(node, key, x)
        del x
        self._release(before)
        if self._left.get(key, 0):
            self._values[key] = y
        return y

    def _run(self, node: Node, key: Key, x: Tensor) -> Any:
        model = self._model
        if node.kind == "output":
            planes = as_planes(np.asarray(model.layers.head(x, model.heads[node.name])))
            return planes.reshape(-1, FLOW_CHANNELS, *planes.shape[1:])
        if self._given is not None:
            return model.layers.normalised(node, model.weights, x, self._given(key))[0]
        needed = key in self._left  # a unit that only feeds heads gives its statistics alone
        y, self.found[key] = model.layers.normalised(node, model.weights, x, None, needed)
        return y

    def _release(self, key: Key) -> None:
        self._left[key] -= 1
        if not self._left[key]:
            del self._values[key]
