"""What a gate noticed of the faults that were planted around a system, and the file that keeps it.

Reading it needs neither TensorFlow nor the system.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.errors import InputError, plain_line
from harness.records.declared import check_declared
from harness.sealed import NO_SEAL, read_sealed, sealed_values
from harness.wording import quoted

__all__ = ["Planted", "Power", "PowerVerdict", "differing", "read_power"]

PowerVerdict = Literal["noticed", "SURVIVED", "n/a"]

_FORMAT = 1
_COUNTED = ("format", "headline", "noticed", "plantable")
"""What follows from the rest, for people and other programs."""


@dataclass(frozen=True)
class Planted:
    """One fault and what the gate said of the system with it.

    Attributes
    ----------
    id, what, citation : str
        The fault, what goes wrong, and the public bug that it is modelled on.
    verdict : {"noticed", "SURVIVED", "n/a"}
        ``n/a``: it cannot be planted in this system.
    red : mapping of str to str
        Promises that hold without the fault and broke with it, and where.
    reason : str
        Why it cannot be planted; of one that survived, what keeps the promises that should notice
        it from being judged.
    judged : int
        Promises that were judged.
    seconds : float
        Wall time, s.
    """

    id: str
    what: str
    citation: str
    verdict: PowerVerdict
    red: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    judged: int = 0
    seconds: float = 0.0

    @property
    def by_a_crash(self) -> bool:
        """Whether it was noticed because evidence could not be made, and by no violation."""
        return bool(self.red) and all(text.startswith("error:") for text in self.red.values())


@dataclass(frozen=True)
class Power:
    """What a green gate of one system is worth.

    Attributes
    ----------
    asked : mapping of str to str
        What was judged: system, its code, configuration, data, the harness's version.
    holds : tuple of str
        Promises that hold of the system as it is.
    broken : mapping of str to str
        Promises that are broken without any fault: they count for none.
    absent : mapping of str to str
        Promises that do not apply, and why.
    planted : tuple of Planted
        In the order in which they were planted.
    faults : tuple of str
        Ids of all that were to be planted.
    """

    asked: Mapping[str, str]
    holds: tuple[str, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    planted: tuple[Planted, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def noticed(self) -> int:
        """Planted faults that the gate noticed by a violation."""
        return sum(one.verdict == "noticed" and not one.by_a_crash for one in self.planted)

    @property
    def plantable(self) -> int:
        """Faults that could be planted."""
        return sum(one.verdict != "n/a" for one in self.planted)

    @property
    def left(self) -> tuple[str, ...]:
        """Ids of faults that were not planted yet."""
        done = {one.id for one in self.planted}
        return tuple(fault for fault in self.faults if fault not in done)

    @property
    def headline(self) -> str:
        """In one line, what a green gate of this system is worth."""
        text = (
            f"the gate of {self.asked.get('system', '')} notices {self.noticed} of "
            f"{self.plantable} faults planted around it"
        )
        unplantable = sum(one.verdict == "n/a" for one in self.planted)
        parts = [text]
        if unplantable:
            parts.append(f"{unplantable} cannot be planted here")
        if self.left:
            parts.append(f"{len(self.left)} not planted yet")
        crashed = sum(one.by_a_crash for one in self.planted)
        if crashed:
            parts.append(f"{crashed} ended in an error, which may be that of the planting")
        if self.broken:
            parts.append(
                f"broken without any fault, and no judge of one: {len(self.broken)} promises"
            )
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        counts = {"noticed": self.noticed, "plantable": self.plantable}
        return sealed_values(
            {"format": _FORMAT, "headline": self.headline, **counts, **asdict(self)}
        )


def read_power(path: Path, tell: Callable[[str], None] | None = None) -> Power:
    """Read what ``harness gate-power --json`` wrote, finished or not.

    Parameters
    ----------
    tell : callable, optional
        Receives a sentence on a file that carries no digest.

    Raises
    ------
    InputError
        If it is no such file.
    """
    try:
        content, sealed = read_sealed(path)
        if not sealed and tell is not None:
            tell(f"{path}: {NO_SEAL}")
        if content.get("format") != _FORMAT:
            msg = f"format {quoted(content.get('format'))}, expected {_FORMAT}"
            raise ValueError(msg)
        values = {name: value for name, value in content.items() if name not in _COUNTED}
        check_declared(Power, values, "power", every=True)
        planted = tuple(Planted(**one) for one in values["planted"])
        return Power(
            values["asked"], tuple(values["holds"]), values["broken"], values["absent"], planted,
            tuple(values["faults"]),
        )  # fmt: skip
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise InputError(msg) from None
    except ValueError as error:
        msg = (
            f"{path}: expected what `harness gate-power --json` writes, found another file: "
            f"{plain_line(str(error))}"
        )
        raise InputError(msg) from None


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> Sequence[str]:
    """Return, as lines, what two calls were asked for that differs."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [f"{name} {before.get(name)!r} there and {now.get(name)!r} here" for name in names]
