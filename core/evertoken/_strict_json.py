"""JSON (RFC 8259) from elsewhere, read strictly: what parsers make different things of is refused. Total.

For the bodies of answers and for snapshots. Neither a server nor a file on disk is trusted to be well meant.
"""

from __future__ import annotations

import json
from typing import cast

__all__ = ("MOST_DIGITS", "JsonObject", "decode_object")

JsonObject = dict[str, object]

MOST_DIGITS = 640
"""Of a whole number: the least that ``sys.set_int_max_str_digits`` can be set to. With more, int() may raise."""


class _UnusableError(ValueError):
    """JSON by the grammar of some parser, but not to be relied on; the text says why."""


def decode_object(text: str) -> JsonObject | str:
    """The JSON object in ``text``, or what the text is instead: words to put behind "it is".

    Stricter than :func:`json.loads`: no NaN or Infinity, no name twice in one object, no whole numbers of more than 640
    digits. What is nested too deeply for the stack is "not JSON". The words show nothing of the text.
    """
    try:
        content: object = _DECODER.decode(text)
    except _UnusableError as reason:
        return str(reason)
    except (ValueError, RecursionError):
        return "not JSON"
    return cast("JsonObject", content) if isinstance(content, dict) else "JSON, but not an object"


def _unique(pairs: list[tuple[str, object]]) -> JsonObject:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise _UnusableError("JSON with the same name twice")
    return names


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise _UnusableError("JSON with a number of absurd length")
    return int(digits)


def _no_constant(name: str) -> object:
    raise _UnusableError(f"JSON with {name} in it, which JSON does not have")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer)
