"""Names for an import: what each of our variables is called in EdgeFlowNAS's checkpoints.

For each skeleton, and with it the fit of a checkpoint: which variable of theirs fills which of
ours, and what is missing or left over. Reading the files is
:mod:`harness.training.importing`'s; no TensorFlow here.

EdgeFlowNAS numbers its scopes while it builds its graph (``conv_bn_relu8/conv9/...``): such
a number says when a layer was built and nothing else. Numbers of scopes are therefore
written ``#`` and all else of a name must be as expected; a layer's own name keeps its
number (``conv12/conv2/kernel`` is ``conv#/conv2/kernel``).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

from harness.supernet.space import (
    NUM_OPTIONS,
    SKELETONS,
    Skeleton,
    Stage,
    depth_chain,
    norm_units,
    variable_shapes,
)

__all__ = [
    "CARRIES_NOTHING",
    "Fit",
    "fit_checkpoint",
    "optimizer_names",
    "source_names",
    "state_shapes",
    "without_numbers",
]

Shapes = Mapping[str, tuple[int, ...]]

CARRIES_NOTHING: Mapping[str, str] = MappingProxyType(
    {r"strict_accum_\d+": "gradient accumulators, set to zero before every step"}
)
"""Variables that no later step reads: a pattern of the whole name, and why."""

_SLOTS = {"adam/m": "Adam", "adam/v": "Adam_1"}
_POWERS = {"adam/beta1_power": "beta1_power", "adam/beta2_power": "beta2_power"}
_STEM = ("E0", "E1")
_NUMBERED = re.compile(r"^(conv|bn|conv_bn_relu|resize_conv)\d+$")


@dataclass(frozen=True)
class Fit:
    """How a checkpoint's variables fill the supernet that they fit best.

    Attributes
    ----------
    skeleton, width
        Key of :data:`harness.supernet.space.SKELETONS`, and base width C.
    sources : mapping of str to str
        EdgeFlowNAS's variable by our name, of those that fit.
    optimizer : bool
        Whether Adam's moments and powers are there, or at least one of them.
    ignored : tuple of str
        EdgeFlowNAS's variables that :data:`CARRIES_NOTHING` covers.
    problems : tuple of str
        What is missing, left over, there twice or misshapen. Empty if nothing is.
    """

    skeleton: str
    width: int
    sources: Mapping[str, str]
    optimizer: bool
    ignored: tuple[str, ...]
    problems: tuple[str, ...]


def without_numbers(name: str) -> str:
    """Return EdgeFlowNAS's name of a variable with ``#`` for the numbers of its scopes."""
    parts = name.split("/")
    own = 3 if parts[-1] in _SLOTS.values() else 2  # the layer, its variable, and a slot of it
    scopes = [_NUMBERED.sub(r"\1#", scope) for scope in parts[:-own]]
    return "/".join([*scopes, *parts[-own:]])


def source_names(skeleton: Skeleton) -> dict[str, str]:
    """Return EdgeFlowNAS's name of every weight and moving statistic, by our name.

    Numbers of scopes are ``#``, as :func:`without_numbers` writes them.
    """
    names: dict[str, str] = {}
    for stage in skeleton.stages:
        for unit, theirs in _kernels(skeleton, stage):
            names[f"{unit}/kernel"] = f"{theirs}/kernel"
        for unit, theirs in _norms(skeleton, stage):
            for part in ("gamma", "beta", "moving_mean", "moving_variance"):
                names[f"{unit}/{part}"] = f"{theirs}/{part}"
    return names


def optimizer_names(skeleton: Skeleton) -> dict[str, str]:
    """Return EdgeFlowNAS's name of every moment and power of Adam, by our name.

    A power means the same on both sides: ``beta ** (t + 1)`` after t steps.
    """
    slots = {
        f"{ours}/{name}": f"{theirs}/{slot}"
        for ours, slot in _SLOTS.items()
        for name, theirs in source_names(skeleton).items()
        if "/moving_" not in name  # statistics are not trained
    }
    return slots | _POWERS


