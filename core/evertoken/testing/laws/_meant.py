"""What the scripted server meant by its answers, held against what became of them: laws that begin before the parser.

The other laws judge what the machine makes of an answer as it was read. If it was read wrongly (a Retry-After that is
not seen, an SCA challenge that is taken for a bad token), they find nothing amiss. The laws here know nothing of states
and outcomes: they see the server's log, when token requests start, and which header is handed out.
"""

from __future__ import annotations

import math

from evertoken._checks import on_the_grid
from evertoken._policy import Policy, whole_ticks
from evertoken._schedule import own_wait
from evertoken._states import BlockKind
from evertoken.testing._restart import Restart
from evertoken.testing.server._arrivals import Arrival
from evertoken.testing.server._faults import ApiFault, TokenFault

_LIMIT = "a 429 is waited out, as long as it states, up to the cap, or else our own wait"
_TROUBLE = "a 5xx that states a wait is waited out, up to the cap"
_LOCK = "an account that the server has locked is left alone for our own wait"
_REFUSAL = "credentials that the server has refused are not tried again before our own wait is over"
_UNCLEAR = "a redirect or a 403 of the token endpoint is not asked again before our own wait is over"
_TAKEN = "a token that the server has issued and that came in time is handed out"
_NONE = "no token comes of an answer that grants none"
_KEPT = "only a 401 about the token costs it, and no challenge to the user (SCA)"

_OPENED_BY_CREDENTIALS = (_LOCK, _REFUSAL, _UNCLEAR)


class ServerLaws:
    """Holds one client's machine, which runs under ``policy``, to what the server meant by its answers.

    ``lifetime`` is the life of the server's tokens, in seconds. Moments are on the machine's clock.

    Each method takes note of something; those that can find a law broken return its words, else None.
    """

    __slots__ = ("_flying", "_is_stale", "_life", "_policy", "_waits")

    def __init__(self, policy: Policy, lifetime: float) -> None:
        self._policy = policy
        self._life = lifetime
        self._waits: dict[str, float] = {}
        self._flying: tuple[int, float, float] | None = None
        self._is_stale = False

    # The token endpoint
    # ------------------

    def started(self, now: float, request_id: int) -> str | None:
        """The machine has started a token request."""
        now = on_the_grid(now)
        self._flying = request_id, now, now + whole_ticks(self._policy.request_timeout)
        self._is_stale = False
        return next((law for law, until in self._waits.items() if now < until), None)

    def answered(
        self, now: float, request_id: int, arrival: Arrival, before: str | None, after: str | None
    ) -> str | None:
        """The machine was told the answer to ``arrival``; it handed out one header ``before``, and another ``after``.

        Only the answer to the request that is in flight has to be heeded.
        """
        now, flying = on_the_grid(now), self._flying
        if flying is None or flying[0] != request_id or now >= flying[2]:
            return _NONE if arrival.token_number is None and after != before else None
        self._flying = None
        if arrival.token_number is not None:
            return self._granted(now - flying[1], arrival, after)
        law, wait = self._wait_of(arrival)
        if wait > 0.0:
            self._waits[law] = max(self._waits.get(law, -math.inf), now + whole_ticks(wait))
        return None if after == before else _NONE

    def _granted(self, took: float, arrival: Arrival, after: str | None) -> str | None:
        policy = self._policy
        believed = policy.default_lifetime if arrival.fault is TokenFault.NO_EXPIRES_IN else self._life
        # A repeated token, and one that is dead on arrival, have a life of their own.
        plain = arrival.fault in (TokenFault.NONE, TokenFault.NO_EXPIRES_IN, TokenFault.DRIP)
        left = min(believed, policy.max_lifetime) - policy.leeway - took
        return _TAKEN if plain and left > 1.0 and after is None else None

    def _wait_of(self, arrival: Arrival) -> tuple[str, float]:
        """Which law is about this answer, and for how many seconds it has to be heeded at least."""
        policy, status, stated = self._policy, arrival.status or 0, arrival.retry_after
        if status == 429:
            unstated = own_wait(policy, BlockKind.RATE_LIMITED, 0)
            if arrival.detail == "over the rate limit":  # Its headers state the ends of windows, which the log lacks.
                unstated = 0.0
            return _LIMIT, unstated if stated is None else min(stated, policy.rate_limited_wait_cap)
        if status >= 500:
            return _TROUBLE, min(stated or 0, policy.rate_limited_wait_cap)
        if status == 400:
            return _LOCK, own_wait(policy, BlockKind.LOCKED, 0)
        if status == 401:
            own = min(own_wait(policy, BlockKind.REFUSED, 0), policy.doubted_refusal_wait)
            return _REFUSAL, 0.0 if self._is_stale else own
        return _UNCLEAR, own_wait(policy, BlockKind.UNCLEAR, 0) if status >= 300 else 0.0

    def ended(self, request_id: int) -> None:
        """The machine was told that no answer will come, or whoever carried the request has given up."""
        if self._flying is not None and self._flying[0] == request_id:
            self._flying = None

    # The API
    # -------

    def api_answered(self, now: float, arrival: Arrival, before: str | None, after: str | None) -> str | None:
        """Whoever called the API has the answer to ``arrival``, and has told the machine what it says of the token."""
        if arrival.status == 400 and arrival.fault is ApiFault.LOCKED:
            wait = whole_ticks(own_wait(self._policy, BlockKind.LOCKED, 0))
            self._waits[_LOCK] = max(self._waits.get(_LOCK, -math.inf), on_the_grid(now) + wait)
        about_the_token = arrival.status == 401 and arrival.detail != "strong customer authentication"
        return None if about_the_token or after == before else _KEPT

    # What ends a wait
    # ----------------

    def lifted(self) -> None:
        """The operator has lifted every block."""
        self._waits.clear()

    def replaced(self) -> None:
        """There are new credentials: they may be tried at once, and a refusal of the old ones no longer counts."""
        self._is_stale = True
        for law in _OPENED_BY_CREDENTIALS:
            self._waits.pop(law, None)

    def crashed(self) -> None:
        """The process has ended, and its snapshot is lost with it."""
        self._waits.clear()
        self._flying = None

    def restarted(self, restart: Restart) -> None:
        """The process has ended, and goes on from a snapshot on a clock of its own."""
        shift = whole_ticks(restart.now) - whole_ticks(restart.taken_at) - whole_ticks(restart.elapsed)
        self._waits = {law: until + shift for law, until in self._waits.items()}
        self._flying = None
        if restart.replaced:
            self.replaced()
            self._waits.clear()  # The snapshot is not believed, since its seal is that of another secret.
