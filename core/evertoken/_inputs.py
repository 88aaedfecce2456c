"""The closed set of things that can happen to the machine, as frozen values.

Each carries ``now``, and all the randomness and all the meaning of an answer that its consequences need: a list of
inputs folded with ``step`` gives the same states again, in any interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from evertoken._challenge import Challenge
from evertoken._records import BlockKind
from evertoken._secrecy import Unpicklable
from evertoken.outcomes import Outcome

__all__ = (
    "AnswerReceived",
    "BlockLifted",
    "CredentialsReplaced",
    "DoorClosed",
    "ExchangeStarted",
    "Input",
    "RequestClaimed",
    "SharedReceived",
    "SharedRecord",
    "TokenRejected",
)


@dataclass(frozen=True, slots=True)
class SharedRecord(Unpicklable):
    """A token that another process was granted, with its moments on this machine's clock.

    ``started`` is when that process started its request; ``expires_in`` is in seconds from there. Whatever a store
    holds may be put in here: a record that is not a token that could be used now is ignored.
    """

    access_token: str = field(repr=False)
    started: float
    expires_in: float
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class RequestClaimed:
    """``start_request`` (an exchange starts now), or ``share_request`` (``shared``: a store is asked first)."""

    now: float
    draw: float
    min_ttl: float = 0.0
    shared: bool = False


@dataclass(frozen=True, slots=True)
class ExchangeStarted:
    """The claim became an exchange: its clock starts and the budget is charged; or the door closed, and it is void."""

    now: float
    id: int


@dataclass(frozen=True, slots=True)
class AnswerReceived(Unpicklable):
    """What attempt ``id`` brought, as the parser read it; failed sends and abandoned requests included."""

    now: float
    id: int
    answer: Outcome


@dataclass(frozen=True, slots=True)
class SharedReceived(Unpicklable):
    """A store held a record when attempt ``id`` looked."""

    now: float
    id: int
    record: SharedRecord


@dataclass(frozen=True, slots=True)
class TokenRejected(Unpicklable):
    """An API refused a call that carried ``authorization``, with this much evidence that the token was the cause."""

    now: float
    authorization: str = field(repr=False)
    challenge: Challenge


@dataclass(frozen=True, slots=True)
class DoorClosed:
    """An API or a store says that the token endpoint's door is closed, for ``seconds`` if it knows."""

    now: float
    kind: BlockKind
    seconds: float | None
    draw: float


@dataclass(frozen=True, slots=True)
class CredentialsReplaced:
    """The client's secret was changed to a different one."""

    now: float


@dataclass(frozen=True, slots=True)
class BlockLifted:
    """The operator's word that the cause is mended."""

    now: float


Input = (
    RequestClaimed
    | ExchangeStarted
    | AnswerReceived
    | SharedReceived
    | TokenRejected
    | DoorClosed
    | CredentialsReplaced
    | BlockLifted
)
