"""What is promised, as tables and pages; made from the declarations alone."""

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.promises.openings import UNOPENED
from harness.promises.promise import Promise
from harness.promises.registry import PROMISES, SUBJECTS

if TYPE_CHECKING:  # faults import TensorFlow, which a list of promises need not wait for
    from harness.faults.base import Fault

__all__ = [
    "faults_by_promise", "promise_lines", "promise_page", "promise_table", "subject_table",
    "subject_title",
]  # fmt: skip

_HEAD = """\
# Promises

Every promise of the gate, by subject. This page is made from the declarations in
`harness/promises/` and from the faults in `harness/faults/` by `harness promises --write .`, and a
test holds it against them.

Under each promise: what a breach usually means, which other breach explains it, and what it has
been seen to notice, with the real bug that the fault is modelled on.
"""


def subject_title(subject: str) -> str:
    """Return the one sentence that a subject's module says of itself, without its full stop."""
    # The registry has imported every subject.
    module = sys.modules[f"harness.promises.{subject}"]
    return (module.__doc__ or subject).splitlines()[0].rstrip(".")


def faults_by_promise(faults: Iterable[type["Fault"]]) -> dict[str, tuple[type["Fault"], ...]]:
    """Return the faults that should break each promise, by its id."""
    found: dict[str, tuple[type[Fault], ...]] = {}
    for fault in faults:
        for promise in fault.expected:
            found[promise] = (*found.get(promise, ()), fault)
    return found


def promise_table() -> str:
    """Return the table of ``docs/gate.md``: subjects with their promises."""
    rows = [
        f"| {subject_title(subject)} | {', '.join(f'`{name}`' for name in names)} |"
        for subject, names in SUBJECTS.items()
    ]
    return "\n".join(["| subject | promises |", "|---|---|", *rows]) + "\n"


def subject_table() -> str:
    """Return the table of ``docs/faults.md``: the subjects that a fault can touch."""
    rows = [
        f"| `{subject}` | {subject_title(subject)} | "
        f"{sum(PROMISES[name].in_quick for name in names)} of {len(names)} |"
        for subject, names in SUBJECTS.items()
    ]
    head = ["| subject | what it is about | quick promises |", "|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def promise_page(faults: Mapping[str, Sequence[type["Fault"]]]) -> str:
    """Return ``docs/promises.md``: every promise with everything that is said of it."""
    parts = [_HEAD]
    for subject, names in SUBJECTS.items():
        parts.append(f"## {subject_title(subject)}\n")
        parts += [_section(PROMISES[name], faults.get(name, ())) for name in names]
    return "\n".join(parts)


def _section(promise: Promise, faults: Sequence[type["Fault"]]) -> str:
    tier = "" if promise.in_quick else f" (from `--tier {promise.tier}` on)"
    lines = [
        f"### `{promise.id}`\n",
        f"{_capital(promise.sentence)}{tier}.\n",
        f"A breach usually means: {promise.hint}\n",
    ]
    if promise.explained_by:
        causes = ", ".join(f"`{name}`" for name in promise.explained_by)
        lines.append(f"Explained by a breach of {causes}.\n")
    if promise.blocked_by:
        causes = ", ".join(f"`{name}`" for name in promise.blocked_by)
        lines.append(f"Cannot be decided before {causes} holds.\n")
    lines += [f"- `{fault.id}`: {_story(fault)} [{fault.citation}]" for fault in faults]
    return "\n".join(lines) + "\n"


def _story(fault: type["Fault"]) -> str:
    return (inspect.getdoc(fault) or fault.id).split("\n\n")[0].replace("\n", " ")


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _needed(promise: Promise) -> list[str]:
    """Return the calls that a promise needs, then what a system must say beside them."""
    said = sorted(promise.needs.difference(promise.calls))
    return [
        *promise.calls,
        *("the parts of the builtin system" if s == UNOPENED else s for s in said),
    ]


def promise_lines(
    promise: Promise, faults: Sequence[type["Fault"]] | None = None
) -> tuple[str, ...]:
    """Return a promise for a terminal; with its faults, everything that is said of it."""
    head = f"{promise.id:42} {promise.tier:7} {promise.sentence}"
    if faults is None:
        return (head,)
    causes = ", ".join(promise.explained_by) or "none: it is a root"
    blocked = (f"    cannot be decided before: {', '.join(promise.blocked_by)}",)
    return (
        head,
        f"    a breach usually means: {promise.hint}",
        f"    explained by: {causes}",
        *(blocked if promise.blocked_by else ()),
        f"    needs: {', '.join(_needed(promise)) or 'nothing beyond describe'}",
        *(f"    seen to notice {fault.id}: {_story(fault)} [{fault.citation}]" for fault in faults),
    )
