"""What the server sends: the answer as a value, its delivery, and the exact bytes of every fault.

The wire forms are Mangopay's where it documents them (see "Authentication", "Rate limiting" and "Errors" in its
documentation), and what proxies and broken servers are known to send elsewhere.
"""

from __future__ import annotations

import enum
import functools
import json
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl

from evertoken._http import HttpResponse
from evertoken._secrecy import Unpicklable
from evertoken.testing.server._faults import ApiFault, TokenFault
from evertoken.testing.server._script import STATED_WAIT, ApiBehaviour, TokenBehaviour

Lines = tuple[tuple[str, str], ...]

JSON: Lines = (("Content-Type", "application/json; charset=utf-8"),)
TOKEN_ANSWER: Lines = (*JSON, ("Cache-Control", "no-store"), ("Pragma", "no-cache"))
HTML: Lines = (("Content-Type", "text/html; charset=utf-8"),)
TEXT: Lines = (("Content-Type", "text/plain; charset=utf-8"),)

# Enum members that every request is compared with: before Python 3.12, reading one through its class is slow.
TOKEN_FINE = TokenFault.NONE
API_FINE = ApiFault.NONE

LOCKED_TEXT = "This account has been temporarily locked for security reasons. Please try again later."


@enum.unique
class Delivery(enum.Enum):
    """How the bytes of an answer go out, once its delay is over."""

    WHOLE = "whole"
    """All at once."""
    DRIP = "drip"
    """Head and body at ``bytes_per_second``."""
    CUT = "cut"
    """The head, ``cut_after`` bytes of the body, and the connection is closed."""
    ENDLESS = "endless"
    """The head, and the body over and over, chunked, for as long as anyone reads."""
    CLOSE = "close"
    """Not a byte: the connection is closed."""
    HANG = "hang"
    """Not a byte, and the connection stays open."""


WHOLE = Delivery.WHOLE
HANG = Delivery.HANG


@dataclass(frozen=True, slots=True)
class ServerRequest(Unpicklable):
    """One request as it reached the server. ``path`` may have a query. The repr shows none of it but the method."""

    method: str
    path: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)


class ServerAnswer(NamedTuple):
    """What goes out, when and how. Whoever carries the bytes, a socket or a simulated network, interprets this.

    ``delay`` is in seconds, from the arrival of the request to the first byte (or to the close of the connection).
    ``response`` is None where no byte is sent: CLOSE and HANG.
    """

    delay: float
    response: HttpResponse | None
    delivery: Delivery = Delivery.WHOLE
    bytes_per_second: float = math.inf
    cut_after: int = 0

    def duration(self) -> float:
        """Seconds from the arrival to the last byte of the answer, ``math.inf`` if there is none."""
        if self.delivery in (Delivery.ENDLESS, Delivery.HANG):
            return math.inf
        if self.response is None or self.delivery is not Delivery.DRIP:
            return self.delay
        return self.delay + _wire_size(self.response) / self.bytes_per_second


def _wire_size(response: HttpResponse) -> int:
    lines = sum(len(name) + len(value) + 4 for name, value in response.headers)
    return len("HTTP/1.1 200 \r\n\r\n") + lines + len(response.body)


class Draft(NamedTuple):
    """An answer before the headers that every answer has. ``status`` is None where no byte is sent."""

    status: int | None
    headers: Lines = ()
    body: bytes = b""
    delivery: Delivery = WHOLE
    retry_after: int | None = None
    own: bool = True
    """Whether the API itself answers, and so adds its X-RateLimit headers: a proxy or a limiter in front does not."""
    dated: bool = False
    """Whether the answer makes no sense without a Date."""
    rejects: bool = False
    """Whether the answer is a 401 that is, or may be taken to be, about the bearer token."""
    exhausted: int | None = None
    """The Unix time at which the first rate limit window opens again; None while it is open."""

    def __repr__(self) -> str:
        return f"Draft({self.status}, {len(self.body)} bytes, {self.delivery.value})"


NOTHING = Draft(None, delivery=Delivery.CLOSE)
SILENCE = Draft(None, delivery=Delivery.HANG)


def http_date(wall: float) -> str:
    """``wall``, Unix time in seconds, as an IMF-fixdate (RFC 9110 section 5.6.7)."""
    return _imf_fixdate(int(wall))


@functools.lru_cache(maxsize=16)
def _imf_fixdate(second: int) -> str:
    days, rest = divmod(second, 86_400)
    year, month, day = _civil(days)
    name = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")[days % 7]
    clock = f"{rest // 3_600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{name}, {day:02} {_MONTHS[month - 1]} {year:04} {clock} GMT"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _civil(days: int) -> tuple[int, int, int]:
    # The Gregorian calendar repeats every 146,097 days; with years that begin in March, the leap day comes last.
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year_of_era + 400 * era + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1


def granted(token: str, expires_in: int | None) -> Draft:
    """200 with a token (RFC 6749 section 5.1)."""
    lifetime = "" if expires_in is None else f',"expires_in":{expires_in}'
    return Draft(200, TOKEN_ANSWER, f'{{"access_token":"{token}","token_type":"Bearer"{lifetime}}}'.encode())


