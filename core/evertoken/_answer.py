"""The token endpoint's answer: any bytes in, exactly one outcome out.

Nothing here raises, whatever a server, a proxy or a captive portal sends. There are two rules. A grant with one
sensible reading is taken, because every grant that is thrown away was issued and counts as use. A refusal is read as
leniently as can be, because a client that does not understand a refusal asks again: below 500, a code that says more
than the status wins over the status.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast
from urllib.parse import urlsplit

from evertoken._body import Body, error_codes, error_text, read_body, tokens_in
from evertoken._checks import is_visible_ascii
from evertoken._grant import BasicAuthentication, ClientCredentials, PostAuthentication
from evertoken._http import LONGEST, HttpResponse, field_lines, rate_limit_reset, retry_after
from evertoken._json import MOST_DIGITS
from evertoken._problems import Problem, ProblemKind
from evertoken._scrub import LEFT_OUT, Needles, needles_of, reveals, scrub
from evertoken._states import BlockKind
from evertoken.outcomes import Blocked, Failed, Granted, Malformed

TokenAnswer = Granted | Failed | Malformed | Blocked
"""What an answer can mean. The machine makes the other outcomes, since it knows which attempt an answer belongs to."""

_Meaning = TypeVar("_Meaning")

_GRANTING = (200, 201)
_BEARER = ("bearer", "bearertoken")
"""Values of ``token_type``, in lower case. Apigee sends the second."""
_UNAVAILABLE_CODES = (
    *("temporarily_unavailable", "server_error"),  # OAuth's own; the rest is what else servers call it.
    *("service_unavailable", "internal_server_error", "internal_error"),
)
_RATE_CODES = ("too_many_requests", "rate_limit_exceeded", "rate_limited", "rate_limit", "slow_down")
_CREDENTIAL_CODES = ("invalid_client", "unauthorized_client")

# RFC 6749 section 5.2 and RFC 8707 section 2. "access_denied" is RFC 6749's word for the authorisation endpoint
# (section 4.1.2.1), but providers use it here for a client that may not have this audience or scope: a plain no.
_REQUEST_ADVICE = {
    "invalid_request": "Compare scope, audience, resource and further parameters of the grant with what it expects.",
    "invalid_grant": "It does not accept this grant: is it the right endpoint for client credentials?",
    "unsupported_grant_type": "This endpoint does not offer client credentials: is its URL the right one?",
    "invalid_scope": "Ask for a scope that this client has, or have the scope added to the client.",
    "invalid_target": "Ask for a resource that this client may use (RFC 8707), or have it added to the client.",
    "access_denied": "Have the provider allow this client what it asks for: scope, audience, resource.",
}

_KNOWN_CODES = (*_CREDENTIAL_CODES, *_REQUEST_ADVICE, *_UNAVAILABLE_CODES, *_RATE_CODES)

_WAIT_ADVICE = "It is tried again after a back-off. If this lasts, look at the provider's status page."
_LASTING_ADVICE = (
    "It names a refusal under a status that speaks of an outage. If this lasts, believe the refusal: check client id,"
    " secret, scope and token endpoint."
)
_PROXY_ADVICE = "Give the transport the proxy's credentials, or exempt the token endpoint's host from the proxy."
_URL_ADVICE = "Is the token endpoint's URL right? A proxy on the way or a deploy in progress can answer like this too."
_UNCLEAR_ADVICE = (
    "It came without a known OAuth error code, so somebody other than the token endpoint may have answered: look at"
    " proxies and firewalls on the way, and at the token endpoint's URL."
)
_CERTIFICATE_ADVICE = (
    "It speaks of a certificate: a server that wants one from its clients (mTLS) answers like this to those who show"
    " none, or one that has expired. Give the transport an ssl_context with the client's certificate."
)
_EMPTY_ADVICE = (
    "An empty answer names no cause. Two are likely: client id or secret are wrong, or an allowlist lacks this host."
)
_OWN_WORD_ADVICE = (
    "The word is the server's own: look it up in the provider's documentation, and compare client id, secret, scope,"
    " audience, resource and further parameters of the grant with what it expects."
)
_SPELLING_ADVICE = (
    "The client id or the secret holds characters that servers read differently in different encodings:"
    ' BasicAuthentication("raw") sends them as they stand, BasicAuthentication("rfc6749") percent-encoded,'
    " PostAuthentication in the form. Here they went by {used}; try the others."
)
_REDIRECT_ADVICE = (
    "Redirects are not followed, since that would carry the client's secret elsewhere. Is the token endpoint's URL"
    " right? Login pages, captive portals and moved hosts answer like this."
)
_RATE_ADVICE = (
    "Ask less often: one token serves all calls until it expires. Look for processes that each keep a token of their"
    " own, or fetch one per call."
)
_FIELD_ADVICE = "The answer breaks RFC 6749 section 5.1. If this lasts, report it to the provider."
_BODY_ADVICE = (
    "Somebody other than the token endpoint may have answered: look at proxies on the way, and at the token endpoint's"
    " URL."
)

_OWN_WORD = re.compile(r"[a-z]+(?:_[a-z]+)+")
"""A text that is spelt like OAuth's error codes. "Too Many Requests" is not: it only repeats the status in words."""
_PLAINLY_SPELT = re.compile(r"[\w.~-]*", re.ASCII)
_NUMBER = re.compile(r"\+?\d+(?:\.\d*)?(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# Credentials of anybody, also those that are not known here: what shows them is a name or a scheme in front.
_CREDENTIALS = re.compile(
    r"(?:token|secret|passw(?:or)?d|pwd|(?:api|private)[\W_]?key|assertion|authorization)\W{0,3}[:=]"
    r"(?! ?\[redacted\])|(?<![\w-])(?:bearer\s|basic\s+(?=[A-Za-z+/]*[\d=])[\w+/=]{6})",
    re.IGNORECASE,
)

_MOST_SECRETS = 1_000
"""With more secrets than this, texts of the answer are left out unread. No server has reason to send so many."""

_HOST = re.compile(r"[0-9a-z.:_-]{1,253}")


@dataclass(slots=True)
class _Answer:
    """An answer with its body read, and the ``codes`` that the body gives as such.

    ``told`` are secrets beside those of the grant, and ``needles`` what is looked for to keep all of them out of texts.
    Nobody keeps this value once the answer has been read. It is not frozen, since a frozen one takes three times as
    long to make.
    """

    grant: ClientCredentials
    status: int
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: Body = field(repr=False)
    told: tuple[str, ...] = field(repr=False)
    codes: tuple[str, ...] = field(repr=False)
    needles: Needles | None = field(repr=False, default=None)

    @property
    def code(self) -> str | None:
        """The first code that is known here, in lower case; if none is, the first of ``codes`` as it stands."""
        known = (code for code in map(str.lower, (*self.codes, *self.body.named)) if code in _KNOWN_CODES)
        return next(known, next(iter(self.codes), None))

    @property
    def stated_wait(self) -> float | None:
        """Seconds that the server asks its clients to wait, in header fields or in the body; None if it states none."""
        members = {} if self.body.content is None else self.body.content
        in_body = [(name, str(value)) for name, value in members.items() if isinstance(value, str | int | float)]
        stated = retry_after([*self.headers, *in_body])
        if stated is not None:
            return stated
        return rate_limit_reset(self.headers, is_limited=self.status == 429 or self.code in _RATE_CODES)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Whatever must not be shown: what the caller names, the grant's own, and tokens in this very answer."""
        own = () if self.body.content is None else tokens_in(self.body.content)
        return (*self.told, *self.grant.secrets(), *own)

    @property
    def parameters(self) -> list[str]:
        """The values of the grant's further form fields. Any of them may be a secret, too."""
        return [value for _, value in self.grant.parameters]

    def is_locked(self) -> bool:
        return self.grant.endpoint.profile.is_lock((*self.codes, *self.body.named))

    def speaks_of_certificates(self) -> bool:
        return "certificate" in self.body.text.lower()

    def has_own_word(self) -> bool:
        """Whether the server refuses by a word of its own, which is spelt like one of OAuth's error codes."""
        if self.status not in (400, 401) or self.body.content is None or self.body.is_page:
            return False
        return any(_OWN_WORD.fullmatch(word.lower()) for word in error_codes(self.body.content, "error"))

    def is_refusal(self) -> bool:
        return self.is_locked() or self.code in _CREDENTIAL_CODES or self.code in _REQUEST_ADVICE

    def problem(self, kind: ProblemKind, meaning: str, advice: str) -> Problem:
        """What was being done, what happened, and the server's own words as far as they can be shown."""
        host = urlsplit(self.grant.endpoint.url).netloc
        status = self.status if 0 <= self.status <= 999 else None
        error = None if self.status == 407 else self.shown(self.code or "", 64)
        evidence = [str(mark) for mark in (status, error) if mark is not None]
        if self.body.flaw is not None and self.status not in _GRANTING:
            evidence.append(f"the body is {self.body.flaw}")
        found = f" ({', '.join(evidence)})" if evidence else ""
        summary = f"Asking {host} for a token: {meaning}{found}"
        return Problem(kind, summary, advice, status, error, self._detail())

    def shown(self, text: str, limit: int = 200) -> str | None:
        """``text``, which is the server's, as far as it can be shown; None where nothing is left."""
        secrets = self.secrets
        if len(secrets) > _MOST_SECRETS:
            return LEFT_OUT
        if not text.isascii() and not self.body.is_unicode and not all(map(str.isascii, secrets)):
            return LEFT_OUT  # Its characters were guessed, so a secret in it may not be recognised.
        if self.needles is None:
            self.needles = needles_of(secrets, self.parameters)
        said = scrub(text, self.needles, limit)
        return LEFT_OUT if said and _CREDENTIALS.search(said) else said

    def _detail(self) -> str | None:
        if self.status == 407:  # The proxy's own credentials, which its words may hold, are not known here.
            return None
        body = self.body
        said = "" if body.content is None else error_text(body.content)
        if said or (body.content is not None and not body.is_page):
            return self.shown(said)
        # A success that cannot be read may hold a token that cannot be found.
        text = "" if self.status // 100 == 2 else body.title if body.is_page else body.text
        return self.shown(text) if text and _is_fit_to_show(text) else None


def read_answer(
    grant: ClientCredentials, response: HttpResponse, *, max_body: int, secrets: tuple[str, ...] = ()
) -> TokenAnswer:
    """What ``response`` means, as the answer to a token request for ``grant``. Pure and total: it never raises.

    A body of more than ``max_body`` bytes, as it came or once it is unpacked, gives no token; its first ``max_body``
    bytes are still searched for an error code. Below 500, but for 407, 408, 425 and 429, a known code counts before the
    status, also in a 3xx or in a 2xx without a token.
    ``secrets`` (those of the :class:`~evertoken.TokenRequest`) and the grant's own never appear in the outcome's
    texts, nor does a token that the answer itself holds.

    Sources: RFC 6749 sections 5.1 and 5.2; Mangopay's documentation, Authentication, Error codes and Rate limits.
    """
    status, body = int(response.status), read_body(response.headers, response.body, max_body)
    codes = () if body.content is None else error_codes(body.content)
    answer = _Answer(grant, status, response.headers, body, secrets, codes)
    flaw = "no token answer has this status"
    if status in _GRANTING:
        granted = _read_token(answer)
        if not isinstance(granted, str):
            return granted
        flaw = granted
    said = _read_code(answer) if status < 500 else None
    if said is not None:
        return said
    reader = _BY_STATUS.get(status) or _BY_CLASS.get(status // 100)
    return reader(answer) if reader else _malformed(answer, flaw)


def no_answer(grant: ClientCredentials, reason: str, secrets: tuple[str, ...], *, is_bug: bool = False) -> Failed:
    """The outcome of a request that got no answer, with ``reason`` in it, but none of ``secrets``.

    ``is_bug`` says that the reason is a fault in code, so that nobody searches the network for it.
    """
    said = scrub(reason, needles_of(secrets, [value for _, value in grant.parameters])) or "no reason was given"
    if is_bug:
        problem = Problem(
            ProblemKind.BUG,
            f"The token request to {grant.endpoint.url} failed by a bug: {said}",
            "Mend the code that is named, or report it to those whose code it is: the network has no part in this.",
        )
    else:
        problem = Problem(
            ProblemKind.TRANSPORT,
            f"The token request to {grant.endpoint.url} got no answer: {said}",
            "Look at DNS, network, proxy and TLS between this host and the token endpoint.",
        )
    return Failed(problem)


def no_secret(grant: ClientCredentials, reason: str, secrets: tuple[str, ...], *, is_bug: bool = False) -> Failed:
    """As :func:`no_answer`, for an attempt whose client secret could not be had, so that no request was sent."""
    said = scrub(reason, needles_of(secrets, [value for _, value in grant.parameters])) or "no reason was given"
    return Failed(
        Problem(
            ProblemKind.BUG if is_bug else ProblemKind.SECRET,
            f"The secret of client {grant.client_id} could not be had, so no token was asked for: {said}",
            "Look at what the callable asks that was given for a secret: a vault, a file, a function of your own.",
        ),
        unsent=True,
    )


def _read_token(answer: _Answer) -> Granted | str:
    """The token of RFC 6749 section 5.1, or words that say why there is none."""
    content = answer.body.content
    if content is None or answer.body.flaw is not None:
        return f"the body is {answer.body.flaw}"
    token = _meant(content.get("access_token"), _token, otherwise=None)
    if token is None:
        return _fault("access_token", content.get("access_token"), "text of 1 or more visible ASCII characters")
    if not _meant(content.get("token_type"), _is_bearer, otherwise=False):
        return _fault("token_type", content["token_type"], '"bearer"')
    expires_in = _meant(content.get("expires_in"), _seconds, otherwise=0.0)
    if expires_in == 0.0:
        return _fault("expires_in", content["expires_in"], "a number of seconds of 1 or more")
    return Granted(token, expires_in, _scope(content.get("scope"), answer))


def _meant(value: object, read: Callable[[object], _Meaning | None], *, otherwise: _Meaning | None) -> _Meaning | None:
    """What ``read`` makes of ``value``.

    If its name is there more than once, ``value`` is a tuple: then what ``read`` makes of each, where all agree, and
    ``otherwise`` where they do not.
    """
    meanings = {read(each) for each in (cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,))}
    return meanings.pop() if len(meanings) == 1 else otherwise


def _token(value: object) -> str | None:
    """``value`` if it can be a token. A line break at its end is cut off, since servers print tokens from files."""
    token = value.rstrip("\r\n") if isinstance(value, str) else ""
    return token if is_visible_ascii(token) else None


def _is_bearer(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _BEARER)


def _is_fit_to_show(text: str) -> bool:
    """False for a page, broken JSON, bytes that are not UTF-8, and for one word alone, which could be a token."""
    words = text.lstrip("\ufeff").split(maxsplit=1)
    return len(words) == 2 and not words[0].startswith(("<", "{", "[")) and "\ufffd" not in text


def _fault(name: str, value: object, expected: str) -> str:
    if isinstance(value, list | tuple):
        return f"{name} is a list, or there more than once"
    return f"{name} is missing" if value is None else f"{name} is not {expected}"


def _seconds(value: object) -> float | None:
    """``expires_in`` in whole seconds, None where it is missing or null, 0.0 where it is not a lifetime."""
    if value is None:
        return None
    if isinstance(value, str):
        value = _number(value.strip())
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        return 0.0
    return float(min(value, LONGEST) // 1)


def _number(text: str) -> float:
    """The number that ``text`` spells; 0 where it spells none."""
    if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS:
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else 0.0


def _scope(scope: object, answer: _Answer) -> str | None:
    """``scope`` as it stands, unless it is not one (RFC 6749 section 3.3) or repeats a secret: it is shown in reprs."""
    if not isinstance(scope, str) or not scope.isascii() or not scope.isprintable():
        return None
    return None if reveals(scope, needles_of(answer.secrets, answer.parameters)) else scope


def _malformed(answer: _Answer, flaw: str) -> Malformed:
    advice = _FIELD_ADVICE if answer.body.flaw is None else _BODY_ADVICE
    meaning = f"the answer cannot be used, because {flaw}"
    return Malformed(answer.problem(ProblemKind.MALFORMED, meaning, advice))


def _read_code(answer: _Answer) -> TokenAnswer | None:
    """What the answer's code says; None where the status says more.

    A code is more precise than a status, and it shows that the token endpoint itself has answered: a proxy or a login
    page does not know OAuth's codes. So even a redirect with a known code is read by the code.
    """
    if answer.is_locked():
        return _locked(answer)
    code = answer.code
    if answer.status in _BY_STATUS_ALONE:
        return None
    if code in _UNAVAILABLE_CODES:
        return _unavailable(answer)
    if code in _RATE_CODES:
        return _rate_limited(answer)
    if code in _CREDENTIAL_CODES:
        return _credentials_refused(answer)
    if code in _REQUEST_ADVICE:
        return _request_refused(answer, _REQUEST_ADVICE[code])
    return _request_refused(answer, _OWN_WORD_ADVICE) if answer.has_own_word() else None


def _unauthorised(answer: _Answer) -> Blocked:
    return _unclear(answer) if answer.body.is_page else _credentials_refused(answer)


def _credentials_refused(answer: _Answer) -> Blocked:
    advice = answer.grant.endpoint.profile.refused_advice
    if answer.body.is_empty:
        advice = f"{_EMPTY_ADVICE} {advice}"
    elif answer.speaks_of_certificates():
        advice = f"{advice} {_CERTIFICATE_ADVICE}"
    meaning = "the client's credentials were refused"
    problem = answer.problem(ProblemKind.CREDENTIALS_REFUSED, meaning, _with_spelling(answer.grant, advice))
    return Blocked(BlockKind.REFUSED, problem, answer.stated_wait)


def _request_refused(answer: _Answer, advice: str) -> Blocked:
    if answer.code not in _REQUEST_ADVICE or answer.code == "invalid_request":  # It may be about the credentials.
        advice = _with_spelling(answer.grant, advice)
    meaning = "the request was refused, and will be refused again"
    problem = answer.problem(ProblemKind.REQUEST_REFUSED, meaning, advice)
    return Blocked(BlockKind.REFUSED, problem, answer.stated_wait)


def _with_spelling(grant: ClientCredentials, advice: str) -> str:
    """``advice``, and what else is likely where id or secret are not spelt alike in each client authentication."""
    if _PLAINLY_SPELT.fullmatch(grant.client_id) and _PLAINLY_SPELT.fullmatch(grant.client_secret):
        return advice
    manner = grant.endpoint.authentication
    if isinstance(manner, BasicAuthentication):
        used = f'BasicAuthentication("{manner.encoding}")'
    elif isinstance(manner, PostAuthentication):
        used = "PostAuthentication"
    else:
        return advice
    return f"{advice} {_SPELLING_ADVICE.format(used=used)}"


def _locked(answer: _Answer) -> Blocked:
    advice = answer.grant.endpoint.profile.locked_advice
    problem = answer.problem(ProblemKind.LOCKED, "the account or this address is locked out", advice)
    return Blocked(BlockKind.LOCKED, problem, answer.stated_wait)


def _rate_limited(answer: _Answer) -> Blocked:
    problem = answer.problem(ProblemKind.RATE_LIMITED, "too many requests, the rate limit is reached", _RATE_ADVICE)
    return Blocked(BlockKind.RATE_LIMITED, problem, answer.stated_wait)


def _unavailable(answer: _Answer) -> Failed:
    lasting = answer.is_refusal()
    advice = _LASTING_ADVICE if lasting else _WAIT_ADVICE
    problem = answer.problem(ProblemKind.SERVER, "the server cannot serve now", advice)
    return Failed(problem, answer.stated_wait, lasting)


def _proxy_refused(answer: _Answer) -> Failed:
    problem = answer.problem(ProblemKind.TRANSPORT, "a proxy on the way wants credentials of its own", _PROXY_ADVICE)
    return Failed(problem, answer.stated_wait)


def _redirected(answer: _Answer) -> Blocked:
    target = _redirect_host(answer)
    meaning = f"the server redirects to {target}" if target else "the server redirects"
    problem = answer.problem(ProblemKind.UNCLEAR, meaning, _REDIRECT_ADVICE)
    return Blocked(BlockKind.UNCLEAR, problem, answer.stated_wait)


def _redirect_host(answer: _Answer) -> str | None:
    """The host in ``Location``, and nothing else of it: paths, queries and user info may hold secrets."""
    for location in field_lines(answer.headers, "location"):
        try:
            host = urlsplit(location).hostname or ""
        except ValueError:
            continue
        if _HOST.fullmatch(host):
            return answer.shown(host)
    return None


def _unclear(answer: _Answer) -> Blocked:
    problem = answer.problem(ProblemKind.UNCLEAR, "the request was turned away", _advice_where_unclear(answer))
    return Blocked(BlockKind.UNCLEAR, problem, answer.stated_wait)


def _advice_where_unclear(answer: _Answer) -> str:
    if answer.speaks_of_certificates():
        return _CERTIFICATE_ADVICE
    if answer.status == 403:
        forbidden = answer.grant.endpoint.profile.forbidden_advice
        return _with_spelling(answer.grant, f"{_EMPTY_ADVICE} {forbidden}") if answer.body.is_empty else forbidden
    return _URL_ADVICE if answer.status in (404, 405) else _UNCLEAR_ADVICE


_Reader = Callable[[_Answer], TokenAnswer]
_BY_STATUS: dict[int, _Reader] = {
    401: _unauthorised,
    407: _proxy_refused,
    408: _unavailable,
    425: _unavailable,
    429: _rate_limited,
}
_BY_STATUS_ALONE = (407, 408, 425, 429)
"""These statuses keep their meaning whatever the code, unless it means a lock."""
_BY_CLASS: dict[int, _Reader] = {3: _redirected, 4: _unclear, 5: _unavailable}
"""What the other statuses mean, by their first digit; one that is not here is malformed.

Below 500 :func:`_read_code` comes before both tables: a 3xx with a known code, say, is read by that code.
"""
