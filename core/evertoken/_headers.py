"""Header fields read by hand: lines by name, and dates. Any text gives a value or None, never an exception."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

__all__ = ("Headers", "field_items", "field_lines", "header_pairs", "http_date", "iso_date")

Headers = Sequence[tuple[str, str]] | Mapping[str, str]
"""Names in any case and their values: pairs, which keep repeated lines, or what an HTTP library has for headers."""

_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_DAY = "(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY = "(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)"

# RFC 9110 section 5.6.7: IMF-fixdate, then the two obsolete forms that a recipient must accept too.
_FORMS = tuple(
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        rf"{_DAY}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",
        rf"{_LONG_DAY}, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
        rf"{_DAY} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",
    )
)

# RFC 3339, and what else of ISO 8601 is in use: fewer separators, no seconds, no zone (which then is UTC).
_ISO = re.compile(
    r"(?P<year>\d{4})-?(?P<month>\d\d)-?(?P<day>\d\d)[T ](?P<hour>\d\d):?(?P<minute>\d\d)"
    r"(?::?(?P<second>\d\d)(?P<fraction>\.\d{1,9})?)?"
    r" ?(?:Z|UTC|GMT|(?P<sign>[+-])(?P<zone_hour>\d\d):?(?P<zone_minute>\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)

# A comma, but for the one behind the name of a day, which belongs to a date.
_COMMA = re.compile(r"(?<!mon|tue|wed|thu|fri|sat|sun|day),", re.IGNORECASE)

_MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SECONDS_PER_DAY = 86_400
_SECONDS_PER_YEAR = 31_556_952
_START_OF_2020 = 1_577_836_800


def header_pairs(headers: Headers) -> Sequence[tuple[str, str]]:
    """``headers`` line by line. A mapping that holds several lines of one name gives each, if it can."""
    of_mapping: Any = getattr(headers, "multi_items", None) or getattr(headers, "items", None)
    found: Any = headers if of_mapping is None else of_mapping()
    lines = cast("Sequence[tuple[str, str]]", found if isinstance(found, Sequence) else tuple(found))
    if all(isinstance(part, str) for line in lines for part in line):
        return lines
    return tuple([(_text(name), _text(value)) for name, value in lines])


def _text(part: object) -> str:
    return part.decode("latin-1") if isinstance(part, bytes) else str(part)


def field_lines(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """The values of all header lines called ``name`` (in lower case), in order, without the white space around them."""
    return [value.strip() for key, value in headers if key.lower() == name]


def field_items(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """The items of a field that is a list, from all of its lines; empty ones are skipped (RFC 9110 section 5.6.1)."""
    items = (item.strip() for line in field_lines(headers, name) for item in _COMMA.split(line))
    return [item for item in items if item]


def http_date(text: str, near: int = _START_OF_2020) -> int | None:
    """``text`` as seconds since 1970, or None if it has none of the three forms of RFC 9110 section 5.6.7.

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
    fraction = float(match["fraction"] or 0)
    ahead = int(match["zone_hour"] or 0) * 3_600 + int(match["zone_minute"] or 0) * 60
    return moment + fraction + (ahead if match["sign"] == "-" else -ahead)


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
