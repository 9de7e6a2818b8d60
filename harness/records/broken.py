"""Lines of a ledger that hold no record, and whether a kill explains them."""

from dataclasses import dataclass

from harness.records.ledger import LedgerContent
from harness.records.records import RunRecord

__all__ = ["BrokenLine", "broken_lines"]


@dataclass(frozen=True)
class BrokenLine:
    """A line that holds no record; a kill leaves one at an attempt's end, which is normal."""

    number: int
    reason: str
    tail: bool

    def __str__(self) -> str:
        why = "cut short by a kill, the rest is read" if self.tail else "evidence is lost here"
        return f"broken line {self.number} ({why}): {self.reason}"


def broken_lines(content: LedgerContent) -> tuple[BrokenLine, ...]:
    """Return the broken lines; one that ends the file or an attempt is a kill's tail."""
    bad, found = {number for number, _ in content.broken}, []
    numbers = (n for n in range(1, len(content.records) + len(bad) + 1) if n not in bad)
    following = dict(zip(numbers, content.records, strict=True))
    for number, reason in content.broken:
        after = following.get(number + 1)
        ends = number + 1 not in bad and (after is None or isinstance(after, RunRecord))
        found.append(BrokenLine(number, reason, ends))
    return tuple(found)
