"""The search spaces of later generations, read from the checkout's own list of blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["arrays_of_space", "kernels_of_space"]

_ARRAYS = ("gamma", "beta", "moving_mean", "moving_variance")
_Options = list[list[tuple[str, ...]]]


def kernels_of_space(variables: Iterable[str], blocks: Sequence[Any]) -> _Options | None:
    """Return, for each block and option, the kernels that it runs; None if names say nothing.

    Parameters
    ----------
    blocks : sequence of dict
        As ``nas.search_space_v2.get_block_specs`` gives them: a name, and a label of each option.
    """
    found = _of_options(variables, blocks, lambda name: name.endswith("/kernel"))
    return found if all(kernels for block in found for kernels in block) else None


def arrays_of_space(variables: Iterable[str], blocks: Sequence[Any]) -> _Options:
    """Return, for each block and option, the normalisation of its own."""
    return _of_options(variables, blocks, lambda name: name.rsplit("/", 1)[-1] in _ARRAYS)


def _of_options(
    variables: Iterable[str], blocks: Sequence[Any], wanted: Callable[[str], bool]
) -> _Options:
    names = [name for name in variables if wanted(name)]
    return [
        [
            tuple(
                name
                for name in names
                if block["name"] in name.split("/") and _runs(name.split("/"), str(label))
            )
            for label in block["labels"]
        ]
        for block in blocks
    ]


def _runs(scopes: Sequence[str], label: str) -> bool:
    """Return whether the option of a label runs what lies in these scopes.

    A scope is the option's own, or that with the layer behind it: ``k3``, ``k3_conv``, ``k3_bn``.
    """
    depth = re.fullmatch(r"Deep(\d)", label)
    if depth:
        return any(scope.startswith(f"branch{depth[1]}_") for scope in scopes)
    size = re.match(r"(\d)x\1", label)
    if size is None:
        return False
    own = [f"k{size[1]}"]
    if "Dilated" in label:
        own = [f"k{size[1]}_down", f"k{size[1]}_dilated"]
    named = {one + layer for one in own for layer in ("", "_conv", "_bn")}
    return any(scope in named for scope in scopes)
