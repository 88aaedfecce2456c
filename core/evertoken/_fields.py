"""Checked reading of a JSON document that this library wrote: types, ranges and moments, with the place of a fault.

A file is no more trusted than a network: it may be cut, edited, or of another release. Whatever is read has the type
and the range that the machine relies on, or is refused by the name of the place at which it has not. What has a name
that nobody asks for is refused too: a text that is said to hold no secret must not carry one along unseen.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import TypeVar, cast

from evertoken._policy import whole_ticks
from evertoken._scrub import plain
from evertoken._strict_json import JsonObject

__all__ = ("Fields", "Misfit")

_FARTHEST = 2.0**41
"""Seconds: twice as far as any moment is from the origin of its clock."""
_MOST = 2**63
_E = TypeVar("_E", bound=enum.Enum)
_T = TypeVar("_T")


class Misfit(ValueError):
    """Something is missing or does not fit; the text is the place."""


class Fields:
    """One object of a document whose times are relative to ``origin``."""

    def __init__(self, content: object, origin: float, place: str = "") -> None:
        if not isinstance(content, dict):
            raise Misfit(place)
        self._content = cast("JsonObject", content)
        self.origin = origin
        self._place = place
        self._known: set[str] = set()

    def made(self, make: Callable[[Fields], _T]) -> _T:
        """What ``make`` makes of this object, which holds nothing else."""
        thing = make(self)
        if self._content.keys() - self._known:
            raise Misfit(f"{self._place or 'the top'}, which holds something unknown")
        return thing

    def has(self, name: str) -> bool:
        """Whether there is something of this name, which need not be there."""
        self._known.add(name)
        return name in self._content

    def require(self, name: str, fits: bool) -> None:  # noqa: FBT001 - like assert
        """Refuse the value of ``name`` unless it ``fits`` the others."""
        if not fits:
            raise Misfit(self._at(name))

    def read(self, name: str, fits: Callable[[object], bool]) -> object:
        """The value of ``name``, which must be there and fit."""
        self.require(name, self.has(name) and fits(self._content[name]))
        return self._content[name]

    def moment(self, name: str, nothing: float) -> float:
        """A point in time, on the grid; ``nothing`` if it is null."""
        value = self.read(name, _is_distance)
        return nothing if value is None else self.origin + whole_ticks(cast("float", value))

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
        """A text, made fit to be shown."""
        return plain(cast("str", self.read(name, lambda value: isinstance(value, str))))

    def text_or_none(self, name: str) -> str | None:
        """A text, or null."""
        return None if self.read(name, lambda _: True) is None else self.text(name)

    def digest(self, name: str, length: int) -> str:
        """A number in ``length`` hexadecimal digits."""
        return cast("str", self.read(name, lambda value: isinstance(value, str) and _is_hex(value, length)))

    def part(self, name: str, make: Callable[[Fields], _T]) -> _T:
        """What ``make`` makes of an object within this one."""
        value = self.read(name, lambda value: isinstance(value, dict))
        return Fields(value, self.origin, self._at(name)).made(make)

    def optional(self, name: str, make: Callable[[Fields], _T]) -> _T | None:
        """What ``make`` makes of an object within this one, or None for null."""
        return None if self.read(name, lambda _: True) is None else self.part(name, make)

    def several(self, name: str, make: Callable[[Fields], _T]) -> tuple[_T, ...]:
        """What ``make`` makes of each object in a list."""
        values = cast("list[object]", self.read(name, lambda value: isinstance(value, list)))
        return tuple(Fields(value, self.origin, self._at(name)).made(make) for value in values)

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name


def _is_distance(value: object) -> bool:
    """Null, or seconds."""
    return value is None or (type(value) in (int, float) and -_FARTHEST <= cast("float", value) <= _FARTHEST)


def _is_hex(value: str, length: int) -> bool:
    return len(value) == length and set(value) <= set("0123456789abcdef")