@functools.cache
def oauth_error(status: int, error: str, description: str | None = None) -> Draft:
    """An error of RFC 6749 section 5.2. There are few of them, so each is made once and kept."""
    body = {"error": error} if description is None else {"error": error, "error_description": description}
    return Draft(status, TOKEN_ANSWER, json.dumps(body, separators=(",", ":")).encode())


def grant_refusal(body: bytes) -> tuple[Draft | None, str]:
    """The answer to a body that does not ask for the client credentials grant, None if it does; and the reason."""
    if body == b"grant_type=client_credentials":
        return None, ""
    grant_type = _grant_type(body)
    if grant_type == "client_credentials":
        return None, ""
    if grant_type is None:
        return oauth_error(400, "invalid_request", "grant_type is missing"), "no grant_type"
    return oauth_error(400, "unsupported_grant_type"), "another grant_type"


def _grant_type(body: bytes) -> object:
    """The grant type that ``body`` names, None if it names none.

    The documented body is a form. Mangopay's own SDKs also send JSON (Python, .NET) and multipart (PHP), under the
    content type of a form, and Mangopay takes both; so the kind of a body is told from its first characters.
    """
    text = body.decode("latin-1")
    if text.lstrip().startswith("{"):
        try:
            named: dict[str, object] = json.loads(body)
        except (ValueError, RecursionError):
            return None
        return named.get("grant_type")
    if text.startswith("--") and (part := _GRANT_TYPE_PART.search(text)):
        return part["value"]
    return dict(parse_qsl(text, keep_blank_values=True)).get("grant_type")


_GRANT_TYPE_PART = re.compile(
    r'\r\nContent-Disposition:[^\r\n]*;[ \t]*name="grant_type"[^\r\n]*\r\n'  # the part of that name,
    r"(?:[^\r\n]+\r\n)*\r\n"  # the rest of its head,
    r"(?P<value>[^\r\n]*)\r\n--",
    re.IGNORECASE,
)
"""Where multipart/form-data (RFC 7578) holds the grant type."""


def api_error(status: int, message: str, kind: str, wall: float) -> Draft:
    """Mangopay's own error family. ``message`` and ``kind`` need no escapes in JSON."""
    return Draft(status, JSON, f'{{"Message":"{message}","Type":"{kind}","Date":{int(wall)}}}'.encode())


def locked() -> Draft:
    """Mangopay's "Account temporarily blocked"."""
    return oauth_error(400, "unauthorized_client", LOCKED_TEXT)


def token_invalid(wall: float) -> Draft:
    """The 401 for an expired, revoked or unknown token."""
    message = "The authorization credentials are not valid"
    return api_error(401, message, "invalid_credentials", wall)._replace(rejects=True)


def rate_limited(wall: float, retry_after: int | None = None) -> Draft:
    """Mangopay's 429, with Retry-After in seconds unless that is None."""
    draft = api_error(429, "Rate limit exceeded. Please contact support for more assistance", "rate_limit", wall)
    return _stating(draft._replace(own=False), retry_after)


def over_the_limit(wall: float) -> Draft:
    """The 429 of a limit that was really reached, with the X-RateLimit headers that say so."""
    return rate_limited(wall)._replace(own=True, dated=True)


def not_found(wall: float) -> Draft:
    """404."""
    return api_error(404, "There is nothing at this path", "not_found", wall)


def not_a_post(wall: float) -> Draft:
    """405 of the token endpoint (RFC 6749 section 3.2: the client must use POST)."""
    draft = api_error(405, "The token endpoint takes POST only", "method_not_allowed", wall)
    return draft._replace(headers=(*draft.headers, ("Allow", "POST")))


def forbidden(wall: float) -> Draft:
    """Mangopay's 403, which is never about the token. The spelling of its type is Mangopay's."""
    return api_error(403, "This endpoint is not available for this account", "forbidden_ressource", wall)


def delivered(draft: Draft, fault: TokenFault | ApiFault) -> Draft:
    """``draft`` with the delivery that ``fault`` allows it."""
    way = None if fault is TOKEN_FINE or fault is API_FINE else _WAYS.get(fault)
    if way is None:
        return draft
    return NOTHING if way is Delivery.CLOSE else draft._replace(delivery=way)


_WAYS: dict[TokenFault | ApiFault, Delivery] = {
    TokenFault.DROPPED_AFTER: Delivery.CLOSE,
    ApiFault.DROPPED_AFTER: Delivery.CLOSE,
    TokenFault.DRIP: Delivery.DRIP,
    ApiFault.DRIP: Delivery.DRIP,
    TokenFault.CUT_BODY: Delivery.CUT,
    ApiFault.CUT_BODY: Delivery.CUT,
}


def sca(secret: str) -> Draft:
    """The 401 that asks for strong customer authentication; the redirect URL carries ``secret``."""
    challenge = f"PendingUserAction RedirectUrl=https://sca.mangopay.com?token={secret}"
    return Draft(401, (("WWW-Authenticate", challenge),))


