"""Causes before consequences: which broken promises are roots, and what follows from each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.promises.judge import Judgement, is_broken

__all__ = ["AREAS", "Area", "Root", "find_roots"]

Area = str
AREAS: tuple[Area, ...] = ("measurement", "resuming", "training", "robustness", "log")
"""What a breach makes void, the gravest first: nothing can be read off a broken measurement."""


@dataclass(frozen=True)
class Root:
    """A broken promise that no other broken promise explains.

    Attributes
    ----------
    judgement : Judgement
    area : str
        What it makes void.
    consequences : tuple of Judgement
        Broken promises that it explains, those explained by its consequences included.
    blocked : tuple of Judgement
        Promises that cannot be decided until it is mended.
    """

    judgement: Judgement
    area: Area
    consequences: tuple[Judgement, ...] = ()
    blocked: tuple[Judgement, ...] = ()


def find_roots(judgements: Iterable[Judgement], areas: Mapping[str, Area]) -> tuple[Root, ...]:
    """Return the roots, ranked, with each further broken promise below one of them.

    In the order of `areas`, area by area. A promise whose causes hold is a root itself, whatever
    it is usually explained by.

    Parameters
    ----------
    judgements : iterable of Judgement
    areas : mapping of str to str
        Promise to one of :data:`AREAS`.
    """
    broken = {j.promise.id: j for j in judgements if is_broken([j])}
    causes = _direct_causes(broken)
    above = {name: _topmost(name, causes) for name in broken}
    # Promises that explain each other in a ring have nobody above them: they are shown.
    roots = [name for name in broken if not above[name] or name in above[name]]
    below: dict[str, list[str]] = {
        root: [n for n in broken if root in above[n] and n != root] for root in roots
    }
    places = {name: place for place, name in enumerate(areas)}
    roots.sort(key=lambda n: (AREAS.index(areas[n]), places[n]))
    found, shown = [], set(roots)
    for root in roots:
        new = [broken[n] for n in below[root] if n not in shown]
        shown.update(j.promise.id for j in new)
        blocked = tuple(j for j in new if _is_blocked(j, broken))
        rest = tuple(j for j in new if j not in blocked)
        found.append(Root(broken[root], areas[root], rest, blocked))
    return tuple(found)


def _direct_causes(broken: Mapping[str, Judgement]) -> dict[str, list[str]]:
    """Return by broken promise the broken ones that explain or block it."""
    first_with: dict[str, str] = {}
    causes = {}
    for name, judgement in broken.items():
        causes[name] = _explaining(judgement, broken)
        if judgement.error is not None:
            # One failure that many promises met is one thing to mend.
            first = first_with.setdefault(judgement.text, name)
            others = [c for c in causes[name] if broken[c].text != judgement.text]
            causes[name] = others if first == name else [first]
    return causes


def _explaining(effect: Judgement, broken: Mapping[str, Judgement]) -> list[str]:
    """Return the broken promises that block a breach, or together explain all kinds of it."""
    blocking = [name for name in effect.promise.blocked_by if name in broken]
    entries = [entry.partition(":") for entry in effect.promise.explained_by]
    of_kind = [n for n, _, kind in entries if kind and n in broken and kind in broken[n].kinds]
    possible = [name for name, _, kind in entries if not kind and name in broken]
    if not all(broken[name].kinds for name in possible):
        # What says no kind may be of any.
        return blocking + of_kind + possible
    explained = {kind for name in possible for kind in broken[name].kinds}
    return blocking + of_kind + (possible if explained.issuperset(effect.kinds) else [])


def _topmost(name: str, causes: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the promises at the start of every chain of causes that ends at one."""
    top, seen, open_ends = set(), {name}, list(causes[name])
    while open_ends:
        cause = open_ends.pop()
        if cause in seen:
            continue
        seen.add(cause)
        open_ends += causes[cause]
        if not causes[cause]:
            top.add(cause)
    # A ring without a start: each of its promises stands for itself.
    return top or ({name} if causes[name] else set())


def _is_blocked(judgement: Judgement, broken: Mapping[str, Judgement]) -> bool:
    return any(other in broken for other in judgement.promise.blocked_by)
