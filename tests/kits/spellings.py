"""How a secret may be spelt by whoever repeats it: encoded, escaped, broken up, in parts. For the canary's tests.

Written without looking at how the library searches: a spelling that somebody has seen is added here.
"""

from __future__ import annotations

import html
import json
import math
import re
from base64 import b32encode, b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from urllib.parse import quote, quote_plus, urlencode

__all__ = ("CHARACTER_BY_CHARACTER", "ENCODERS", "WRAPPERS", "Encoder", "parts", "shows")

Encoder = Callable[[str], str]


def _each(form: str) -> Encoder:
    return lambda text: "".join(form.format(ord(char)) for char in text)


def _in_percents(text: str, form: str = "%{:02X}") -> str:
    return "".join(form.format(byte) for byte in text.encode())


def _at(lead: str, encode: Callable[[bytes], bytes] = b64encode, trail: str = "") -> Encoder:
    """Base64 with ``lead`` before the text, so that it starts at another place of a group."""
    return lambda text: encode(f"{lead}{text}{trail}".encode()).decode()


def _unpadded(encode: Encoder) -> Encoder:
    return lambda text: encode(text).rstrip("=")


def _every(count: int, gap: str) -> Encoder:
    return lambda text: gap.join(text[at : at + count] for at in range(0, len(text), count))


def _after(first: Encoder, second: Encoder) -> Encoder:
    return lambda text: second(first(text))


ENCODERS: Mapping[str, Encoder] = MappingProxyType(
    {
        "as it is": str,
        "upper case": str.upper,
        "lower case": str.lower,
        "percent, nothing safe": lambda text: quote(text, safe=""),
        "percent, as quote() does it": quote,
        "percent, as encodeURIComponent does it": lambda text: quote(text, safe="!'()*-._~"),
        "percent, as encodeURI does it": lambda text: quote(text, safe=";,/?:@&=+$-_.!~*'()#"),
        "percent, in lower case": lambda text: _in_percents(text, "%{:02x}"),
        "percent, every character": _in_percents,
        "percent, twice": lambda text: quote(quote(text, safe=""), safe=""),
        "percent, every character, twice": lambda text: quote(_in_percents(text), safe=""),
        "percent, three times": lambda text: quote(quote(_in_percents(text), safe=""), safe=""),
        "form": quote_plus,
        "form, in a body": lambda text: urlencode({"key": text}),
        "HTML": html.escape,
        "HTML, with apostrophes by name": lambda text: html.escape(text).replace("&#x27;", "&apos;"),
        "HTML, decimal": _each("&#{};"),
        "HTML, decimal with zeros": _each("&#{:07d};"),
        "HTML, hex": _each("&#x{:x};"),
        "HTML, hex in upper case": _each("&#X{:X};"),
        "HTML, twice": lambda text: html.escape(html.escape(text)),
        "JSON": json.dumps,
        "JSON, slashes escaped": lambda text: json.dumps(text).replace("/", "\\/"),
        "JSON, twice": lambda text: json.dumps(json.dumps(text)),
        "JSON, every character": _each("\\u{:04x}"),
        "JSON, every character in upper case": _each("\\u{:04X}"),
        "JavaScript, bytes": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
        "JavaScript, braces": _each("\\u{{{:x}}}"),
        "JavaScript, escape()": _each("%u{:04X}"),
        "Python": _each("\\U{:08x}"),
        "hex": lambda text: text.encode().hex(),
        "hex in upper case": lambda text: text.encode().hex().upper(),
        "hex with colons": lambda text: text.encode().hex(":"),
        "hex with blanks": lambda text: text.encode().hex(" "),
        "hex with 0x": lambda text: "0x" + text.encode().hex(),
        "hex, every byte with 0x": lambda text: ", ".join(f"0x{byte:02x}" for byte in text.encode()),
        "hex at an odd place": lambda text: "a" + text.encode().hex(),
        "octal": lambda text: "".join(f"\\{byte:03o}" for byte in text.encode()),
        "octal, as short as can be": lambda text: "".join(f"\\{byte:o}" for byte in text.encode()) + "-",
        "code points": _each("U+{:04X}"),
        "code points, in a list": _each("U+{:04X}, "),
        "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
        "letters of another kind between": _every(1, "\u00b7\u4e2d"),
        "Base32": lambda text: b32encode(text.encode()).decode(),
        "Base32, in the middle, unpadded": lambda text: b32encode(f"my:{text} more".encode()).decode().rstrip("="),
        "Base32, in lower case": lambda text: b32encode(f"a{text}".encode()).decode().lower(),
        "Base64": _at(""),
        "Base64, second place": _at("a"),
        "Base64, third place": _at("ab"),
        "Base64, in the middle": _at("some", trail=" more"),
        "Base64, unpadded": _unpadded(_at("")),
        "Base64, second place, unpadded": _unpadded(_at("a")),
        "Base64, third place, unpadded": _unpadded(_at("ab")),
        "Base64, of a UTF-16 text": lambda text: b64encode(text.encode("utf-16-le")).decode(),
        "Base64, twice": lambda text: b64encode(b64encode(text.encode())).decode(),
        "Base64, in lines": lambda text: encodebytes(text.encode()).decode(),
        "Base64, broken by blanks": _after(_at("x"), _every(3, " ")),
        "Base64, broken by line ends": _after(_at(""), _every(5, "\r\n")),
        "Base64, broken by escaped line ends": _after(_at(""), _every(5, "\\n")),
        "Base64, percent": _after(_at("abc"), quote_plus),
        "Base64, of percent": _after(lambda text: quote(text, safe=""), _at("a")),
        "Base64, of JSON": lambda text: b64encode(json.dumps({"client_secret": text}).encode()).decode(),
        "Base64, of hex": lambda text: b64encode(text.encode().hex().encode()).decode(),
        "base64url": _at("", urlsafe_b64encode),
        "base64url, second place": _at("?", urlsafe_b64encode),
        "base64url, third place, unpadded": _unpadded(_at("~~", urlsafe_b64encode)),
        "Basic": _at("client:"),
        "Basic, unpadded": _unpadded(_at("client:")),
        "Basic, percent": _after(lambda text: quote(text, safe=""), _at("my%20client:")),
        "Basic, base64url": _at("a client:", urlsafe_b64encode),
        "HTML, of percent": lambda text: html.escape(quote(text, safe="&<>'\"")),
        "percent, of HTML": lambda text: quote(html.escape(text), safe=""),
        "percent, of JSON": lambda text: quote(json.dumps(text), safe=""),
        "JSON, of percent": lambda text: json.dumps(_in_percents(text)),
    }
)
"""The ways in which a text may be written down, by name."""

