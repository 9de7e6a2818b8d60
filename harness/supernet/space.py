"""The search space and its three skeletons, as data.

The skeletons are EdgeFlowNAS's (linenmin/MCUFlowNet): ``full`` computes its last scale at
full resolution, ``bilinear`` works at lower resolution and upsamples, and ``decoupled``
is ``bilinear`` with depth branches that share no block. No TensorFlow here.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral
from types import MappingProxyType
from typing import Literal

from harness.wording import quoted

__all__ = [
    "NUM_BLOCKS",
    "NUM_OPTIONS",
    "OUTPUT_CHANNELS",
    "SKELETONS",
    "Skeleton",
    "Stage",
    "active_units",
    "check_arch",
    "check_crop",
    "depth_chain",
    "every_arch",
    "format_arch",
    "norm_units",
    "option_kernels",
    "parse_arch",
    "stage_sizes",
    "variable_shapes",
]

NUM_BLOCKS = 9
NUM_OPTIONS = 3
OUTPUT_CHANNELS = 4
"""Flow (2) and log-variance (2)."""

Arch = tuple[int, ...]


@dataclass(frozen=True)
class Stage:
    """One stage of a skeleton.

    Attributes
    ----------
    name, source : str
        This stage and the one whose output it takes (``"input"`` for the frames).
    channels : Fraction
        Output channels as a multiple of the base width C; 0 for an output head.
    kernel : int
        Kernel size where it is not a choice.
    stride : int
        Stride of the convolution.
    upsample : bool
        Whether a bilinear x2 comes before the convolution.
    choice : {"depth", "kernel", None}
        What the arch code selects.
    norm : bool
        Whether batch normalisation and ReLU follow.
    """

    name: str
    source: str
    channels: Fraction
    kernel: int = 3
    stride: int = 1
    upsample: bool = False
    choice: Literal["depth", "kernel"] | None = None
    norm: bool = True

    @property
    def is_output(self) -> bool:
        """Whether this is one of the three residual outputs."""
        return self.channels == 0

    def out_channels(self, width: int) -> int:
        """Return the number of output channels at base width `width`."""
        # At width 1 half a channel would be none.
        return OUTPUT_CHANNELS if self.is_output else max(1, int(self.channels * width))


@dataclass(frozen=True)
class Skeleton:
    """A search space: its stages in topological order and what the codes mean.

    Attributes
    ----------
    name : str
        As in ``model.skeleton``.
    stages : tuple of Stage
        In topological order; choices take the code's positions in this order.
    kernels : tuple of int
        Kernel size of options 0, 1, 2.
    nested : bool
        Whether depth option d takes option d-1's output, or is its own chain.
    stride : int
        Crops must be multiples of this, in px.
    """

    name: str
    stages: tuple[Stage, ...]
    kernels: tuple[int, int, int]
    nested: bool
    stride: int

    def code_index(self, stage: Stage) -> int:
        """Return which position of the arch code selects this stage's option."""
        choices = [s.name for s in self.stages if s.choice is not None]
        return choices.index(stage.name)

    @property
    def outputs(self) -> tuple[Stage, ...]:
        """The three residual outputs, coarse to fine."""
        return tuple(stage for stage in self.stages if stage.is_output)


def _backbone(stem_stride: int) -> tuple[Stage, ...]:
    of = Fraction
    return (
        Stage("E0", "input", of(1), kernel=7, stride=stem_stride),
        Stage("E1", "E0", of(2), kernel=5, stride=stem_stride),
        Stage("EB0", "E1", of(2), choice="depth"),
        Stage("Down1", "EB0", of(4), stride=2),
        Stage("EB1", "Down1", of(4), choice="depth"),
        Stage("Down2", "EB1", of(8), stride=2),
        Stage("DB0", "Down2", of(8), choice="depth"),
        Stage("Up1", "DB0", of(4), upsample=True),
        Stage("DB1", "Up1", of(4), choice="depth"),
        Stage("Up2", "DB1", of(2), upsample=True),
    )


def _output(name: str, source: str) -> Stage:
    return Stage(name, source, Fraction(0), choice="kernel", norm=False)


