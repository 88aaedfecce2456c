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
    "BlockReported",
    "CredentialsReplaced",
    "Input",
    "RequestClaimed",
    "TokenRejected",
    "TokenWorked",
)


@dataclass(frozen=True, slots=True)
class RequestClaimed:
    """``start_request``: an exchange starts now."""

    now: float
    draw: float
    min_ttl: float = 0.0


@dataclass(frozen=True, slots=True)
class AnswerReceived(Unpicklable):
    """What attempt ``id`` brought, as the parser read it; failed sends and abandoned requests included."""

    now: float
    id: int
    answer: Outcome


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


@dataclass(frozen=True, slots=True)
class CredentialsReplaced:
    """The client's secret was changed to a different one."""

    now: float


@dataclass(frozen=True, slots=True)
class BlockLifted:
    """The operator's word that the cause is mended."""

    now: float


Input = (
    RequestClaimed | AnswerReceived | TokenRejected | TokenWorked | BlockReported | CredentialsReplaced | BlockLifted
)
