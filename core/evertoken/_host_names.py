"""International host names: one spelling, in ASCII, for everything that resolves, verifies, compares or shows one.

HTTP libraries disagree about them. Python's own codec keeps the standard of 2003 and takes straße for strasse; httpx
keeps that of 2008, as browsers do, and asks for another host (RFC 5894 section 7.2). So a secret could be sent to two
hosts by one URL. Here the name is turned into what DNS holds once, where the URL comes in, as the standard of 2008 has
it (RFC 5891), for names that it knows in one reading only: the rest has to be written in ASCII by whoever means it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ("ascii_host", "with_ascii_host")

_LONGEST_LABEL = 63
"""Bytes (RFC 1035 section 2.3.4)."""
_AMBIGUOUS = "\u3002\uff61\u200c\u200d"
"""Dots to some, and letters or nothing to others."""
_JOINERS = "_\u00b7\u0387\u203f\u2040\u2054"
"""What Python allows within a name beside letters, digits and marks."""


def with_ascii_host(url: str) -> str:
    """``url``, whose host :func:`ascii_host` knows and which has no user info, with the host in ASCII."""
    if url.isascii():
        return url
    parts = urlsplit(url)
    host = ascii_host(parts.hostname or "")
    if host == parts.hostname:
        return url
    start = url.index("//") + 2
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{url[:start]}{host}{port}{url[start + len(parts.netloc) :]}"


def ascii_host(host: str) -> str | None:
    """``host`` as DNS holds it; None for a name that is none, or that could be read in two ways."""
    if any(each in host for each in _AMBIGUOUS):
        return None
    labels = [label if label.isascii() else _a_label(label) for label in host.split(".")]
    return ".".join(label for label in labels if label is not None) if None not in labels else None


def _a_label(label: str) -> str | None:
    """RFC 5891 section 4, and of RFC 5892 what needs no tables: letters, digits and marks in their plainest form."""
    # Where the two standards differ in what a letter is: the old one has no such letters, and their like instead.
    alike = label.lower().replace("ß", "ss").replace("\u03c2", "\u03c3")
    try:
        plain = alike.encode("idna").decode("idna")
    except UnicodeError:
        return None
    if alike == label.lower():
        label = plain
    elif alike != plain:
        return None
    return label if label.isascii() else _encoded(label.lower())


def _encoded(label: str) -> str | None:
    proper = all(each == "-" or (f"a{each}".isidentifier() and each not in _JOINERS) for each in label)
    edges = label[0].isalnum() and label[-1] != "-" and label[2:4] != "--"
    encoded = f"xn--{label.encode('punycode').decode('ascii')}"
    return encoded if proper and edges and len(encoded) <= _LONGEST_LABEL else None
