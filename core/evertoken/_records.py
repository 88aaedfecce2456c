"""The small immutable records that a State is made of."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from evertoken._policy import whole_ticks
from evertoken._problems import Problem
from evertoken._secrecy import Unpicklable, replace

__all__ = (
    "AccessToken",
    "Attempt",
    "BackOff",
    "Block",
    "BlockKind",
    "Budget",
    "Credentials",
    "Dropped",
    "Rejections",
)

NEVER = math.inf
LONG_AGO = -math.inf
MOST_DOUBLINGS = 40
"""Counters of doublings stop here: 2**40 times the shortest wait is past every cap that a policy can hold."""
MOST_LIFTED = 3
"""So often between grants do new credentials end refused and unclear blocks."""


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

    __hash__ = object.__hash__  # Explorers hash many: that of Enum is computed in Python, each time anew.


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

    ``draw`` in [0, 1) is all the randomness that this attempt's consequences use, its loss included.
    """

    id: int
    started: float
    deadline: float
    draw: float
    generation: int


class BackOff(NamedTuple):
    """Trouble in a row, by kind, and when the next try may start.

    ``failures`` counts the attempts in a row that came to nothing, and doubles the wait; ``malformed`` the latest of
    them whose answers no repetition will mend. No request starts before ``retry_at``. ``found`` is the start of the
    latest attempt that failed: only a grant that was asked for then or later ends the back-off.
    """

    failures: int = 0
    malformed: int = 0
    repeats: int = 0
    retry_at: float = LONG_AGO
    found: float = LONG_AGO


class Block(NamedTuple):
    """What is known of one way in which the endpoint is closed to us. It stands until ``until``, and is kept after it.

    ``found`` is the start of the latest attempt that met it, or one tick after the moment of a report. A grant that was
    asked for then or later clears it; lifting it and new credentials only end it. ``times`` says how often in a row a
    wait of our own followed, which doubles the next one. ``problem`` is for people.
    """

    kind: BlockKind
    until: float
    found: float
    times: int
    problem: Problem


class Budget(NamedTuple):
    """The bucket: whole requests left, the moment of the next refill (never, when full), and its present interval."""

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
