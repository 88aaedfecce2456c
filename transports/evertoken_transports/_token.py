"""Token: one access token, for code that needs more of it than the value of a header field."""

from __future__ import annotations

from dataclasses import dataclass, field

from evertoken import AccessToken
from evertoken._secrecy import Unpicklable
from evertoken_transports._clock import Clock


@dataclass(frozen=True, slots=True)
class Token(Unpicklable):
    """One access token, as ``token()`` of a source gives it. It never changes: the source gives another for the next.

    Ask the source for every call, or each time that a library asks you: the source keeps the token, and a copy that is
    kept beside it would be used after an API has rejected it. Where a library keeps tokens itself, tell it
    ``expires_at``.

    ``value`` and ``authorization`` are hidden in the repr, and what would write them down is refused: ``pickle``,
    ``dataclasses.asdict``, orjson, pydantic. A copy of a Token is that Token. Two of one access token are equal.
    """

    value: str = field(repr=False)
    """The bare access token (RFC 6749 section 1.4)."""
    authorization: str = field(repr=False)
    """The complete value of an ``Authorization`` header: ``Bearer`` and the token (RFC 6750 section 2.1)."""
    expires_at: float = field(compare=False)
    """Unix time at which the token endpoint said that it stops accepting this token, by the wall clock as it was when
    the token was handed out. The source hands it out until ``Policy.leeway`` before that."""
    scope: str | None
    """What the token is good for: as the token endpoint said, else what was asked for (RFC 6749 section 5.1)."""
    _ends: float = field(repr=False)
    _clock: Clock = field(repr=False, compare=False)

    @classmethod
    def of(cls, held: AccessToken, asked: str | None, clock: Clock, wall: Clock) -> Token:
        """A Token for ``held``, whose moments are on ``clock``; ``asked`` is the grant's scope, ``wall`` Unix time."""
        expires_at = wall() + (held.expires_at - clock())
        scope = asked if held.scope is None else held.scope
        return cls(held.value, held.authorization, expires_at, scope, held.expires_at, clock)

    @property
    def seconds_left(self) -> float:
        """Seconds from this moment to its expiry, by a clock that nobody sets; 0.0 once it has expired."""
        return max(0.0, self._ends - self._clock())
