"""What is wrong with an argument, in words that name it and do not repeat it.

The functions say what is wrong instead of raising it. Error trackers print the local variables of every frame that an
exception passes, so a value that may be a secret must be out of all of them before anything is raised.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from urllib.parse import urlsplit

from evertoken._host_names import ascii_host
from evertoken._policy import TICK

__all__ = (
    "check_positive",
    "check_seconds",
    "check_type",
    "check_whole",
    "fault_of_authorization",
    "fault_of_text",
    "fault_of_url",
    "is_loopback",
    "is_moment",
    "min_ttl_on_the_grid",
    "on_the_grid",
    "simulated_hosts",
)

simulated_hosts: list[str] = []
"""Hosts of a simulated network, which URLs may name with plain http: nothing that is sent there leaves the process.

Filled for the length of a test by ``evertoken_transports.testing.allow_plain_http``, and by nothing else.
"""

_LIMIT = 2.0**40
"""Seconds: floats below it in magnitude hold a moment to the tick, and some more."""


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
    if not parts.host:
        return f"{name} must name a host"
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


def check_type(name: str, value: object, kind: type) -> None:
    """Raise TypeError, naming ``name``, unless ``value`` is a ``kind``."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")


def fault_of_authorization(value: object) -> str | None:
    """Why ``value`` cannot be what an API call carried; None if it can."""
    if not isinstance(value, str):
        return f"authorization must be text, not {type(value).__name__}"
    if " " not in value.strip():
        return "authorization must be the whole value of the header, 'Bearer ...', and not the token alone"
    return None


def on_the_grid(now: float) -> float:
    """``now`` rounded down to a tick. Every moment in a state is a whole number of ticks, so floats hold all of them.

    Whoever asks with the unrounded number cannot tell: deadlines lie on ticks, so both are before the same ones.

    Raises ValueError unless ``now`` can be a point in time.
    """
    if not is_moment(now):
        raise ValueError("now must be a finite number of seconds, less than 2**40 in magnitude")
    return now // TICK * TICK


def min_ttl_on_the_grid(min_ttl: float) -> float:
    """``min_ttl`` rounded up to a tick, so that ``fresh_until - min_ttl`` is a moment like any other.

    A deadline between two ticks could lie before an unrounded ``now`` whose tick it lies ahead of: a wait for it would
    be over before it began.

    Raises ValueError unless it can be a duration.
    """
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
