"""What became of one attempt to get a token: the closed set of what ``receive_response`` and its siblings return.

All eight are importable from here and from ``evertoken``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from evertoken._problems import Problem
from evertoken._secrecy import Unpicklable
from evertoken._states import BlockKind

__all__ = (
    "Abandoned",
    "Blocked",
    "Failed",
    "Granted",
    "Ignored",
    "Malformed",
    "Outcome",
    "Postponed",
    "Stale",
)


class Outcome:
    """The common base. Every outcome is immutable and shows no secret in its repr."""

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
    """The attempt did not work this time: no answer, a 5xx, an unusable token. A back-off follows.

    It lasts at least ``retry_after`` seconds, up to the policy's cap; None where the server stated nothing usable.

    ``lasting`` says that the answer names a cause that no repetition will mend, such as ``invalid_client`` with a 500:
    then the back-off grows as long as after :class:`Malformed`, in case that is what the server means. ``unsent`` says
    that there was no request, since the client's secret could not be had: the charge is given back.
    """

    problem: Problem
    retry_after: float | None = None
    lasting: bool = False
    unsent: bool = False


@dataclass(frozen=True, slots=True)
class Malformed(Outcome):
    """A 200 that is not a token answer, or an odd status. The back-off grows longer than after a failure."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Blocked(Outcome):
    """The endpoint is closed to this client, in the way of ``kind``: it is not asked again before a wait is over.

    ``REFUSED`` is a refusal in OAuth's words (RFC 6749 section 5.2), a 401 without a code, or with 400 or 401 a word of
    the server's own; the problem's kind tells one of the credentials from one of the request. ``UNCLEAR`` is a
    redirect, or a 4xx with no recognised code: somebody other than the token endpoint may have answered. ``LOCKED`` is
    an account or an address that is locked out (Mangopay: 400 ``unauthorized_client``). ``RATE_LIMITED`` is a 429, or a
    code that says the same.

    ``retry_after`` is in seconds, None where the server stated nothing usable. The wait is never shorter than that, up
    to the policy's cap. Where a rate limit states one, only the back-off after several failures can be longer.
    """

    kind: BlockKind
    problem: Problem
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Abandoned(Outcome):
    """Whoever carried the request gave up; nobody knows whether the server acted."""


@dataclass(frozen=True, slots=True)
class Postponed(Outcome):
    """The token endpoint was not asked, since another process is asking or nobody may ask now.

    A shared store says so, or the client's secret is still the one that was refused. The slot is free and the charge
    given back. The next look is at ``until``, a point in time on the machine's clock. ``problem`` is what a caller is
    told who cannot wait for that.
    """

    until: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class Stale(Outcome):
    """A refusal of credentials that have been replaced meanwhile. The slot is free, nothing else has changed."""


@dataclass(frozen=True, slots=True)
class Ignored(Outcome):
    """The answer does not count: its attempt is over, or something newer has overtaken it.

    Of a late failure the explanation and the wait that the server stated are still kept.
    """
