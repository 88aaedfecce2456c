"""The states of a token, and of the request for the next one: theory, enums, records, the one frozen State.

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
and a design with one enum loses the token. People read one word, so ``state(now)`` makes one of the two: a
TokenState. BLOCKED wins in it, and a live token is handed out in BLOCKED too.

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

**A shared store** stands, where there is one, between the machine and the endpoint, and lets one process of a fleet ask
for all. A claim then is a look: the store may give a token that another process was granted, a block that another one
met, or say that somebody else is asking. Nothing was asked then, so the charge is given back and no counter moves. The
waits of the fleet stand in the store, where an operator can lift them; the machine's own pauses are a minute at most. A
block has two moments there: when it *ends*, which is what callers are told, and when to *look* again whether it still
stands. The state stays BLOCKED during such a look. Only when the store is down do the machine's own waits count.

A cancelled request is not a failed one: it costs nothing but its budget, which bounds how often one can be given up.

Each kind of block has a record of its own, and the latest moment of all counts. The record is kept when its moment has
passed, since it also says how often in a row we have waited: each kind doubles its wait each time, a rate limit only
where the server states none. What clears a record is a grant that was asked for after the block was found.

The budget is a bucket: a level, and the moment of the next refill. It is charged when an exchange starts and is never
refunded where the endpoint may have been asked, so no sequence of cancellations, rejections and clock faults can ask
more often than it refills.

When an API rejects a token, that word is believed only about the token in hand, only so often, and only if another
token can be had at once. Otherwise one odd 401 would leave everyone without a token while the endpoint is blocked.

The tables in ``evertoken.testing`` say the same in a form that the tests walk cell by cell.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from evertoken._policy import Policy, whole_ticks
from evertoken._problems import Problem
from evertoken._secrecy import Unpicklable, replace


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


# The records that a state is made of
# ===================================

NEVER = math.inf
LONG_AGO = -math.inf
MOST_DOUBLINGS = 40
"""Counters of doublings stop here: 2**40 times the shortest wait is past every cap that a policy can hold."""
MOST_TIERS = 8
"""More shared stores one behind the other have no use."""
MOST_LIFTED = 3
"""How many times between two grants new credentials end such a block: secrets swapped in a loop must not knock."""


@enum.unique
class BlockKind(enum.Enum):
    """The four ways in which a token endpoint is closed to a client. Each has a :class:`Block` of its own."""

    LOCKED = "locked"
    REFUSED = "refused"
    UNCLEAR = "unclear"
    RATE_LIMITED = "rate limited"

    @property
    def is_grave(self) -> bool:
        """Whether only time and people end such a block: no caller is patient enough for that."""
        return self is not BlockKind.RATE_LIMITED

    __hash__ = object.__hash__  # Explorers hash many states, and ``Enum.__hash__`` is a function in Python.


@dataclass(frozen=True, slots=True)
class AccessToken(Unpicklable):
    """One access token and its moments, never changed and only ever replaced whole.

    ``value`` and ``authorization`` (the complete header value, ``Bearer ...``) are hidden in the repr. The four moments
    are points in time on the machine's clock: ``started`` when the request for it started, ``refresh_at`` when the next
    one is due, ``fresh_until`` when it stops being handed out, ``expires_at`` when the server stops accepting it.
    ``scope`` is what the server says it granted (RFC 6749 section 5.1).
    """

    value: str = field(repr=False)
    authorization: str = field(repr=False)
    started: float
    refresh_at: float
    fresh_until: float
    expires_at: float
    scope: str | None = None

    @property
    def lifetime(self) -> float:
        """Seconds from the start of its request to its expiry."""
        return self.expires_at - self.started

    @property
    def longest_min_ttl(self) -> float:
        """The most remaining life, in seconds, that a caller may ask of such a token: half of its usable life."""
        return whole_ticks((self.fresh_until - self.started) / 2)

    def due_no_earlier_than(self, moment: float) -> AccessToken:
        """The same token, its next refresh not due before ``moment`` (or before it stops being handed out)."""
        return replace(self, refresh_at=min(self.fresh_until, max(self.refresh_at, moment)))


class Attempt(NamedTuple):
    """One token request under way, or the latest that was lost.

    ``draw`` in [0, 1) is all the randomness that this attempt's consequences use, its loss included. ``tiers`` counts
    the shared stores that it goes by. ``asks`` says that the client's secret is asked for first.
    """

    id: int
    started: float
    deadline: float
    draw: float
    generation: int
    tiers: int = 0
    asks: bool = False


class BackOff(NamedTuple):
    """Trouble in a row, by kind, and when the next try may start.

    ``failures`` counts the attempts in a row that came to nothing, and doubles the wait; ``malformed`` the latest of
    them whose answers no repetition will mend. No request starts before ``retry_at``. ``found`` is the start of the
    latest attempt that failed: only a grant that was asked for then or later ends the back-off. ``repeats`` counts the
    grants in a row that brought the same token again, and spaces the next refresh.
    """

    failures: int = 0
    malformed: int = 0
    repeats: int = 0
    retry_at: float = LONG_AGO
    found: float = LONG_AGO

    def one_more(self, found: float, *, malformed: bool = False) -> BackOff:
        """The same after one more failure in a row, of an attempt that was started at ``found``; ``retry_at`` stays."""
        in_a_row = min(self.malformed + 1, MOST_DOUBLINGS) if malformed else 0
        failures = min(self.failures + 1, MOST_DOUBLINGS)
        return self._replace(failures=failures, malformed=in_a_row, found=max(self.found, found))


class Block(NamedTuple):
    """What is known of one way in which the endpoint is closed to us. It stands until ``until``, and is kept after it.

    ``found`` is the start of the latest attempt that met it, or one tick after the moment of a report. A grant that was
    asked for then or later clears it; lifting it and new credentials only end it. ``times`` says how often in a row a
    wait of our own followed, which doubles the next one. ``problem`` is for people. No request starts before
    ``look_at``: that is ``until``, unless a shared store can be asked earlier whether the block still stands, or a
    callable whether there is another secret.
    """

    kind: BlockKind
    until: float
    found: float
    times: int
    problem: Problem
    look_at: float


class Budget(NamedTuple):
    """The bucket: whole requests left, the moment of the next refill (never, when full), and its present interval.

    It is refilled when it is asked or charged, and never by time alone: the level is the one of then.
    """

    level: int
    refill_at: float
    interval: float


class Dropped(NamedTuple):
    """A token that the API rejected: not taken again before ``shunned_until``, remembered until ``forget_at``."""

    digest: str
    shunned_until: float
    forget_at: float


class Rejections(NamedTuple):
    """How often in a row the API's word was taken, when it may be taken again, and what was dropped for it.

    ``worked`` says that an API has served a call with the token in hand. From ``forgive_at`` on that ends the row: no
    rejection, believed or not, has been heard of for so long.
    """

    believed: int = 0
    allowed_at: float = LONG_AGO
    forgive_at: float = LONG_AGO
    worked: bool = False
    dropped: tuple[Dropped, ...] = ()


class Credentials(NamedTuple):
    """What is known of the client's secret, by the generation of which there is one for each replacement.

    ``proven`` says that the present one was granted with. ``lock_lifted`` says that replacing has ended a lock since
    the last grant, ``refusals_lifted`` how often a refused or an unclear block.
    """

    generation: int = 0
    proven: bool = False
    lock_lifted: bool = False
    refusals_lifted: int = 0


# The one state
# =============


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
        return max([block.until for block in self.blocks]) if self.blocks else LONG_AGO

    @property
    def look_at(self) -> float:
        """From when on a request may start as far as blocks are concerned; long ago if none was found."""
        return max([block.look_at for block in self.blocks]) if self.blocks else LONG_AGO

    @property
    def is_look(self) -> bool:
        """Whether the attempt in flight was started to look whether a block still stands, or for another secret."""
        attempt = self.attempt
        return attempt is not None and any(block.look_at <= attempt.started for block in self.standing)

    @property
    def standing(self) -> tuple[Block, ...]:
        """The blocks that are not over."""
        return tuple([block for block in self.blocks if self.now < block.until]) if self.blocks else ()

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
