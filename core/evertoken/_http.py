"""HTTP as it is written and read here: the two messages, header fields and dates, and the waits that servers state.

A function that reads text gives a value or None, whatever the text is, and never raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from evertoken._checks import WrongArgument, is_moment
from evertoken._grant import ClientCredentials, Pairs, Signing, TokenMessage
from evertoken._policy import Policy
from evertoken._secrecy import Unpicklable
from evertoken._states import AccessToken
from evertoken.outcomes import Outcome

# The two messages
# ================


@dataclass(frozen=True, slots=True)
class TokenRequest(Unpicklable):
    """One token request (RFC 6749 section 4.4.2), ready to be sent once, and the handle by which its outcome is told.

    ``deadline`` is a point in time on the machine's clock: past it the attempt is lost. See :meth:`seconds_left`.
    Send ``headers`` and ``body`` as they are, over a fresh connection, and follow no redirect. Of the answer's body,
    ``max_body`` bytes and one more are worth reading. Headers, body and ``secrets`` (what must be taken out of any text
    about this request) are hidden in the repr.

    ``owner`` is an object that was made with the machine. Ids begin at 1 in each machine, so only by ``owner`` does it
    tell a request of its own from one of another client, or of a process before it.

    The rest is for an exchange with a shared store, and never sent: ``shunned`` are digests (SHA-256) of tokens that an
    API rejected, which are not to be given again; ``grant`` and ``policy`` are those that the request was made by;
    ``held`` is the token in hand that is still good; ``demanded`` says that ``held`` is not due for renewal, but has
    less life left than a caller needs.

    A request that ``asks`` is not to be sent as it is. Call the grant's ``secret_source`` first, and give the secret to
    :meth:`TokenMachine.secret_told`, which returns the request to send. In that one ``asked_at`` is the moment at which
    the secret was told: the life of the token counts from it.
    """

    id: int
    method: str
    url: str
    headers: Pairs = field(repr=False)
    body: bytes = field(repr=False)
    deadline: float
    max_body: int = 65_536
    shunned: tuple[str, ...] = field(repr=False, default=())
    secrets: tuple[str, ...] = field(repr=False, default=(), compare=False)
    owner: object = field(repr=False, default=None, compare=False)
    grant: ClientCredentials | None = field(repr=False, default=None, compare=False)
    policy: Policy | None = field(repr=False, default=None, compare=False)
    held: AccessToken | None = field(repr=False, default=None, compare=False)
    demanded: bool = field(repr=False, default=False, compare=False)
    asks: bool = False
    asked_at: float | None = field(repr=False, default=None, compare=False)

    def seconds_left(self, now: float) -> float:
        """Seconds until the deadline; 0.0 past it. ``now`` is what the clock of the machine, or its source, shows."""
        return max(0.0, self.deadline - now)


@dataclass(frozen=True, slots=True)
class Seen(Unpicklable):
    """What an exchange with a shared store knows of an answer beyond its bytes. Only such exchanges set it.

    It is no header field, because those are the server's to write: an ``Age: 0`` that a proxy puts on every answer must
    not give charges back. Moments are points in time on the clock of ``TokenRequest.deadline``.

    Args:
        asked_at: when the endpoint was asked, at the earliest. The token's life counts from then, and the answer proves
            only how things were then.
        asked: whether this very request was sent to the endpoint. If not, its charge is given back and no counter
            moves, since nothing was tried.
        look_at: when to look into the store again, where the answer is a refusal or a failure.
        ends: when the block of a refusal ends, which is what callers are told.
        store_down: the store was not there, so that only the machine's own waits keep it from asking too often.
        read: what the answer means, where another process has read it already; None where it is still to be read.

    Raises:
        ValueError: a moment is no finite number below 2**40.
    """

    asked_at: float
    asked: bool = True
    look_at: float | None = None
    ends: float | None = None
    store_down: bool = False
    read: Outcome | None = None

    def __post_init__(self) -> None:
        for moment in (self.asked_at, self.look_at, self.ends):
            if moment is not None and not is_moment(moment):
                raise ValueError("Seen: moments must be finite numbers of seconds below 2**40 in magnitude")


@dataclass(frozen=True, slots=True, init=False)
class HttpResponse(Unpicklable):
    """An HTTP response as it came: header names in any case, repeated lines kept, the body undecoded.

    ``headers`` may be given as pairs or as a mapping, such as the headers of an HTTP library, and are kept as pairs.
    Raises TypeError, which names the part that cannot be read.
    The repr shows the status and the size, and neither headers nor body: an answer of the token endpoint holds a token.
    ``seen`` is what an exchange with a shared store knows besides.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    seen: Seen | None

    def __init__(
        self,
        status: int,
        headers: Headers = (),
        body: bytes | bytearray | memoryview = b"",
        seen: Seen | None = None,
    ) -> None:
        parts = answer_parts(status, headers, body)
        if isinstance(parts, str):
            del self, status, headers, body  # Perhaps with a token in it; error trackers show local variables.
            raise WrongArgument(f"HttpResponse: {parts}")
        for name, part in zip(("status", "headers", "body", "seen"), (*parts, seen), strict=True):
            object.__setattr__(self, name, part)

    def __repr__(self) -> str:
        return f"HttpResponse(status={self.status!r}, {len(self.headers)} headers, {len(self.body)} bytes)"


