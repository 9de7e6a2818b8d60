"""What a gate notices of faults planted around a system, for a terminal and for a page."""

import textwrap
from collections.abc import Sequence

from harness.faults.power_file import Planted, Power

__all__ = ["EXPLANATION", "planted_line", "power_lines", "power_rows"]

EXPLANATION = (
    "Each fault was planted around this system, and the gate asked again. A fault that survived "
    "is one that a green gate of this system does not rule out; what cannot be planted here, it "
    "says nothing of."
)


def planted_line(one: Planted) -> str:
    """Return the verdict on one fault, in a line."""
    return f"{one.verdict:8} {one.id}: {_red(one)}"


def power_lines(power: Power, *, width: int = 100) -> list[str]:
    """Return the table for a terminal; the first line says what the gate is worth."""
    lines = [power.headline]
    for one in _by_verdict(power.planted):
        lines.append(f"{one.verdict:8} {one.id}")
        for text in (f"{one.what} [{one.citation}]", _red(one)):
            lines += textwrap.wrap(
                text, width, initial_indent=" " * 9, subsequent_indent=" " * 9,
                break_on_hyphens=False, break_long_words=False,
            )  # fmt: skip
    lines += [f"broken without any fault: {name}: {text}" for name, text in power.broken.items()]
    return lines


def power_rows(power: Power) -> list[dict[str, str]]:
    """Return a row for each fault: verdict, fault, what it models, and what went red."""
    return [
        {
            "verdict": one.verdict, "id": one.id, "what": one.what, "citation": one.citation,
            "red": _red(one),
        }
        for one in _by_verdict(power.planted)
    ]  # fmt: skip


def _by_verdict(planted: Sequence[Planted]) -> list[Planted]:
    """Return what the gate overlooks first: it is what a reader must know."""
    order = ("SURVIVED", "noticed", "n/a")
    return sorted(planted, key=lambda one: order.index(one.verdict))


def _red(one: Planted) -> str:
    if one.verdict == "n/a":
        return f"cannot be planted here: {one.reason}"
    if one.verdict == "SURVIVED":
        held = f"all {one.judged} promises that apply still hold"
        return f"{held}; {one.reason}" if one.reason else held
    names = [
        f"{name} (by an error)" if text.startswith("error:") else name
        for name, text in one.red.items()
    ]
    return ", ".join(names)
