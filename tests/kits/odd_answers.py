"""The table of odd answers: nine dimensions of what a server, or somebody in its place, can send for a token request.

Each row changes one thing about an ordinary answer and names the one outcome that must come of it, for a grant of
Mangopay's. ``test_odd_answers.py`` also crosses the dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import NamedTuple

from evertoken import BlockKind, HttpResponse, outcomes
from evertoken._answer import read_answer
from tests.kits import canary

__all__ = ("DIMENSIONS", "PAIRS", "UNCHECKED", "Odd", "Parts", "Shape", "Size", "assert_pairs", "outcome_of", "rows")

UNCHECKED = -1.0
"""The seconds of a row that says nothing about them."""
TOKEN = canary.token()
DATE = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
NOW = 784_111_777

GRANTED, FAILED, MALFORMED = outcomes.Granted, outcomes.Failed, outcomes.Malformed
LOCKED, REFUSED, UNCLEAR, RATE_LIMITED = BlockKind

Meaning = BlockKind | type[outcomes.Outcome]
"""The kind of a block, or the class of any other outcome."""


class Shape(NamedTuple):
    """A body: OBJECT stands for the JSON object that is meant, MEMBERS for what is between its braces."""

    template: str = "OBJECT"
    codec: str = "utf-8"


class Size(NamedTuple):
    """The body is padded with spaces or cut to ``length`` bytes (None: left alone)."""

    length: int | None = None
    max_body: int = 65_536


@dataclass(frozen=True, slots=True)
class Parts:
    """An answer, still in its parts. JSON values are texts, so that they can be wrong; empty ones are left out."""

    status: int = 200
    media_type: str | None = "application/json"
    shape: Shape = Shape("OBJECT")  # noqa: RUF009 (immutable)
    access_token: str = f'"{TOKEN}"'
    token_type: str = '"bearer"'
    expires_in: str = "1199"
    error: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    size: Size = Size(None)  # noqa: RUF009 (immutable)

    def response(self) -> HttpResponse:
        """The answer as it would arrive."""
        media_type = () if self.media_type is None else (("Content-Type", self.media_type),)
        return HttpResponse(self.status, (*media_type, *self.headers), self._body())

    def _body(self) -> bytes:
        named = {name: getattr(self, name) for name in ("access_token", "token_type", "expires_in")}
        members = ",".join((*(f'"{name}":{value}' for name, value in named.items() if value), *_some(self.error)))
        text = self.shape.template.replace("OBJECT", f"{{{members}}}").replace("MEMBERS", members)
        body = text.encode(self.shape.codec, "surrogatepass" if self.shape.codec.startswith("utf") else "replace")
        return body if self.size.length is None else body.ljust(self.size.length)[: self.size.length]


class Odd(NamedTuple):
    """One row: the changed dimension, its value, the outcome, and the seconds in it (lifetime or Retry-After)."""

    dimension: str
    value: object
    outcome: Meaning
    seconds: float | None = UNCHECKED

    def parts(self) -> Parts:
        """The answer that the row is about."""
        return self.applied_to(_BASES.get(self.dimension, Parts()))

    def applied_to(self, parts: Parts) -> Parts:
        """``parts``, changed as the row says."""
        return replace(parts, **{self.dimension: self.value})  # type: ignore[arg-type]


def meaning_of(outcome: outcomes.Outcome) -> Meaning:
    """What a row names of ``outcome``."""
    return outcome.kind if isinstance(outcome, outcomes.Blocked) else type(outcome)


def rows() -> list[Odd]:
    """Every row of every dimension."""
    return [row for dimension in DIMENSIONS.values() for row in dimension]


def outcome_of(parts: Parts) -> outcomes.Outcome:
    """What an answer of these parts means."""
    return read_answer(canary.grant(), parts.response(), max_body=parts.size.max_body)


def assert_pairs(one: str, other: str, every: int) -> None:
    """Two oddities together have a known outcome, which shows no secret.

    Each value of ``one`` dimension meets only one in ``every`` values of the ``other``, which takes less time.
    """
    for (i, first), (j, second) in product(enumerate(DIMENSIONS[one]), enumerate(DIMENSIONS[other])):
        if (i + j) % every == 0:
            outcome = outcome_of(second.applied_to(first.applied_to(Parts())))
            assert meaning_of(outcome) in (outcomes.Granted, outcomes.Failed, outcomes.Malformed, *BlockKind)
            assert not canary.find_marks(f"{outcome!r}"), (ascii(first.value), ascii(second.value))


def _some(text: str) -> tuple[str, ...]:
    return (text,) if text else ()


def _table(dimension: str, *cells: tuple[object, Meaning]) -> tuple[Odd, ...]:
    return tuple(Odd(dimension, value, outcome) for value, outcome in cells)


_BASES = {"error": Parts(status=400), "headers": Parts(status=429)}

_STATUS = (
    *(Odd("status", status, MALFORMED) for status in (-(10**5000), -429, -1, 0, 1, 20, 99, 100, 101, 102, 103, 199)),
    Odd("status", 200, GRANTED, 1199.0),
    Odd("status", 201, GRANTED, 1199.0),
    *(Odd("status", status, MALFORMED) for status in (202, 203, 204, 205, 206, 207, 226, 299)),
    *(Odd("status", status, UNCLEAR) for status in (300, 301, 302, 303, 304, 305, 307, 308, 399)),
    Odd("status", 400, UNCLEAR),
    Odd("status", 401, REFUSED),
    *(Odd("status", status, UNCLEAR) for status in (402, 403, 404, 405, 406, 409, 410, 411, 412, 413, 414, 415)),
    *(Odd("status", status, FAILED) for status in (407, 408, 425)),
    *(Odd("status", status, UNCLEAR) for status in (416, 417, 418, 421, 422, 423, 424, 426, 428, 430, 431, 451, 499)),
    Odd("status", 429, RATE_LIMITED, None),
    *(Odd("status", status, FAILED) for status in (500, 501, 502, 503, 504, 505, 511, 520, 524, 529, 599)),
    *(Odd("status", status, MALFORMED) for status in (600, 700, 999, 1000, 2000, 20000, 2**31, 2**64, 10**5000)),
)

# The media type never decides: servers name it wrongly, and the body speaks for itself.
_MEDIA_TYPE = tuple(
    Odd("media_type", media_type, GRANTED, 1199.0)
    for media_type in (
        None,
        "",
        " ",
        "application/json",
        "APPLICATION/JSON",
        "application/json;charset=UTF-8",
        "application/json; charset=utf-16",
        'application/json; charset="nonsense"',
        "application/json; charset=",
        "application/problem+json",
        "application/hal+json",
        "application/json, text/html",
        "application/vnd.mangopay+json",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "application/xml",
        "application/jwt",
        "text/html",
        "text/html; charset=utf-8",
        "text/plain",
        "text/json",
        "text/javascript",
        "text",
        "json",
        "*/*",
        "multipart/form-data; boundary=x",
        "image/gif",
        ";;;===",
        "\x00\r\n\u202e\ud800",
        "x" * 10_000,
    )
)

_SHAPE = _table(
    "shape",
    (Shape("OBJECT"), GRANTED),
    (Shape(" \t\r\n OBJECT \r\n"), GRANTED),
    (Shape('{"note":"caf\u00e9 \U0001f600",MEMBERS}'), GRANTED),
    (Shape('{"note":"\\ud800",MEMBERS}'), GRANTED),
    (Shape('{"note":{"deep":[[[{"er":null}]]]},MEMBERS}'), GRANTED),
    (Shape('{"note":1e400,MEMBERS}'), GRANTED),
    (Shape(f'{{"note":{"9" * 640},MEMBERS}}'), GRANTED),
    (Shape(f'{{"note":0.{"9" * 5_000},MEMBERS}}'), GRANTED),
    (Shape(f'{{"note":[{"[]," * 197}[]],MEMBERS}}'), GRANTED),
    (Shape(f'{{"note":[{"[]," * 198}[]],MEMBERS}}'), MALFORMED),
    (Shape(f'{{"note":{"9" * 641},MEMBERS}}'), MALFORMED),
    (Shape(f'{{"note":{"9" * 4_301},MEMBERS}}'), MALFORMED),
    (Shape(f'{{"note":-{"9" * 50_000},MEMBERS}}'), MALFORMED),
    (Shape('{"note":NaN,MEMBERS}'), MALFORMED),
    (Shape('{"note":Infinity,MEMBERS}'), MALFORMED),
    (Shape('{"note":-Infinity,MEMBERS}'), MALFORMED),
    (Shape('{"note":1,"note":1,MEMBERS}'), GRANTED),
    (Shape('{"note":{"a":1,"a":2},MEMBERS}'), GRANTED),
    (Shape("{MEMBERS,MEMBERS}"), GRANTED),
    (Shape('{"expires_in":1200,MEMBERS}'), MALFORMED),
    (Shape('{"expires_in":1199.0,MEMBERS}'), GRANTED),
    (Shape('{"expires_in":"1199","expires_in":1199.5,MEMBERS}'), GRANTED),
    (Shape('{"expires_in":[1199],MEMBERS}'), MALFORMED),
    (Shape('{"token_type":"Bearer","token_type":null,MEMBERS}'), GRANTED),
    (Shape(f'{{"access_token":"{TOKEN}\\n",MEMBERS}}'), GRANTED),
    (Shape('{"expires_in":true,MEMBERS}'), MALFORMED),
    (Shape('{"token_type":"mac",MEMBERS}'), MALFORMED),
    (Shape('{"scope":"a","scope":"b",MEMBERS}'), GRANTED),
    (Shape('{"access_token":"other",MEMBERS}'), MALFORMED),
    (Shape(f'{{"note":{"[" * 20_000}{"]" * 20_000},MEMBERS}}'), MALFORMED),
    (Shape(f'{{"note":{"[" * 150}{"]" * 150},MEMBERS}}'), GRANTED),
    (Shape("[" * 60_000), MALFORMED),
    (Shape('{"a":' * 12_000), MALFORMED),
    (Shape(""), MALFORMED),
    (Shape(" \r\n\t"), MALFORMED),
    (Shape("\x00"), MALFORMED),
    (Shape("{}"), MALFORMED),
    (Shape("[]"), MALFORMED),
    (Shape("null"), MALFORMED),
    (Shape("true"), MALFORMED),
    (Shape("0"), MALFORMED),
    (Shape("NaN"), MALFORMED),
    (Shape('"bearer"'), MALFORMED),
    (Shape("[OBJECT]"), MALFORMED),
    (Shape('{"data":OBJECT}'), MALFORMED),
    (Shape("OBJECTOBJECT"), MALFORMED),
    (Shape("OBJECT\nOBJECT"), MALFORMED),
    (Shape("OBJECT;"), MALFORMED),
    (Shape("OBJECT\x00"), MALFORMED),
    (Shape("{MEMBERS,}"), MALFORMED),
    (Shape("{MEMBERS"), MALFORMED),
    (Shape("MEMBERS"), MALFORMED),
    (Shape('{"note":"\n\t\x01\x00",MEMBERS}'), GRANTED),
    (Shape(f'{{"note":"{"[" * 300}\\"{{",MEMBERS}}'), GRANTED),
    (Shape(f'{{"note":"\\\\",{"[" * 300},"",MEMBERS}}'), MALFORMED),
    (Shape("{'note':1,MEMBERS}"), MALFORMED),
    (Shape("{note:1,MEMBERS}"), MALFORMED),
    (Shape("/* hello */OBJECT"), MALFORMED),
    (Shape("callback(OBJECT)"), MALFORMED),
    (Shape(")]}',\nOBJECT"), MALFORMED),
    (Shape("5a\r\nOBJECT\r\n0\r\n\r\n"), MALFORMED),
    (Shape(f"access_token={TOKEN}&token_type=bearer"), MALFORMED),
    (Shape(f"access_token: {TOKEN}\ntoken_type: bearer\n"), MALFORMED),
    (Shape(TOKEN), MALFORMED),
    (Shape("<!DOCTYPE html><title>502</title>"), MALFORMED),
    (Shape("<script>OBJECT</script>"), MALFORMED),
    (Shape(f'<?xml version="1.0"?><access_token>{TOKEN}</access_token>'), MALFORMED),
    (Shape("Service unavailable"), MALFORMED),
    (Shape("\ufeffOBJECT"), GRANTED),
    (Shape("\ufeff \r\nOBJECT"), GRANTED),
    (Shape("\ufeff"), MALFORMED),
    (Shape("OBJECT", "utf-16"), GRANTED),
    (Shape("OBJECT", "utf-16-le"), GRANTED),
    (Shape("OBJECT", "utf-16-be"), GRANTED),
    (Shape("OBJECT", "utf-32"), GRANTED),
    (Shape('{"note":"\u00e9",MEMBERS}', "latin-1"), GRANTED),
    (Shape('{"note":"\ud800",MEMBERS}'), GRANTED),
    (Shape('{"access_token":"t\u00e9"}', "latin-1"), MALFORMED),
    (Shape("OBJECT", "cp037"), MALFORMED),
    (Shape("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\x56\x4a", "latin-1"), MALFORMED),
    (Shape("\xff\xfe\xfd\xfc", "latin-1"), MALFORMED),
)

_ACCESS_TOKEN = _table(
    "access_token",
    (f'"{TOKEN}"', GRANTED),
    ('"x"', GRANTED),
    ('"0"', GRANTED),
    ('"null"', GRANTED),
    ('"!"', GRANTED),
    ('"~"', GRANTED),
    ('"Bearer"', GRANTED),
    ('"a.b-c_d~e+f/g=="', GRANTED),
    ('"\\u0041\\/\\\\"', GRANTED),
    ('"\\""', GRANTED),
    ('"{}[]<>,;:@"', GRANTED),
    (f'"{"t" * 60_000}"', GRANTED),
    ("", MALFORMED),
    ("null", MALFORMED),
    ('""', MALFORMED),
    ('" "', MALFORMED),
    ('" abcd"', MALFORMED),
    ('"abcd "', MALFORMED),
    ('"ab cd"', MALFORMED),
    (f'"Bearer {TOKEN}"', MALFORMED),
    ('"ab\\tcd"', MALFORMED),
    ('"abcd\\r\\nX-Evil: 1"', MALFORMED),
    ('"abcd\\n"', GRANTED),
    ('"abcd\\r\\n"', GRANTED),
    ('"abcd\\n "', MALFORMED),
    ('"\\nabcd"', MALFORMED),
    ('"\\n"', MALFORMED),
    ('"ab\tcd"', MALFORMED),
    ('"ab\\u0000cd"', MALFORMED),
    ('"ab\\u007fcd"', MALFORMED),
    ('"ab\\u0080cd"', MALFORMED),
    ('"ab\\u00e9cd"', MALFORMED),
    ('"ab\\u200bcd"', MALFORMED),
    ('"\\ufeffabcd"', MALFORMED),
    ('"ab\\ud800cd"', MALFORMED),
    ('"\\ud83d\\ude00"', MALFORMED),
    ('"\uff41\uff42\uff43"', MALFORMED),
    ("true", MALFORMED),
    ("0", MALFORMED),
    ("1234567890123456", MALFORMED),
    ("1.5", MALFORMED),
    ("[]", MALFORMED),
    (f'["{TOKEN}"]', MALFORMED),
    ("{}", MALFORMED),
    (f'{{"value":"{TOKEN}"}}', MALFORMED),
)

_TOKEN_TYPE = _table(
    "token_type",
    ('"bearer"', GRANTED),
    ('"Bearer"', GRANTED),
    ('"BEARER"', GRANTED),
    ('"bEaReR"', GRANTED),
    ('"\\u0042earer"', GRANTED),
    ("", GRANTED),
    ("null", GRANTED),
    ('""', MALFORMED),
    ('" "', MALFORMED),
    ('" bearer"', GRANTED),
    ('"bearer "', GRANTED),
    ('"bearer\\n"', GRANTED),
    ('"bearer\\u0000"', MALFORMED),
    ('"bear"', MALFORMED),
    ('"bearertoken"', GRANTED),
    ('"BearerToken"', GRANTED),
    ('"bearer_token"', MALFORMED),
    ('"Bearer Token"', MALFORMED),
    ('"b\\u0435arer"', MALFORMED),
    ('"\uff42earer"', MALFORMED),
    ('"mac"', MALFORMED),
    ('"DPoP"', MALFORMED),
    ('"pop"', MALFORMED),
    ('"N_A"', MALFORMED),
    ('"basic"', MALFORMED),
    ('"JWT"', MALFORMED),
    ('"\\ud800"', MALFORMED),
    ("true", MALFORMED),
    ("1", MALFORMED),
    ("0.0", MALFORMED),
    ("[]", MALFORMED),
    ('["bearer"]', MALFORMED),
    ("{}", MALFORMED),
    ('{"bearer":true}', MALFORMED),
)

_NO_LIFETIMES = (
    *("0", "-1", "-0", "-1199", "0.0", "-0.0", "0.5", "1e-3", "1e400", "-1e400", "true", "false"),
    *('""', '" "', '"0"', '"00"', '"-1"', '"0.9"', '"1e400"', '"1e-9"', '"1 199"', '"1,199"', '"1_199"', '"0x4af"'),
    *('"true"', '"abc"', '"inf"', '"-inf"', '"nan"', '"1199.0.0"', '"1199e"', '".5"', '"+"', '"1199/1"'),
    *('"soon"', '"null"', '"NaN"', '"Infinity"', '"\u0661\u0661\u0669\u0669"', '"\u00b2"', '"PT20M"', '"1199s"'),
    *("[]", "[1199]", "{}", '{"seconds":1199}', "NaN", "Infinity", "9" * 641, "9" * 4_301, f'"{"9" * 641}"'),
)

_EXPIRES_IN = (
    Odd("expires_in", "", GRANTED, None),
    Odd("expires_in", "null", GRANTED, None),
    Odd("expires_in", "1", GRANTED, 1.0),
    Odd("expires_in", "1199", GRANTED, 1199.0),
    Odd("expires_in", "1199.0", GRANTED, 1199.0),
    Odd("expires_in", "1.199e3", GRANTED, 1199.0),
    Odd("expires_in", "1199.5", GRANTED, 1199.0),
    Odd("expires_in", "1199.999999", GRANTED, 1199.0),
    Odd("expires_in", "1.5", GRANTED, 1.0),
    Odd("expires_in", '"1199"', GRANTED, 1199.0),
    Odd("expires_in", '" 1199"', GRANTED, 1199.0),
    Odd("expires_in", '"1199 "', GRANTED, 1199.0),
    Odd("expires_in", '"\\t1199\\n"', GRANTED, 1199.0),
    Odd("expires_in", '"1199.0"', GRANTED, 1199.0),
    Odd("expires_in", '"1199.5"', GRANTED, 1199.0),
    Odd("expires_in", '"1199."', GRANTED, 1199.0),
    Odd("expires_in", '"+1199"', GRANTED, 1199.0),
    Odd("expires_in", '"1e3"', GRANTED, 1000.0),
    Odd("expires_in", '"1.199E+3"', GRANTED, 1199.0),
    Odd("expires_in", '"1e308"', GRANTED, 2.0**40),
    Odd("expires_in", '"0001199"', GRANTED, 1199.0),
    Odd("expires_in", '"\\u0031"', GRANTED, 1.0),
    Odd("expires_in", "1099511627775", GRANTED, 2.0**40 - 1),
    Odd("expires_in", "1099511627777", GRANTED, 2.0**40),
    Odd("expires_in", "1e308", GRANTED, 2.0**40),
    Odd("expires_in", "9" * 640, GRANTED, 2.0**40),
    Odd("expires_in", f'"{"9" * 640}"', GRANTED, 2.0**40),
    *(Odd("expires_in", value, MALFORMED) for value in _NO_LIFETIMES),
)

_ERROR = _table(
    "error",
    ("", UNCLEAR),
    ('"error":"unauthorized_client","error_description":"This account has been temporarily locked."', LOCKED),
    ('"error":"unauthorized_client"', LOCKED),
    ('"Type":"unauthorized_client"', LOCKED),
    ('"error":"invalid_client"', REFUSED),
    ('"error":"invalid_client","error_description":5', REFUSED),
    ('"error":"invalid_client","errors":{"invalid_client":["x"],"y":"z"}', REFUSED),
    ('"error":"invalid_client","errors":"none"', REFUSED),
    ('"error":"invalid_request"', REFUSED),
    ('"error":"invalid_grant"', REFUSED),
    ('"error":"unsupported_grant_type"', REFUSED),
    ('"error":"invalid_scope"', REFUSED),
    ('"error":"invalid_target"', REFUSED),
    ('"error":"access_denied"', REFUSED),
    ('"error":"","Type":"invalid_scope"', REFUSED),
    ('"error":null,"Type":"invalid_scope"', REFUSED),
    ('"error":"temporarily_unavailable"', FAILED),
    ('"error":"server_error"', FAILED),
    ('"Type":"server_error"', FAILED),
    ('"error":"INVALID_CLIENT"', REFUSED),
    ('"error":" invalid_client"', REFUSED),
    ('"error":"invalid_client\\n"', REFUSED),
    ('"error":"UNAUTHORIZED_CLIENT"', LOCKED),
    ('"error":""', UNCLEAR),
    ('"error":null', UNCLEAR),
    ('"error":true', UNCLEAR),
    ('"error":["invalid_client"]', REFUSED),
    ('"error":[1,null],"Type":"invalid_client"', REFUSED),
    ('"error":{"code":"invalid_client"}', REFUSED),
    ('"errors":["invalid_client"]', REFUSED),
    ('"errors":{"error":{"errors":[{"type":"invalid_scope"}]}}', REFUSED),
    ('"error":"Bad Request","Type":"unauthorized_client"', LOCKED),
    ('"error":"Bad Request","code":"invalid_client"', REFUSED),
    ('"error_description":"do not say error invalid_client","code":"scope_invalid"', UNCLEAR),
    *((f'"error":"{code}"', RATE_LIMITED) for code in ("slow_down", "too_many_requests", "rate_limit_exceeded")),
    *((f'"Type":"{code}"', FAILED) for code in ("service_unavailable", "internal_server_error")),
    ('"error":"invalid_token"', REFUSED),
    ('"error":"scope_invalid"', REFUSED),
    ('"error":"invalid_client_metadata"', REFUSED),
    ('"error":"incorrect_client_credentials"', REFUSED),
    ('"error":"unauthorized"', UNCLEAR),
    ('"error":"Bad Request"', UNCLEAR),
    ('"error":"Too Many Requests","status":429', UNCLEAR),
    ('"error":"_scope"', UNCLEAR),
    ('"error":"scope_"', UNCLEAR),
    ('"error":"scope__invalid"', UNCLEAR),
    ('"error":"scope_invalid2"', UNCLEAR),
    ('"error":"scope-invalid"', UNCLEAR),
    ('"Type":"scope_invalid"', UNCLEAR),
    ('"error":"\\ud800"', UNCLEAR),
    ('"error":"invalid_client","error":"invalid_client"', REFUSED),
    ('"error":"what","error":"invalid_client"', REFUSED),
    ('"error":"invalid_client","error":"unauthorized_client"', LOCKED),
    ('"error":"unauthorized_client","note":NaN', LOCKED),
    (f'"error":"unauthorized_client","note":{"9" * 5_000}', LOCKED),
    ('"error":"unauthorized_client","error_description":"line\none"', LOCKED),
    (f'"error":"{"x" * 10_000}"', UNCLEAR),
    ('"error":"no","error_description":"\\u001b[31mno\\u202e\\u0000\\n"', UNCLEAR),
    (f'"error":"{canary.secret()}","error_description":"you sent {canary.secret()}"', UNCLEAR),
    ('"Type":"param_error","Message":"wrong","Id":"1","Date":1733404277.5,"errors":{"a":"b"}', UNCLEAR),
    ('"Type":"rate_limit","Message":"Rate limit exceeded","Id":null,"Date":0,"Errors":null', RATE_LIMITED),
    ('"Type":5,"Message":[],"Id":{},"Date":"x","errors":[1]', UNCLEAR),
    ('"type":"about:blank","title":"Forbidden","status":403,"traceId":"00-1"', UNCLEAR),
)


def _waits(*cells: tuple[tuple[tuple[str, str], ...], float | None]) -> tuple[Odd, ...]:
    return tuple(Odd("headers", headers, RATE_LIMITED, seconds) for headers, seconds in cells)


def _windows(remaining: str, resets: str) -> tuple[tuple[str, str], ...]:
    return (DATE, ("X-RateLimit-Remaining", remaining), ("X-RateLimit-Reset", resets))


_HEADERS = _waits(
    ((), None),
    ((("Retry-After", "5"),), 5.0),
    ((("RETRY-AFTER", " 5\t"),), 5.0),
    ((("retry-after", "5.25"),), 5.25),
    ((("Retry-After", "0"),), 0.0),
    ((("Retry-After", "-5"),), None),
    ((("Retry-After", ""),), None),
    ((("Retry-After", "soon"),), None),
    ((("Retry-After", "5 minutes"),), 300.0),
    ((("Retry-After", "900s"),), 900.0),
    ((("Retry-After", "900 s"),), 900.0),
    ((("Retry-After", "15m"),), 900.0),
    ((("Retry-After", "1h30m"),), 5_400.0),
    ((("Retry-After", "250ms"),), 0.25),
    ((("Retry-After", "PT15M"),), 900.0),
    ((("Retry-After", "P1DT1H0.5S"),), 90_000.5),
    ((("Retry-After", "5 months"),), None),
    ((("Retry-After", "PT15,5M"),), 930.0),
    ((("Retry-After", "PT0.25H"),), 900.0),
    ((("Retry-After", "P1W"),), 604_800.0),
    ((("Retry-After", "P1M"),), None),
    ((("Retry-After", "1 week 1 day"),), 691_200.0),
    ((("Retry-After", "+900"),), 900.0),
    ((("Retry-After", "in 900 seconds"),), 900.0),
    ((("Retry-After", "in 900"),), None),
    ((("Retry-After", "00:15:00"),), 900.0),
    ((("Retry-After", "15:00"),), None),
    ((("Retry-After", "00:75:00"),), None),
    ((("Retry-After", "900,5m"),), 900.0),
    ((("Retry-After", "99999999h"),), None),
    ((("retry-after-ms", "900000"),), 900.0),
    ((("x-ms-retry-after-ms", "900000, 5"),), 900.0),
    ((("retry-after-ms", "15m"),), None),
    ((DATE, ("retry-after-ms", f"{NOW + 60}000")), None),
    ((("X-Retry-After-Seconds", "900"),), 900.0),
    ((("Retry_After", "900"),), 900.0),
    ((("Retry-After-Tomorrow", "900"),), None),
    ((("X-RateLimit-Reset-After", "900"),), 900.0),
    ((("X-RateLimit-Remaining", "1"), ("X-RateLimit-Reset-After", "900")), None),
    ((("Retry-After", "PT"),), None),
    ((("Retry-After", '"900"'),), 900.0),
    ((("Retry-After", "99999999"),), 99_999_999.0),
    ((("Retry-After", f"{NOW + 60}"),), None),
    ((DATE, ("Retry-After", f"{NOW + 60}")), 60.0),
    ((DATE, ("Retry-After", f"{NOW + 60}000")), 60.0),
    ((DATE, ("Retry-After", f"{NOW + 60}.5")), 60.5),
    ((DATE, ("Retry-After", f"{NOW - 60}")), None),
    ((("Retry-After", "1994-11-06T09:04:37Z"),), None),
    ((DATE, ("Retry-After", "1994-11-06T09:04:37Z")), 900.0),
    ((DATE, ("Retry-After", "1994-11-06T10:04:37.250+01:00")), 900.25),
    ((DATE, ("Retry-After", "1994-11-06T04:04:37-0500")), 900.0),
    ((DATE, ("Retry-After", "19941106T090437Z")), 900.0),
    ((DATE, ("Retry-After", "1994-11-06 09:04")), 863.0),
    ((DATE, ("Retry-After", "1994-11-06T09:04:37,25Z")), 900.25),
    ((DATE, ("Retry-After", "Sun, 06 Nov 1994 09:04:37 UTC")), 900.0),
    ((DATE, ("Retry-After", "Sun, 06 Nov 1994 09:04:37 +0000")), 900.0),
    ((DATE, ("Retry-After", "Sun, 06 Nov 1994 10:04:37 +0100")), 900.0),
    ((DATE, ("Retry-After", "Sun, 6 Nov 1994 09:04:37 GMT")), 900.0),
    ((DATE, ("Retry-After", "6-Nov-1994 09:04:37 GMT")), 900.0),
    ((DATE, ("Retry-After", "Sun Nov  6 09:04:37 UTC 1994")), 900.0),
    ((DATE, ("Retry-After", "Sun, 06 Nov 1994 09:04:37")), None),
    ((("Date", "Sun, 6 Nov 1994 08:49:37 +0000"), ("Retry-After", f"{NOW + 60}")), 60.0),
    ((("Date", "1994-11-06T08:49:37Z"), ("Retry-After", f"{NOW + 60}")), 60.0),
    ((DATE, ("Retry-After", "1994-13-06T09:04:37Z")), None),
    ((DATE, ("Retry-After", "Sun, 06 Nov 1994 08:49:42 GMT, 7")), 7.0),
    ((("Retry-After", "1e3"),), None),
    ((("Retry-After", "NaN"),), None),
    ((("Retry-After", "inf"),), None),
    ((("Retry-After", "\u0665"),), None),
    ((("Retry-After", "9" * 5_000),), None),
    ((DATE, ("Retry-After", "9" * 5_000)), None),
    ((DATE, ("Retry-After", "9" * 21)), None),
    ((("Retry-After", "5"), ("Retry-After", "7"), ("Retry-After", "6")), 7.0),
    ((("Retry-After", "5, 7,"),), 7.0),
    ((("Retry-After", "Sun, 06 Nov 1994 08:49:42 GMT"),), None),
    ((DATE, ("Retry-After", "Sun, 06 Nov 1994 08:49:42 GMT")), 5.0),
    ((DATE, ("Retry-After", "Sunday, 06-Nov-94 08:49:42 GMT")), 5.0),
    ((DATE, ("Retry-After", "Sun Nov  6 08:49:42 1994")), 5.0),
    ((DATE, ("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")), 0.0),
    ((DATE, ("Retry-After", "Sun, 06 Nov 1994 08:49:36 GMT")), None),
    ((DATE, ("Retry-After", "Sun, 31 Feb 1995 08:49:36 GMT")), None),
    ((DATE, ("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT")), 252_618_189_022.0),
    ((("Date", "yesterday"), ("Retry-After", "Sun, 06 Nov 1994 08:49:42 GMT")), None),
    ((("Date", ""), *_windows("0", f"{NOW + 60}")[1:]), None),
    (_windows("0", f"{NOW + 60}")[1:], None),
    (_windows("0", f"{NOW + 60}"), 60.0),
    (_windows("1", f"{NOW + 60}"), None),
    (_windows("-3", f"{NOW + 60}"), 60.0),
    (_windows("0", f"{NOW}"), 0.0),
    (_windows("0", f"{NOW - 1}"), None),
    (_windows("0", "60"), 60.0),
    (_windows("0", "60")[1:], 60.0),
    (_windows("0", "15m"), 900.0),
    (_windows("0", f"{NOW + 60}000"), 60.0),
    (_windows("0", "1994-11-06T09:04:37Z"), 900.0),
    (_windows("0,1", "Sun, 06 Nov 1994 08:49:42 GMT, Sun, 06 Nov 1994 09:49:42 GMT"), 5.0),
    (_windows("0;w=60", "60;w=60"), 60.0),
    ((DATE, ("X-Rate-Limit-Remaining", "0"), ("X-Rate-Limit-Reset", f"{NOW + 60}")), 60.0),
    ((DATE, ("X-Rate-Limit-Reset", f"{NOW + 60}")), 60.0),
    ((("RateLimit-Remaining", "0"), ("RateLimit-Reset", "50"), ("RateLimit-Limit", "100, 100;w=60")), 50.0),
    ((("RateLimit-Remaining", "7"), ("RateLimit-Reset", "50")), None),
    ((("RateLimit-Reset", "50"),), 50.0),
    ((("RateLimit-Reset", "50, 60"),), None),
    ((("RateLimit", "limit=100, remaining=0, reset=50"), ("RateLimit-Policy", "100;w=60")), 50.0),
    ((("RateLimit", "limit=100, remaining=3, reset=50"),), None),
    ((("RateLimit", "limit=100"), ("RateLimit", "remaining=0"), ("ratelimit", "reset=50")), 50.0),
    ((("RateLimit", '"default";r=0;t=50'), ("RateLimit-Policy", '"default";q=100;w=60')), 50.0),
    ((("RateLimit", '"default";r=1;t=50'),), None),
    ((("RateLimit", '"burst";r=5;t=9, "day";r=0;t=50'),), 50.0),
    ((("RateLimit", '"day";r=0'), ("RateLimit-Policy", '"burst";q=9;w=5, "day";q=100;w=60')), 60.0),
    ((("RateLimit", '"day";r=0'),), None),
    ((("RateLimit", "nonsense"), ("RateLimit-Policy", "nonsense")), None),
    ((("RateLimit", '"a";r=0;t=50'), *_windows("0", "70")), 70.0),
    (_windows("0", "never"), None),
    (_windows("none", f"{NOW + 60}"), None),
    (_windows("", ""), None),
    (_windows("0,0,5,6", f"{NOW + 60},{NOW + 120},{NOW + 180},{NOW + 240}"), 120.0),
    (_windows(" 0 ,\t0, ", f" {NOW + 120} , {NOW + 60} , "), 120.0),
    (_windows("x,0", f"{NOW + 120},{NOW + 60}"), 60.0),
    (_windows("0,0", f"{NOW + 60},x"), 60.0),
    (_windows("0,0", f"{NOW + 60}"), None),
    ((*_windows("0", f"{NOW + 60}"), *_windows("0", f"{NOW + 120}")), 120.0),
    ((*_windows("0", f"{NOW + 60}"), ("Retry-After", "5")), 5.0),
    ((*_windows("0", f"{NOW + 60}"), ("Retry-After", "soon")), 60.0),
    (_windows("0", "9" * 5_000), None),
    ((("Location", f"https://{TOKEN}:{TOKEN}@other.example/{TOKEN}?token={TOKEN}#{TOKEN}"),), None),
    ((("Location", "https://[bad/"), ("WWW-Authenticate", '",,="\\')), None),
    ((("", ""), ("\x00", "\ud800"), ("Retry-After\u0130", "5")), None),
    (tuple(("X-Many", str(n)) for n in range(2_000)), None),
)

WHOLE = len(Parts().response().body)

_SIZE = (
    *(Odd("size", Size(length), MALFORMED) for length in (0, 1, 2, 5, 10, 20, 30, 40, 50, WHOLE - 2, WHOLE - 1)),
    *(Odd("size", Size(length), GRANTED) for length in (WHOLE, WHOLE + 1, 1_024, 4_096, 65_535, 65_536)),
    *(Odd("size", Size(length), MALFORMED) for length in (65_537, 65_600, 131_072, 300_000)),
    *(Odd("size", Size(WHOLE, limit), MALFORMED) for limit in (1, 2, 10, WHOLE - 2, WHOLE - 1)),
    *(Odd("size", Size(WHOLE, limit), GRANTED) for limit in (WHOLE, WHOLE + 1, 2**31)),
    Odd("size", Size(300_000, 300_000), GRANTED),
    Odd("size", Size(300_000, 299_999), MALFORMED),
)

DIMENSIONS: dict[str, tuple[Odd, ...]] = {
    "status": _STATUS,
    "media_type": _MEDIA_TYPE,
    "shape": _SHAPE,
    "access_token": _ACCESS_TOKEN,
    "token_type": _TOKEN_TYPE,
    "expires_in": _EXPIRES_IN,
    "error": _ERROR,
    "headers": _HEADERS,
    "size": _SIZE,
}

PAIRS = list(combinations(DIMENSIONS, 2))