def token_fault(behaviour: TokenBehaviour, wall: float) -> Draft | None:
    """The answer of a fault that issues no token; None for the faults that do."""
    fault = behaviour.fault
    if fault in _TOKEN_FAULTS:
        return _TOKEN_FAULTS[fault]
    match fault:
        case TokenFault.SERVER_ERROR:
            return _server_error(behaviour)
        case TokenFault.GZIP_BOMB:
            return Draft(200, (*JSON, ("Content-Encoding", "gzip")), gzip_bomb())
        case TokenFault.REDIRECT:
            return Draft(behaviour.status or 307, (("Location", behaviour.location),), own=False)
        case TokenFault.HTML:
            return _page(behaviour.status or 502, "Bad Gateway")
        case _:
            return _token_limit(behaviour, wall)


def _token_limit(behaviour: TokenBehaviour, wall: float) -> Draft | None:
    wait = STATED_WAIT if behaviour.retry_after is None else behaviour.retry_after
    draft = rate_limited(wall)
    match behaviour.fault:
        case TokenFault.RATE_LIMITED:
            return draft
        case TokenFault.RATE_LIMITED_RETRY_AFTER:
            return rate_limited(wall, wait)
        case TokenFault.RATE_LIMITED_RETRY_DATE:
            line = ("Retry-After", http_date(int(wall) + wait))
            return draft._replace(headers=(*draft.headers, line), retry_after=wait, dated=True)
        case TokenFault.RATE_LIMITED_RESET:
            return draft._replace(own=True, retry_after=wait, dated=True, exhausted=int(wall) + wait)
        case _:
            return None


def api_fault(behaviour: ApiBehaviour, wall: float) -> Draft | None:
    """The answer of a fault that strikes before the token is looked at; None for the others."""
    fault = behaviour.fault
    if fault is API_FINE:
        return None
    if fault in _API_FAULTS:
        return _API_FAULTS[fault]
    match fault:
        case ApiFault.SERVER_ERROR:
            return _server_error(behaviour)
        case ApiFault.UNAUTHORIZED:
            return token_invalid(wall)
        case ApiFault.UNAUTHORIZED_LEGACY:
            message = "Your authorization does not allow access to this resource"
            return api_error(401, message, "not_authorized", wall)._replace(rejects=True)
        case ApiFault.RATE_LIMITED:
            return rate_limited(wall, behaviour.retry_after)
        case _:
            return None


@functools.cache
def gzip_bomb() -> bytes:
    """48 kB of gzip that become 50 MB of spaces."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b" " * 1_000_000
    return b"".join([*(packer.compress(block) for _ in range(50)), packer.flush()])


def _stating(draft: Draft, retry_after: int | None) -> Draft:
    if retry_after is None:
        return draft
    return draft._replace(headers=(*draft.headers, ("Retry-After", str(retry_after))), retry_after=retry_after)


@functools.cache
def _page(status: int, title: str) -> Draft:
    text = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Draft(status, HTML, text.encode(), own=False)


def _ok(body: bytes) -> Draft:
    return Draft(200, TOKEN_ANSWER, body)


def _server_error(behaviour: TokenBehaviour | ApiBehaviour) -> Draft:
    return _stating(_page(behaviour.status or 500, "Server Error"), behaviour.retry_after)


# The answers that are always the same.
_TOKEN_FAULTS: dict[TokenFault, Draft] = {
    TokenFault.DROPPED_BEFORE: NOTHING,
    TokenFault.HANG: SILENCE,
    TokenFault.ENDLESS_BODY: Draft(200, JSON, b" " * 4_096, Delivery.ENDLESS),
    TokenFault.LOCKED: locked(),
    TokenFault.INVALID_CLIENT: oauth_error(401, "invalid_client"),
    TokenFault.FORBIDDEN: _page(403, "Forbidden"),
    TokenFault.EMPTY_BODY: _ok(b""),
    TokenFault.BAD_JSON: _ok(b'{"access_token":'),
    TokenFault.NOT_AN_OBJECT: _ok(b'["access_token","token_type","expires_in"]'),
    TokenFault.NO_ACCESS_TOKEN: _ok(b'{"token_type":"Bearer","expires_in":1200}'),
    TokenFault.WRONG_TOKEN_TYPE: _ok(b'{"access_token":"never-issued","token_type":"mac","expires_in":1200}'),
    TokenFault.BAD_EXPIRES_IN: _ok(b'{"access_token":"never-issued","token_type":"Bearer","expires_in":"soon"}'),
}
_API_FAULTS: dict[ApiFault, Draft] = {
    ApiFault.DROPPED_BEFORE: NOTHING,
    ApiFault.HANG: SILENCE,
    ApiFault.UNAUTHORIZED_BEARER: Draft(401, (("WWW-Authenticate", 'Bearer error="invalid_token"'),), rejects=True),
    ApiFault.UNAUTHORIZED_BARE: Draft(401, rejects=True),
    ApiFault.LOCKED: locked(),
}