CHARACTER_BY_CHARACTER = tuple(
    encode
    for name, encode in ENCODERS.items()
    if "ase6" not in name and "Base" not in name and "Basic" not in name and "form" not in name
)
"""The encoders that spell a part of a text as a part of the spelling of the whole text."""

WRAPPERS: Mapping[str, Encoder] = MappingProxyType(
    {
        "as it is": str,
        "a blank between any two characters": _every(1, " "),
        "in lines": _every(4, "\n"),
        "in lines with carriage returns": _every(7, "\r\n  "),
        "with zero-width spaces": _every(2, "\u200b"),
        "with soft hyphens": _every(3, "\xad"),
        "with no-break spaces": _every(3, "\xa0"),
        "with tabs": _every(5, "\t"),
    }
)
"""The ways in which a long line may be broken up, by name."""


def parts(secret: str) -> Iterator[str]:
    """The secret, and what is left where it is cut: beginnings and ends of six and more characters."""
    yield secret
    for length in sorted({6, len(secret) // 2, len(secret) - 4, len(secret) - 1} - set(range(6))):
        yield secret[:length]
        yield secret[-length:]


def shows(text: str, secret: str, spelling: str) -> bool:
    """Whether ``text`` shows six characters of ``secret``, as they are or as ``spelling`` spells them."""
    seen, spelt = _squeezed(text), _squeezed(spelling)
    as_it_is = _windows(_squeezed(secret), 6)
    # The share of the spelling that six characters have, and three more that are spelt together with their neighbours.
    long = _windows(spelt, math.ceil(6 * len(spelt) / len(secret)) + 3)
    return any(window in seen for window in (*as_it_is, *long))


def _squeezed(text: str) -> str:
    return re.sub("[\\s\u200b\xad]", "", text).casefold()


def _windows(text: str, length: int) -> list[str]:
    return [text[start : start + length] for start in range(max(1, len(text) - length + 1))]
