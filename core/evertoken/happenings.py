"""What came of one input to the machine: the closed set of things that a step can bring about, in the order they came.

::

    machine.receive_response(now, request, response)
    for happening in machine.happenings:
        ...

The step that causes a happening also makes it, so that nobody has to find it out by comparing states. What time alone
had done by the moment of the input comes first. After an answer or a rejection, the last happening is what its caller
was told. The next input replaces ``machine.happenings``.
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
    """A token request is about to be sent. With a shared store, it is sent only if the store has no answer to it."""

    id: int


@dataclass(frozen=True, slots=True)
class RequestEnded(Unpicklable):
    """A token request came to this ``outcome``; past its deadline, to ``Failed``.

    An answer to a request that is over already never fails it again: it is told as ``Ignored``, unless it brings a
    token or a block that still counts.
    ``asked`` is False where the outcome was found in a shared store, and the token endpoint was not asked.
    """

    id: int
    outcome: Outcome
    asked: bool = True


@dataclass(frozen=True, slots=True)
class EndpointBlocked:
    """The token endpoint is not to be asked before ``until``, a point in time on the machine's clock.

    It is told once, when a block of this ``kind`` begins to stand; further news of the same block is not told.
    """

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
