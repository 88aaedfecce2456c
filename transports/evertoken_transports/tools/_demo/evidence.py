"""The emulator's log, read for the verdict: what became of each call, and when a live token was at hand."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from evertoken.testing import Arrival, Route, TokenFault, TokenTruth
from evertoken_transports.tools._demo.story import Story

_TRIES = 2


class Missing(NamedTuple):
    """A call that was not served, and the moments of its caller's served calls before and after it."""

    after: float
    before: float
    was_given_up: bool
    """Whether it got to the API, and one more try with another token would have been due."""


@dataclass(frozen=True)
class Evidence:
    """Arrivals in order, and the story that they are held against. Nothing here comes from the client's side."""

    story: Story
    arrivals: Sequence[Arrival]

    @cached_property
    def token_requests(self) -> list[Arrival]:
        """The arrivals at the token endpoint."""
        return [arrival for arrival in self.arrivals if arrival.route is Route.TOKEN]

    @cached_property
    def calls(self) -> list[Arrival]:
        """The arrivals at the API."""
        return [arrival for arrival in self.arrivals if arrival.route is Route.API]

    @property
    def end(self) -> float:
        """The moment of the last arrival; that of the story's end if there was none after it."""
        return max(self.story.seconds, *(arrival.now for arrival in self.arrivals[-1:]), 0.0)

    def met(self, fault: TokenFault) -> list[Arrival]:
        """The token requests that met ``fault``."""
        return [arrival for arrival in self.token_requests if arrival.fault is fault]

    def next_grant(self, since: float) -> Arrival | None:
        """The first token request that arrived after ``since`` and was granted."""
        return next((arrival for arrival in self.token_requests if arrival.now > since and _is_grant(arrival)), None)

    def requests_within(self, arrival: Arrival, seconds: float) -> int:
        """Token requests that arrived later than ``arrival``, and less than ``seconds`` after it was answered."""
        until = answered(arrival) + seconds
        return sum(other.seq > arrival.seq and other.now < until for other in self.token_requests)

    def most_at_once(self) -> int:
        """The largest number of token requests that were under way at one time."""
        most, under_way = 0, list[float]()
        for arrival in self.token_requests:
            under_way = [until for until in under_way if until > arrival.now]
            under_way.append(answered(arrival))
            most = max(most, len(under_way))
        return most

    def missing_calls(self) -> Iterator[Missing]:
        """The calls that were not served, told by the gaps in their callers' numbers and by the status of the rest."""
        arrived: defaultdict[str, defaultdict[int, list[Arrival]]] = defaultdict(lambda: defaultdict(list))
        for call in self.calls:
            caller, number = _name_of(call)
            arrived[caller][number].append(call)
        for calls in arrived.values():
            yield from self._missing_calls_of(calls)

    def _missing_calls_of(self, arrived: Mapping[int, list[Arrival]]) -> Iterator[Missing]:
        served = {number: tries[-1].now for number, tries in arrived.items() if tries[-1].status == 200}
        number, moment = -1, 0.0
        for following in [*sorted(served), max(arrived) + 1]:
            before = served.get(following, self.end)
            for missing in range(number + 1, following):
                yield Missing(moment, before, _is_given_up(arrived.get(missing, [])))
            number, moment = following, before

    def was_token_at_hand(self, since: float, until: float) -> bool:
        """Whether at every moment from ``since`` to ``until`` a token was at hand that could still be handed out."""
        moment = since
        for start, end in self._live:
            if start <= moment < end:
                moment = end
        return moment > until

    @cached_property
    def _live(self) -> list[tuple[float, float]]:
        """From the answer that brought each token to the last moment at which the policy hands it out."""
        usable = self.story.lifetime - self.story.leeway
        live: list[tuple[float, float]] = []
        for arrival in filter(_is_grant, self.token_requests):
            revoked = (moment for moment in self.story.revocations if moment > arrival.now)
            live.append((answered(arrival), min(arrival.now + usable, *revoked, math.inf)))
        return sorted(live)


def answered(arrival: Arrival) -> float:
    """When ``arrival`` was answered; ``math.inf`` if it was not."""
    return math.inf if arrival.answered_at is None else arrival.answered_at


def _is_grant(arrival: Arrival) -> bool:
    return arrival.token_number is not None


def _is_given_up(tries: Sequence[Arrival]) -> bool:
    """Whether a call that was not served deserved another try.

    A call is repeated once, with another token. If both tokens had been revoked, the second 401 is the caller's.
    """
    revoked = {call.token_number for call in tries if call.token_truth is TokenTruth.REVOKED}
    return bool(tries) and len(revoked) < _TRIES


def _name_of(call: Arrival) -> tuple[str, int]:
    caller, _, number = (call.request_id or "").rpartition("-")
    return (caller, int(number)) if number.isdecimal() else ("", 0)
