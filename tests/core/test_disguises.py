"""Each status, each code, each disguise: what an answer means does not depend on what was done to it on the way.

And a day of a machine whose caller always wants a token: no disguise makes it ask more often than the plain spelling.
"""

from __future__ import annotations

import gzip
import html
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from evertoken import (
    BlockKind,
    ClientCredentials,
    HttpResponse,
    Outcome,
    Problem,
    ProblemKind,
    TokenEndpoint,
    Wait,
    outcomes,
)
from evertoken._answer import read_answer
from tests.kits import canary
from tests.kits.driving import machine

pytestmark = pytest.mark.no_cover

Lines = tuple[tuple[str, str], ...]
Members = dict[str, object]

JSON: Lines = (("Content-Type", "application/json"),)
DAY = 86_400.0
DATE = ("Date", "Tue, 24 Nov 2026 12:00:00 GMT")
NOON = 1_795_521_600
MANGOPAY = canary.grant()
OTHER = ClientCredentials(TokenEndpoint("https://as.example/token"), "canary", canary.secret())


# The disguises
# -------------


@dataclass(frozen=True)
class Wire:
    """Headers and body of an answer."""

    headers: Lines
    body: bytes

    def response(self, status: int) -> HttpResponse:
        return HttpResponse(status, self.headers, self.body)


Disguise = Callable[[Members], Wire]


def plain(members: Members) -> Wire:
    return Wire(JSON, json.dumps(members).encode())


