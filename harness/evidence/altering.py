"""What a system did when something around it was altered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.evidence.bundles import Digests
from harness.evidence.observations import Evaluation

__all__ = [
    "ArchResponse",
    "Cached",
    "Elsewhere",
    "Frozen",
    "Pools",
    "Refusals",
    "Seeds",
    "SweptKnob",
]


@dataclass(frozen=True)
class Elsewhere:
    """The same run on a copy of the data: another path, files made in reverse, another name.

    Attributes
    ----------
    here, there : mapping of str to str
        Digests of weights and statistics after training.
    scores_here, scores_there : Evaluation
    draws_here, draws_there : sequence of str
        Batch digests of the training steps.
    """

    here: Digests
    there: Digests
    scores_here: Evaluation
    scores_there: Evaluation
    draws_here: Sequence[str]
    draws_there: Sequence[str]


@dataclass(frozen=True)
class Cached:
    """Content digests of evaluation batches, served around a change of one file.

    Attributes
    ----------
    first, again : sequence of str
        Served with a cache folder, which the first fills.
    changed, fresh : sequence of str
        Served with that folder and without one, after a file has changed and kept its name,
        size and time.
    """

    first: Sequence[str]
    again: Sequence[str]
    changed: Sequence[str]
    fresh: Sequence[str]


@dataclass(frozen=True)
class Seeds:
    """Initial state and fair cycles of one seed twice, and of another seed."""

    one: Digests
    again: Digests
    other: Digests
    kernels: Sequence[str]
    cycles: Sequence[tuple[str, ...]]
    other_cycles: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Pools:
    """The default pool of nine archs, by the seed and by another one.

    ``again`` is the same seed's pool asked for once more.
    """

    one: Sequence[str]
    again: Sequence[str]
    other: Sequence[str]


@dataclass(frozen=True)
class Refusals:
    """What a system did with input it must refuse.

    ``cases`` hold what was wrong, the words of which the error must name one, the error's
    type (None: it went on), and its message.
    """

    cases: Sequence[tuple[str, tuple[str, ...], str | None, str]]


@dataclass(frozen=True)
class Frozen:
    """Scores from files, from a frozen artifact of them, and from an altered artifact.

    The altered one lies at the same path and has one other pixel.
    """

    files: Evaluation
    frozen: Evaluation
    altered: Evaluation


@dataclass(frozen=True)
class ArchResponse:
    """A pool's scores when the kernels of one option of one block change.

    Attributes
    ----------
    base : Evaluation
    changed : mapping of (block, option) to (kernels, Evaluation)
    options : sequence of sequence of tuple of str
        For each block and option, the kernels that it runs.
    """

    base: Evaluation
    changed: Mapping[tuple[int, int], tuple[tuple[str, ...], Evaluation]]
    options: Sequence[Sequence[tuple[str, ...]]]


@dataclass(frozen=True)
class SweptKnob:
    """One configuration key, changed.

    Attributes
    ----------
    key, kind : str
        Dotted key and declared kind.
    old, new : Any
        Values.
    changed : frozenset of str
        Which of ``training``, ``evaluation`` and ``plan`` came out differently.
    error : str
        Why the changed value could not run, empty if it could.
    """

    key: str
    kind: str
    old: Any
    new: Any
    changed: frozenset[str]
    error: str = ""
