"""The log of arrivals: what is written down of a request, what is left out, and how a replay is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from evertoken.testing._answers import HANG, NOTHING, Draft
from evertoken.testing._arrivals import API, Arrival, AuthorizationKind, Route, TokenTruth
from evertoken.testing._script import ApiBehaviour, TokenBehaviour

__all__ = ("Logbook", "Reply", "Visit", "header")

_LONGEST = 200


class Visit(NamedTuple):
    """A request as the server sees it, with its path cut off before the query."""

    now: float
    route: Route
    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    authorization: str | None
    kind: AuthorizationKind
    within: bool
    """Whether it is within the rate limits, as far as those are enforced."""

    def __repr__(self) -> str:
        return f"Visit({self.method} {self.route.value} at {self.now})"


class Reply(NamedTuple):
    """What became of a request, before it is dressed as an answer and written down."""

    draft: Draft = NOTHING
    delay: float = 0.0
    behaviour: TokenBehaviour | ApiBehaviour | None = None
    token_number: int | None = None
    token_truth: TokenTruth | None = None
    detail: str = ""
    applied: bool = False


class Logbook:
    """Append-only, but that it may forget its oldest arrivals: at least the newest ``keep`` are there."""

    __slots__ = ("_keep", "_rejected", "_rejected_calls", "arrivals", "seq")

    def __init__(self, keep: float) -> None:
        self._keep = keep
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

    def write(self, visit: Visit, reply: Reply, secrets: tuple[str, ...]) -> None:
        """Write down one arrival, with nothing in it that equals one of ``secrets``."""
        draft, now, number = reply.draft, visit.now, reply.token_number
        answered_at = None if draft.delivery is HANG else now + reply.delay
        request_id, rejected_before, replayed = None, False, False
        if visit.route is API:
            request_id = header(visit.headers, "x-request-id") or header(visit.headers, "idempotency-key")
        if visit.route is API and number is not None:
            rejected_before = self._rejected.get(number, math.inf) <= now
            replayed = request_id is not None and self._rejected_calls.get((request_id, number), math.inf) <= now
            if draft.rejects:
                self._note_rejection(number, request_id, now + reply.delay)
        self.arrivals.append(
            Arrival(
                self.seq,
                now,
                visit.route,
                _redacted(visit.method, secrets),
                _redacted(visit.path, secrets),
                draft.status,
                answered_at,
                None if reply.behaviour is None else reply.behaviour.fault,
                visit.kind,
                number,
                reply.token_truth,
                reply.detail,
                draft.retry_after,
                None if request_id is None else _redacted(request_id, secrets),
                reply.applied,
                rejected_before,
                replayed,
            )
        )
        self.seq += 1
        if len(self.arrivals) > 2 * self._keep:
            del self.arrivals[: -int(self._keep)]

    def _note_rejection(self, number: int, request_id: str | None, answered_at: float) -> None:
        self._rejected.setdefault(number, answered_at)
        if request_id is not None:
            self._rejected_calls.setdefault((request_id, number), answered_at)


def header(headers: Sequence[tuple[str, str]], wanted: str) -> str | None:
    """The value of the first header line named ``wanted``, which is in lower case."""
    for name, value in headers:
        if len(name) == len(wanted) and name.lower() == wanted:
            return value
    return None


def _redacted(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        if secret in text:
            return "(redacted)"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
