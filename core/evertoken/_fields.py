"""Checked reading of a JSON document that this library wrote: types, ranges and moments, with the place of a fault.

A file is no more trusted than a network: it may be cut, edited, or of another release. Whatever is read has the type
and the range that the machine relies on, or is refused by the name of the place at which it has not.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import TypeVar, cast

from evertoken._bodies import JsonObject

__all__ = ("Fields", "Misfit")

_FARTHEST = 2.0**41
"""Seconds: twice as far as any moment is from the origin of its clock."""
_MOST = 2**63
_E = TypeVar("_E", bound=enum.Enum)
_T = TypeVar("_T")


class Misfit(ValueError):
    """Something is missing or does not fit; the text is the place."""


class Fields:
    """One object of a document whose times are relative to the sum of ``origin``, which is added without rounding."""

    def __init__(self, content: object, origin: tuple[float, ...], place: str = "") -> None:
        if not isinstance(content, dict):
            raise Misfit(place)
        self._content = cast("JsonObject", content)
        self._origin = origin
        self._place = place

    @property
    def origin(self) -> float:
        """The moment that the times are relative to."""
        return math.fsum(self._origin)

    def has(self, name: str) -> bool:
        """Whether there is something of this name."""
        return name in self._content

    def read(self, name: str, fits: Callable[[object], bool]) -> object:
        """The value of ``name``, which must be there and fit."""
        if name not in self._content or not fits(self._content[name]):
            raise Misfit(self._at(name))
        return self._content[name]

    def moment(self, name: str, nothing: float) -> float:
        """A point in time; ``nothing`` if it is null."""
        value = self.read(name, _is_distance)
        if value is None:
            return nothing
        return math.fsum((*self._origin, *cast("list[float]", value if isinstance(value, list) else [value])))

    def time(self, name: str) -> float:
        """A point in time that cannot be null."""
        self.read(name, lambda value: value is not None)
        return self.moment(name, math.inf)

    def count(self, name: str, *, least: int = 0, most: int = _MOST) -> int:
        """A whole number."""
        return cast("int", self.read(name, lambda value: type(value) is int and least <= value <= most))

    def count_or_none(self, name: str) -> int | None:
        """A whole number, or null."""
        return None if self.read(name, lambda _: True) is None else self.count(name)

    def number(self, name: str, below: float) -> float:
        """A number from 0 that is smaller than ``below``."""
        value = self.read(name, lambda value: type(value) in (int, float) and 0 <= cast("float", value) < below)
        return float(cast("float", value))

    def one_of(self, name: str, kinds: type[_E]) -> _E:
        """The member of an enum that has this value."""
        value = self.text(name)
        self.read(name, lambda value: any(kind.value == value for kind in kinds))
        return kinds(value)

    def flag(self, name: str) -> bool:
        """True or false."""
        return cast("bool", self.read(name, lambda value: isinstance(value, bool)))

    def text(self, name: str) -> str:
        """A text."""
        return cast("str", self.read(name, lambda value: isinstance(value, str)))

    def text_or_none(self, name: str) -> str | None:
        """A text, or null."""
        return cast("str | None", self.read(name, lambda value: value is None or isinstance(value, str)))

    def part(self, name: str) -> Fields:
        """An object within this one."""
        value = self.read(name, lambda value: isinstance(value, dict))
        return Fields(value, self._origin, self._at(name))

    def optional(self, name: str, made: Callable[[Fields], _T]) -> _T | None:
        """What ``made`` makes of an object within this one, or None for null."""
        return None if self.read(name, lambda _: True) is None else made(self.part(name))

    def several(self, name: str, made: Callable[[Fields], _T]) -> tuple[_T, ...]:
        """What ``made`` makes of each object in a list."""
        values = cast("list[object]", self.read(name, lambda value: isinstance(value, list)))
        return tuple(made(Fields(value, self._origin, self._at(name))) for value in values)

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name


def _is_distance(value: object) -> bool:
    """Null, or seconds as one number or as a sum of two."""
    parts = cast("list[object]", value if isinstance(value, list) else [] if value is None else [value])
    return len(parts) <= 2 and all(
        type(part) in (int, float) and -_FARTHEST <= cast("float", part) <= _FARTHEST for part in parts
    )
