"""The states of a token, and of the request for the next one: theory, enums, the one frozen State, the tables.

Theory of operation
===================

A program wants one thing: an ``Authorization`` value that works. A token endpoint wants one thing too: to be asked
rarely. Between the two stands a state machine with a clock for an input, and it is small once it is split in two.

**Freshness** is about the token in hand, and only time and grants move it::

    NONE          no token was ever granted, or the API rejected it and it was dropped
    VALID         before refresh_at: hand it out, ask for nothing
    REFRESH_DUE   before fresh_until: still handed out, while the next one is asked for beside it
    EXPIRED       from fresh_until on: never handed out, because a call in flight might not be good on arrival

**The request** is about the endpoint, and only attempts and time move it::

    IDLE          a request may start if somebody wants one
    IN_FLIGHT     one attempt is under way; there is never a second
    BACKING_OFF   the last attempts failed, or the budget is spent: nothing starts before a stated moment
    BLOCKED       the endpoint is closed to us (locked, refused, unclear, rate limited) until a stated moment

They are two enums because they are independent: a live token while the endpoint is blocked is a real and common state,
and a design with one enum loses the token. People read one word, so ``state(now)`` folds the two into the five of the
brief; BLOCKED wins. A live token is handed out in BLOCKED too.

What time alone causes is never stored. A token falls due, expires, an attempt is lost, a wait is over because the
number that is asked about has passed a stored deadline. So there is no tick to forget, and asking twice changes
nothing. Every deadline is computed once, from the moment of an input, and compared in one way: ``now < deadline``.

A token's life counts from the moment its request was *started*, not from the answer: the server cannot have started
the clock earlier, so what we take for expiry is never too late::

    started .......... refresh_at .... fresh_until .. expires_at
       |------ VALID -----|- REFRESH_DUE -|---- EXPIRED ---->
              received ^     refresh_at is at least halfway between receipt and fresh_until

An attempt has a deadline. Past it the attempt is *lost*, whether or not anybody reports it: a driver that dies leaves
nothing behind. The latest lost attempt is remembered, since its answer may still come: a late token is taken if it is
newer than ours, a late refusal is believed unless something later has been granted. Each attempt is consumed by its
first outcome. What carries an unknown id is ignored.

A cancelled request is not a failed one: it costs nothing but its budget, which bounds how often one can be given up.

Each kind of block has a record of its own, and the latest moment of all counts. The record is kept when its moment has
passed, since it also says how often in a row we have waited: each kind doubles its wait each time, a rate limit only
where the server states none. What clears a record is a grant that was asked for after the block was found.

The budget is a bucket: a level, and the moment of the next refill. It is charged when an exchange starts and is never
refunded, so no sequence of cancellations, rejections and clock faults can ask more often than it refills.

When an API rejects a token, that word is believed only about the token in hand, only so often, and only if another
token can be had at once. Otherwise one odd 401 would leave everyone without a token while the endpoint is blocked.

The tables at the end of this file say the same in a form that the tests walk cell by cell.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from evertoken._policy import Policy, whole_ticks
from evertoken._problems import Problem
from evertoken._records import (
    LONG_AGO,
    NEVER,
    AccessToken,
    Attempt,
    BackOff,
    Block,
    BlockKind,
    Budget,
    Credentials,
    Rejections,
)

__all__ = (
    "FRESHNESS_TABLE",
    "REQUEST_TABLE",
    "Event",
    "Freshness",
    "RequestState",
    "State",
    "TokenState",
    "after",
)


@enum.unique
class Freshness(enum.Enum):
    """How good the token in hand is: VALID ``< refresh_at <=`` REFRESH_DUE ``< fresh_until <=`` EXPIRED."""

    NONE = "none"
    VALID = "valid"
    REFRESH_DUE = "refresh due"
    EXPIRED = "expired"


@enum.unique
class RequestState(enum.Enum):
    """Whether the token endpoint may be asked, is being asked, or must be left alone."""

    IDLE = "idle"
    IN_FLIGHT = "in flight"
    BACKING_OFF = "backing off"
    BLOCKED = "blocked"


@enum.unique
class TokenState(enum.Enum):
    """The view that people read: the freshness, or BLOCKED while the endpoint is not to be asked."""

    NONE = "none"
    VALID = "valid"
    REFRESH_DUE = "refresh due"
    EXPIRED = "expired"
    BLOCKED = "blocked"


class State(NamedTuple):
    """All that the machine knows, as one value: compare it, hash it, keep it, put it back.

    ``now`` is the largest time of any input. ``granted_at`` is the start of the newest attempt that was granted, and
    outlives the token itself.
    """

    now: float
    token: AccessToken | None
    attempt: Attempt | None
    lost: Attempt | None
    next_id: int
    backoff: BackOff
    blocks: tuple[Block, ...]
    budget: Budget
    rejections: Rejections
    credentials: Credentials
    granted_at: float
    problem: Problem | None

    @property
    def unblock_at(self) -> float:
        """When the last block is over; long ago if none was found."""
        blocks = self.blocks
        if len(blocks) < 2:
            return blocks[0].until if blocks else LONG_AGO
        return max(block.until for block in blocks)

    @property
    def standing(self) -> tuple[Block, ...]:
        """The blocks that are not over."""
        return tuple([block for block in self.blocks if self.now < block.until])

    def block(self, kind: BlockKind) -> Block | None:
        """The record of this kind, standing or over; None if there is none since the last grant."""
        return next((block for block in self.blocks if block.kind is kind), None)

    @property
    def budget_at(self) -> float:
        """When the budget allows the next exchange; long ago if it allows one now."""
        return LONG_AGO if self.budget.level > 0 else self.budget.refill_at

    def at(self, now: float) -> State:
        """The same at another moment: what :meth:`_replace` would give, in a fraction of its time."""
        return State._make((now, *self[1:]))

    def without_attempt(self) -> State:
        """The same with nothing in flight, as quickly."""
        return State._make((self.now, self.token, None, *self[3:]))

    def canonical(self, now: float) -> tuple[object, ...]:
        """The same state with its history taken out, for explorers that merge states: it hashes and compares.

        Moments that lie ahead are relative to ``now``, those behind are one; ids and generations are compared with each
        other instead of counted; texts and the token itself are left out. Two states with one canonical form, settled
        at their own ``now``, answer every future alike. An attempt's moments stay: its token's life counts on them.
        """
        attempt, lost, backoff, rejections = self.attempt, self.lost, self.backoff, self.rejections
        marks = (now if attempt is None else attempt.started, now if lost is None else lost.started, now)
        return (
            self._canonical_token(now, marks),
            self._canonical_attempt(attempt, now),
            self._canonical_attempt(lost, now),
            (*backoff[:3], _ahead(backoff.retry_at, now), _order(backoff.found, marks)),
            self._canonical_blocks(now, marks) if self.blocks else (),
            (self.budget.level, self.budget.refill_at - now, self.budget.interval),
            (rejections.believed, rejections.worked, *[_ahead(moment, now) for moment in rejections[1:3]]),
            tuple([(_ahead(d.shunned_until, now), _ahead(d.forget_at, now)) for d in rejections.dropped]),
            self.credentials[1:],
            (self.granted_at == LONG_AGO, _order(self.granted_at, marks)),
        )

    def _canonical_token(self, now: float, marks: _Marks) -> tuple[object, ...] | None:
        token = self.token
        if token is None:
            return None
        return (
            _ahead(token.refresh_at, now),
            _ahead(token.fresh_until, now),
            _ahead(token.expires_at, now),
            _ahead(token.started + token.lifetime / 4, now),
            token.longest_min_ttl,
            _order(token.started, marks),
        )

    def _canonical_attempt(self, attempt: Attempt | None, now: float) -> tuple[object, ...] | None:
        if attempt is None:
            return None
        current = (attempt.generation == self.credentials.generation,)
        times = (now - attempt.started, _ahead(attempt.deadline, now))
        return (*times, attempt.draw, *current)

    def _canonical_blocks(self, now: float, marks: _Marks) -> tuple[object, ...]:
        return tuple([(b.kind, _ahead(b.until, now), b.times, _order(b.found, marks)) for b in self.blocks])


_Marks = tuple[float, float, float]
"""The starts of the attempts that may still bring something, or now where there is none; and now."""


def _order(moment: float, marks: _Marks) -> tuple[int, int, int]:
    """Whether ``moment`` is before, at or after each of the marks: all that a later comparison can bring to light."""
    first, second, now = marks
    return (
        (moment > first) - (moment < first),
        (moment > second) - (moment < second),
        (moment > now) - (moment < now),
    )


def _ahead(moment: float, now: float) -> float | None:
    return moment - now if moment > now else None


def first_state(policy: Policy) -> State:
    """The state before anything has happened: no token, nothing asked, a full bucket."""
    return State(
        now=LONG_AGO,
        token=None,
        attempt=None,
        lost=None,
        next_id=1,
        backoff=BackOff(),
        blocks=(),
        budget=Budget(policy.budget_burst, NEVER, whole_ticks(policy.budget_interval)),
        rejections=Rejections(),
        credentials=Credentials(),
        granted_at=LONG_AGO,
        problem=None,
    )


# The tables
# ==========
#
# What happens is one of these events. Most are inputs; FALL_DUE, EXPIRE, LOSE and WAIT_OVER are what time alone causes.


@enum.unique
class Event(enum.Enum):
    """The alphabet of the tables: each is an input with its meaning, or the passing of a deadline."""

    START = "start_request"
    GRANT = "granted"
    FAIL = "failed"
    MALFORMED = "malformed"
    REFUSE = "refused"
    UNCLEAR = "unclear"
    LOCK = "locked"
    RATE_LIMIT = "rate limited"
    ABANDON = "abandoned"
    LOSE = "deadline passed"
    WAIT_OVER = "wait over"
    REPORT = "endpoint_blocked"
    REJECT = "token_rejected"
    REPLACE = "replace_credentials"
    LIFT = "lift_block"
    FALL_DUE = "refresh_at passed"
    EXPIRE = "fresh_until passed"


_NONE, _VALID, _DUE, _EXPIRED = Freshness
_IDLE, _IN_FLIGHT, _BACKING_OFF, _BLOCKED = RequestState

FRESHNESS_TABLE: Mapping[Event, Mapping[Freshness, Freshness]] = MappingProxyType(
    {
        Event.GRANT: {_NONE: _VALID, _VALID: _VALID, _DUE: _VALID, _EXPIRED: _VALID},
        Event.FALL_DUE: {_VALID: _DUE},
        Event.EXPIRE: {_VALID: _EXPIRED, _DUE: _EXPIRED},
        Event.REJECT: {_VALID: _NONE, _DUE: _NONE},
    }
)
"""What each event makes of the token in hand. Pairs that are not listed change nothing."""

REQUEST_TABLE: Mapping[Event, Mapping[RequestState, RequestState]] = MappingProxyType(
    {
        Event.START: {_IDLE: _IN_FLIGHT},
        Event.GRANT: {_IN_FLIGHT: _IDLE},
        Event.FAIL: {_IN_FLIGHT: _BACKING_OFF},
        Event.MALFORMED: {_IN_FLIGHT: _BACKING_OFF},
        Event.REFUSE: {_IN_FLIGHT: _BLOCKED},
        Event.UNCLEAR: {_IN_FLIGHT: _BLOCKED},
        Event.LOCK: {_IN_FLIGHT: _BLOCKED},
        Event.RATE_LIMIT: {_IN_FLIGHT: _BLOCKED},
        Event.ABANDON: {_IN_FLIGHT: _IDLE},
        Event.LOSE: {_IN_FLIGHT: _BACKING_OFF},
        Event.WAIT_OVER: {_BACKING_OFF: _IDLE, _BLOCKED: _IDLE},
        Event.REPORT: {_IDLE: _BLOCKED, _BACKING_OFF: _BLOCKED, _BLOCKED: _BLOCKED},
        Event.REPLACE: {_BLOCKED: _IDLE},
        Event.LIFT: {_BLOCKED: _IDLE},
    }
)
"""What each event makes of the request. Pairs that are not listed change nothing.

REPLACE lifts what refusals and unclear answers have blocked three times between grants, a lock once, and no other."""

Joint = tuple[Freshness, RequestState]


def after(joint: Joint, event: Event) -> Joint | None:
    """Where ``event`` leads from a joint state; None where the grammar forbids it (a LocalProtocolError).

    The two tables are independent but for three rules that need both: a request starts only if the token is not VALID;
    an answer counts only for the attempt in flight; a rejection is believed only if another token can be had at once.
    """
    freshness, request = joint
    if event is Event.START and (freshness is _VALID or request is not _IDLE):
        return None
    if event is Event.GRANT and request is not _IN_FLIGHT:
        return joint
    if event is Event.REJECT and request not in (_IDLE, _IN_FLIGHT):
        return joint
    return (
        FRESHNESS_TABLE.get(event, {}).get(freshness, freshness),
        REQUEST_TABLE.get(event, {}).get(request, request),
    )