def state_shapes(skeleton: Skeleton, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every variable of a checkpoint of ours, by name."""
    weights = variable_shapes(skeleton, width)
    shapes: dict[str, tuple[int, ...]] = dict(weights)
    for unit in norm_units(skeleton):
        for statistic in ("moving_mean", "moving_variance"):
            shapes[f"{unit}/{statistic}"] = weights[f"{unit}/gamma"]
    shapes |= {f"{slot}/{name}": shape for slot in _SLOTS for name, shape in weights.items()}
    return shapes | dict.fromkeys(_POWERS, ())


def fit_checkpoint(shapes: Shapes) -> Fit:
    """Return how a checkpoint's variables fit, for the skeleton and width they fit best.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Of every variable in the checkpoint, by EdgeFlowNAS's name.

    Raises
    ------
    ValueError
        If it holds nothing of EdgeFlowNAS's first layer, which says the width.
    """
    # A checkpoint does not say its width. Every skeleton has E0, whose variables end in C channels.
    widths = {shape[-1] for name, shape in shapes.items() if "/E0_" in name and shape}
    if not widths:
        names = ", ".join(sorted(shapes)[:3]) or "none"
        msg = (
            f"expected an EdgeFlowNAS supernet with {source_names(SKELETONS['full'])['E0/kernel']}"
            f" (# any number), found {len(shapes)} variables: {names}"
        )
        raise ValueError(msg)
    fits = [_fit(name, width, shapes) for name, width in product(SKELETONS, sorted(widths))]
    # The nearest one, even where none fits: a message can then say what is wrong with it.
    return min(fits, key=lambda fit: len(fit.problems))


def _fit(name: str, width: int, shapes: Shapes) -> Fit:
    skeleton = SKELETONS[name]
    ignored = tuple(n for n in sorted(shapes) if any(re.fullmatch(p, n) for p in CARRIES_NOTHING))
    found: dict[str, list[str]] = {}
    for source in sorted(shapes.keys() - set(ignored)):
        found.setdefault(without_numbers(source), []).append(source)
    expected, optional = source_names(skeleton), optimizer_names(skeleton)
    optimizer = not found.keys().isdisjoint(optional.values())
    # One slot found, all are expected: a checkpoint that lost some must not pass for one without.
    if optimizer:
        expected |= optional
    sizes = state_shapes(skeleton, width)
    sources: dict[str, str] = {}
    problems: list[str] = []
    for ours, theirs in expected.items():
        candidates = found.pop(theirs, [])
        problem = _problem(theirs, candidates, sizes[ours], shapes)
        if problem is None:
            sources[ours] = candidates[0]
        else:
            problems.append(problem)
    problems += [f"{source} is left over" for names in found.values() for source in names]
    return Fit(name, width, sources, optimizer, ignored, tuple(problems))


def _problem(
    theirs: str, candidates: list[str], shape: tuple[int, ...], shapes: Shapes
) -> str | None:
    if not candidates:
        return f"{theirs} is missing"
    if len(candidates) > 1:
        return f"{theirs} is there {len(candidates)} times ({', '.join(candidates)})"
    if shapes[candidates[0]] != shape:
        return f"{candidates[0]} has shape {shapes[candidates[0]]}, expected {shape}"
    return None


def _kernels(skeleton: Skeleton, stage: Stage) -> Iterator[tuple[str, str]]:
    """Yield our and EdgeFlowNAS's name of each layer with a kernel in one stage."""
    name = stage.name
    if stage.choice == "depth":
        for block in _blocks(skeleton, stage):
            yield f"{block}/conv1", f"supernet_backbone/{block}/conv_bn_relu#/conv#/conv1_conv"
            yield f"{block}/conv2", f"supernet_backbone/{block}/conv#/conv2"
    elif stage.choice == "kernel":
        for k in skeleton.kernels:
            layer = f"resize_conv#/conv#/k{k}_conv" if stage.upsample else f"conv#/k{k}"
            yield f"{name}/k{k}", f"supernet_head/{name}/{layer}"
    elif name in _STEM:
        yield name, f"supernet_backbone/conv_bn_relu#/conv#/{name}_conv"
    else:
        layer = f"resize_conv#/conv#/{name}_conv" if stage.upsample else f"conv#/{name}Conv"
        yield name, f"supernet_backbone/{layer}"


def _norms(skeleton: Skeleton, stage: Stage) -> Iterator[tuple[str, str]]:
    """Yield our and EdgeFlowNAS's name of each normalised unit in one stage."""
    name = stage.name
    if stage.choice == "depth":
        for block in _blocks(skeleton, stage):
            yield f"{block}/conv1", f"supernet_backbone/{block}/conv_bn_relu#/bn#/conv1_bn"
            yield f"{block}/conv2", f"supernet_backbone/{block}/bn#/bn2"
    elif name in _STEM:
        yield name, f"supernet_backbone/conv_bn_relu#/bn#/{name}_bn"
    elif stage.norm:
        part = "head" if stage.choice == "kernel" else "backbone"
        yield name, f"supernet_{part}/bn#/{name}BN"


def _blocks(skeleton: Skeleton, stage: Stage) -> list[str]:
    chains = (depth_chain(skeleton, stage, option) for option in range(NUM_OPTIONS))
    return list(dict.fromkeys(block for chain in chains for block in chain))
