"""JSON (RFC 8259) from elsewhere, and how much of it can be relied on. Total.

For the bodies of answers and for snapshots. Neither a server nor a file on disk is trusted to be well meant: what
parsers make different things of is refused by the strict reading, and shown as what it is by the lenient one.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import parse_qsl

from evertoken._http import field_lines

__all__ = (
    "MOST_DIGITS",
    "Body",
    "JsonObject",
    "decode_leniently",
    "decode_object",
    "error_codes",
    "error_text",
    "read_body",
    "tokens_in",
)

JsonObject = dict[str, object]

MOST_DIGITS = 640
"""Of a whole number: the least that ``sys.set_int_max_str_digits`` can be set to. With more, int() may raise."""


class _UnusableError(ValueError):
    """JSON by the grammar of some parser, but not to be relied on; the text says why."""


def decode_object(text: str, *, merged: bool = False) -> JsonObject | str:
    """The JSON object in ``text``, or what the text is instead: words to put behind "it is".

    Stricter than :func:`json.loads`: no NaN or Infinity, no name twice in one object, no whole numbers of more than 640
    digits. What is nested too deeply for the stack is "not JSON". The words show nothing of the text.

    With ``merged``, a name may be there twice: its value is the one that all agree on, else a list of all of them.
    """
    try:
        content: object = (_MERGING if merged else _STRICT).decode(text)
    except _UnusableError as reason:
        return str(reason)
    except (ValueError, RecursionError):
        return "not JSON"
    return cast("JsonObject", content) if isinstance(content, dict) else "JSON, but not an object"


def decode_leniently(text: str) -> JsonObject | None:
    """The JSON object that ``text`` begins with, whatever follows and however odd its values; None if there is none.

    Enough to recognise a word in it, and not to rely on the rest: what has no value in JSON is null.
    """
    try:
        content: object = _LENIENT.raw_decode(text.lstrip())[0]
    except (ValueError, RecursionError):
        return None
    return cast("JsonObject", content) if isinstance(content, dict) else None


def _unique(pairs: list[tuple[str, object]]) -> JsonObject:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise _UnusableError("JSON with the same name twice")
    return names


def _agreed(pairs: list[tuple[str, object]]) -> JsonObject:
    names = dict(pairs)
    if len(names) == len(pairs):
        return names
    values: dict[str, list[object]] = {name: [] for name in names}
    for name, value in pairs:
        values[name].append(value)
    return {name: _one_or_all(said) for name, said in values.items()}


def _one_or_all(values: list[object]) -> object:
    first = values[0]
    return first if all(type(value) is type(first) and value == first for value in values) else values


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
_MERGING = json.JSONDecoder(object_pairs_hook=_agreed, parse_constant=_no_constant, parse_int=_integer)
_LENIENT = json.JSONDecoder(
    object_pairs_hook=_agreed,
    parse_constant=_null,
    parse_int=_integer_or_null,
    strict=False,
)


# Bodies of answers
# =================

# Response bodies: from bytes to what they say, undoing what servers and proxies do to them; two families of errors.
#
# Two readers come here. A grant is taken only from a body without a ``flaw``, since two readings of one may be two
# tokens. A refusal is looked for in whatever ``content`` there is, since one that is not understood is knocked on
# again.
#
# Everything is total. The result depends on nothing but headers and bytes: not on the interpreter's limits for digits,
# nor (short of a stack that is nearly full) on how deep the caller stands.

_MOST_CONTAINERS = 200
"""Objects and arrays in one body. Each level of nesting costs stack, and a token answer has one."""
_MOST_LAYERS = 2
"""Of compression: the server's own, and that of a proxy before it."""

_EMPTY = "empty"
_PAGE = "an HTML page, probably from a proxy or load balancer"
_DAMAGED = "compressed, and cut short or damaged"
_UNASKED = "compressed, which the request did not allow"

_GZIP = b"\x1f\x8b"
_BEGINNINGS = (b"{", b"[", b"<", b"")
_GZIP_FORMAT, _ZLIB_FORMAT, _BARE_FORMAT = 31, 15, -15
_SECRET_NAMES = ("token", "secret", "password")

# RFC 8259 section 8.1 has UTF-8 only. These are what else is declared in earnest; a closed list, since Python has
# codecs under many more names, and some of them are no character sets.
_CHARSET = re.compile(
    r'charset\s*=\s*["\']?((?:utf-?(?:16|32)(?:-?[lb]e)?|iso-?8859-?(?:[1-9]|1[0-6])|latin-?1|windows-125\d|cp125\d'
    r"|us-ascii|gbk|gb2312|gb18030|big5|shift_jis|euc-(?:jp|kr)|koi8-[ru]))(?![\w-])",
    re.ASCII | re.IGNORECASE,
)
_FORM = re.compile(r"[\w.~%*+-]+=[^\s<>{}\"]*", re.ASCII)
_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{0,500})", re.IGNORECASE)


