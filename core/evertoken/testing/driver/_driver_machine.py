"""The machine as a driver under a check holds it: the real one, which passes the driver's words on to the check."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from evertoken._challenge import Challenge
from evertoken._grammar import BlockReported, Input, Rejection, SendRequest, Wait
from evertoken._grant import ClientCredentials, Signing
from evertoken._http import HttpResponse, Seen, TokenRequest
from evertoken._machine import TokenMachine
from evertoken._policy import Policy
from evertoken._problems import Problem
from evertoken._snapshot import Snapshot
from evertoken._states import AccessToken, State
from evertoken.happenings import Happening
from evertoken.outcomes import Outcome

if TYPE_CHECKING:
    from evertoken.testing.driver._driver_book import Book

_MOST_HANDED = 64
_IN_VAIN = 3
"""So many callers in a row who could have started a request, and did not, are no coincidence."""


@enum.unique
class Told(enum.Enum):
    """What came of a request."""

    ANSWER = "an answer"
    FAILURE = "a failure"
    GIVEN_UP = "that it was given up"


class Errand:
    """One request that was claimed, as the check follows it. Moments are on the simulation's clock."""

    __slots__ = ("brought", "claimed_at", "deadline", "number", "sent", "told", "told_at")

    def __init__(self, number: int, claimed_at: float, deadline: float) -> None:
        self.number = number
        self.claimed_at = claimed_at
        self.deadline = deadline
        self.sent = 0
        self.brought: list[Told] = []
        self.told: list[Told] = []
        self.told_at = math.inf

    @override
    def __str__(self) -> str:
        return f"token request {self.number}"


