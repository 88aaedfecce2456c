"""The token endpoint's answer: any bytes in, exactly one outcome out.

Nothing here raises, whatever a server, a proxy or a captive portal sends. Status classes are told apart first, since
they are the one thing that every party on the way gets right; error codes count where the status leaves room for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from evertoken import outcomes
from evertoken._bodies import error_code, error_text, read_object, tokens_in
from evertoken._grant import ClientCredentials
from evertoken._headers import field_lines
from evertoken._messages import HttpResponse
from evertoken._problems import Problem, ProblemKind
from evertoken._scrub import LEFT_OUT, reveals, scrub
from evertoken._strict_json import MOST_DIGITS, JsonObject
from evertoken._waits import LONGEST, rate_limit_reset, retry_after

__all__ = ("TokenAnswer", "is_visible_ascii", "no_answer", "read_answer")

TokenAnswer = (
    outcomes.Granted
    | outcomes.Failed
    | outcomes.Malformed
    | outcomes.Refused
    | outcomes.Unclear
    | outcomes.Locked
    | outcomes.RateLimited
)
"""What an answer can mean. The other outcomes are the machine's own: it knows what the answer belongs to."""

_UNAVAILABLE_CODES = ("temporarily_unavailable", "server_error")
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

_WAIT_ADVICE = "It is tried again after a back-off. If this lasts, look at the provider's status page."
_PROXY_ADVICE = "Give the transport the proxy's credentials, or exempt the token endpoint's host from the proxy."
_URL_ADVICE = "Is the token endpoint's URL right? A proxy on the way or a deploy in progress can answer like this too."
_UNCLEAR_ADVICE = (
    "It came without a known OAuth error code, so somebody other than the token endpoint may have answered: look at"
    " proxies and firewalls on the way, and at the token endpoint's URL."
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

_NAMED_TOKEN = re.compile(r"token\W{0,3}[:=]|(?<![\w-])bearer\s", re.IGNORECASE)

_HOST = re.compile(r"[0-9a-z.:_-]{1,253}")


@dataclass(slots=True)
class _Answer:
    """An answer with its body read: ``content`` is a JSON object, or words for what the body is instead.

    It is gone when the answer has been read. Not frozen, since that would take three times as long to make.
    """

    grant: ClientCredentials
    status: int
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    content: JsonObject | str = field(repr=False)
    told: tuple[str, ...] = field(repr=False)

    @property
    def code(self) -> str | None:
        return None if isinstance(self.content, str) else error_code(self.content)

    @property
    def retry_after(self) -> float | None:
        return retry_after(self.headers)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Whatever must not be shown: what the caller names, the grant's own, and tokens in this very answer."""
        own = () if isinstance(self.content, str) else tokens_in(self.content)
        return (*self.told, *self.grant.secrets(), *own)

    @property
    def parameters(self) -> list[str]:
        """What the grant sends beside its secret. Some of it may be one."""
        return [value for _, value in self.grant.parameters]

    def is_locked(self) -> bool:
        return self.code in self.grant.endpoint.profile.locked_codes

    def problem(self, kind: ProblemKind, meaning: str, advice: str) -> Problem:
        """What was being done, what happened, and the server's own words as far as they can be shown."""
        host = urlsplit(self.grant.endpoint.url).netloc
        status = self.status if 0 <= self.status <= 999 else None
        error = None if self.status == 407 else self.shown(self.code or "", 64)
        evidence = [str(mark) for mark in (status, error) if mark is not None]
        if isinstance(self.content, str) and self.status != 200:
            evidence.append(f"the body is {self.content}")
        found = f" ({', '.join(evidence)})" if evidence else ""
        summary = f"Asking {host} for a token: {meaning}{found}"
        return Problem(kind, summary, advice, status, error, self._detail())

    def shown(self, text: str, limit: int = 200) -> str | None:
        """``text``, which is the server's, as far as it can be shown."""
        if _NAMED_TOKEN.search(text):  # It may be anybody's, and so it need not be known here.
            return LEFT_OUT
        return scrub(text, self.secrets, limit, whole=self.parameters)

    def _detail(self) -> str | None:
        if self.status == 407:  # The proxy's own credentials, which its words may hold, are not known here.
            return None
        if not isinstance(self.content, str):
            return self.shown(error_text(self.content))
        # A success that cannot be read may hold a token that cannot be found.
        text = "" if self.status // 100 == 2 else self.body.decode(errors="replace")
        return self.shown(text) if _is_fit_to_show(text) else None


def read_answer(
    grant: ClientCredentials, response: HttpResponse, *, max_body: int, secrets: tuple[str, ...] = ()
) -> TokenAnswer:
    """What ``response`` means, as the answer to a token request for ``grant``. Pure and total: it never raises.

    A body of more than ``max_body`` bytes is not read: a 200 is malformed then, and an error counts by its status.
    ``secrets`` (those of the :class:`~evertoken.TokenRequest`) and the grant's own never appear in the outcome's
    texts, nor does a token that the answer itself holds.

    Sources: RFC 6749 sections 5.1 and 5.2; Mangopay's documentation, Authentication, Error codes and Rate limits.
    """
    fits = len(response.body) <= max_body
    body = response.body if fits else b""
    content = read_object(body) if fits else f"longer than {max_body} bytes"
    answer = _Answer(grant, int(response.status), response.headers, body, content, secrets)
    reader = _BY_STATUS.get(answer.status) or _BY_CLASS.get(answer.status // 100)
    return reader(answer) if reader else _malformed(answer, "no token answer has this status")


def no_answer(grant: ClientCredentials, reason: str, secrets: tuple[str, ...]) -> outcomes.Failed:
    """What it means that there is no answer, for a ``reason`` in which none of ``secrets`` is shown."""
    said = scrub(reason, secrets, whole=[value for _, value in grant.parameters]) or "no reason was given"
    problem = Problem(
        ProblemKind.TRANSPORT,
        f"The token request to {grant.endpoint.url} got no answer: {said}",
        "Look at DNS, network, proxy and TLS between this host and the token endpoint.",
    )
    return outcomes.Failed(problem)


def _read_token(answer: _Answer) -> outcomes.Granted | outcomes.Malformed:
    """RFC 6749 section 5.1."""
    if isinstance(answer.content, str):
        return _malformed(answer, f"the body is {answer.content}")
    token, token_type = answer.content.get("access_token"), answer.content.get("token_type")
    if not isinstance(token, str) or not is_visible_ascii(token):
        return _malformed(answer, _fault("access_token", token, "text of 1 or more visible ASCII characters"))
    if not isinstance(token_type, str) or token_type.lower() != "bearer":
        return _malformed(answer, _fault("token_type", token_type, '"bearer"'))
    expires_in = _seconds(answer.content.get("expires_in"))
    if expires_in == 0.0:
        return _malformed(answer, "expires_in is not a whole number of seconds above 0")
    return outcomes.Granted(token, expires_in, _scope(answer.content.get("scope"), answer))


def _is_fit_to_show(text: str) -> bool:
    """False for pages, broken JSON, bytes that are not UTF-8, and one word alone, which could be a token."""
    words = text.lstrip("\ufeff").split(maxsplit=1)
    return len(words) == 2 and not words[0].startswith(("<", "{", "[")) and "\ufffd" not in text


def _fault(name: str, value: object, expected: str) -> str:
    return f"{name} is missing" if value is None else f"{name} is not {expected}"


def is_visible_ascii(text: str) -> bool:
    """Whether ``text`` can be a token in a header: 1 or more characters from 0x21 to 0x7E (RFC 6749 appendix A.12)."""
    return text.isascii() and text.isprintable() and text != "" and " " not in text


def _seconds(value: object) -> float | None:
    """``expires_in`` in seconds, None where it is missing or null, 0.0 where it is not a lifetime."""
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS:
        value = int(value)
    # The remainder of an infinite number is NaN, and NaN is true.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0 or value % 1:
        return 0.0
    return float(min(value, LONGEST))


def _scope(scope: object, answer: _Answer) -> str | None:
    """``scope`` as it stands, unless it is not one (RFC 6749 section 3.3) or repeats a secret: it is shown in reprs."""
    if not isinstance(scope, str) or not scope.isascii() or not scope.isprintable():
        return None
    return None if reveals(scope, answer.secrets, whole=answer.parameters) else scope


def _malformed(answer: _Answer, flaw: str) -> outcomes.Malformed:
    advice = _BODY_ADVICE if isinstance(answer.content, str) else _FIELD_ADVICE
    meaning = f"the answer cannot be used, because {flaw}"
    return outcomes.Malformed(answer.problem(ProblemKind.MALFORMED, meaning, advice))


def _refused_or_unclear(answer: _Answer) -> TokenAnswer:
    """A 4xx that leaves room for an error code. The code counts on any of them: only a token endpoint speaks OAuth."""
    if answer.is_locked():
        return _locked(answer)
    if answer.code in _UNAVAILABLE_CODES:
        return _unavailable(answer)
    if answer.code in _CREDENTIAL_CODES:
        return _credentials_refused(answer)
    if answer.code in _REQUEST_ADVICE:
        problem = answer.problem(
            ProblemKind.REQUEST_REFUSED,
            "the request was refused, and will be refused again",
            _REQUEST_ADVICE[answer.code],
        )
        return outcomes.Refused(problem, "request")
    return _unclear(answer)


def _unauthorised(answer: _Answer) -> outcomes.Locked | outcomes.Refused:
    return _locked(answer) if answer.is_locked() else _credentials_refused(answer)


def _credentials_refused(answer: _Answer) -> outcomes.Refused:
    advice = answer.grant.endpoint.profile.refused_advice
    problem = answer.problem(ProblemKind.CREDENTIALS_REFUSED, "the client's credentials were refused", advice)
    return outcomes.Refused(problem, "credentials")


def _locked(answer: _Answer) -> outcomes.Locked:
    advice = answer.grant.endpoint.profile.locked_advice
    problem = answer.problem(ProblemKind.LOCKED, "the account or this address is locked out", advice)
    return outcomes.Locked(problem, answer.retry_after)


def _rate_limited(answer: _Answer) -> outcomes.RateLimited:
    problem = answer.problem(ProblemKind.RATE_LIMITED, "too many requests, the rate limit is reached", _RATE_ADVICE)
    stated = answer.retry_after
    return outcomes.RateLimited(problem, rate_limit_reset(answer.headers) if stated is None else stated)


def _unavailable(answer: _Answer) -> outcomes.Failed:
    problem = answer.problem(ProblemKind.SERVER, "the server cannot serve now", _WAIT_ADVICE)
    return outcomes.Failed(problem, answer.retry_after)


def _proxy_refused(answer: _Answer) -> outcomes.Failed:
    problem = answer.problem(ProblemKind.TRANSPORT, "a proxy on the way wants credentials of its own", _PROXY_ADVICE)
    return outcomes.Failed(problem, answer.retry_after)


def _redirected(answer: _Answer) -> outcomes.Unclear:
    target = _redirect_host(answer)
    meaning = f"the server redirects to {target}" if target else "the server redirects"
    problem = answer.problem(ProblemKind.UNCLEAR, meaning, _REDIRECT_ADVICE)
    return outcomes.Unclear(problem, answer.retry_after)


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


def _unclear(answer: _Answer) -> outcomes.Unclear:
    advice = {
        403: answer.grant.endpoint.profile.forbidden_advice,
        404: _URL_ADVICE,
        405: _URL_ADVICE,
    }.get(answer.status, _UNCLEAR_ADVICE)
    problem = answer.problem(ProblemKind.UNCLEAR, "the request was turned away", advice)
    return outcomes.Unclear(problem, answer.retry_after)


_Reader = Callable[[_Answer], TokenAnswer]
_BY_STATUS: dict[int, _Reader] = {
    200: _read_token,
    401: _unauthorised,
    407: _proxy_refused,
    408: _unavailable,
    425: _unavailable,
    429: _rate_limited,
}
_BY_CLASS: dict[int, _Reader] = {3: _redirected, 4: _refused_or_unclear, 5: _unavailable}