def build_request(
    grant: ClientCredentials, request_id: int, deadline: float, signing: Signing | None = None, *, asks: bool = False
) -> TokenRequest:
    """The token request that ``grant`` makes. An embedder's own client authentication is called for each request.

    If it ``asks``, the secret is not known yet, so headers and body are empty. What the machine adds afterwards is
    not sent.
    """
    message = TokenMessage((), b"", grant.secrets()) if asks else grant.message(signing)
    return TokenRequest(
        request_id,
        "POST",
        grant.endpoint.url,
        message.headers,
        message.body,
        deadline,
        secrets=message.secrets,
        grant=grant,
        asks=asks,
    )


# Header fields and dates
# =======================

Headers = Sequence[tuple[str, str]] | Mapping[str, str]
"""Names in any case and their values: pairs, which keep repeated lines, or what an HTTP library has for headers."""

_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_DAY = "(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?)"
_ZONE = r"(?:Z|UTC|GMT|(?P<sign>[+-])(?P<zone_hour>\d\d):?(?P<zone_minute>\d\d)?)"

# RFC 9110 section 5.6.7: IMF-fixdate and the form of RFC 850 with what is between them, then that of asctime.
_FORMS = tuple(
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        rf"(?:{_DAY}, ?)?(?P<day>\d?\d)[ -]{_MONTH}[ -](?P<year>\d{{4}}|\d\d) {_TIME} ?{_ZONE}",
        rf"{_DAY} {_MONTH} (?P<day>[ \d]?\d) {_TIME}(?: {_ZONE})? (?P<year>\d{{4}})",
    )
)

# RFC 3339, and what else of ISO 8601 is in use: fewer separators, no seconds, no zone (which then is UTC).
_ISO = re.compile(
    r"(?P<year>\d{4})-?(?P<month>\d\d)-?(?P<day>\d\d)[T ](?P<hour>\d\d):?(?P<minute>\d\d)"
    rf"(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d{{1,9}}))?)? ?{_ZONE}?",
    re.ASCII | re.IGNORECASE,
)

# A comma, but for the one behind the name of a day, which belongs to a date.
_COMMA = re.compile(r"(?<!mon|tue|wed|thu|fri|sat|sun|day),", re.IGNORECASE)

_MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SECONDS_PER_DAY = 86_400
_SECONDS_PER_YEAR = 31_556_952
_START_OF_2020 = 1_577_836_800


def answer_parts(status: object, headers: object, body: object) -> tuple[int, Sequence[tuple[str, str]], bytes] | str:
    """The parts of an answer as they are read here, or what is wrong with the one that cannot be."""
    if not isinstance(status, int) or isinstance(status, bool):
        return f"status must be an int, not {type(status).__name__}"
    lines = _header_pairs(headers)
    if lines is None:
        return f"headers must be pairs of a name and a value, or a mapping, not {type(headers).__name__}"
    if not isinstance(body, bytes | bytearray | memoryview):
        return f"body must be bytes (b'' if it was not read), not {type(body).__name__}"
    return status, lines, bytes(cast("bytes", body))


