"""The log of arrivals: what is written down of a request, what is left out, and how a replay is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evertoken._secrecy import Unpicklable
from evertoken.testing.server._answers import HANG, NOTHING, Draft, ServerRequest
from evertoken.testing.server._arrivals import API, Arrival, TokenTruth
from evertoken.testing.server._register import Proof
from evertoken.testing.server._routes import Place
from evertoken.testing.server._script import ApiBehaviour, TokenBehaviour

_LONGEST = 200
_NEVER = math.inf


# These two live as long as one request is handled. They are not frozen, because to make a frozen one takes three times
# as long, and nothing changes them.


@dataclass(slots=True, repr=False)
class Visit(Unpicklable):
    """A request as the server sees it."""

    now: float
    request: ServerRequest
    place: Place
    proof: Proof
    request_id: str | None
    within: bool
    """Whether the request is within the rate limits, as far as those are enforced."""

    def __repr__(self) -> str:
        return f"Visit({self.request.method} {self.place.route.value} at {self.now})"


@dataclass(slots=True)
class Reply:
    """What became of a request, before it is dressed as an answer and written down."""

    draft: Draft = NOTHING
    delay: float = 0.0
    behaviour: TokenBehaviour | ApiBehaviour | None = None
    token_number: int | None = None
    token_truth: TokenTruth | None = None
    detail: str = ""
    applied: bool = False


class Censor(Unpicklable):
    """Shows what the log may show of a text. Immutable; its own repr shows no secret."""

    __slots__ = ("_secrets",)

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets

    def shown(self, text: str) -> str:
        """``text`` cut to a length that can be read, or a note in its place if one of the secrets is in it."""
        for secret in self._secrets:
            if secret in text:
                return "(redacted)"
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class Logbook:
    """The log of arrivals, append-only but for the oldest, which may be dropped: the newest ``keep`` stay."""

    __slots__ = ("_keep", "_most", "_rejected", "_rejected_calls", "arrivals", "seq")

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._most = 2 * keep
        self._rejected: dict[int, float] = {}
        self._rejected_calls: dict[tuple[str, int], float] = {}
        self.arrivals: list[Arrival] = []
        self.seq = 0

    def copy(self) -> Logbook:
        """An independent log with the same entries."""
        twin = Logbook(self._keep)
        twin._rejected = self._rejected.copy()
        twin._rejected_calls = self._rejected_calls.copy()
        twin.arrivals = self.arrivals.copy()
        twin.seq = self.seq
        return twin

    def write(self, visit: Visit, reply: Reply, shown: Callable[[str], str]) -> None:
        """Write down one arrival; what comes from the request goes through ``shown``."""
        now, place, request_id = visit.now, visit.place, visit.request_id
        draft, behaviour, number = reply.draft, reply.behaviour, reply.token_number
        answered_at = now + reply.delay
        rejected_before = replayed = False
        if place.route is not API:
            request_id = None
        elif number is not None:
            rejected_before = self._rejected.get(number, _NEVER) <= now
            replayed = request_id is not None and self._rejected_calls.get((request_id, number), _NEVER) <= now
            if draft.rejects:
                self._note_rejection(number, request_id, answered_at)
        entry = (
            self.seq,
            now,
            place.route,
            shown(visit.request.method),
            place.shown,
            draft.status,
            None if draft.delivery is HANG else answered_at,
            None if behaviour is None else behaviour.fault,
            visit.proof.kind,
            number,
            reply.token_truth,
            reply.detail,
            draft.retry_after,
            None if request_id is None else shown(request_id),
            reply.applied,
            rejected_before,
            replayed,
        )
        self.arrivals.append(Arrival._make(entry))
        self.seq += 1
        if len(self.arrivals) > self._most:
            del self.arrivals[: -int(self._keep)]

    def _note_rejection(self, number: int, request_id: str | None, answered_at: float) -> None:
        self._rejected.setdefault(number, answered_at)
        if request_id is not None:
            self._rejected_calls.setdefault((request_id, number), answered_at)


def identity(headers: Sequence[tuple[str, str]]) -> tuple[str | None, str | None]:
    """Who sends a request, and which call it is: its Authorization, and its X-Request-Id or else Idempotency-Key.

    Where a header comes twice, the first line counts.
    """
    authorization = request_id = key = None
    for name, value in headers:
        match _IN_LOWER_CASE.get(name) or name.lower():
            case "authorization" if authorization is None:
                authorization = value
            case "x-request-id" if request_id is None:
                request_id = value
            case "idempotency-key" if key is None:
                key = value
            case _:
                pass
    return authorization, request_id or key


# The spellings that nearly all headers of nearly all requests have.
_IN_LOWER_CASE = {
    spelling: name
    for name in (
        *("authorization", "x-request-id", "idempotency-key"),
        *("accept", "accept-encoding", "content-type", "content-length"),
    )
    for spelling in (name, name.title())
}
