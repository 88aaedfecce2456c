"""The closed sets of what goes into the machine and what it answers, as frozen values.

What comes of a step besides is in :mod:`evertoken.happenings`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from evertoken._challenge import Challenge
from evertoken._http import Seen
from evertoken._secrecy import Unpicklable
from evertoken._states import BlockKind
from evertoken.outcomes import Outcome

# What goes in
# ============


@dataclass(frozen=True, slots=True)
class RequestClaimed:
    """``start_request``: an exchange starts now, by way of ``tiers`` shared stores.

    ``asks``: the client's secret is asked for first. ``min_ttl`` is what the caller needed, for whom it was allowed.
    """

    now: float
    draw: float
    min_ttl: float = 0.0
    tiers: int = 0
    asks: bool = False


@dataclass(frozen=True, slots=True)
class AnswerReceived(Unpicklable):
    """What attempt ``id`` brought, as the parser read it; failed sends and abandoned requests included.

    ``seen`` is what a shared store knew besides.
    """

    now: float
    id: int
    answer: Outcome
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class TokenRejected(Unpicklable):
    """An API refused a call that carried ``authorization``, with this much evidence that the token was the cause."""

    now: float
    authorization: str = field(repr=False)
    challenge: Challenge


@dataclass(frozen=True, slots=True)
class TokenWorked(Unpicklable):
    """An API served a call that carried ``authorization``."""

    now: float
    authorization: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BlockReported:
    """``endpoint_blocked``: an API says that the endpoint is closed to this client, for ``seconds`` if it knows."""

    now: float
    kind: BlockKind
    seconds: float | None
    draw: float
    tiers: int = 0


@dataclass(frozen=True, slots=True)
class CredentialsReplaced:
    """The client's secret was changed to a different one.

    ``attempt`` is the id of the attempt whose ``secret_source`` gave the new one, and which therefore counts as made
    with it; 0 if the embedder replaced it.
    """

    now: float
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class BlockLifted:
    """The operator's word that the cause is mended."""

    now: float


Input = (
    RequestClaimed | AnswerReceived | TokenRejected | TokenWorked | BlockReported | CredentialsReplaced | BlockLifted
)


# What is answered
# ================


@enum.unique
class SendReason(enum.Enum):
    """Why a token request may be started."""

    NO_TOKEN = "no token"
    """None was ever granted."""
    REFRESH_DUE = "refresh due"
    """The token in hand is still good, and the next one is due; or a caller asks for more remaining life."""
    EXPIRED = "expired"
    """The token in hand is no longer handed out."""
    REJECTED = "rejected"
    """An API rejected the token, and it was dropped; or the machine was restored from a snapshot without it."""

    __hash__ = object.__hash__  # Simulators count them, and ``Enum.__hash__`` is a function in Python.


@enum.unique
class WaitReason(enum.Enum):
    """What has to pass before a token request may be started."""

    RESPONSE = "response"
    """An attempt is in flight; ``until`` is its deadline."""
    REFRESH = "refresh"
    """The token is good; ``until`` is when the next one is due."""
    RETRY = "retry"
    """Back-off after failures."""
    BUDGET = "budget"
    """The budget is spent; ``until`` is its next refill."""
    UNBLOCK = "unblock"
    """A block stands; ``until`` is when the last one is over."""

    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class SendRequest:
    """A token request may be started now, by whoever wants a token. A permission, not an order."""

    reason: SendReason


@dataclass(frozen=True, slots=True)
class Wait:
    """No token request may be started before ``until``, a point in time that always lies ahead."""

    until: float
    reason: WaitReason


@enum.unique
class Rejection(enum.Enum):
    """What became of an API's word that a token is bad."""

    DROPPED = "dropped"
    """Believed: the token is gone, and another may be asked for at once or is on its way."""
    SUPERSEDED = "superseded"
    """It was not about the token in hand: that one is another, or expired, or was dropped already."""
    KEPT = "kept"
    """Not believed now: the evidence is thin, it came too soon after the last, or no other token could be had."""