def _header_pairs(headers: Any) -> Sequence[tuple[str, str]] | None:  # noqa: ANN401 - whatever the caller gives
    """``headers`` line by line. A mapping that holds several lines of one name gives each, also as a list of values."""
    of_mapping: Any = getattr(headers, "multi_items", None) or getattr(headers, "items", None)
    found: Any = headers if of_mapping is None or isinstance(headers, type) else of_mapping()
    if isinstance(found, str | bytes) or not isinstance(found, Iterable):
        return None
    lines = cast("Sequence[tuple[str, str]]", found if isinstance(found, Sequence) else tuple(cast("Any", found)))
    if not all(isinstance(line, tuple | list) and len(line) == 2 for line in lines):
        return None
    if all(isinstance(part, str) for line in lines for part in line):
        return lines
    return tuple([(_text(name), _text(value)) for name, values in lines for value in _each(values)])


def _each(values: Any) -> Sequence[Any]:  # noqa: ANN401 - whatever the caller gives
    return cast("Sequence[Any]", values) if isinstance(values, list | tuple) else (values,)


def _text(part: object) -> str:
    return part.decode("latin-1") if isinstance(part, bytes) else str(part)


def field_lines(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """The values of all header lines called ``name`` (in lower case), in order, without the white space around them."""
    return [value.strip() for key, value in headers if key.lower() == name]


def field_items(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """The items of a field that is a list, from all of its lines; empty ones are skipped (RFC 9110 section 5.6.1)."""
    return [item for line in field_lines(headers, name) for item in _items(line)]


def _items(line: str) -> list[str]:
    return [item for part in _COMMA.split(line) if (item := part.strip())]


def http_date(text: str, near: int = _START_OF_2020) -> int | None:
    """``text`` as seconds since 1970, or None if it has none of the three forms of RFC 9110 section 5.6.7.

    Some more is accepted, since servers send it: a zone other than GMT, a day of one digit, no name of the day.

    ``near``, in seconds since 1970, is the moment that a year of two digits is at most 50 years away from. The name of
    the day is not compared with the date: it adds nothing that could be acted on.
    """
    for form in _FORMS:
        match = form.fullmatch(text)
        if match:
            return _moment(match, near)
    return None


def iso_date(text: str) -> float | None:
    """``text`` as seconds since 1970, or None if it is no date and time of day as ISO 8601 writes them."""
    match = _ISO.fullmatch(text)
    if not match:
        return None
    moment = _seconds(int(match["year"]), int(match["month"]), match)
    if moment is None:
        return None
    return moment + float(f"0.{match['fraction'] or 0}")


def _moment(match: re.Match[str], near: int) -> int | None:
    year = int(match["year"])
    if len(match["year"]) == 2:
        year = _full_year(year, 1970 + near // _SECONDS_PER_YEAR)
    return _seconds(year, _MONTHS.index(match["month"].lower()) + 1, match)


def _seconds(year: int, month: int, match: re.Match[str]) -> int | None:
    day, hour, minute, second = (int(match[name] or 0) for name in ("day", "hour", "minute", "second"))
    # A second 60 is a leap second.
    if not 1 <= month <= 12 or not 1 <= day <= _days_in(year, month) or hour > 23 or minute > 59 or second > 60:
        return None
    ahead = int(match["zone_hour"] or 0) * 3_600 + int(match["zone_minute"] or 0) * 60
    second += ahead if match["sign"] == "-" else -ahead
    return _days_since_1970(year, month, day) * _SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second


def _full_year(two_digits: int, near: int) -> int:
    year = near - near % 100 + two_digits
    if year > near + 50:
        return year - 100
    return year + 100 if year < near - 50 else year


def _days_in(year: int, month: int) -> int:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if leap and month == 2 else _MONTH_LENGTHS[month - 1]


def _days_since_1970(year: int, month: int, day: int) -> int:
    # Years that begin in March have their leap day at the end, so that month lengths follow one formula.
    if month <= 2:
        year, month = year - 1, month + 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719_469


# Stated waits
# ============

# How long a server asks its clients to wait: Retry-After, and the resets of rate limits, in the spellings in use.
#
# Dates and resets are points on the server's clock. They count only against the ``Date`` of the same answer, because
# the core reads no clock and this machine's may be wrong. Everything here is total: what cannot be used is None.

LONGEST = 2.0**40
"""No duration read from the wire is longer, in seconds; a policy caps it further."""

_LEAST_MOMENT = 1e8
"""A number from here on (three years of seconds) is a moment since 1970 and no wait."""
_UNITS_OF_MOMENTS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
"""Numbers below the first bound are in seconds, then in milli-, micro- and nanoseconds; larger ones are no moments."""

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?", re.ASCII)
_SECONDS_PER_UNIT = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_UNIT = r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)"
_AMOUNT = r"\d+(?:[.,]\d+)?"
_PART = re.compile(rf"(\d+(?:\.\d+)?)\s*{_UNIT}(?![a-z])", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(rf"(?:(?:in|after)\s)?\s*(?:{_PART.pattern}\s*)+", re.ASCII | re.IGNORECASE)
_ISO_PART = re.compile(rf"({_AMOUNT})([WDHMS])", re.ASCII | re.IGNORECASE)
_ISO_DURATION = re.compile(
    rf"P(?=\d|T\d)(?:{_AMOUNT}W)?(?:{_AMOUNT}D)?(?:T(?:{_AMOUNT}H)?(?:{_AMOUNT}M)?(?:{_AMOUNT}S)?)?",
    re.ASCII | re.IGNORECASE,
)
_CLOCK = re.compile(r"(\d+):([0-5]\d):([0-5]\d)", re.ASCII)
# Names without case, hyphens and underscores: Retry-After, x-ms-retry-after-ms, retryAfter.
_STATING = re.compile(r".*retryafter(ms|milliseconds|s|seconds)?", re.DOTALL)


def retry_after(headers: Sequence[tuple[str, str]]) -> float | None:
    """Seconds stated by ``Retry-After`` (RFC 9110 section 10.2.3), at least 0.0; None where nothing usable is stated.

    Besides seconds and HTTP dates, what servers write in their place is read: ISO 8601, ``900s``, ``15m``, Unix time.
    Fields whose names end alike are read too, such as ``retry-after-ms``, and a body's member ``retry_after`` where the
    caller puts it among ``headers``. Of several values the longest counts. A date before the answer's own ``Date``
    contradicts itself and is not used.
    """
    stated = [(found[1], value) for name, value in headers if (found := _STATING.fullmatch(_squeezed(name)))]
    if not stated:
        return None
    now = _server_time(headers)
    waits: list[float | None] = []
    for unit, value in stated:
        of_unit = "ms" if (unit or "").startswith("m") else ""
        whole = _wait(value.strip() + of_unit, now)
        waits += [whole] if whole is not None else [_wait(item + of_unit, now) for item in _items(value)]
    return _longest(waits)


def _squeezed(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()


def rate_limit_reset(headers: Sequence[tuple[str, str]], *, is_limited: bool = True) -> float | None:
    """Seconds until the latest reset among the windows of a rate limit that are used up; None where none is stated.

    Read are ``X-RateLimit-*`` (Mangopay, Rate limiting: one value for each window, comma-joined or on repeated lines),
    ``X-Rate-Limit-*``, ``RateLimit-*`` and ``RateLimit`` (the IETF's draft-ietf-httpapi-ratelimit-headers, in all of
    its forms); the reset's name may end in ``-Reset-After``. A reset is a number of seconds, Unix time, or whatever
    ``Retry-After`` may be. ``is_limited`` says that the answer itself speaks of a limit that is reached: then a single
    reset that comes with no count of what remains is of the window that is used up.
    """
    names = {name.lower() for name, _ in headers if "limit" in name.lower()}
    if not names:
        return None
    now = _server_time(headers)
    known = [(family, end) for family in _FAMILIES for end in ("reset", "reset-after") if f"{family}-{end}" in names]
    resets = [reset for family, end in known for reset in _resets(headers, family, end, is_limited=is_limited)]
    if "ratelimit" in names:
        resets += _drafted_resets(headers, is_limited=is_limited)
    return _longest(_wait(reset, now) for reset in resets)


_FAMILIES = ("x-ratelimit", "x-rate-limit", "ratelimit")


def _resets(headers: Sequence[tuple[str, str]], family: str, end: str, *, is_limited: bool) -> list[str]:
    """The resets of the windows with nothing left; none where the two lists do not match."""
    resets = field_items(headers, f"{family}-{end}")
    left = field_items(headers, f"{family}-remaining")
    if not left and len(resets) == 1 and is_limited:
        return resets
    if len(left) != len(resets):
        return []
    return [reset for reset, remaining in zip(resets, left, strict=True) if _is_used_up(remaining)]


def _drafted_resets(headers: Sequence[tuple[str, str]], *, is_limited: bool) -> list[str]:
    """The resets in ``RateLimit``: ``limit=100, remaining=0, reset=50``, or from draft 08 on ``"default";r=0;t=50``.

    A window without a time is waited out whole: ``RateLimit-Policy`` names its length (``"default";q=100;w=60``).
    """
    items = field_items(headers, "ratelimit")
    if any(_names_of(item).keys() & {"remaining", "reset"} for item in items):
        items = [";".join(items)]
    policies = {_title(item): _names_of(item).get("w") for item in field_items(headers, "ratelimit-policy")}
    resets: list[str] = []
    for item in items:
        said = _names_of(item)
        reset = said.get("reset") or said.get("t") or policies.get(_title(item))
        if reset and _is_used_up(said.get("remaining") or said.get("r") or ("0" if is_limited else "")):
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


def _server_time(headers: Sequence[tuple[str, str]]) -> float | None:
    # Of several dates the earliest makes the longest wait.
    dates = (_date(line) for line in field_lines(headers, "date"))
    return min((date for date in dates if date is not None), default=None)


def _date(text: str, near: float = _START_OF_2020) -> float | None:
    date = http_date(text, int(near))
    return iso_date(text) if date is None else date


def _wait(text: str, now: float | None) -> float | None:
    """The wait that ``text`` states, in seconds, where the server's clock shows ``now``."""
    text = _bare(text)
    number = _number(text)
    if number is None:
        moment = _date(text) if now is None else _date(text, now)
        return _duration(text) if moment is None else _until(moment, now)
    if number < _LEAST_MOMENT:
        return number
    for end, per_second in _UNITS_OF_MOMENTS:
        if number < end:
            return _until(number / per_second, now)
    return None


def _duration(text: str) -> float | None:
    """``15m``, ``1h30m``, ``in 900 seconds``, ``PT15M`` or ``00:15:00`` in seconds; None for anything else.

    Years and months are not read, since they differ in length.
    """
    if clock := _CLOCK.fullmatch(text):
        parts = [*zip(clock.groups(), "hms", strict=True)]
    elif _ISO_DURATION.fullmatch(text):
        parts = _ISO_PART.findall(text)
    elif _DURATION.fullmatch(text):
        parts = _PART.findall(text)
    else:
        return None
    seconds = sum(float(number.replace(",", ".")) * _SECONDS_PER_UNIT[_short(unit.lower())] for number, unit in parts)
    return seconds if seconds < _LEAST_MOMENT else None


def _short(unit: str) -> str:
    return "ms" if unit.startswith(("ms", "milli")) else unit[0]


def _until(moment: float, now: float | None) -> float | None:
    return None if now is None or moment < now else moment - now


def _longest(waits: Iterable[float | None]) -> float | None:
    usable = [min(wait, LONGEST) for wait in waits if wait is not None and wait >= 0]
    return float(max(usable)) if usable else None


def _number(text: str) -> float | None:
    # float() turns any number of digits into a finite value or infinity; int() would raise above 4,300.
    return float(text) if _NUMBER.fullmatch(text) else None
