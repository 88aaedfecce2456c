"""How values of the core are written as JSON and read again: one form for each kind does both, so that they agree.

A file or a shared store is no more trusted than a network: it may be cut, edited, or of another release. A value that
is read has the type and the range that the machine relies on, or is refused, and the refusal names its place. Members
with unknown names are refused too: a text that is said to hold no secret must not carry one along unseen. Whether a
value fits a policy is not asked here; ``_snapshot.py`` sees to that.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from evertoken._json import JsonObject
from evertoken._plain import plain
from evertoken._policy import whole_ticks
from evertoken._problems import Problem, ProblemKind
from evertoken._states import LONG_AGO, MOST_DOUBLINGS, NEVER, Budget

_FARTHEST = 2.0**41
"""Seconds: two moments are never farther apart, since each is less than half of it from the origin of its clock."""
LONGEST = 2.0**40
"""Seconds: no duration that can be written is as long."""
_MOST = 2**63


class Misfit(ValueError):
    """A value is missing or does not fit. Each level that the error passes puts its name in front of ``place``."""

    def __init__(self, *place: str, why: str = "") -> None:
        super().__init__()
        self.place = list(place)
        self.why = why


Value = Any
"""A type checker cannot follow a table of forms: each form checks what it reads, and writes what the machine made."""


@dataclass(frozen=True, slots=True)
class Form:
    """How one kind of value is written and read. The second argument of both is what moments are relative to."""

    write: Callable[[Value, float], object]
    read: Callable[[Value, float], Value]


Forms = Mapping[str, Form]


def plain_form(fits: Callable[[Any], bool], make: Callable[[Any], Any] = lambda value: value) -> Form:
    """The form of a value that JSON has. Only one that ``fits`` is read; ``make`` is applied in both directions."""

    def read(value: Value, _origin: float) -> Value:
        if not fits(value):
            raise Misfit
        return make(value)

    return Form(lambda value, _origin: make(value), read)


def count(most: int = _MOST, *, least: int = 0) -> Form:
    """The form of a whole number from ``least`` to ``most``."""
    return plain_form(lambda value: type(value) is int and least <= value <= most)  # True is an int too.


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def number(below: float) -> Form:
    """The form of a number from 0 and under ``below``, written as a float, so that equal states give equal text."""
    return plain_form(lambda value: _is_number(value) and 0 <= value < below, float)


def digits(length: int) -> Form:
    """The form of a text of so many hexadecimal digits."""
    digits = set("0123456789abcdef")
    return plain_form(lambda value: isinstance(value, str) and len(value) == length and set(value) <= digits)


def optional(form: Form, nothing: object = None) -> Form:
    """The form of what may be ``nothing``, which is written as null."""
    return Form(
        lambda value, origin: None if value == nothing else form.write(value, origin),
        lambda value, origin: nothing if value is None else form.read(value, origin),
    )


def one_of(kinds: type[enum.Enum]) -> Form:
    """The form of a member of the enum, which is written as its value."""
    known = {kind.value: kind for kind in kinds}
    read = plain_form(lambda value: isinstance(value, str) and value in known).read
    return Form(lambda kind, _origin: kind.value, lambda value, origin: known[read(value, origin)])


def several(form: Form) -> Form:
    """The form of a tuple, which is written as a list."""
    listed = plain_form(lambda value: isinstance(value, list)).read
    return Form(
        lambda values, origin: [form.write(value, origin) for value in values],
        lambda values, origin: tuple(form.read(value, origin) for value in listed(values, origin)),
    )


def record(make: Callable[..., Any], forms: Forms, misfit: Callable[[Any], str | None] = lambda _made: None) -> Form:
    """The form of an object with these attributes. ``misfit`` names one that contradicts the others, or gives None."""

    def write(value: Value, origin: float) -> object:
        return written({name: getattr(value, name) for name in forms}, forms, origin)

    def read(content: Value, origin: float) -> Value:
        made = make(**values_of(content, forms, origin))
        name = misfit(made)
        if name is not None:
            raise Misfit(name)
        return made

    return Form(write, read)


def written(values: Mapping[str, object], forms: Forms, origin: float) -> JsonObject:
    """``values`` as a JSON object."""
    return {name: form.write(values[name], origin) for name, form in forms.items()}


def values_of(content: object, forms: Forms, origin: float) -> dict[str, Value]:
    """The values of a JSON object with exactly these names. Raises Misfit, which names the place, for anything else."""
    if not isinstance(content, dict):
        raise Misfit
    named, values = cast("JsonObject", content), dict[str, Value]()
    for name, form in forms.items():
        if name not in named:
            raise Misfit(name)
        try:
            values[name] = form.read(named[name], origin)
        except Misfit as misfit:
            misfit.place.insert(0, name)
            raise
    if len(named) > len(forms):
        raise Misfit(why=", which holds something unknown")
    return values


_DISTANCE = plain_form(lambda value: _is_number(value) and abs(value) <= _FARTHEST)
TIME = Form(
    lambda at, origin: float(at - origin),
    lambda value, origin: origin + whole_ticks(_DISTANCE.read(value, origin)),
)
PAST = optional(TIME, LONG_AGO)
FLAG = plain_form(lambda value: isinstance(value, bool))
TEXT = plain_form(lambda value: isinstance(value, str), plain)
DOUBLINGS = count(MOST_DOUBLINGS)


def ordered(*names: str) -> Callable[[object], str | None]:
    """A check for :func:`record`: it names the first of these moments that is earlier than its predecessor."""
    pairs = list(itertools.pairwise(names))
    return lambda made: next((late for early, late in pairs if getattr(made, late) < getattr(made, early)), None)


PROBLEM = record(
    Problem,
    {
        "kind": one_of(ProblemKind),
        "summary": TEXT,
        "advice": TEXT,
        "status": optional(count()),
        "error": optional(TEXT),
        "detail": optional(TEXT),
    },
)
BUDGET = record(Budget, {"level": count(), "refill_at": optional(TIME, NEVER), "interval": number(LONGEST)})
