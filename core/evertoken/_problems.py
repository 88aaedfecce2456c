"""What went wrong, in words for the person who has to mend it, and the errors that carry these. None holds a secret.

Errors are what callers catch, and what embedders see when they misuse the machine. The ``__module__`` of each is the
package and not this module, so that a traceback names it as it is imported.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass


@enum.unique
class ProblemKind(enum.Enum):
    """The closed set of reasons why there is no token, or why the last attempt failed."""

    TRANSPORT = "transport"
    """The request did not get there, or the answer did not get back: DNS, TCP, TLS, a proxy."""
    BUG = "bug"
    """The request was not sent, or its answer not read, because of a fault in code: an exchange's, or ours."""
    SECRET = "secret"
    """The callable that gives the client's secret raised, took too long, or gave what can be none. Nothing was sent."""
    SERVER = "server"
    """The token endpoint answered that it cannot serve now: 5xx, 408, 425, ``temporarily_unavailable``."""
    CALLER_TIMEOUT = "caller timeout"
    """The caller's own time was over before a token came. Nothing has gone wrong."""
    LOST = "lost"
    """No outcome was reported before the attempt's deadline."""
    MALFORMED = "malformed"
    """A 200 that is not a token answer (RFC 6749 section 5.1), or a status that no answer to a token request has."""
    DEAD_ON_ARRIVAL = "dead on arrival"
    """The token had expired by the time it arrived."""
    REISSUED = "reissued"
    """The endpoint issued once more the very token that the API had just rejected."""
    REJECTED = "rejected"
    """The API rejected the token that was in hand."""
    CREDENTIALS_REFUSED = "credentials refused"
    """``invalid_client``, a 401, or a code that says this client may not do this."""
    REQUEST_REFUSED = "request refused"
    """Another code of RFC 6749 section 5.2, or a word of the server's own: the same request will be refused again."""
    UNCLEAR = "unclear"
    """A redirect, or a 4xx that names no cause."""
    LOCKED = "locked"
    """The account or this address is locked out."""
    RATE_LIMITED = "rate limited"
    """Too many requests: a 429, or a code that says the same."""
    BUDGET = "budget"
    """This machine has made as many token requests as its policy allows for now."""
    LIFETIME_TOO_SHORT = "lifetime too short"
    """More remaining life was asked for than this endpoint's tokens have to give."""
    POSTPONED = "postponed"
    """Another process that shares the store is asking for the token, or the store says that nobody may ask now."""
    SNAPSHOT = "snapshot"
    """The snapshot that the machine began with was sealed under another secret, or was changed since."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that went wrong. Immutable, printable, picklable; safe to log.

    ``summary`` says what happened, ``advice`` what to do next. ``status`` is the HTTP status where there was one,
    ``error`` the server's error code (RFC 6749 section 5.2, or Mangopay's ``Type``), ``detail`` the server's own words:
    cut, stripped of control characters and of anything equal to a secret.
    """

    kind: ProblemKind
    summary: str
    advice: str = ""
    status: int | None = None
    error: str | None = None
    detail: str | None = None

    def __str__(self) -> str:
        said = f' (the server said: "{self.detail}")' if self.detail else ""
        advice = f" {self.advice}" if self.advice else ""
        return f"{self.summary}{said}.{advice}"


# Errors
# ======


class LocalProtocolError(RuntimeError):
    """The embedding code did something that the machine's grammar does not allow, such as a claim against ``poll``.

    It is a bug in the code that drives the machine, never the doing of a server. The state is unchanged.
    """

    __module__ = "evertoken"


class TokenUnavailable(Exception):
    """There is no usable token, and waiting longer would not help within the time that the caller has.

    Attributes:
        problem: why, as a :class:`~evertoken.Problem`; safe to log.
        retry_after: seconds until another token request can start; 0.0 when one can, or when one is under way.

    Every caller gets an instance of its own. Picklable. Holds no secret.
    """

    __module__ = "evertoken"

    problem: Problem
    retry_after: float

    def __init__(self, problem: Problem, retry_after: float = 0.0) -> None:
        super().__init__(problem, retry_after)
        self.problem = problem
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.problem} {_when(self.retry_after)}"


class EndpointLocked(TokenUnavailable):
    """The token endpoint has locked the account or this address out. Do not retry before ``retry_after``."""

    __module__ = "evertoken"


class CredentialsRefused(TokenUnavailable):
    """The token endpoint refused the credentials, or the request as such. New credentials end this block."""

    __module__ = "evertoken"


class RateLimited(TokenUnavailable):
    """The token endpoint's rate limit is reached, for longer than the caller can wait."""

    __module__ = "evertoken"


class LifetimeTooShort(TokenUnavailable):
    """``min_ttl`` asks for more remaining life than this endpoint's tokens have to give."""

    __module__ = "evertoken"


_CLASSES: dict[ProblemKind, type[TokenUnavailable]] = {
    ProblemKind.LOCKED: EndpointLocked,
    ProblemKind.CREDENTIALS_REFUSED: CredentialsRefused,
    ProblemKind.REQUEST_REFUSED: CredentialsRefused,
    ProblemKind.RATE_LIMITED: RateLimited,
    ProblemKind.LIFETIME_TOO_SHORT: LifetimeTooShort,
}


def unavailable(problem: Problem, retry_after: float = 0.0) -> TokenUnavailable:
    """A new error of the class that fits ``problem``; ``retry_after`` is in seconds."""
    return _CLASSES.get(problem.kind, TokenUnavailable)(problem, retry_after)


def _when(retry_after: float) -> str:
    if retry_after <= 0.0:
        return "It may be asked for again at any time."
    return f"No token request is made for another {math.ceil(retry_after * 10) / 10:.1f} s."
