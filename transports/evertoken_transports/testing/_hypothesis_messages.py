"""Strategies for what crosses the wire: answers of a token endpoint, good, bad and absurd, and answers of an API."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from evertoken import Challenge, HttpResponse, Outcome
from evertoken.outcomes import Granted
from evertoken.testing import EVERY_ANSWER

_JSON = (("Content-Type", "application/json"),)
_HTML = (("Content-Type", "text/html"),)
_DATE = "Wed, 25 Nov 2026 10:00:00 GMT"
_LATER = "Wed, 25 Nov 2026 10:00:07 GMT"
_REDIRECT = (("Location", "https://login.example/?next=token"),)
_RFC_CODES = (
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "temporarily_unavailable",
    "server_error",
    "a_code_of_its_own",
)
_MANGOPAY_TYPES = ("invalid_credentials", "not_authorized", "forbidden_ressource", "param_error", "rate_limit")
_WAITS: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    (("Retry-After", "0"),),
    (("Retry-After", "3"),),
    (("Retry-After", "86400000"),),
    (("Retry-After", "-1"),),
    (("Retry-After", "soon"),),
    (("Retry-After", _LATER), ("Date", _DATE)),
    (("Retry-After", _LATER),),
    (("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "1795600807"), ("Date", _DATE)),
)
_NO_TOKEN_ANSWERS = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b"NaN",
    b"\xff\xfe{\x00",
    b"<html>Maintenance</html>",
    b"[" * 20_000,
    b'{"access_token": ""}',
    b'{"access_token": null, "token_type": "bearer"}',
    b'{"access_token": "two words", "token_type": "bearer"}',
    b'{"access_token": "token\\r\\nX-Injected: yes", "token_type": "bearer"}',
    b'{"access_token": "of-another-type", "token_type": "mac", "expires_in": 8}',
    b'{"access_token": "lives-for-ever", "token_type": "bearer", "expires_in": Infinity}',
    b'{"access_token": "lives-a-boolean", "token_type": "bearer", "expires_in": true}',
    b'{"access_token": "lives-a-word", "token_type": "bearer", "expires_in": "soon"}',
    b'{"access_token": "lives-backwards", "token_type": "bearer", "expires_in": -1}',
    b'{"access_token": "never-lived", "token_type": "bearer", "expires_in": 0}',
    b'{"access_token": "lives-long", "token_type": "bearer", "expires_in": ' + b"9" * 5_000 + b"}",
    b'{"access_token": "cut-short", "token_typ',
)


def _body(content: dict[str, object]) -> bytes:
    return json.dumps(content).encode()


def access_tokens() -> st.SearchStrategy[str]:
    """The text of access tokens (RFC 6749 appendix A.12). There are only four, so that they repeat, as endpoints do."""
    return st.sampled_from(["issued-1", "issued-2", "issued-3", "issued-4"])


_LIFETIMES = st.sampled_from([8, 4, 2, 1, 3.0, "8", 60, 1_200, 10**9, None])


@st.composite
def granted_responses(draw: st.DrawFn, tokens: st.SearchStrategy[str] | None = None) -> HttpResponse:
    """Answers that grant a token, in each spelling that RFC 6749 section 5.1 and its servers know.

    ``tokens`` gives their texts; :func:`access_tokens` if there is none.
    """
    content: dict[str, object] = {
        "access_token": draw(access_tokens() if tokens is None else tokens),
        "token_type": draw(st.sampled_from(["bearer", "Bearer", "BEARER"])),
        "expires_in": draw(_LIFETIMES),
    }
    if (extra := draw(st.sampled_from([None, "scope", "refresh_token"]))) is not None:
        content[extra] = "made up"
    if content["expires_in"] is None and draw(st.booleans()):
        del content["expires_in"]
    return HttpResponse(200, _JSON, _body(content))


def _oauth_error(code: str, said: str) -> bytes:
    return _body({"error": code, "error_description": said})


def _mangopay_error(kind: str) -> bytes:
    return _body({"Message": "No.", "Type": kind, "Id": "made-up", "Date": 1_795_600_800.0, "errors": None})


_SAID = st.sampled_from(["It is so.", "", "a\r\nline: injected", "\N{RIGHT-TO-LEFT OVERRIDE}hidden"])
_ERROR_BODIES = st.one_of(
    st.builds(_oauth_error, st.sampled_from(_RFC_CODES), _SAID),
    st.builds(_mangopay_error, st.sampled_from(_MANGOPAY_TYPES)),
    st.sampled_from([b"", b"<html>No.</html>"]),
)


@st.composite
def error_responses(draw: st.DrawFn) -> HttpResponse:
    """Answers that grant nothing: both families of error bodies, pages of proxies, redirects, and every way to wait.

    The families are RFC 6749 section 5.2 (``error``) and Mangopay's API errors (``Type``).
    """
    status = draw(st.sampled_from([503, 500, 400, 401, 403, 404, 429, 408, 407, 307, 302, 418, 204]))
    body = draw(_ERROR_BODIES)
    headers = draw(st.sampled_from(_WAITS))
    kind = _HTML if body.startswith(b"<") else _JSON
    return HttpResponse(status, (*kind, *headers, *(_REDIRECT if status in (302, 307) else ())), body)


def garbage_responses() -> st.SearchStrategy[HttpResponse]:
    """Answers that no server should send: a 200 without a token, any status, any headers, any bytes."""
    anything = st.builds(
        HttpResponse,
        st.integers(0, 999),
        st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=3),
        st.binary(max_size=40),
    )
    known = st.builds(
        HttpResponse, st.just(200), st.sampled_from([_JSON, _HTML, ()]), st.sampled_from(_NO_TOKEN_ANSWERS)
    )
    return st.one_of(known, anything)


def responses(tokens: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[HttpResponse]:
    """Any answer of a token endpoint: granted, refused or absurd. A machine takes each without an exception."""
    return st.one_of(granted_responses(tokens), error_responses(), garbage_responses())


def outcomes(tokens: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Outcome]:
    """What can come of an attempt, as the parser tells the machine: a grant, or one of ``EVERY_ANSWER``."""
    lifetimes = st.sampled_from([8.0, 4.0, 1.0, 1_200.0, None])
    granted = st.builds(Granted, access_tokens() if tokens is None else tokens, lifetimes)
    return st.one_of(granted, st.sampled_from(EVERY_ANSWER))


def challenges() -> st.SearchStrategy[Challenge]:
    """What an API's answer can say about the token of a call."""
    return st.sampled_from(Challenge)


def api_responses() -> st.SearchStrategy[HttpResponse]:
    """Answers of an API, for the part of an SDK that decides whether a call is repeated: with each challenge and none.

    ``read_challenge(response.status, response.headers, response.body, mangopay.PROFILE)`` tells them apart.
    """
    invalid = _body({"Message": "No.", "Type": "invalid_credentials", "Id": "made-up", "errors": None})
    locked = _body({"error": "unauthorized_client", "error_description": "Temporarily locked."})
    bearer = (("WWW-Authenticate", 'Bearer realm="api", error="invalid_token"'),)
    scheme = (("WWW-Authenticate", 'PendingUserAction RedirectUrl="https://sca.example/?token=made-up"'),)
    return st.sampled_from(
        [
            HttpResponse(200, _JSON, b"{}"),
            HttpResponse(401, _JSON, invalid),
            HttpResponse(401, bearer, b""),
            HttpResponse(401, (), b""),
            HttpResponse(401, scheme, b""),
            HttpResponse(400, _JSON, locked),
            HttpResponse(429, (("Retry-After", "3"),), b""),
            HttpResponse(403, _JSON, b"{}"),
            HttpResponse(500, _HTML, b"<html>No.</html>"),
        ]
    )
