"""The token endpoint of a scenario: the emulator on a real port, whose latencies pass in the scenario's time."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from typing_extensions import override

from evertoken.testing import Arrival, AuthorizationServer, Delivery, Route, ServerAnswer, ServerRequest
from evertoken_transports.emulator import Emulator

__all__ = ("Venue",)


class Venue(Emulator):
    """Holds back the answers to token requests: until they are due by ``clock``, and while :meth:`hold` is on.

    A request that a script leaves hanging is one whose answer is never due.
    """

    def __init__(self, model: AuthorizationServer, clock: Callable[[], float]) -> None:
        super().__init__(model, clock=clock)
        self._turn = threading.Condition()
        self._asked = 0
        self._kept: dict[int, float] = {}
        self._is_held = False

    @override
    def close(self) -> None:
        self.hang_up()
        super().close()

    def hold(self) -> None:
        """Answer no token request from now on."""
        with self._turn:
            self._is_held = True

    def release(self) -> None:
        """Give the answers that are due."""
        with self._turn:
            self._is_held = False
        self.let_go()

    def let_go(self) -> None:
        """Time has passed: give the answers that have become due."""
        with self._turn:
            if not self._is_held:
                now = self.now()
                self._kept = {number: due for number, due in self._kept.items() if now < due}
                self._turn.notify_all()

    def hang_up(self) -> None:
        """Give every answer there is, and close the connections of those who would get none."""
        with self._turn:
            self._kept = {}
            self._is_held = False
            self._turn.notify_all()

    @property
    def answers_kept(self) -> int:
        """How many token requests have no answer yet."""
        with self._turn:
            return len(self._kept)

    def keeps_newest(self, requests: int) -> bool:
        """Whether so many token requests have arrived, and the newest has no answer yet."""
        with self._turn:
            return self._asked >= requests and self._asked in self._kept

    @property
    def token_requests(self) -> list[Arrival]:
        """Every token request that arrived, oldest first."""
        return [arrival for arrival in self.arrivals if arrival.route is Route.TOKEN]

    @property
    def api_calls(self) -> list[Arrival]:
        """Every API call that arrived, oldest first."""
        return [arrival for arrival in self.arrivals if arrival.route is Route.API]

    @property
    def has_visitors(self) -> bool:
        """Whether a connection is open."""
        with self._lock:
            return bool(self._connections)

    @override
    def _handle(self, request: ServerRequest) -> ServerAnswer:
        with self._turn:
            answer = super()._handle(request)
            if not request.path.endswith("/oauth/token"):
                return answer
            self._asked += 1
            number = self._asked
            hangs = answer.delivery is Delivery.HANG
            due = math.inf if hangs else self.now() + answer.delay
            if self._is_held or self.now() < due:
                self._kept[number] = due
            self._turn.wait_for(lambda: number not in self._kept)
        return answer._replace(delay=0.0, delivery=Delivery.CLOSE if hangs else answer.delivery)