_FULL_HEAD = (
    _output("H0Out", "DB0"),
    Stage("H1", "DB1", Fraction(4), choice="kernel"),
    _output("H1Out", "H1"),
    Stage("H2", "Up2", Fraction(2), choice="kernel"),
    _output("H2Out", "H2"),
)
_BILINEAR_HEAD = (
    _output("H0Out", "Up2"),
    Stage("H1", "Up2", Fraction(1), upsample=True, choice="kernel"),
    _output("H1Out", "H1"),
    Stage("H2", "H1", Fraction(1, 2), upsample=True, choice="kernel"),
    _output("H2Out", "H2"),
)

SKELETONS: Mapping[str, Skeleton] = MappingProxyType(
    {
        # The original's order of kernel sizes, which its commit 902a0e1 turned round; the stem
        # layers' stride of 2, from then on, raised what must divide a crop from 4 to 16 px.
        "full": Skeleton("full", _backbone(1) + _FULL_HEAD, (7, 5, 3), nested=True, stride=4),
        "bilinear": Skeleton(
            "bilinear", _backbone(2) + _BILINEAR_HEAD, (3, 5, 7), nested=True, stride=16
        ),
        "decoupled": Skeleton(
            "decoupled", _backbone(2) + _BILINEAR_HEAD, (3, 5, 7), nested=False, stride=16
        ),
    }
)
"""EdgeFlowNAS up to commit 2ef204e, from 902a0e1 and from 5f197cd."""


_INT, _CODES = frozenset({int}), frozenset(range(NUM_OPTIONS))


def check_arch(arch: Sequence[int]) -> Arch:
    """Return the arch code as a tuple after validating it.

    TensorFlow sends an index of 5 to the last branch in silence, hence this check.

    Raises
    ------
    ValueError
        If it has not 9 codes, or one is not 0, 1 or 2. A truth value is none of them, and 0.9
        is not 0.
    """
    code = tuple(arch)
    # The usual case at once: a space has 19,683 archs, and is looked at more than once.
    if len(code) == NUM_BLOCKS and _INT.issuperset(map(type, code)) and _CODES.issuperset(code):
        return code
    whole = all(isinstance(c, Integral) and not isinstance(c, bool) for c in code)
    if not whole or len(code) != NUM_BLOCKS or any(c not in range(NUM_OPTIONS) for c in code):
        msg = f"an arch code has {NUM_BLOCKS} codes of 0, 1 or 2, got {quoted(list(arch))}"
        raise ValueError(msg)
    return tuple(int(c) for c in code)


def every_arch() -> tuple[Arch, ...]:
    """Return the whole space, the highest code first: 19,683 archs.

    Archs are walked as they first appear, and the deepest option brings the values of the others
    with it, in one call.
    """
    return tuple(itertools.product(reversed(range(NUM_OPTIONS)), repeat=NUM_BLOCKS))


def format_arch(arch: Sequence[int]) -> str:
    """Return the arch code as nine digits, such as ``"012012012"``."""
    return "".join(str(c) for c in arch)


def parse_arch(text: str) -> Arch:
    """Read an arch code written as nine digits, with or without separators.

    Raises
    ------
    ValueError
        If it is not a valid code.
    """
    digits = [c for c in text if c not in " ,;-"]
    if not set(digits) <= set("012"):
        msg = f"an arch code has {NUM_BLOCKS} codes of 0, 1 or 2, got {quoted(text)}"
        raise ValueError(msg)
    return check_arch([int(c) for c in digits])


