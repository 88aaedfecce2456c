"""What became of one attempt to get a token: the closed set of answers to ``receive_response`` and its siblings.

All ten are importable from here. Nine are in ``evertoken`` too; ``evertoken.RateLimited`` is the error that callers
catch, so the outcome of that name is only ``evertoken.outcomes.RateLimited``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from evertoken._problems import Problem
from evertoken._secrecy import Unpicklable

__all__ = (
    "Abandoned",
    "Failed",
    "Granted",
    "Ignored",
    "Locked",
    "Malformed",
    "Outcome",
    "RateLimited",
    "Refused",
    "Stale",
    "Unclear",
)


class Outcome:
    """The common base. Immutable, and no secret in its repr."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Granted(Unpicklable, Outcome):
    """A token was issued, and is now the one that is handed out (RFC 6749 section 5.1).

    ``expires_in`` is in seconds, None where the answer named none. ``scope`` is what the server says it granted; it is
    data, and never compared with what was asked for.
    """

    access_token: str = field(repr=False)
    expires_in: float | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Failed(Outcome):
    """It did not work this time: no answer, a 5xx, an unusable token. Back-off, at least ``retry_after`` seconds.

    ``lasting`` says that the answer names a cause that no repetition will mend, such as ``invalid_client`` with a 500:
    then the back-off grows as long as after :class:`Malformed`, in case that is what the server means.
    """

    problem: Problem
    retry_after: float | None = None
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Malformed(Outcome):
    """A 200 that is not a token answer. Back-off that grows longer than after a failure."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Refused(Outcome):
    """A refusal in OAuth's words (RFC 6749 section 5.2), of the ``credentials`` or of the ``request`` as such.

    A 401 without a code is one of the credentials, and with 400 or 401 a word of the server's own one of the request.
    """

    problem: Problem
    of: Literal["credentials", "request"] = "credentials"


@dataclass(frozen=True, slots=True)
class Unclear(Outcome):
    """A redirect, or a 4xx with no recognised code: somebody other than the token endpoint may have answered."""

    problem: Problem
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Locked(Outcome):
    """The account or this address is locked out (Mangopay: 400 ``unauthorized_client``)."""

    problem: Problem
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimited(Outcome):
    """429. ``retry_after`` is in seconds, None where the server stated nothing usable: then the wait doubles."""

    problem: Problem
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Abandoned(Outcome):
    """Whoever carried the request gave up; nobody knows whether the server acted."""


@dataclass(frozen=True, slots=True)
class Stale(Outcome):
    """A refusal of credentials that have been replaced meanwhile. The slot is free, nothing else has changed."""


@dataclass(frozen=True, slots=True)
class Ignored(Outcome):
    """Not the attempt in flight, or one that something newer has overtaken. At most a stated wait is kept."""
