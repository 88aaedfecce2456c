"""JSON (RFC 8259) from elsewhere, and how much of it can be relied on. No text makes the decoders raise.

They read the bodies of answers, snapshots, and what stands in a store. Neither a server nor a file on disk is trusted
to be well meant: a text that parsers read in different ways is refused by the strict reading, while the other readings
keep every value of a name that is there twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

JsonObject = dict[str, object]

MOST_DIGITS = 640
"""Digits of a whole number: no limit in ``sys.set_int_max_str_digits`` is lower, so int() never raises for so many."""


class _UnusableError(ValueError):
    """JSON by the grammar of some parser, but not to be relied on; the text says why."""


def decode_object(text: str, *, merged: bool = False) -> JsonObject | str:
    """The JSON object in ``text``, or what the text is instead: words to put behind "it is".

    Stricter than :func:`json.loads`: no NaN or Infinity, no name twice in one object, no whole numbers of more than 640
    digits. What is nested too deeply for the stack is "not JSON". The words show nothing of the text.

    With ``merged``, a name may be there twice: its value is the one that all agree on, else a tuple of all of them.
    Strings may hold raw control characters then, which change nothing in how the rest is read.
    """
    try:
        content: object = (_MERGING if merged else _STRICT).decode(text)
    except _UnusableError as reason:
        return str(reason)
    except (ValueError, RecursionError):
        return "not JSON"
    return cast("JsonObject", content) if isinstance(content, dict) else "JSON, but not an object"


def decode_leniently(text: str) -> JsonObject | None:
    """The JSON object at the first brace of ``text``, whatever is around it; None if none can be read there.

    It is good for recognising a word, and its other values are not to be relied on: NaN, Infinity and numbers that are
    too long are null.
    """
    try:
        content: object = _LENIENT.raw_decode(text, text.find("{"))[0]
    except (ValueError, RecursionError):
        return None
    return cast("JsonObject", content)


def _unique(pairs: list[tuple[str, object]]) -> JsonObject:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise _UnusableError("JSON with the same name twice")
    return names


def agreed(pairs: Sequence[tuple[str, object]]) -> JsonObject:
    """The object of ``pairs``. A name that is there twice has the value that all agree on, or a tuple of all values."""
    names = dict(pairs)
    if len(names) == len(pairs):
        return names
    values: dict[str, list[object]] = {name: [] for name in names}
    for name, value in pairs:
        values[name].append(value)
    return {name: _one_or_all(said) for name, said in values.items()}


def _one_or_all(values: list[object]) -> object:
    first = values[0]
    return first if all(type(value) is type(first) and value == first for value in values) else tuple(values)


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise _UnusableError("JSON with a number of absurd length")
    return int(digits)


def _integer_or_null(digits: str) -> int | None:
    return int(digits) if len(digits) <= MOST_DIGITS else None


def _no_constant(name: str) -> object:
    raise _UnusableError(f"JSON with {name} in it, which JSON does not have")


def _null(_: str) -> None:
    return None


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer)
_MERGING = json.JSONDecoder(object_pairs_hook=agreed, parse_constant=_no_constant, parse_int=_integer, strict=False)
_LENIENT = json.JSONDecoder(
    object_pairs_hook=agreed,
    parse_constant=_null,
    parse_int=_integer_or_null,
    strict=False,
)