@dataclass(slots=True)
class Body:
    """What a body says. Not frozen, since that would take three times as long to make.

    ``content`` is the object in it, ``flaw`` why no grant can be read from it: words to put behind "the body is".
    ``text`` is all of it. Where ``is_unicode`` is false, its characters were guessed, so that text which has
    characters beyond ASCII may not be recognised in it.
    """

    content: JsonObject | None = field(repr=False)
    flaw: str | None
    text: str = field(repr=False, default="")
    is_unicode: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing but white space."""
        return self.flaw == _EMPTY

    @property
    def is_page(self) -> bool:
        """Whether it is a page for people."""
        return self.flaw == _PAGE

    @property
    def title(self) -> str | None:
        """The title of a page. Unsafe to show before it is scrubbed."""
        found = _TITLE.search(self.text) if self.is_page else None
        return found[1] if found else None


def read_body(headers: Sequence[tuple[str, str]], body: bytes, most: int) -> Body:
    """What ``body`` says, once compression and character set are undone; nothing of it is longer than ``most`` bytes.

    The bytes decide, and headers only where bytes leave it open: servers name the media type, the character set and the
    compression wrongly, and some libraries undo a compression and leave its header in place.
    """
    plain = _unpacked(headers, body, most)
    if isinstance(plain, str):
        return Body(None, plain)
    text, is_unicode = _text(headers, plain)
    text = text.lstrip("\ufeff")
    beginning = text.lstrip()[:1]
    if not beginning:
        return Body(None, _EMPTY)
    if beginning == "<":
        return Body(None, _PAGE, text, is_unicode)
    content, flaw = _object(text)
    if content is None and _is_packed(headers):
        flaw = _UNASKED
    return Body(content, flaw, text, is_unicode)


def error_codes(content: JsonObject, *names: str) -> tuple[str, ...]:
    """``error`` (RFC 6749 section 5.2), else ``Type`` (Mangopay, Error codes); several where the name is there twice.

    With ``names``, what stands under the first of them that has a text.
    """
    found = (_texts(content.get(name)) for name in names or ("error", "Type"))
    return next((texts for texts in found if texts), ())


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


# From bytes to text
# ------------------


def _unpacked(headers: Sequence[tuple[str, str]], body: bytes, most: int) -> bytes | str:
    """``body`` without its compression (RFC 9110 section 8.4.1), or what is wrong with it."""
    layers = 0
    while len(body) <= most and layers < _MOST_LAYERS:
        layers += 1
        if body.startswith(_GZIP):
            plain = _inflated(body, _GZIP_FORMAT, most)
            if plain is None:
                return _DAMAGED
        elif _is_packed(headers, "deflate") and body.lstrip()[:1] not in _BEGINNINGS:
            plain = _inflated(body, _ZLIB_FORMAT, most)
            plain = _inflated(body, _BARE_FORMAT, most) if plain is None else plain
        else:
            break
        if plain is None:  # Declared, and not so.
            break
        body = plain
    return body if len(body) <= most else f"longer than {most} bytes"


def _is_packed(headers: Sequence[tuple[str, str]], coding: str = "") -> bool:
    lines = field_lines(headers, "content-encoding")
    return any(coding in line.lower() and line.lower() not in ("", "identity") for line in lines)


def _inflated(body: bytes, form: int, most: int) -> bytes | None:
    """At most one byte more than ``most`` of what is packed in ``body``; None if nothing whole is."""
    unpacker = zlib.decompressobj(form)
    try:
        plain = unpacker.decompress(body, most + 1)
    except zlib.error:
        return None
    return plain if unpacker.eof or len(plain) > most else None


def _text(headers: Sequence[tuple[str, str]], body: bytes) -> tuple[str, bool]:
    """``body`` as text, and whether its characters are known.

    All that matters is ASCII, and what else there is may be in any character set: a server's own words, a name.
    """
    for codec in dict.fromkeys((json.detect_encoding(body), "utf-8")):
        try:
            return body.decode(codec), True
        except UnicodeDecodeError:
            continue
    for line in field_lines(headers, "content-type"):
        declared = _CHARSET.search(line)
        if declared:
            try:
                return body.decode(declared[1]), False
            except UnicodeDecodeError:
                break
    return body.decode(errors="replace"), False


# From text to an object
# ----------------------


def _object(text: str) -> tuple[JsonObject | None, str | None]:
    if text.count("{") + text.count("[") > _MOST_CONTAINERS:
        return None, "too full of brackets to be a token answer"
    content = decode_object(text)
    if not isinstance(content, str):
        return content, None
    merged = decode_object(text, merged=True)
    if not isinstance(merged, str):
        return merged, None
    form = text.strip()
    if _FORM.fullmatch(form):
        return _fields(form), "a form, not JSON"
    return decode_leniently(text), merged


def _fields(form: str) -> JsonObject | None:
    """The fields of a form, as errors are sent by those who answer in the manner of the request."""
    try:
        pairs = parse_qsl(form, keep_blank_values=True, max_num_fields=_MOST_CONTAINERS)
    except ValueError:
        return None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


# Words
# -----


def _texts(value: object) -> tuple[str, ...]:
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return tuple(text for text in values if isinstance(text, str) and text)


def _first_text(content: JsonObject, *names: str) -> str | None:
    return next((text for name in names for text in _texts(content.get(name))), None)


def _field_errors(content: JsonObject) -> Iterator[str]:
    errors = content.get("errors") or content.get("Errors")
    if isinstance(errors, dict):
        for name, value in cast("JsonObject", errors).items():
            if isinstance(value, str):
                yield f"{name}: {value}"
