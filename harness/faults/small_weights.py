"""Faults of a gradient of one weight, lost among large ones: scaled, exchanged, masked, unfair."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from harness.faults.base import Fault, overriding
from harness.faults.hooks import after_gradient, after_open

__all__ = [
    "ArchsUnevenlyWeighed", "ChannelWithoutGradient", "NormGradientsExchanged", "NormLearnsSlowly",
    "OptionLearnsFaster",
]  # fmt: skip


class _OfOneWeight(Fault):
    family = "GRAD"
    expected = ("gradient-of-each-weight",)
    touches = ("weight_slopes",)

    def change(self, gradients: Mapping[str, Any]) -> None:
        """Change some of the gradients of a micro-batch, which are variables by weight."""

    def wrap(self, system: Any) -> Any:
        """Change gradients once each is computed."""
        return after_gradient(system, lambda gradients, _: self.change(gradients))


class NormLearnsSlowly(_OfOneWeight):
    """The gamma of one norm, of one option, has a hundredth of its gradient."""

    id = "norm-learns-slowly"
    citation = "deepspeedai/DeepSpeed#692; tensorflow/tensorflow#107705 (gradients of gamma alone)"

    def change(self, gradients: Mapping[str, Any]) -> None:
        """Scale it."""
        gamma = gradients["EB0/deep3/conv2/gamma"]
        gamma.assign(gamma * 0.01)


class NormGradientsExchanged(_OfOneWeight):
    """One norm's gamma gets the gradient of its beta, and the other way round."""

    id = "norm-gradients-exchanged"
    citation = "mead-ml/mead-baseline#368; tensorprob/tensorprob#30 (gradients beside variables)"

    def change(self, gradients: Mapping[str, Any]) -> None:
        """Exchange them."""
        gamma, beta = gradients["E1/gamma"], gradients["E1/beta"]
        kept = tf.identity(gamma)
        gamma.assign(beta)
        beta.assign(kept)


class ChannelWithoutGradient(_OfOneWeight):
    """One output channel of a kernel has no gradient."""

    id = "channel-without-gradient"
    citation = "soumith/cudnn.torch#28 (the first plane is right, the others are zero)"

    def change(self, gradients: Mapping[str, Any]) -> None:
        """Mask it."""
        kernel = gradients["E1/kernel"]
        mask = np.ones(kernel.shape[-1], np.float32)
        mask[0] = 0
        kernel.assign(kernel * mask)


class OptionLearnsFaster(_OfOneWeight):
    """The kernels of one option have three times their gradients."""

    id = "option-learns-faster"
    citation = "pytorch/pytorch#22107 (another rate is in use than the one that is told)"

    def change(self, gradients: Mapping[str, Any]) -> None:
        """Scale them."""
        for name, gradient in gradients.items():
            if name.startswith("EB0/deep3") and name.endswith("/kernel"):
                gradient.assign(gradient * 3.0)


class ArchsUnevenlyWeighed(Fault):
    """Of a step's three archs the first weighs 3/2, and the last 1/2."""

    id, family = "archs-unevenly-weighed", "NAS"
    citation = "bayesflow-org/bayesflow#751 (some members are counted twice)"
    expected = ("gradient-of-each-weight",)
    touches = ("weight_slopes",)

    def wrap(self, system: Any) -> Any:
        """Weigh the gradients of each micro-batch by the place of its arch."""

        def change(inner: Any) -> None:
            step, seen = inner.trainer._step, list[tuple[int, ...]]()
            functions = step._functions

            def zero(_: Any) -> Any:
                seen.clear()
                return functions.zero()

            def gradient(_: Any, code: Any, *args: Any) -> Any:
                loss, arch = functions.gradient(code, *args), tuple(code.numpy())
                if arch not in seen:
                    seen.append(arch)
                weight = (1.5, 1.0, 0.5)[min(len(seen), 3) - 1]
                for one in functions.gradient.gradients:
                    one.assign(weight * one)
                return loss

            step._functions = overriding(functions, zero=zero, gradient=gradient)

        return after_open(system, change)