def _packed(codings: str | None, *packers: Callable[[bytes], bytes]) -> Disguise:
    def disguised(members: Members) -> Wire:
        body = plain(members).body
        for pack in packers:
            body = pack(body)
        return Wire(JSON if codings is None else (*JSON, ("content-encoding", codings)), body)

    return disguised


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def _bare(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def _marked(body: bytes) -> bytes:
    return b"\xef\xbb\xbf" + body


def _written(codec: str, media_type: str, **more: object) -> Disguise:
    """In another character set, with a field that needs one."""

    def disguised(members: Members) -> Wire:
        body = json.dumps(members | more, ensure_ascii=False).encode(codec)
        return Wire((("Content-Type", media_type),), body)

    return disguised


def _twice(note: str) -> Disguise:
    """All names twice, or one that nobody needs."""

    def disguised(members: Members) -> Wire:
        inside = json.dumps(members)[1:-1]
        return Wire(JSON, f"{{{note or inside},{inside}}}".encode())

    return disguised


WORDS = "verrouill\u00e9 \u00e0 la main"
DISGUISES: dict[str, Disguise] = {
    "plain": plain,
    "byte order mark": _packed(None, _marked),
    "gzip": _packed("gzip", _gzip),
    "gzip that no header names": _packed(None, _gzip),
    "gzip of a byte order mark": _packed("GZIP", _marked, _gzip),
    "gzip, twice": _packed("gzip, gzip", _gzip, _gzip),
    "deflate, as it should be": _packed("deflate", zlib.compress),
    "deflate, bare": _packed("Deflate", _bare),
    "a compression that has been undone": _packed("gzip, br"),
    "a deflate that has been undone": _packed("deflate"),
    "ISO-8859-1": _written("latin-1", "application/json; charset=ISO-8859-1", note=WORDS),
    "ISO-8859-15, in quotes": _written("iso8859-15", 'application/json;charset="iso-8859-15"', note="\u20ac"),
    "windows-1252": _written("cp1252", "text/plain; charset=Windows-1252", note="\u201cno\u201d"),
    "Shift_JIS, where a character holds a backslash": _written(
        "shift_jis", "application/json; charset=Shift_JIS", note="\u8868"
    ),
    "bytes of no character set": _written("latin-1", "application/json", note=WORDS),
    "UTF-16": _written("utf-16", "application/json; charset=utf-16", note=WORDS),
    "UTF-16LE": _written("utf-16-le", "application/json; charset=UTF-16LE", note=WORDS),
    "UTF-16BE that no header names": _written("utf-16-be", "application/json", note=WORDS),
    "UTF-32": _written("utf-32", "application/json", note=WORDS),
    "a wrong character set": _written("utf-8", "application/json; charset=utf-16", note=WORDS),
    "no character set": _written("utf-8", 'application/json; charset="rot13"', note=WORDS),
    "half a surrogate pair": lambda members: Wire(JSON, b'{"note":"\xed\xa0\x80",' + plain(members).body[1:]),
    "every name twice": _twice(""),
    "a name twice that nobody needs": _twice('"note":1,"note":2'),
    "a page's media type": lambda members: Wire((("Content-Type", "text/html"),), plain(members).body),
    "a line break and a tab in a string": lambda members: Wire(
        JSON, b'{"note":"one\ntwo\t",' + plain(members).body[1:]
    ),
    "brackets in a string": lambda members: Wire(JSON, b'{"note":"' + b'\\"[' * 300 + b'",' + plain(members).body[1:]),
    "gzip, in two members": lambda members: Wire(
        (*JSON, ("Content-Encoding", "gzip")), _gzip(plain(members).body[:9]) + _gzip(plain(members).body[9:])
    ),
    "white space around": lambda members: Wire((), b" \r\n\t" + plain(members).body + b"\r\n\r\n"),
}
# A grant that can be read in two ways is not taken; a refusal that can is understood.
OF_REFUSALS: dict[str, Disguise] = {
    "NaN beside it": lambda members: Wire(JSON, b'{"note":NaN,' + plain(members).body[1:]),
    "an endless number beside it": lambda members: Wire(
        JSON, b'{"note":' + b"9" * 9_000 + b"," + plain(members).body[1:]
    ),
    "something behind it": lambda members: Wire(JSON, plain(members).body + b"<!-- served by web7 -->"),
    "a form": lambda members: Wire(
        (("Content-Type", "application/x-www-form-urlencoded"),),
        b"error_description=No%20such+thing&"
        + b"&".join(f"{name}={value}".encode() for name, value in members.items()),
    ),
    "capitals": lambda members: plain({name: str(value).upper() for name, value in members.items()}),
    "spaces": lambda members: plain({name: f" {value}\n" for name, value in members.items()}),
    "Mangopay's family": lambda members: plain({"Type": members["error"], "Message": "No.", "Id": "1", "Date": 1.5}),
    "a list of one": lambda members: Wire(JSON, b"[" + plain(members).body + b"]"),
    "a guard against inclusion in scripts": lambda members: Wire(JSON, b")]}',\n" + plain(members).body),
    "a warning of PHP before it": lambda members: Wire(
        (("Content-Type", "text/html"),),
        b"<br />\n<b>Warning</b>: no such {key} on line 7<br />\n" + plain(members).body,
    ),
    "gzip of ISO-8859-1": lambda members: Wire(
        (("Content-Type", "application/json;charset=iso-8859-1"), ("Content-Encoding", "gzip")),
        _gzip(json.dumps({"error_description": WORDS} | members, ensure_ascii=False).encode("latin-1")),
    ),
}


def _form(members: Members) -> Wire:
    fields = "&".join(f"{name}={value}" for name, value in members.items())
    return Wire((), f"{fields}&error_description=This account has been locked".encode())


# Read for the codes that are known, and for nothing else.
BROKEN: dict[str, Disguise] = {
    "a comma too many": lambda members: Wire(JSON, plain(members).body[:-1] + b",}"),
    "cut short": lambda members: Wire(JSON, plain(members).body[:-1] + b', "error_description": "This acc'),
    "longer than is read": lambda members: Wire(
        JSON, plain(members).body[:-1] + b', "note": "' + b"long " * 20_000 + b'"}'
    ),
    "gzip, cut short": lambda members: Wire(JSON, _gzip(plain({**members, "note": WORDS * 99}).body)[:-8]),
    "brackets without end": lambda members: Wire(JSON, plain(members).body[:-1] + b', "note": ' + b"[" * 300),
    "a form with spaces": _form,
    "one word": lambda members: Wire((), f" {members['error']}\n".encode()),
    "XML": lambda members: Wire((), f"<OAuth><error>{members['error']}</error></OAuth>".encode()),
    "a page": lambda members: Wire(
        (), f"<html><body>{{}}<pre>{html.escape(json.dumps(members, indent=2))}</pre>".encode()
    ),
    "text in text": lambda members: Wire(JSON, json.dumps(json.dumps(members)).encode()),
    "a list of errors": lambda members: plain({"errors": [{"code": members["error"], "message": WORDS}]}),
    "an object of its own": lambda members: plain({"error": {"status": 400, "code": members["error"]}}),
    "another name for it": lambda members: plain({"errorCode": members["error"], "errorSummary": WORDS}),
    "words behind it": lambda members: plain({"error": f"{members['error']}: no such thing"}),
    "what cannot be seen behind it": lambda members: plain({"error": f"{members['error']}\u200b"}),
    "a name of the status before it": lambda members: plain({"error": "Bad Request", "Type": members["error"]}),
    "a challenge beside nothing": lambda members: Wire(
        (("WWW-Authenticate", f'Bearer error="{members["error"]}"'),), b""
    ),
}


# What they mean
# --------------

STATUSES = (200, 201, 204, 302, 400, 401, 403, 404, 407, 408, 422, 425, 429, 500, 503)
LOCK = "unauthorized_client"
REFUSALS = ("invalid_request", "invalid_grant", "unsupported_grant_type", "invalid_scope", "invalid_target")
OWN_WORDS = ("scope_invalid", "invalid_client_metadata", "incorrect_client_credentials")
CODES = (LOCK, "invalid_client", *REFUSALS, "access_denied", "temporarily_unavailable", "server_error", *OWN_WORDS)


def meaning(status: int, code: str, grant: ClientCredentials) -> tuple[object, ...]:
    """What a code means with a status, as the documentation of :mod:`evertoken.outcomes` has it."""
    outage = code in ("temporarily_unavailable", "server_error")
    if code == LOCK and status < 500 and grant is MANGOPAY:
        return (BlockKind.LOCKED,)
    if status == 429:
        return (BlockKind.RATE_LIMITED,)
    if status in (407, 408, 425) or status >= 500:
        return (outcomes.Failed, status != 407 and not outage and code not in OWN_WORDS)
    if outage:
        return (outcomes.Failed, False)
    if code in OWN_WORDS and status not in (400, 401):
        return (outcomes.Malformed if status < 300 else BlockKind.UNCLEAR,)
    return (BlockKind.REFUSED, code in (LOCK, "invalid_client"))


def told(outcome: Outcome) -> tuple[object, ...]:
    if isinstance(outcome, outcomes.Blocked):
        of_credentials = outcome.problem.kind is ProblemKind.CREDENTIALS_REFUSED
        return (outcome.kind, of_credentials) if outcome.kind is BlockKind.REFUSED else (outcome.kind,)
    return (type(outcome), outcome.lasting) if isinstance(outcome, outcomes.Failed) else (type(outcome),)


def read(grant: ClientCredentials, response: HttpResponse) -> Outcome:
    return read_answer(grant, response, max_body=65_536)


@pytest.mark.parametrize("disguise", [*DISGUISES, *OF_REFUSALS, *BROKEN])
def test_a_refusal_means_the_same_in_every_disguise_under_every_status(disguise: str) -> None:
    disguised = (DISGUISES | OF_REFUSALS | BROKEN)[disguise]
    for code in CODES:
        # A word of the server's own counts where it is OAuth's family that says it, in JSON or a form.
        if disguise in ("Mangopay's family", "a warning of PHP before it", *BROKEN) and code in OWN_WORDS:
            continue
        answer = disguised({"error": code})
        for status in STATUSES:
            for grant in (MANGOPAY, OTHER) if code == LOCK else (OTHER,):
                outcome = read(grant, answer.response(status))
                assert told(outcome) == meaning(status, code, grant), (status, code)
                problem = getattr(outcome, "problem", None)
                assert isinstance(problem, Problem)
                shown = "" if status == 407 else code  # A proxy's words may hold its own password.
                assert (problem.status, (problem.error or "").lower()) == (status, shown)


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize(
    ("members", "expires_in"),
    [
        ({"token_type": "bearer", "expires_in": 1199}, 1199.0),
        ({"token_type": "BearerToken", "expires_in": "1199.9"}, 1199.0),
        ({"expires_in": " 1199 "}, 1199.0),
        ({"token_type": None, "expires_in": None, "scope": "a b"}, None),
        ({"token_type": "Bearer", "expires_in": 1199.5, "error": "invalid_client"}, 1199.0),
    ],
    ids=["plain", "Apigee", "no type", "nulls", "an error beside it"],
)
def test_a_grant_with_one_sensible_reading_is_taken_in_every_disguise(
    status: int, disguise: str, members: Members, expires_in: float | None
) -> None:
    answer = DISGUISES[disguise]({"access_token": canary.token(), **members})
    scope = members.get("scope")
    assert read(OTHER, answer.response(status)) == outcomes.Granted(canary.token(), expires_in, scope)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("disguise", [*list(OF_REFUSALS)[:4], "a list of one", *list(BROKEN)[:9]])
def test_a_grant_that_can_be_read_in_two_ways_is_not_taken_and_its_token_not_told(disguise: str) -> None:
    members: Members = {"access_token": canary.token(), "token_type": "bearer", "expires_in": 1199, "error": None}
    for status in (200, 201):
        outcome = read(OTHER, (OF_REFUSALS | BROKEN)[disguise](members).response(status))
        assert isinstance(outcome, outcomes.Malformed)
        canary.assert_clean(outcome)


# How often a machine asks
# ------------------------


def requests_in_a_day(grant: ClientCredentials, answer: Callable[[int], HttpResponse]) -> int:
    """How often a machine asks in a day, if a caller always wants a token and the ``n``-th answer is ``answer(n)``."""
    m, now, asked = machine(credentials=grant, draw=0.5), 0.0, 0
    while now < DAY:
        action = m.poll(now)
        if isinstance(action, Wait):
            now = action.until
            continue
        m.receive_response(now, m.start_request(now), answer(asked))
        asked += 1
    return asked


def _always(status: int, wire: Wire) -> Callable[[int], HttpResponse]:
    return lambda _: wire.response(status)


def _grants(disguise: Disguise, status: int = 200, **members: object) -> Callable[[int], HttpResponse]:
    return lambda n: disguise({"access_token": canary.token(n), **members}).response(status)


ROWS: dict[str, tuple[Callable[[int], HttpResponse], Callable[[int], HttpResponse]]] = {
    **{
        f"a grant: {name}": (_grants(disguise, expires_in=1199), _grants(plain, token_type="bearer", expires_in=1199))
        for name, disguise in DISGUISES.items()
    },
    **{
        f"a grant: expires_in {lifetime!r}": (_grants(plain, expires_in=lifetime), _grants(plain, expires_in=3599))
        for lifetime in (3599.5, "3599.0", " 3599", "3599 ", "3.599e3", "+3599")
    },
    "a grant: 201": (_grants(plain, 201, token_type="BearerToken", expires_in=900), _grants(plain, expires_in=900)),
    **{
        f"a lock: {name}": (_always(400, disguise({"error": LOCK})), _always(400, plain({"error": LOCK})))
        for name, disguise in (DISGUISES | OF_REFUSALS | BROKEN).items()
    },
    **{
        f"{code} with {status}": (_always(status, plain({"error": code})), _always(400, plain({"error": code})))
        for code in (LOCK, "invalid_client", "invalid_scope")
        for status in (200, 201, 302, 401, 403, 404, 422)
    },
    **{
        f"{code} with {status}": (_always(status, plain({"error": code})), _always(200, plain({})))
        for code in (LOCK, "invalid_client", "invalid_scope")
        for status in (408, 425, 500, 503)
    },
    **{
        f"{code} with {status}": (
            _always(status, plain({"error": code})),
            _always(400, plain({"error": "invalid_scope"})),
        )
        for code in OWN_WORDS
        for status in (400, 401)
    },
}


@pytest.mark.parametrize("row", ROWS)
def test_no_disguise_makes_a_machine_ask_more_often_than_the_plain_spelling(row: str) -> None:
    odd, plainly = ROWS[row]
    most = requests_in_a_day(MANGOPAY, plainly)
    assert 0 < requests_in_a_day(MANGOPAY, odd) <= most < 300


TWELVE_HOURS = 43_200
STATED: dict[str, Lines] = {
    "milliseconds": (("retry-after-ms", f"{TWELVE_HOURS}000"),),
    "hours on a clock": (("Retry-After", "12:00:00"),),
    "a sentence": (("Retry-After", "in 12 hours"),),
    "a date in another zone": (DATE, ("Retry-After", "Wed, 25 Nov 2026 01:00:00 +0100")),
    "seconds": (("Retry-After", f"{TWELVE_HOURS}"),),
    "seconds with their unit": (("Retry-After", f"{TWELVE_HOURS}s"),),
    "hours": (("Retry-After", "12h"),),
    "an ISO duration": (("Retry-After", "PT12H"),),
    "a date": (DATE, ("Retry-After", "Wed, 25 Nov 2026 00:00:00 GMT")),
    "an ISO date": (DATE, ("Retry-After", "2026-11-25T00:00:00Z")),
    "Unix time": (DATE, ("Retry-After", f"{NOON + TWELVE_HOURS}")),
    "Unix time in ms": (DATE, ("Retry-After", f"{NOON + TWELVE_HOURS}000")),
    **{
        f"{family} {name}": (DATE, (f"{family}-Remaining", "0"), (f"{family}-Reset", reset))
        for family in ("X-RateLimit", "X-Rate-Limit", "RateLimit")
        for name, reset in {
            "in seconds": f"{TWELVE_HOURS}",
            "in Unix time": f"{NOON + TWELVE_HOURS}",
            "in Unix time in ms": f"{NOON + TWELVE_HOURS}000",
            "as an ISO date": "2026-11-25T00:00:00Z",
        }.items()
    },
    "RateLimit, to draft 07": (("RateLimit", f"limit=9, remaining=0, reset={TWELVE_HOURS}"),),
    "RateLimit, from draft 08": (("RateLimit", f'"burst";r=3;t=5, "day";r=0;t={TWELVE_HOURS}'),),
}


@pytest.mark.parametrize("spelling", STATED)
def test_a_stated_wait_is_kept_in_every_spelling(spelling: str) -> None:
    response = HttpResponse(429, STATED[spelling], b"")
    assert getattr(read(OTHER, response), "retry_after", None) == TWELVE_HOURS
    assert requests_in_a_day(OTHER, lambda _: response) == 2


@pytest.mark.parametrize(
    "headers",
    [
        (("Retry-After", f"{NOON + 900}"),),
        (("Retry-After", f"{NOON + 900}000"),),
        (("Retry-After", "2026-11-24T12:15:00Z"),),
        (("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", f"{NOON + 900}")),
        (("Retry-After", "9" * 30),),
        (DATE, ("Retry-After", f"{NOON - 900}")),
    ],
    ids=str,
)
def test_a_moment_that_cannot_be_compared_is_no_wait_and_the_default_doubles(headers: Lines) -> None:
    response = HttpResponse(429, headers, b"")
    assert getattr(read(OTHER, response), "retry_after", 0.0) is None
    assert requests_in_a_day(OTHER, lambda _: response) == requests_in_a_day(OTHER, lambda _: HttpResponse(429)) <= 30
