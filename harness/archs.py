"""The search space of a supernet: blocks, the names of their options, and codes of archs."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

__all__ = ["SAMPLINGS", "Space", "array_of", "digits", "is_entry", "slices_of"]

SAMPLINGS = ("fair", "own")
"""How a step draws its archs: every option of each block once (strict fairness of Chu et al.,
FairNAS, ICCV 2021), or by a rule of the trainer's own, such as all of them in one order."""


@dataclass(frozen=True)
class Space:
    """A search space, and how the code of an arch is written in it.

    Attributes
    ----------
    names : tuple of tuple of str
        For each block the names of its options, in the order of ``Description.options``. Empty:
        there is no search space.
    separator : str
        What stands between the names of an arch's options in its code.
    codes : mapping of str to tuple of str
        Arch to the name of its option in each block, where a code is no row of names. Archs that
        are not in it do not exist then.
    sampling : {"fair", "own"}
        How a step of training draws its archs.
    """

    names: tuple[tuple[str, ...], ...] = ()
    separator: str = ""
    codes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sampling: str = "fair"

    @property
    def counts(self) -> tuple[int, ...]:
        """Options of each block."""
        return tuple(map(len, self.names))

    def read(self, arch: str) -> tuple[int, ...] | None:
        """Return the option of each block that a code names, from 0; None if it is no code."""
        if not self.names:
            return None
        parts = self.codes.get(arch) if self.codes else self._parts(arch)
        if parts is None or len(parts) != len(self.names):
            return None
        pairs = list(zip(parts, self.names, strict=True))
        if any(part not in options for part, options in pairs):
            return None
        return tuple(options.index(part) for part, options in pairs)

    def write(self, choice: Sequence[int]) -> str | None:
        """Return the code of an arch; None if none of the declared ones runs these options."""
        parts = tuple(options[i] for options, i in zip(self.names, choice, strict=True))
        if self.codes:
            return next((arch for arch, own in self.codes.items() if tuple(own) == parts), None)
        return self.separator.join(parts)

    def _parts(self, arch: str) -> Sequence[str] | None:
        if self.separator:
            return arch.split(self.separator)
        found, rest = [], arch
        for options in self.names:  # no name begins another of its block
            part = next((name for name in options if rest.startswith(name)), None)
            if part is None:
                return None
            found.append(part)
            rest = rest[len(part) :]
        return None if rest else found

    def faults(self, counts: Sequence[int]) -> Iterator[tuple[str, str, object]]:
        """Yield what contradicts itself: the field, what was expected, and what was found.

        Parameters
        ----------
        counts : sequence of int
            Options of each block of ``Description.options``; empty where none are told.
        """
        if self.sampling not in SAMPLINGS:
            yield "sampling", f"one of {', '.join(SAMPLINGS)}", self.sampling
        if counts and list(counts) != list(self.counts):
            expected = f"names for the options of describe().options, {list(counts)} of each block"
            yield "names", expected, list(self.counts)
        for options in self.names:
            if len(set(options)) < len(options) or not all(options):
                yield "names", "different names, none empty, in a block", list(options)
            if self.codes:
                continue
            for one, other in pairwise(sorted(options)):
                if not self.separator and other.startswith(one):
                    expected = "a separator, or names of which none begins another of its block"
                    yield "names", expected, [one, other]
            for name in options:
                if self.separator and self.separator in name:
                    expected = f"no {self.separator!r}, the separator, in a name"
                    yield "names", expected, name
        for block, options in enumerate(self.names if self.codes else ()):
            run = {parts[block] for parts in self.codes.values() if len(parts) > block}
            for name in options:
                if name not in run:
                    yield f"names[{block}]", "options that a code has", name
        for arch in self.codes:
            if self.read(arch) is None:
                expected = "the name of one option for each block"
                yield f"codes[{arch!r}]", expected, list(self.codes[arch])


def digits(counts: Sequence[int]) -> Space:
    """Return the space whose codes have one digit for each block."""
    return Space(tuple(tuple(map(str, range(count))) for count in counts))


_PART = re.compile(r"(?P<array>.+)\[(?P<cut>[^\[\]]*:[^\[\]]*)\]")
_CUT = re.compile(r"\s*(-?\d+)?\s*:\s*(-?\d+)?\s*(?::\s*(-?\d+)?\s*)?")


def array_of(entry: str) -> str:
    """Return the array that an option names, of which it may run a part alone.

    A part is written as NumPy's slices: ``conv/kernel[1:-1, 1:-1, :, :8]``.
    """
    found = _PART.fullmatch(entry)
    return found["array"] if found else entry


def is_entry(entry: str) -> bool:
    """Return whether what an option runs is an array, or slices of one."""
    found = _PART.fullmatch(entry)
    return found is None or all(map(_CUT.fullmatch, found["cut"].split(",")))


def slices_of(entry: str) -> tuple[slice, ...]:
    """Return the slices of the array that an option runs; none where it runs the whole.

    What is no entry, :func:`is_entry`, is refused where a description comes in.
    """
    found = _PART.fullmatch(entry)
    cuts = [_CUT.fullmatch(cut) for cut in found["cut"].split(",")] if found else []
    groups = [[None if text is None else int(text) for text in c.groups()] for c in cuts if c]
    return tuple(slice(*group) for group in groups)
