"""How long a server asks its clients to wait: Retry-After and X-RateLimit-*.

Dates and resets are points on the server's clock. They count only against the ``Date`` of the same answer, because the
core reads no clock and this machine's may be wrong. Everything here is total: what cannot be used is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from evertoken._headers import field_lines, http_date

__all__ = ("LONGEST", "rate_limit_reset", "retry_after")

LONGEST = 2.0**40
"""No duration read from the wire is longer, in seconds; a policy caps it further."""

_NUMBER = re.compile(r"-?\d+(?:\.\d*)?", re.ASCII)

Headers = Sequence[tuple[str, str]]


def retry_after(headers: Headers) -> float | None:
    """Seconds stated by ``Retry-After`` (RFC 9110 section 10.2.3), at least 0.0; None where nothing usable is stated.

    Of several values the longest counts. A date before the answer's own ``Date`` contradicts itself and is not used.
    """
    lines = field_lines(headers, "retry-after")
    if not lines:
        return None
    now = _server_time(headers)
    waits: list[float | None] = []
    for line in lines:
        moment = http_date(line) if now is None else http_date(line, now)
        if moment is None:
            waits.extend(_number(item) for item in line.split(","))
        else:
            waits.append(_until(moment, now))
    return _longest(wait for wait in waits if wait is not None)


def rate_limit_reset(headers: Headers) -> float | None:
    """Seconds until the latest ``X-RateLimit-Reset`` among the windows whose ``X-RateLimit-Remaining`` is used up.

    Mangopay (Rate limiting) sends one value for each of its windows, comma-joined or on repeated lines; resets are in
    seconds since 1970. None where no window is used up, or the two lists do not match.
    """
    left = _list(headers, "x-ratelimit-remaining")
    resets = _list(headers, "x-ratelimit-reset")
    if not left or len(left) != len(resets):
        return None
    now = _server_time(headers)
    used_up = (reset for remaining, reset in zip(left, resets, strict=True) if remaining is not None and remaining <= 0)
    waits = (_until(reset, now) for reset in used_up if reset is not None)
    return _longest(wait for wait in waits if wait is not None)


def _server_time(headers: Headers) -> int | None:
    # Of several dates the earliest makes the longest wait.
    dates = (http_date(line) for line in field_lines(headers, "date"))
    return min((date for date in dates if date is not None), default=None)


def _until(moment: float, now: int | None) -> float | None:
    return None if now is None or moment < now else moment - now


def _longest(waits: Iterable[float]) -> float | None:
    usable = [min(wait, LONGEST) for wait in waits if wait >= 0]
    return float(max(usable)) if usable else None


def _list(headers: Headers, name: str) -> list[float | None]:
    # Empty list elements are skipped (RFC 9110 section 5.6.1); unreadable ones keep their place.
    items = ",".join(field_lines(headers, name)).split(",")
    return [_number(item) for item in items if item.strip()]


def _number(text: str) -> float | None:
    # float() turns any number of digits into a finite value or infinity; int() would raise above 4,300.
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None
