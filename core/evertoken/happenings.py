"""What came of one input to the machine: the closed set of things that a step can bring about, in the order they came.

::

    machine.receive_response(now, request, response)
    for happening in machine.happenings:
        ...

They are made by the step that causes them, and nobody else has to find out by comparing states. First comes what time
alone had done by then; the last one of an answer or a rejection is what its caller was told.
"""

from __future__ import annotations

from dataclasses import dataclass

from evertoken._grammar import Rejection
from evertoken._problems import Problem
from evertoken._secrecy import Unpicklable
from evertoken._states import BlockKind
from evertoken.outcomes import Outcome

__all__ = (
    "CredentialsReplaced",
    "EndpointBlocked",
    "EndpointUnblocked",
    "Happening",
    "RejectionJudged",
    "RequestEnded",
    "RequestStarted",
)


@dataclass(frozen=True, slots=True)
class RequestStarted:
    """A token request is about to be sent; with a shared store, which is looked into first, only if need be."""

    id: int


@dataclass(frozen=True, slots=True)
class RequestEnded(Unpicklable):
    """A token request came to this ``outcome``; past its deadline, to ``Failed``.

    An answer to a request that is over already is told as ``Ignored``: whatever its words, nothing failed now.
    ``asked`` is False where the outcome was found in a shared store, and the token endpoint was not asked.
    """

    id: int
    outcome: Outcome
    asked: bool = True


@dataclass(frozen=True, slots=True)
class EndpointBlocked:
    """The token endpoint is not to be asked before ``until``. News of a block that stands already is not told again."""

    kind: BlockKind
    until: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class EndpointUnblocked:
    """A block is over: by a grant, new credentials, the operator's word, or because its time had passed."""

    kind: BlockKind


@dataclass(frozen=True, slots=True)
class RejectionJudged:
    """An API's word that a token is bad was judged. Only after ``DROPPED`` is the token gone."""

    verdict: Rejection


@dataclass(frozen=True, slots=True)
class CredentialsReplaced:
    """The next token request uses another secret."""


Happening = RequestStarted | RequestEnded | EndpointBlocked | EndpointUnblocked | RejectionJudged | CredentialsReplaced
