"""Bodies of answers: what their bytes say, once compression and character sets are undone.

Errors come in two families here, OAuth's (RFC 6749 section 5.2) and Mangopay's (Error codes). How much of a body can be
relied on depends on the purpose. A grant is taken only from a body without a ``flaw``, since two readings of one body
may be two tokens. A refusal is looked for in whatever ``content`` there is, since a client that does not understand it
asks again.

Nothing here raises. The result depends on nothing but headers and bytes: not on the interpreter's limits for digits,
nor (short of a stack that is nearly full) on how deep the caller stands.
"""

from __future__ import annotations

import html
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import parse_qsl

from evertoken._http import field_lines
from evertoken._json import JsonObject, agreed, decode_leniently, decode_object
from evertoken._plain import plain

_MOST_CONTAINERS = 200
"""Objects and arrays in one body. Each level of nesting costs stack, and a token answer has one."""
_MOST_LAYERS = 2
"""Layers of compression that are undone: the server's own, and that of a proxy in front of it."""

_EMPTY = "empty"
_PAGE = "an HTML page, probably from a proxy or load balancer"
_DAMAGED = "compressed, and cut short or damaged"
_UNASKED = "compressed, which the request did not allow"

_GZIP = b"\x1f\x8b"
_BEGINNINGS = (b"{", b"[", b"<", b"")
_GZIP_FORMAT, _ZLIB_FORMAT, _BARE_FORMAT = 31, 15, -15
_SECRET_NAMES = ("token", "secret", "password")

# RFC 8259 section 8.1 has UTF-8 only. These other character sets are declared in earnest. The list is closed, since
# Python has codecs under many more names, and some of them are no character sets.
_CHARSET = re.compile(
    r'charset\s*=\s*["\']?((?:utf-?(?:16|32)(?:-?[lb]e)?|iso-?8859-?(?:[1-9]|1[0-6])|latin-?1|windows-125\d|cp125\d'
    r"|us-ascii|gbk|gb2312|gb18030|big5|shift_jis|euc-(?:jp|kr)|koi8-[ru]))(?![\w-])",
    re.ASCII | re.IGNORECASE,
)
# A form. It may hold raw spaces only if it has two fields, since one "=" may be in any sentence.
_FORM = re.compile(r"\??[\w.~%*+-]+=(?:[^\s<>{}\"]*|[^<>{}&]*&[^<>{}]*)", re.ASCII)
# A code as JSON writes it (however deep, cut short or escaped once more), as XML or a challenge does, or as the first
# word of a text.
_NAMED_CODE = re.compile(
    r"""(?:\A|(?:error|type|code)s?[\\"'\s]{0,9}[:=>])[\\"'\s\[]{0,9}([a-z]+(?:_[a-z]+)+)(?![\w-])""", re.IGNORECASE
)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{0,500})", re.IGNORECASE)


@dataclass(slots=True)
class Body:
    """What a body says. It is not frozen, since a frozen one takes three times as long to make.

    ``content`` is the object in it, ``flaw`` why no grant can be read from it: words to put behind "the body is".
    ``text`` is the whole text, empty if the body is too long or damaged. Where ``is_unicode`` is false, its characters
    were guessed, so that a secret with characters beyond ASCII may not be recognised in it.
    ``named`` are the words, anywhere in the body or in a challenge, that stand where an error code could; most of them
    are no codes.
    """

    content: JsonObject | None = field(repr=False)
    flaw: str | None
    text: str = field(repr=False, default="")
    is_unicode: bool = True
    named: tuple[str, ...] = field(repr=False, default=())

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
    unpacked, fault = _unpacked(headers, body, most)
    text, is_unicode = _text(headers, unpacked)
    text = text.lstrip("\ufeff").strip()
    is_page = text.startswith("<")
    if is_page:
        text = html.unescape(text)
    content, flaw = _object(text)
    if is_page or not text:
        flaw = _PAGE if is_page else _EMPTY
    elif content is None and _is_packed(headers):
        flaw = _UNASKED
    named = _NAMED_CODE.findall("\n".join((text, *field_lines(headers, "www-authenticate"))))
    return Body(content, fault or flaw, "" if fault else text, is_unicode, tuple(named))


