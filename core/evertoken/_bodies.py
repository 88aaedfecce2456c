"""Response bodies: bytes to a JSON object or to the reason why not, and the two families of error bodies. Total.

The result depends on nothing but the bytes: not on the interpreter's limits for digits, nor (short of a stack that is
nearly full) on how deep the caller stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from evertoken._strict_json import JsonObject, decode_object

__all__ = ("error_code", "error_text", "read_object", "tokens_in")

_MOST_CONTAINERS = 200
"""Objects and arrays in one body. Each level of nesting costs stack, and a token answer has one."""

_GZIP = b"\x1f\x8b"
_SECRET_NAMES = ("token", "secret", "password")


def read_object(body: bytes) -> JsonObject | str:
    """The JSON object (RFC 8259) in ``body``, or what the body is instead: words to put behind "the body is".

    Stricter than :func:`json.loads`: UTF-8 without a byte order mark, no NaN or Infinity, no name twice in one object,
    no numbers of more than 640 digits, no more than 200 objects and arrays.
    """
    if not body.strip():
        return "empty"
    if body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return "an HTML page, probably from a proxy or load balancer"
    if body.startswith(_GZIP):
        return "compressed, which the request did not allow"
    try:
        return _decode(body.decode())
    except UnicodeDecodeError:
        return "not UTF-8 text"


def error_code(content: JsonObject) -> str | None:
    """``error`` (RFC 6749 section 5.2), else ``Type`` (Mangopay, Error codes)."""
    return _first_text(content, "error", "Type")


def error_text(content: JsonObject) -> str:
    """What an error body says beside its code: OAuth's and Mangopay's words, and what their support will ask for.

    The names are those of RFC 6749 section 5.2, of Mangopay (``Message``, ``Id``, ``Date``, ``errors`` or ``Errors``)
    and of problem details (RFC 9457), which Mangopay has on some routes. Unsafe to show before it is scrubbed.
    """
    message = _first_text(content, "error_description", "Message", "message", "detail", "title")
    words = [message] if message else []
    for name, value in (("Id", content.get("Id") or content.get("traceId")), ("Date", content.get("Date"))):
        if value and isinstance(value, (str, int, float)):
            words.append(f"{name} {value}")
    return "; ".join([*words, *_field_errors(content)])


def tokens_in(content: JsonObject) -> tuple[str, ...]:
    """Every text and whole number under a name that ends in "token", "secret" or "password", however deep."""
    # A list of what is still to be visited, since recursion would depend on the caller's stack.
    found: list[str] = []
    todo: list[tuple[bool, object]] = [(False, content)]
    while todo:
        secret, value = todo.pop()
        if isinstance(value, dict):
            members = cast("JsonObject", value).items()
            todo.extend((secret or name.lower().endswith(_SECRET_NAMES), member) for name, member in members)
        elif isinstance(value, list):
            todo.extend((secret, member) for member in cast("list[object]", value))
        elif secret and type(value) in (str, int):
            found.append(str(value))
    return tuple(found)


def _decode(text: str) -> JsonObject | str:
    if text.count("{") + text.count("[") > _MOST_CONTAINERS:
        return "too full of brackets to be a token answer"
    return decode_object(text)


def _first_text(content: JsonObject, *names: str) -> str | None:
    for name in names:
        value = content.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def _field_errors(content: JsonObject) -> Iterator[str]:
    errors = content.get("errors") or content.get("Errors")
    if isinstance(errors, dict):
        for name, value in cast("JsonObject", errors).items():
            if isinstance(value, str):
                yield f"{name}: {value}"