class CheckedMachine(TokenMachine):
    """The real machine. What is asked of it and told to it is passed on to ``book`` first."""

    book: ClassVar[Book]

    def __init__(
        self, grant: ClientCredentials, *, policy: Policy | None = None, draw: Callable[[], float], tiers: int = 0
    ) -> None:
        super().__init__(grant, policy=policy, draw=draw, tiers=tiers)
        self.errands: dict[int, Errand] = {}
        self.handed: dict[str, float] = {}
        self.wants: list[float] = []
        self.latest = -math.inf
        self._own = self._moment = self._changed = 0.0
        self._free_from: float | None = None
        self.book.made(self)

    # What the check asks
    # -------------------

    def read(self, now: float, moment: float) -> None:
        """The driver's clock shows ``now`` at ``moment``."""
        self.latest = max(self.latest, now)
        self._own, self._moment = now, moment

    def rested(self, moment: float) -> None:
        """The process could do nothing until ``moment``, so whatever fell due before counts from then on."""
        self._changed = moment
        self._free_from = None
        self._own, self._moment = self._shows(moment), moment
        self.wants.clear()

    def _shows(self, moment: float) -> float:
        """What the driver's clock shows at ``moment``, if it goes on as it was read last."""
        return self._own + (moment - self._moment)

    def vouches(self, authorization: str, moment: float, grace: float) -> bool:
        """Whether this header is the one to use at ``moment``."""
        if self.handed.get(authorization, -math.inf) >= moment - grace:
            return True
        token = super().token(self._shows(moment)) if self.latest > -math.inf else None
        return token is not None and token.authorization == authorization

    def could_serve_from(self, moment: float, min_ttl: float) -> float | None:
        """Since when there has been a token for a caller; None if there is none at ``moment``."""
        if self.latest == -math.inf or super().token(self._shows(moment), min_ttl) is None:
            return None
        return self._changed

    def free_from(self, moment: float) -> float | None:
        """Since when a request could have been started; None if it could not by ``moment``."""
        if self.latest == -math.inf:
            return None
        if self._free_from is None:
            asked, until = self._own, self._shows(moment)
            action = super().poll(asked)
            while isinstance(action, Wait) and action.until <= until:
                asked = action.until
                action = super().poll(asked)
            if isinstance(action, SendRequest):
                self._free_from = self._moment + (asked - self._own)
        return self._free_from

    def wanted_in_vain(self, now: float, min_ttl: float, moment: float, grace: float) -> bool:
        """Take note of somebody who wants a token; whether several have by now, and no request was started."""
        if isinstance(super().poll(now, min_ttl), Wait):
            self.wants.clear()
        elif not self.wants or moment > self.wants[-1]:
            self.wants.append(moment)
        return len(self.wants) >= _IN_VAIN and moment - self.wants[0] > grace

    # What the driver asks and tells
    # ------------------------------

    @override
    def stepped(self, happened: Input, after: State, happenings: tuple[Happening, ...]) -> None:
        super().stepped(happened, after, happenings)
        self._changed = self.book.moment()
        self._free_from = None
        if isinstance(happened, BlockReported):
            self.book.blocked(self, happened.kind)

    @override
    def token(self, now: float, min_ttl: float = 0.0) -> AccessToken | None:
        self.book.reading(self, now)
        token = super().token(now, min_ttl)
        if token is not None:
            self.handed.pop(token.authorization, None)
            self.handed[token.authorization] = self.book.moment()
            if len(self.handed) > _MOST_HANDED:
                del self.handed[next(iter(self.handed))]
        self.book.wanted(self, now, min_ttl)
        return token

    @override
    def poll(self, now: float, min_ttl: float = 0.0) -> SendRequest | Wait:
        self.book.reading(self, now)
        return super().poll(now, min_ttl)

    @override
    def start_request(self, now: float, min_ttl: float = 0.0, *, signing: Signing | None = None) -> TokenRequest:
        action = self.poll(now, min_ttl)
        if isinstance(action, Wait):
            self.book.refused_claim(action.reason.value)
        request = super().start_request(now, min_ttl, signing=signing)
        moment = self.book.moment()
        errand = Errand(request.id, moment, moment + (request.deadline - now))
        self.errands[request.id] = errand
        self.wants.clear()
        self.book.claimed(errand)
        return request

    @override
    def receive_response(
        self, now: float, request: TokenRequest, response: HttpResponse | Outcome, seen: Seen | None = None
    ) -> Outcome:
        self.book.reading(self, now)
        self.book.told(self, request, Told.ANSWER)
        return super().receive_response(now, request, response, seen)

    @override
    def send_failed(self, now: float, request: TokenRequest, reason: str | Outcome) -> Outcome:
        self.book.reading(self, now)
        self.book.told(self, request, Told.FAILURE)
        return super().send_failed(now, request, reason)

    @override
    def request_abandoned(self, now: float, request: TokenRequest) -> Outcome:
        self.book.reading(self, now)
        self.book.told(self, request, Told.GIVEN_UP)
        return super().request_abandoned(now, request)

    @override
    def request_postponed(
        self, now: float, request: TokenRequest, until: float, problem: Problem | None = None
    ) -> Outcome:
        self.book.reading(self, now)
        self.book.told(self, request, Told.GIVEN_UP)
        return super().request_postponed(now, request, until, problem)

    @override
    def token_rejected(self, now: float, authorization: str, challenge: Challenge) -> Rejection:
        self.book.reading(self, now)
        self.book.rejected(authorization, challenge)
        return super().token_rejected(now, authorization, challenge)

    @override
    def snapshot(self, now: float, secrets: bool = False) -> Snapshot:
        self.book.reading(self, now)
        snapshot = super().snapshot(now, secrets)
        self.book.kept(snapshot)
        return snapshot

    @override
    @classmethod
    def restore(
        cls,
        grant: ClientCredentials,
        snapshot: Snapshot,
        now: float,
        elapsed: float = 0.0,
        *,
        policy: Policy | None = None,
        draw: Callable[[], float],
        tiers: int = 0,
    ) -> Self:
        with cls.book.restoring(snapshot, elapsed):
            machine = super().restore(grant, snapshot, now, elapsed, policy=policy, draw=draw, tiers=tiers)
        machine.read(now, cls.book.moment())
        return machine
