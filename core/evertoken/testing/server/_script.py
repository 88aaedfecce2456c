"""What the authorization server does, as data: lifetimes, latencies and faults, by time window or by arrival.

A script is an immutable value. It holds no secret, so it can be printed, compared, hashed, and kept in a JSON file.
Times in it are seconds since the server's ``start``; windows are half open, ``at <= time < until``.

Every fault is a member of :class:`TokenFault` or :class:`ApiFault`, and a behaviour made from a fault alone is whole:
``[TokenBehaviour(fault=fault) for fault in TokenFault]`` is the whole fault surface of the token endpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from evertoken.testing.server._faults import (
    ApiFault,
    ScriptError,
    TokenFault,
    check_flag,
    check_member,
    check_members,
    check_seconds,
    check_text,
    check_whole,
    is_number,
)
from evertoken.testing.server._script_json import decode, encode

STATED_WAIT = 30
"""The seconds that a rate limit states where its behaviour names none."""


_TOKEN_STATUSES = {
    TokenFault.SERVER_ERROR: range(500, 600),
    TokenFault.REDIRECT: range(300, 400),
    TokenFault.HTML: range(200, 600),
}
_API_STATUSES = {ApiFault.SERVER_ERROR: range(500, 600)}


def _check_answer(behaviour: TokenBehaviour | ApiBehaviour, statuses: range | None) -> None:
    if behaviour.status is not None:
        _check_status(behaviour.fault, behaviour.status, statuses)
    if behaviour.retry_after is not None:
        check_whole("retry_after", behaviour.retry_after, least=0)
    check_seconds("bytes_per_second", behaviour.bytes_per_second, least_open=True)
    check_whole("cut_after", behaviour.cut_after, least=0)


def _check_status(fault: TokenFault | ApiFault, status: object, statuses: range | None) -> None:
    if statuses is None:
        raise ScriptError("status", f"has no meaning with the fault {fault.value!r}")
    if isinstance(status, bool) or not isinstance(status, int) or status not in statuses:
        allowed = f"{statuses.start} to {statuses.stop - 1}"
        raise ScriptError("status", f"must be a whole number from {allowed} with the fault {fault.value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBehaviour:
    """How the token endpoint treats one request.

    Raises:
        ScriptError: a value is out of its range; the error names the field.
    """

    fault: TokenFault = TokenFault.NONE
    latency_before: float = 0.0
    """Seconds from the arrival of the request to the issue of the token, from which its life counts."""
    latency_after: float = 0.0
    """Seconds from the issue of the token to the first byte of the answer."""
    lifetime: int | None = None
    """The life of a token issued now, in seconds; None for the script's."""
    status: int | None = None
    """The status of SERVER_ERROR (5xx), REDIRECT (3xx) and HTML (200 to 599)."""
    retry_after: int | None = None
    """The wait that the answer states, in seconds. If unset, SERVER_ERROR states none, and those RATE_LIMITED faults
    that state a wait state 30."""
    bytes_per_second: float = 1.0
    """The pace of DRIP."""
    cut_after: int = 10
    """The bytes of body that CUT_BODY sends."""
    location: str = "https://elsewhere.example/v2.01/oauth/token"
    """The target of REDIRECT."""

    def __post_init__(self) -> None:
        check_member("fault", self.fault, TokenFault)
        check_seconds("latency_before", self.latency_before)
        check_seconds("latency_after", self.latency_after)
        if self.lifetime is not None:
            check_whole("lifetime", self.lifetime, least=1)
        _check_answer(self, _TOKEN_STATUSES.get(self.fault))
        check_text("location", self.location)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiBehaviour:
    """How the API route treats one call. The token is judged at the moment of arrival.

    Raises:
        ScriptError: a value is out of its range; the error names the field.
    """

    fault: ApiFault = ApiFault.NONE
    latency: float = 0.0
    """Seconds from the arrival of the call to the first byte of the answer."""
    status: int | None = None
    """The status of SERVER_ERROR (5xx)."""
    retry_after: int | None = None
    """The wait that SERVER_ERROR and RATE_LIMITED state, in seconds; None for no Retry-After."""
    bytes_per_second: float = 1.0
    """The pace of DRIP."""
    cut_after: int = 10
    """The bytes of body that CUT_BODY sends."""

    def __post_init__(self) -> None:
        check_member("fault", self.fault, ApiFault)
        check_seconds("latency", self.latency)
        _check_answer(self, _API_STATUSES.get(self.fault))


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of time with a behaviour of its own; a behaviour of None leaves that route as it was.

    Where phases overlap, the earlier one in the script's tuple wins, for each route by itself.
    """

    at: float
    until: float = math.inf
    token: TokenBehaviour | None = None
    api: ApiBehaviour | None = None

    def __post_init__(self) -> None:
        check_seconds("at", self.at)
        if not is_number(self.until) or not self.until > self.at:
            raise ScriptError("until", f"must be later than at ({self.at}), not {self.until!r}")
        if self.token is not None:
            check_member("token", self.token, TokenBehaviour)
        if self.api is not None:
            check_member("api", self.api, ApiBehaviour)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """One window of a rate limit: at most ``calls`` calls, to whatever route, in ``seconds`` seconds."""

    seconds: int
    calls: int

    def __post_init__(self) -> None:
        check_whole("seconds", self.seconds, least=1)
        check_whole("calls", self.calls, least=1)


MANGOPAY_RATE_LIMITS = (
    RateLimit(seconds=900, calls=2_300),
    RateLimit(seconds=1_800, calls=4_500),
    RateLimit(seconds=3_600, calls=8_800),
    RateLimit(seconds=86_400, calls=105_600),
)
"""Mangopay's four windows, in the order of its headers (documentation, "Rate limiting")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overuse:
    """The rule that locks the account: too many token requests, or too many refused ones (Mangopay, "Authentication").

    Mangopay publishes no numbers; these are the tester's. Every token request that arrives counts, whatever its answer.
    The request that goes beyond the limit is the first to be answered with the lock.
    """

    requests: int
    """More token requests than this in any ``seconds`` lock the account."""
    seconds: float
    refused: int | None = None
    """More refused token requests than this in any ``seconds`` lock the account; None for no such limit."""
    lock_seconds: float = 900.0
    """How long a lock lasts."""
    extends: bool = True
    """Whether a request during the lock makes it last ``lock_seconds`` from then on."""

    def __post_init__(self) -> None:
        check_whole("requests", self.requests, least=1)
        check_seconds("seconds", self.seconds, least_open=True)
        if self.refused is not None:
            check_whole("refused", self.refused, least=1)
        check_seconds("lock_seconds", self.lock_seconds, least_open=True)
        check_flag("extends", self.extends)