def error_codes(content: JsonObject, *names: str) -> tuple[str, ...]:
    """``error`` (RFC 6749 section 5.2) and ``Type`` (Mangopay, Error codes), or what stands under ``names``."""
    return tuple(plain(text) for name in names or ("error", "Type") for text in _texts(content.get(name)))


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
        elif isinstance(value, list | tuple):
            todo.extend((secret, member) for member in cast("Sequence[object]", value))
        elif secret and type(value) in (str, int):
            found.append(str(value))
    return tuple(found)


# From bytes to text
# ------------------


def _unpacked(headers: Sequence[tuple[str, str]], body: bytes, most: int) -> tuple[bytes, str | None]:
    """``body`` without its compression (RFC 9110 section 8.4.1), as far as it can be had, and what is wrong with it."""
    layers, whole = 0, True
    while whole and len(body) <= most and layers < _MOST_LAYERS:
        layers += 1
        if body.startswith(_GZIP):
            body, whole = _inflated(body, _GZIP_FORMAT, most)
        elif _is_packed(headers, "deflate") and body.lstrip()[:1] not in _BEGINNINGS:
            unpacked = (_inflated(body, form, most) for form in (_ZLIB_FORMAT, _BARE_FORMAT))
            body = next((plain for plain, is_whole in unpacked if is_whole), body)  # The header may be wrong.
        else:
            break
    if len(body) > most:
        return body[:most], f"longer than {most} bytes"
    return body, None if whole else _DAMAGED


def _is_packed(headers: Sequence[tuple[str, str]], coding: str = "") -> bool:
    lines = field_lines(headers, "content-encoding")
    return any(coding in line.lower() and line.lower() not in ("", "identity") for line in lines)


def _inflated(body: bytes, form: int, most: int) -> tuple[bytes, bool]:
    """At most one byte more than ``most`` of what is packed in ``body``, and whether that is all or enough of it."""
    found = b""
    while True:
        unpacker = zlib.decompressobj(form)
        try:
            found += unpacker.decompress(body, most + 1 - len(found))
        except zlib.error:
            return found, False
        body = unpacker.unused_data
        if len(found) > most or not body.startswith(_GZIP):  # Gzip may come in members (RFC 1952 section 2.2).
            return found, unpacker.eof or len(found) > most


def _text(headers: Sequence[tuple[str, str]], body: bytes) -> tuple[str, bool]:
    """``body`` as text, and whether its characters are known.

    All that decides is ASCII. Other characters stand in a server's own words or in names, in any character set.
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
    if _brackets(text) > _MOST_CONTAINERS and _brackets(_STRING.sub("", text)) > _MOST_CONTAINERS:
        return None, "too full of brackets to be a token answer"
    content = decode_object(text)
    if not isinstance(content, str):
        return content, None
    merged = decode_object(text, merged=True)
    if not isinstance(merged, str):
        return merged, None
    if _FORM.fullmatch(text):
        return _fields(text.lstrip("?")), "a form, not JSON"
    return decode_leniently(text), merged


def _brackets(text: str) -> int:
    return text.count("{") + text.count("[")


def _fields(form: str) -> JsonObject | None:
    """The fields of a form, in which some servers send errors since the request was one; None if there are too many."""
    try:
        pairs = parse_qsl(form, keep_blank_values=True, max_num_fields=_MOST_CONTAINERS)
    except ValueError:
        return None
    return agreed(pairs)


# Words
# -----


def _texts(value: object) -> tuple[str, ...]:
    values = cast("Sequence[object]", value) if isinstance(value, list | tuple) else (value,)
    return tuple(text for text in values if isinstance(text, str) and text)


def _first_text(content: JsonObject, *names: str) -> str | None:
    return next((text for name in names for text in _texts(content.get(name))), None)


def _field_errors(content: JsonObject) -> Iterator[str]:
    errors = content.get("errors") or content.get("Errors")
    if isinstance(errors, dict):
        for name, value in cast("JsonObject", errors).items():
            if isinstance(value, str):
                yield f"{name}: {value}"
