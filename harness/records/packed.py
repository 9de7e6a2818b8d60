"""Numbers of a record in an eighth of the memory that Python's own take, and its fields by name."""

from array import array
from collections.abc import Sequence
from typing import Any

__all__ = ["Named", "PackedFloats"]


class Named:
    """A class of slots of whose objects :func:`vars` gives the fields."""

    __slots__ = ()
    __dataclass_fields__: Any

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """Return the fields by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class PackedFloats:
    """A field that takes a sequence of floats, keeps it packed, and gives it as a tuple.

    What holds anything else than floats is kept as it is given. The owner has a slot with the
    field's name behind an underscore.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._slot = f"_{name}"

    def __get__(self, record: Any, owner: type) -> tuple[float, ...]:
        if record is None:  # a dataclass asks whether there is a default
            raise AttributeError(self._slot)
        return tuple(getattr(record, self._slot))

    def __set__(self, record: Any, values: Sequence[float]) -> None:
        floats = set(map(type, values)) == {float}
        # Past the owner, which is frozen.
        object.__setattr__(record, self._slot, array("d", values) if floats else values)