class Segment(NamedTuple):
    """A stretch of script time in which both behaviours stay the same."""

    since: float
    until: float
    token: TokenBehaviour
    api: ApiBehaviour


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """All that the server will do. The default is fair weather with Mangopay's sandbox lifetime.

    The behaviour of a request is that of the next one-shot if one is left, else that of the first phase that covers the
    moment, else ``token`` or ``api``.

    Raises:
        ScriptError: a value is out of its range; the error names the field.
    """

    lifetime: int = 1_200
    """The life of a token in seconds, counted from its issue (Mangopay: 1,200 in the sandbox, 3,600 in production)."""
    token: TokenBehaviour = TokenBehaviour()
    api: ApiBehaviour = ApiBehaviour()
    phases: tuple[Phase, ...] = ()
    first_token_requests: tuple[TokenBehaviour, ...] = ()
    """One-shots: the behaviour for the first token request, the second, and so on."""
    first_api_calls: tuple[ApiBehaviour, ...] = ()
    """One-shots for the first API calls."""
    revocations: tuple[float, ...] = ()
    """Moments at which every token issued before is revoked."""
    overuse: Overuse | None = None
    rate_limits: tuple[RateLimit, ...] = MANGOPAY_RATE_LIMITS
    """The windows that the X-RateLimit headers tell of; empty for no such headers."""
    enforce_rate_limits: bool = False
    """Whether a call beyond one of the windows is answered 429."""

    def __post_init__(self) -> None:
        check_whole("lifetime", self.lifetime, least=1)
        check_member("token", self.token, TokenBehaviour)
        check_member("api", self.api, ApiBehaviour)
        check_members("phases", self.phases, Phase)
        check_members("first_token_requests", self.first_token_requests, TokenBehaviour)
        check_members("first_api_calls", self.first_api_calls, ApiBehaviour)
        check_members("revocations", self.revocations, object)
        for index, moment in enumerate(self.revocations):
            check_seconds(f"revocations[{index}]", moment)
        if self.overuse is not None:
            check_member("overuse", self.overuse, Overuse)
        check_members("rate_limits", self.rate_limits, RateLimit)
        check_flag("enforce_rate_limits", self.enforce_rate_limits)

    @classmethod
    def from_json(cls, text: str) -> Script:
        """The script that ``text`` describes: JSON whose names are those of the fields, absent ones at their default.

        Raises:
            ScriptError: it is not JSON, or a field is unknown or wrong; the error names the field by its path, such as
                ``phases[2].token.fault``, and the allowed values.
        """
        return decode(cls, text)

    def to_json(self) -> str:
        """The same as JSON text, without the fields that are at their default. ``from_json`` reads it back, equal."""
        return encode(self)

    def segment(self, seconds: float) -> Segment:
        """The behaviours at ``seconds`` after the start, one-shots apart, and from when to when they hold."""
        edges = [edge for phase in self.phases for edge in (phase.at, phase.until)]
        covering = [phase for phase in self.phases if phase.at <= seconds < phase.until]
        return Segment(
            max((edge for edge in edges if edge <= seconds), default=-math.inf),
            min((edge for edge in edges if edge > seconds), default=math.inf),
            next((phase.token for phase in covering if phase.token is not None), self.token),
            next((phase.api for phase in covering if phase.api is not None), self.api),
        )

    def revocation_after(self, seconds: float) -> float | None:
        """The moment at which a token issued at ``seconds`` is revoked by the script, or None."""
        return min((moment for moment in self.revocations if moment > seconds), default=None)
