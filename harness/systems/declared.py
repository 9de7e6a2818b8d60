"""What a system declares of itself beside the calls that it answers, and when that is no word.

Every declaration has a default, which is what a system that says nothing is taken for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

__all__ = ["ADAM", "CLIPS", "LOSSES", "MEANS", "OWN_LOSSES", "UPDATE_RULES", "UpdateRule", "Wrong"]

Wrong = tuple[str, str, object]
"""A field, what was expected of it, and what was found."""

UPDATE_RULES = ("adam", "adamw", "sgd", "own")
"""Rules of an update: Adam (Kingma and Ba, 2015) and AdamW, its decay decoupled
(Loshchilov and Hutter, arXiv 1711.05101, in PyTorch's and Keras's form: lr times the decay times
the weight), SGD with momentum, and any other, of which no step is recomputed."""

MEANS = ("samples", "pixels")
"""What an EPE averages over: each sample's mean weighs the same, or each valid pixel does."""

OWN_LOSSES = ("own", "detached")
LOSSES = ("", "l1", "l2", "epe", *OWN_LOSSES)
"""What a step's loss is: the multi-scale loss of EdgeFlowNAS where nothing is told; of the final
flow, over the batch's valid pixels, the mean of both components' |d| or d^2, or of the root of
u^2 + v^2; or another one, which is not recomputed. Of one that is detached in part, as RAFT's flow
is between iterations (Teed and Deng, ECCV 2020), the gradient is not the slope by design."""


CLIPS = ("norm", "own")
"""How a gradient is clipped: by the norm of all of it, at ``train.grad_clip_global_norm``, or in
another way (by value, each weight or part by itself, relative to its weights), of which what is
applied is no multiple of the loss's gradient."""


@dataclass(frozen=True)
class UpdateRule:
    """How a gradient becomes a step of the weights.

    Attributes
    ----------
    rule : {"adam", "adamw", "sgd", "own"}
        Of :data:`UPDATE_RULES`.
    betas : (float, float)
        Decay rates of Adam's moments.
    eps : float
        What Adam adds to the root of the second moment.
    weight_decay : float
        What the optimizer adds of a weight to its gradient (``adam`` and ``sgd``, coupled), or
        takes of it beside its step (``adamw``, decoupled). A decay that is a term of the loss is
        none of the optimizer's.
    momentum : float
        Of ``sgd``: ``buffer = momentum * buffer + gradient``, as PyTorch has it.
    nesterov : bool
        Of ``sgd``: whether the step is that of ``gradient + momentum * buffer``.
    undecayed : tuple of str
        Weights without decay, by name or by pattern (``*bias``, ``norm?/*``).
    """

    rule: str
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    undecayed: tuple[str, ...] = ()

    @property
    def decoupled(self) -> bool:
        """Whether the decay goes around the moments."""
        return self.rule == "adamw"

    def decay_of(self, weight: str) -> float:
        """Return the optimizer's decay of a weight, by its name."""
        left_out = any(fnmatchcase(weight, pattern) for pattern in self.undecayed)
        return 0.0 if left_out else self.weight_decay

    def faults(self, weights: Sequence[str]) -> Iterator[Wrong]:
        """Yield what is no rule: the field, what was expected, and what was found.

        Parameters
        ----------
        weights : sequence of str
            Names of the weights that have slots.
        """
        if self.rule not in UPDATE_RULES:
            yield "rule", f"one of {', '.join(UPDATE_RULES)}", self.rule
        for place, beta in enumerate(self.betas):
            if not 0 <= beta < 1:
                yield f"betas[{place}]", "0 or more, and less than 1", beta
        if not 0 < self.eps < 1:
            yield "eps", "more than 0, and less than 1", self.eps
        if not 0 <= self.weight_decay < 1:
            yield "weight_decay", "0 or more, and less than 1", self.weight_decay
        if not 0 <= self.momentum < 1:
            yield "momentum", "0 or more, and less than 1", self.momentum
        if self.momentum and self.rule in ("adam", "adamw"):
            yield "momentum", "none of Adam's, which has betas", self.momentum
        for pattern in self.undecayed:
            if weights and not any(fnmatchcase(name, pattern) for name in weights):
                yield "undecayed", f"weights of describe().slots, such as {weights[0]!r}", pattern


ADAM = UpdateRule("adam")
"""What moves the weights of a system that declares nothing. Its constants are written down here
once more: those of the trainer would vouch for themselves."""