def check_crop(skeleton: Skeleton, crop: tuple[int, int]) -> None:
    """Require that the skeleton's strides divide the crop.

    Raises
    ------
    ValueError
        Naming the nearest valid crops below and above, (height, width) in px.
    """
    step = skeleton.stride
    if all(side % step == 0 and side > 0 for side in crop):
        return
    # EdgeFlowNAS stretches the label to its outputs instead; its own 180 x 240 does not fit its
    # later skeletons.
    below = tuple(max(step, side // step * step) for side in crop)
    above = tuple(-(-side // step) * step for side in crop)
    msg = (
        f"crop {crop[0]} x {crop[1]} (H x W) is not a multiple of {step}, which skeleton "
        f"{skeleton.name!r} needs; the nearest are {below[0]} x {below[1]} and "
        f"{above[0]} x {above[1]}"
    )
    raise ValueError(msg)


def depth_chain(skeleton: Skeleton, stage: Stage, option: int) -> tuple[str, ...]:
    """Return the residual blocks that a depth option runs, in order."""
    # The original's names of blocks, which `import_names` puts into its scopes unchanged.
    if skeleton.nested:
        return tuple(f"{stage.name}/deep{i + 1}" for i in range(option + 1))
    return tuple(f"{stage.name}/branch{option + 1}_block{i + 1}" for i in range(option + 1))


def option_kernels(skeleton: Skeleton) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Return the kernels that each option of each block runs, in the order of the code."""
    blocks: dict[int, tuple[tuple[str, ...], ...]] = {}
    for stage in skeleton.stages:
        if stage.choice == "depth":
            blocks[skeleton.code_index(stage)] = tuple(
                tuple(
                    f"{block}/{conv}/kernel"
                    for block in depth_chain(skeleton, stage, option)
                    for conv in ("conv1", "conv2")
                )
                for option in range(NUM_OPTIONS)
            )
        elif stage.choice == "kernel":
            blocks[skeleton.code_index(stage)] = tuple(
                (f"{stage.name}/k{k}/kernel",) for k in skeleton.kernels
            )
    return tuple(blocks[index] for index in sorted(blocks))


def _blocks(skeleton: Skeleton, stage: Stage) -> tuple[str, ...]:
    chains = (depth_chain(skeleton, stage, option) for option in range(NUM_OPTIONS))
    return tuple(dict.fromkeys(block for chain in chains for block in chain))


def norm_units(skeleton: Skeleton) -> tuple[str, ...]:
    """Return the names of all batch-normalised units, in order."""
    units: list[str] = []
    for stage in skeleton.stages:
        if stage.choice == "depth":
            units += [f"{b}/{c}" for b in _blocks(skeleton, stage) for c in ("conv1", "conv2")]
        elif stage.norm:
            units.append(stage.name)
    return tuple(units)


def active_units(skeleton: Skeleton, arch: Sequence[int]) -> tuple[str, ...]:
    """Return the normalised units that run for one arch, in order."""
    units: list[str] = []
    for stage in skeleton.stages:
        if stage.choice == "depth":
            chain = depth_chain(skeleton, stage, arch[skeleton.code_index(stage)])
            units += [f"{block}/{conv}" for block in chain for conv in ("conv1", "conv2")]
        elif stage.norm:
            units.append(stage.name)
    return tuple(units)


def variable_shapes(skeleton: Skeleton, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every kernel, gamma and beta, by name, in a fixed order.

    Kernels are (kh, kw, in, out). Moving statistics are not weights; their names follow
    from :func:`norm_units`.
    """
    # The order reaches the bits: the norm of all gradients is summed in it.
    shapes: dict[str, tuple[int, ...]] = {}
    channels = {"input": 6}  # two BGR frames
    for stage in skeleton.stages:
        inputs, outputs = channels[stage.source], stage.out_channels(width)
        channels[stage.name] = outputs
        if stage.choice == "depth":
            for block in _blocks(skeleton, stage):
                for conv in ("conv1", "conv2"):
                    shapes[f"{block}/{conv}/kernel"] = (3, 3, outputs, outputs)
                    shapes |= _affine(f"{block}/{conv}", outputs)
            continue
        if stage.choice == "kernel":
            for k in skeleton.kernels:
                shapes[f"{stage.name}/k{k}/kernel"] = (k, k, inputs, outputs)
        else:
            shapes[f"{stage.name}/kernel"] = (stage.kernel, stage.kernel, inputs, outputs)
        if stage.norm:
            shapes |= _affine(stage.name, outputs)
    return shapes


def stage_sizes(
    skeleton: Skeleton, width: int, size: tuple[int, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the pixels and the channels of every stage's output, and of ``"input"``, by name.

    `size` is the crop, (height, width) in px, which the strides must divide.
    """
    pixels, channels = {"input": size[0] * size[1]}, {"input": 6}
    for stage in skeleton.stages:
        area = pixels[stage.source] * (4 if stage.upsample else 1)
        pixels[stage.name] = area // stage.stride**2
        channels[stage.name] = stage.out_channels(width)
    return pixels, channels


def _affine(unit: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{unit}/gamma": (channels,), f"{unit}/beta": (channels,)}
