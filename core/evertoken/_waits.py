"""How long a server asks its clients to wait: Retry-After, and the resets of rate limits, in the spellings in use.

Dates and resets are points on the server's clock. They count only against the ``Date`` of the same answer, because the
core reads no clock and this machine's may be wrong. Everything here is total: what cannot be used is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from evertoken._headers import field_items, field_lines, http_date, iso_date

__all__ = ("LONGEST", "rate_limit_reset", "retry_after")

LONGEST = 2.0**40
"""No duration read from the wire is longer, in seconds; a policy caps it further."""

_LEAST_MOMENT = 1e8
"""A number from here on (three years of seconds) is a moment since 1970 and no wait."""
_UNITS_OF_MOMENTS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
"""Below which numbers such moments are in seconds, milliseconds, micro- and nanoseconds; beyond them there are none."""

_NUMBER = re.compile(r"-?\d+(?:\.\d*)?", re.ASCII)
_SECONDS_PER_UNIT = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_UNIT = r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
_PART = re.compile(rf"(\d+(?:\.\d+)?)\s*{_UNIT}(?![a-z])", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(rf"(?:{_PART.pattern}\s*)+", re.ASCII | re.IGNORECASE)
_ISO_PART = re.compile(r"(\d+(?:\.\d+)?)([DHMS])", re.ASCII | re.IGNORECASE)
_ISO_DURATION = re.compile(r"P(?=\d|T\d)(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?", re.ASCII | re.IGNORECASE)

Headers = Sequence[tuple[str, str]]


def retry_after(headers: Headers) -> float | None:
    """Seconds stated by ``Retry-After`` (RFC 9110 section 10.2.3), at least 0.0; None where nothing usable is stated.

    Beside seconds and HTTP dates, what servers write there in their place: ISO 8601, ``900s`` and ``15m``, Unix time.
    Of several values the longest counts. A date before the answer's own ``Date`` contradicts itself and is not used.
    """
    items = field_items(headers, "retry-after")
    if not items:
        return None
    now = _server_time(headers)
    return _longest(_wait(item, now) for item in items)


def rate_limit_reset(headers: Headers) -> float | None:
    """Seconds until the latest reset among the windows of a rate limit that are used up; None where none is stated.

    Read are ``X-RateLimit-*`` (Mangopay, Rate limiting: one value for each window, comma-joined or on repeated lines),
    ``X-Rate-Limit-*``, ``RateLimit-*`` and ``RateLimit`` (the IETF's draft-ietf-httpapi-ratelimit-headers, in all of
    its forms). A reset is a number of seconds, Unix time, or whatever ``Retry-After`` may be. A single one that comes
    with no count is of the window that is used up: why else would there be a 429?
    """
    names = {name.lower() for name, _ in headers if "limit" in name.lower()}
    if not names:
        return None
    now = _server_time(headers)
    resets = [reset for family in _FAMILIES if f"{family}-reset" in names for reset in _resets(headers, family)]
    if "ratelimit" in names:
        resets += _drafted_resets(headers)
    return _longest(_wait(reset, now) for reset in resets)


_FAMILIES = ("x-ratelimit", "x-rate-limit", "ratelimit")


def _resets(headers: Headers, family: str) -> list[str]:
    """The resets of the windows with nothing left; none where the two lists do not match."""
    resets = field_items(headers, f"{family}-reset")
    left = field_items(headers, f"{family}-remaining")
    if not left and len(resets) == 1:
        return resets
    if len(left) != len(resets):
        return []
    return [reset for reset, remaining in zip(resets, left, strict=True) if _is_used_up(remaining)]


def _drafted_resets(headers: Headers) -> list[str]:
    """``limit=100, remaining=0, reset=50`` (to draft 07), and ``"default";r=0;t=50`` for each window (from 08 on).

    Where the latter name no time, their window in ``RateLimit-Policy`` (``"default";q=100;w=60``) is the longest.
    """
    items = field_items(headers, "ratelimit")
    if any(_names_of(item).keys() & {"remaining", "reset"} for item in items):
        items = [";".join(items)]
    policies = {_title(item): _names_of(item).get("w") for item in field_items(headers, "ratelimit-policy")}
    resets: list[str] = []
    for item in items:
        said = _names_of(item)
        reset = said.get("reset") or said.get("t") or policies.get(_title(item))
        if reset and _is_used_up(said.get("remaining") or said.get("r") or "0"):
            resets.append(reset)
    return resets


def _names_of(item: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in item.split(";"))
    return {name.strip().lower(): value.strip() for name, equals, value in pairs if equals}


def _title(item: str) -> str:
    return item.partition(";")[0].strip()


def _bare(item: str) -> str:
    """The value of an item, without parameters and quotes around it."""
    return _title(item).strip('"').strip()


def _is_used_up(remaining: str) -> bool:
    number = _number(_bare(remaining))
    return number is not None and number <= 0


def _server_time(headers: Headers) -> int | None:
    # Of several dates the earliest makes the longest wait.
    dates = (http_date(line) for line in field_lines(headers, "date"))
    return min((date for date in dates if date is not None), default=None)


def _wait(text: str, now: int | None) -> float | None:
    """The wait that ``text`` states, in seconds, where the server's clock shows ``now``."""
    text = _bare(text)
    number = _number(text)
    if number is None:
        date = http_date(text) if now is None else http_date(text, now)
        moment = iso_date(text) if date is None else date
        return _duration(text) if moment is None else _until(moment, now)
    if number < _LEAST_MOMENT:
        return number
    for end, per_second in _UNITS_OF_MOMENTS:
        if number < end:
            return _until(number / per_second, now)
    return None


def _duration(text: str) -> float | None:
    """``15m``, ``1h30m``, ``900 seconds``; ``PT15M``. Years, months and weeks are in nobody's Retry-After."""
    if _ISO_DURATION.fullmatch(text):
        parts = _ISO_PART.findall(text)
    elif _DURATION.fullmatch(text):
        parts = _PART.findall(text)
    else:
        return None
    return sum(float(number) * _SECONDS_PER_UNIT[_short(unit.lower())] for number, unit in parts)


def _short(unit: str) -> str:
    return "ms" if unit.startswith(("ms", "milli")) else unit[0]


def _until(moment: float, now: int | None) -> float | None:
    return None if now is None or moment < now else moment - now


def _longest(waits: Iterable[float | None]) -> float | None:
    usable = [min(wait, LONGEST) for wait in waits if wait is not None and wait >= 0]
    return float(max(usable)) if usable else None


def _number(text: str) -> float | None:
    # float() turns any number of digits into a finite value or infinity; int() would raise above 4,300.
    return float(text) if _NUMBER.fullmatch(text) else None
