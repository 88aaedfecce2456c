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
    "Doublings",
    "Dropped",
    "Keys",
    "Rejections",
)

NEVER = math.inf
LONG_AGO = -math.inf
MOST_DOUBLINGS = 40
"""Counters of doublings stop here: 2**40 times the shortest wait is past every cap that a policy can hold."""
MOST_OPENED = 3
"""So often between grants do new credentials open what refusals and unclear answers have closed."""


@enum.unique
class BlockKind(enum.Enum):
    """The four ways in which a token endpoint closes the door. Each keeps a moment of its own."""

    LOCKED = "locked"
    REFUSED = "refused"
    UNCLEAR = "unclear"
    RATE_LIMITED = "rate limited"

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
    """Trouble in a row, by kind; when the next try may start; and the start of the attempt that taught us so.

    ``malformed`` counts answers that no repetition will mend.
    """

    failures: int = 0
    malformed: int = 0
    repeats: int = 0
    retry_at: float = LONG_AGO
    since: float = LONG_AGO


class Block(NamedTuple):
    """A closed door. ``since`` is the start of the attempt that found it closed, or one tick after a report's moment.

    A grant opens what was found no later than it was asked for.
    """

    kind: BlockKind
    until: float
    since: float
    problem: Problem


class Doublings(NamedTuple):
    """How often each wait has been doubled, in the order of ``BlockKind``.

    Grants reset them; lifting a block and new credentials do not.
    """

    locked: int = 0
    refused: int = 0
    unclear: int = 0
    rate_limited: int = 0


class Budget(NamedTuple):
    """The bucket: whole requests left, the moment of the next refill (never, when full), and its present interval."""

    level: int
    refill_at: float
    interval: float


class Dropped(NamedTuple):
    """A token that the API rejected: not taken again before ``vouched_at``, remembered until ``forget_at``."""

    digest: str
    vouched_at: float
    forget_at: float


class Rejections(NamedTuple):
    """How often in a row the API's word was taken, when it may be taken again, and what was dropped for it.

    ``worked`` says that an API has served a call with the token in hand. From ``forgive_at`` on that ends the row: no
    rejection, believed or not, has been heard of for so long.
    """

    honoured: int = 0
    allowed_at: float = LONG_AGO
    forgive_at: float = LONG_AGO
    worked: bool = False
    dropped: tuple[Dropped, ...] = ()


class Keys(NamedTuple):
    """The generation of the credentials; whether it was granted with; and what replacing has opened since a grant.

    ``unlocked`` says that it has opened a locked door, ``opened`` how often a refused or an unclear one.
    """

    generation: int = 0
    vouched: bool = False
    unlocked: bool = False
    opened: int = 0
