"""What went wrong, in words for the person who has to mend it. Never holds a secret or a token."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ("Problem", "ProblemKind")


@enum.unique
class ProblemKind(enum.Enum):
    """The closed set of reasons why there is no token, or why the last attempt failed."""

    TRANSPORT = "transport"
    """The request did not get there, or the answer did not get back: DNS, TCP, TLS, a proxy."""
    BUG = "bug"
    """The request was not sent, or its answer not read, because of a fault in code: an exchange's, or ours."""
    SERVER = "server"
    """The token endpoint answered that it cannot serve now: 5xx, 408, 425, ``temporarily_unavailable``."""
    CALLER_TIMEOUT = "caller's timeout"
    """The caller's own time was over before a token came. Nothing has gone wrong."""
    LOST = "lost"
    """No outcome was reported before the attempt's deadline."""
    MALFORMED = "malformed"
    """A 200 that is not a token answer (RFC 6749 section 5.1)."""
    DEAD_ON_ARRIVAL = "dead on arrival"
    """The token had expired by the time it arrived."""
    REISSUED = "reissued"
    """The endpoint issued once more the very token that the API had just rejected."""
    REJECTED = "rejected"
    """The API rejected the token that was in hand."""
    CREDENTIALS_REFUSED = "credentials refused"
    """``invalid_client``, a 401, or a code that says this client may not do this."""
    REQUEST_REFUSED = "request refused"
    """Another code of RFC 6749 section 5.2, or a word of the server's own: the request will be wrong again."""
    UNCLEAR = "unclear"
    """A redirect, or a 4xx that names no cause."""
    LOCKED = "locked"
    """The account or this address is locked out."""
    RATE_LIMITED = "rate limited"
    """429: too many requests."""
    BUDGET = "budget"
    """This machine has made as many token requests as its policy allows for now."""
    LIFETIME_TOO_SHORT = "lifetime too short"
    """More remaining life was asked for than this endpoint's tokens have to give."""


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
