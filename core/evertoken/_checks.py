"""What is wrong with an argument, in words that name it and do not repeat it.

The functions say what is wrong instead of raising it. Error trackers print the local variables of every frame that an
exception passes, so a value that may be a secret must be out of all of them before anything is raised.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from urllib.parse import urlsplit

from evertoken._policy import TICK

simulated_hosts: list[str] = []
"""Hosts of a simulated network, which URLs may name with plain http: nothing that is sent there leaves the process.

Filled for the length of a test by ``evertoken_transports.testing.allow_plain_http``, and by nothing else.
"""

_LIMIT = 2.0**40
"""Seconds: below it in magnitude, a float holds a moment to the tick and finer."""


def fault_of_text(name: str, value: object) -> str | None:
    """Why ``value`` cannot be sent as a credential or a parameter; None if it can."""
    if not isinstance(value, str):
        return f"{name} must be text, not {type(value).__name__}"
    if not value:
        return f"{name} must not be empty"
    if value != value.strip():
        return f"{name} begins or ends with white space: it was probably copied with it"
    plain = value.isascii() and value.isprintable()
    if not plain and any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in value):
        return f"{name} contains a control character or half of a surrogate pair"
    return None


def is_visible_ascii(text: str) -> bool:
    """Whether ``text`` can be a token in a header: 1 or more characters from 0x21 to 0x7E (RFC 6749 appendix A.12)."""
    return text.isascii() and text.isprintable() and text != "" and " " not in text


def fault_of_url(name: str, url: object) -> str | None:
    """Why a secret must not be sent to ``url``; None if it may."""
    if not isinstance(url, str) or not url or _is_spaced(url):
        return f"{name} must be a URL without white space or control characters"
    parts = _split(url)
    if parts is None:
        return f"{name} is not a URL: its host or port cannot be read"
    if parts.has_user:
        return f"{name} must not carry user info: credentials belong in ClientCredentials"
    if "#" in url:
        return f"{name} must not have a fragment (RFC 6749 section 3.2)"
    if not parts.scheme or not parts.host:
        return f"{name} must begin with https:// and name a host"
    if ascii_host(parts.host) is None:
        return f"{name} has a host name that can be read in more than one way: write it in ASCII, as in xn--bcher-kva"
    is_plain_safe = is_loopback(parts.host) or parts.host in simulated_hosts
    if parts.scheme != "https" and not (parts.scheme == "http" and is_plain_safe):
        return f"{name} must be https (plain http is allowed to this machine only), not {parts.scheme or 'no scheme'}"
    return None


def _is_spaced(url: str) -> bool:
    plain = url.isascii() and url.isprintable() and " " not in url
    return not plain and any(ord(c) <= 0x20 or ord(c) == 0x7F or c.isspace() for c in url)


def is_loopback(host: str) -> bool:
    """Whether ``host`` names this very machine: ``localhost``, 127.0.0.0/8 or ::1."""
    octets = host.split(".")
    is_v4 = len(octets) == 4 and all(octet.isascii() and octet.isdigit() and int(octet) < 256 for octet in octets)
    return host in ("localhost", "::1") or (is_v4 and int(octets[0]) == 127)


class _Parts(NamedTuple):
    scheme: str
    host: str | None
    has_user: bool


def _split(url: str) -> _Parts | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return _Parts(parts.scheme, parts.hostname, "@" in parts.netloc)


class WrongArgument(TypeError):
    """A TypeError of ours: its text names the argument and repeats no value, so that it can be shown to anybody."""


def check_type(name: str, value: object, kind: type) -> None:
    """Raise WrongArgument, naming ``name``, unless ``value`` is a ``kind``."""
    if not isinstance(value, kind):
        found = type(value).__name__
        del value  # Error trackers show the local variables of every frame.
        raise WrongArgument(f"{name} must be a {kind.__name__}, not {found}")


def fault_of_authorization(value: object) -> str | None:
    """Why ``value`` cannot be what an API call carried; None if it can."""
    if not isinstance(value, str):
        return f"authorization must be text, not {type(value).__name__}"
    if " " not in value.strip():
        return "authorization must be the whole value of the header, 'Bearer ...', and not the token alone"
    return None


def on_the_grid(now: float) -> float:
    """``now`` rounded down to a tick. Every moment in a state is a whole number of ticks, so floats hold all of them.

    Rounding changes no answer: deadlines lie on ticks, so both moments are before the same ones.

    Raises ValueError unless ``now`` can be a point in time.
    """
    if (type(now) is not float or not -_LIMIT < now < _LIMIT) and not is_moment(now):
        raise ValueError("now must be a finite number of seconds, less than 2**40 in magnitude")
    return now // TICK * TICK


def min_ttl_on_the_grid(min_ttl: float) -> float:
    """``min_ttl`` rounded up to a tick, so that ``fresh_until - min_ttl`` is a moment like any other.

    Otherwise that moment could lie between two ticks: still ahead of ``now`` as it is rounded down, and already behind
    the ``now`` that the caller gave, so that a wait for it would be over before it began.

    Raises ValueError unless ``min_ttl`` can be a duration.
    """
    if type(min_ttl) is float and not min_ttl:  # What nearly all callers give.
        return 0.0
    check_seconds("min_ttl", min_ttl)
    return -(-min_ttl // TICK * TICK)


def check_seconds(name: str, seconds: float) -> None:
    """Raise ValueError, naming ``name``, unless ``seconds`` can be a duration."""
    if not is_moment(seconds) or seconds < 0:
        raise ValueError(f"{name} must be a finite number of seconds that is not negative")


def check_positive(name: str, seconds: float) -> None:
    """Raise ValueError, naming ``name``, unless ``seconds`` can be a duration that is not 0."""
    if not is_moment(seconds) or seconds <= 0:
        raise ValueError(f"{name} must be a finite number of seconds above 0")


def check_whole(name: str, number: int, least: int, most: float = math.inf) -> None:
    """Raise ValueError, naming ``name``, unless ``number`` is an int from ``least`` to ``most``."""
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        limits = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {limits}")


def is_moment(now: object) -> bool:
    """Whether ``now`` can be a point in time: a finite number that floats hold to the tick."""
    if type(now) is not float and (not isinstance(now, (int, float)) or isinstance(now, bool)):
        return False
    return -_LIMIT < now < _LIMIT


# Names of hosts
# ==============

# International host names: one spelling, in ASCII, for everything that resolves, verifies, compares or shows one.
#
# HTTP libraries disagree about them. Python's own codec keeps the standard of 2003 and takes straße for strasse; httpx
# keeps that of 2008, as browsers do, and asks for another host (RFC 5894 section 7.2). So a secret could be sent to two
# hosts by one URL. Here a name is turned into what DNS holds once, where the URL comes in, by the standard of 2008 (RFC
# 5891). A name that can be read in more than one way is refused: whoever means it has to write it in ASCII.

_LONGEST_LABEL = 63
"""Bytes that a label may have (RFC 1035 section 2.3.4)."""
_AMBIGUOUS = "\u3002\uff61\u200c\u200d"
"""Some libraries take these for dots or leave them out, others take them for letters."""
_JOINERS = "_\u00b7\u0387\u203f\u2040\u2054"
"""What ``str.isidentifier`` allows beside letters, digits and marks, and a host name does not."""


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
    """``label`` in ASCII, by RFC 5891 section 4; None if it has none, or could be read in two ways.

    Of RFC 5892 only what needs no tables is known: letters, digits and marks in their plainest form.
    """
    # These two are letters by the standard of 2008. That of 2003 replaces them by what they resemble.
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
