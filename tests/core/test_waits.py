"""What Retry-After and the headers of rate limits are worth, and dates. More rows stand in ``odd_answers.py``."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertoken._http import LONGEST, field_items, field_lines, http_date, iso_date, rate_limit_reset, retry_after

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
NOON = "Tue, 24 Nov 2026 12:00:00 GMT"
NOON_SECONDS = (datetime(2026, 11, 24, 12, tzinfo=UTC) - EPOCH).total_seconds()
TEXTS = st.text(max_size=40) | st.sampled_from(
    [
        *("0", "5", NOON, "1,2", "-1", "9" * 400, "1795521660", "1795521660000", "15m", "PT15M"),
        *("2026-11-24T12:15:00Z", "limit=1, remaining=0, reset=5", '"a";r=0;t=5, "b";r=0', '"b";w=7'),
    ]
)
FAMILIES = ("X-RateLimit", "x-rate-limit", "RateLimit")
NAMES = st.sampled_from(
    ["Date", "Retry-After", "retry-after", "RateLimit", "ratelimit-policy"]
    + [f"{family}-{part}" for family in FAMILIES for part in ("Reset", "remaining")]
)


def moments(first_year: int, last_year: int) -> st.SearchStrategy[datetime]:
    return st.datetimes(
        datetime(first_year, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
        datetime(last_year, 12, 31, 23, 59, 59),  # noqa: DTZ001
        timezones=st.just(UTC),
    ).map(lambda moment: moment.replace(microsecond=0))


def seconds_since_1970(moment: datetime) -> int:
    return round((moment - EPOCH) / timedelta(seconds=1))


def asctime(moment: datetime) -> str:
    day = f"{moment:%a %b} {moment.day:2d}"
    return f"{day} {moment:%H:%M:%S} {moment.year:04d}"


@given(moments(1, 9999))
def test_the_preferred_form_of_a_date_is_read_as_the_standard_library_writes_it(moment: datetime) -> None:
    assert http_date(format_datetime(moment, usegmt=True)) == seconds_since_1970(moment)


@given(moments(1, 9999))
def test_the_form_of_asctime_is_read(moment: datetime) -> None:
    assert http_date(asctime(moment)) == seconds_since_1970(moment)


@given(moments(1971, 2069))
def test_the_form_of_rfc_850_is_read(moment: datetime) -> None:
    assert http_date(f"{moment:%A, %d-%b-%y %H:%M:%S} GMT") == seconds_since_1970(moment)


@pytest.mark.parametrize(
    ("two_digits", "near", "year"),
    [
        (94, 1994, 1994),
        (0, 1999, 2000),
        (99, 2000, 1999),
        (76, 2026, 2076),
        (77, 2026, 1977),
        (26, 2076, 2026),
        (25, 2076, 2125),
    ],
)
def test_a_year_of_two_digits_is_at_most_50_years_from_the_moment_it_is_compared_with(
    two_digits: int, near: int, year: int
) -> None:
    at = seconds_since_1970(datetime(near, 7, 1, tzinfo=UTC))
    expected = seconds_since_1970(datetime(year, 11, 6, 8, 49, 37, tzinfo=UTC))
    assert http_date(f"Sunday, 06-Nov-{two_digits:02d} 08:49:37 GMT", at) == expected


@pytest.mark.parametrize("year", [2000, 2023, 2024, 2100])
@pytest.mark.parametrize("month", range(1, 13))
def test_a_month_ends_on_its_last_day(year: int, month: int) -> None:
    last = (datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC) - timedelta(days=1)).day
    assert http_date(f"Mon, {last} {MONTHS[month - 1]} {year} 00:00:00 GMT") is not None
    assert http_date(f"Mon, {last + 1} {MONTHS[month - 1]} {year} 00:00:00 GMT") is None


@pytest.mark.parametrize(
    "text",
    [
        "Thu, 29 Feb 2024 00:00:00 GMT",
        "Tue, 29 Feb 2000 00:00:00 GMT",
        "tue, 31 dec 2024 23:59:60 gmt",
        "Mon, 30 Apr 2024 00:00:00 GMT",
    ],
)
def test_leap_days_leap_seconds_any_case_and_a_wrong_name_of_the_day_are_accepted(text: str) -> None:
    assert http_date(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Wed, 29 Feb 2023 00:00:00 GMT",
        "Thu, 29 Feb 1900 00:00:00 GMT",
        "Wed, 31 Apr 2024 00:00:00 GMT",
        "Wed, 00 Apr 2024 00:00:00 GMT",
        "Wed, 32 Jan 2024 00:00:00 GMT",
        "Mon, 01 Jan 2024 24:00:00 GMT",
        "Mon, 01 Jan 2024 00:60:00 GMT",
        "Mon, 01 Jan 2024 00:00:61 GMT",
        "Mon, 01 Jan 2024 00:00:00",
        "Mon, 01 Jan 2024 00:00:00 CET",
        "Mon, 01 Jan 2024 00:00:00 GMT\n",
        "Mon, 01 Foo 2024 00:00:00 GMT",
        "Mon, \u0660\u0661 Jan 2024 00:00:00 GMT",
        "Monday, 01-Jan-024 00:00:00 GMT",
        "Mon Jan  0 00:00:00 2024",
        "2024-01-01T00:00:00Z",
        "1704067200",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert http_date(text) is None


@given(moments(1, 9999), st.sampled_from(["Z", "z", "", "+00:00", " UTC", "+0000", "-00"]))
def test_a_date_of_iso_8601_is_read_as_the_standard_library_writes_it(moment: datetime, zone: str) -> None:
    written = moment.replace(tzinfo=None).isoformat()
    assert (
        iso_date(f"{written}{zone}") == iso_date(f"{written.replace('T', ' ')}.0{zone}") == seconds_since_1970(moment)
    )


@given(moments(2, 9998), st.integers(-23, 23), st.sampled_from([0, 30, 45]))
def test_the_zone_of_a_date_counts(moment: datetime, hours: int, minutes: int) -> None:
    ahead = timedelta(hours=hours, minutes=minutes if hours >= 0 else -minutes)
    sign, zone = ("-", -ahead) if ahead < timedelta(0) else ("+", ahead)
    written = (moment + ahead).replace(tzinfo=None).isoformat()
    spelt = f"{sign}{f'{zone}'.zfill(8)[:5]}"
    assert iso_date(f"{written}{spelt}") == seconds_since_1970(moment)
    there = moment + ahead
    day = f"{there.day} {MONTHS[there.month - 1]} {there.year:04d}"
    assert http_date(f"{there:%a}, {day} {there:%H:%M:%S} {spelt}") == seconds_since_1970(moment)


@pytest.mark.parametrize(
    "text",
    [
        *("", "2026-11-24", "2026-11-24T12", "2026-11-31T12:00:00Z", "2026-00-24T12:00:00Z", "2026-11-24T24:00:00Z"),
        *("2026-11-24T12:60:00Z", "26-11-24T12:00:00Z", "2026-11-24T12:00:00CET", "12:00:00"),
        "\u0662026-11-24T12:00:00Z",
    ],
)
def test_what_is_no_date_of_iso_8601_is_none(text: str) -> None:
    assert iso_date(text) is None


def test_the_items_of_a_list_are_found_and_dates_are_left_whole() -> None:
    headers = (("A", f"1, ,2,{NOON}"), ("a", ""), ("a", "Sunday, 06-Nov-94 08:49:37 GMT,x"))
    assert field_items(headers, "a") == ["1", "2", NOON, "Sunday, 06-Nov-94 08:49:37 GMT", "x"]


def test_lines_are_found_by_name_in_any_case_in_order_and_without_white_space() -> None:
    headers = (("A", " 1 "), ("b", "2"), ("a", "3\t"), ("a ", "4"))
    assert field_lines(headers, "a") == ["1", "3"]


def test_a_date_counts_only_against_the_date_of_the_same_answer() -> None:
    later = ("Retry-After", "Tue, 24 Nov 2026 12:02:00 GMT")
    assert retry_after([later]) is None
    assert retry_after([("Date", NOON), later]) == 120.0
    assert retry_after([("Date", "Tue, 24 Nov 2026 12:01:30 GMT"), later]) == 30.0


def test_of_several_dates_the_earliest_counts_and_unreadable_ones_do_not() -> None:
    dates = [("Date", NOON), ("Date", "Tue, 24 Nov 2026 11:59:00 GMT"), ("Date", "today")]
    assert retry_after([*dates, ("Retry-After", "Tue, 24 Nov 2026 12:00:10 GMT")]) == 70.0


def test_of_a_date_and_seconds_the_longer_wait_counts() -> None:
    later = ("Retry-After", "Tue, 24 Nov 2026 12:00:10 GMT")
    assert retry_after([("Date", NOON), later, ("Retry-After", "5")]) == 10.0
    assert retry_after([("Date", NOON), later, ("Retry-After", "15")]) == 15.0


def test_a_year_of_two_digits_is_read_near_the_date_of_the_answer() -> None:
    headers = [("Date", "Sat, 31 Dec 2089 23:59:50 GMT"), ("Retry-After", "Sunday, 01-Jan-90 00:00:00 GMT")]
    assert retry_after(headers) == 10.0


def test_the_latest_reset_counts_among_the_windows_that_are_used_up() -> None:
    """Mangopay, Rate limits: windows of 15 and 30 minutes, an hour and a day."""
    resets = ",".join(f"{NOON_SECONDS + wait:.0f}" for wait in (900, 1_800, 3_600, 86_400))
    headers = [("Date", NOON), ("X-RateLimit", "2300,4500,8799,9000"), ("X-RateLimit-Reset", resets)]
    assert rate_limit_reset([*headers, ("X-RateLimit-Remaining", "0,0,1,96600")]) == 1_800.0
    assert rate_limit_reset([*headers, ("X-RateLimit-Remaining", "0,0,0,0")]) == 86_400.0
    assert rate_limit_reset([*headers, ("X-RateLimit-Remaining", "1,1,1,1")]) is None
    assert rate_limit_reset([*headers, ("X-RateLimit-Remaining", "0,0,0")]) is None
    assert rate_limit_reset(headers) is None


def test_repeated_lines_are_as_good_as_commas() -> None:
    headers = [("Date", NOON)]
    headers += [("x-ratelimit-remaining", left) for left in ("0", "0", "7")]
    headers += [("X-RATELIMIT-RESET", f"{NOON_SECONDS + wait:.0f}") for wait in (60, 120, 180)]
    assert rate_limit_reset(headers) == 120.0


@pytest.mark.no_cover
@given(st.lists(st.tuples(NAMES | st.text(max_size=5), TEXTS), max_size=8))
def test_any_headers_give_a_finite_wait_or_none(headers: list[tuple[str, str]]) -> None:
    for wait in (retry_after(headers), rate_limit_reset(headers)):
        assert wait is None or (type(wait) is float and math.isfinite(wait) and 0.0 <= wait <= LONGEST)


@pytest.mark.no_cover
@given(st.text() | st.from_regex(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"), st.integers(-(2**62), 2**62))
def test_any_text_is_a_date_or_none(text: str, near: int) -> None:
    assert isinstance(http_date(text, near), int | None)
