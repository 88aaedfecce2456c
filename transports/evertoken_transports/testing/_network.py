"""What lies between a client and the model: requests go in, answers come out, some of either are lost on the way."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import TypeVar

from evertoken.testing import (
    ApiBehaviour,
    ApiFault,
    AuthorizationServer,
    Delivery,
    ServerAnswer,
    ServerRequest,
    TokenBehaviour,
    TokenFault,
    WorldFault,
)
from evertoken_transports._clock import Clock

__all__ = ("NETWORK_FAULTS", "ApiTrouble", "Network", "TokenTrouble")

TokenTrouble = TokenFault | TokenBehaviour | WorldFault
ApiTrouble = ApiFault | ApiBehaviour | WorldFault

NETWORK_FAULTS = (WorldFault.LOST_BEFORE, WorldFault.LOST_AFTER, WorldFault.DUPLICATED, WorldFault.LATE)
"""The faults of a network that strike one request. Whoever sent what is lost is not told, and waits to its deadline."""

_Trouble = TypeVar("_Trouble", bound=TokenBehaviour | ApiBehaviour | WorldFault)

_SILENCE = ServerAnswer(0.0, None, Delivery.HANG)
_TOKEN_PATH = "/v2.01/oauth/token"


class Network:
    """The way to ``model``. Safe to use from any thread.

    Args:
        model: the server.
        clock: the time at which requests arrive.
        lateness: the first value of :attr:`lateness`.
    """

    def __init__(self, model: AuthorizationServer, clock: Clock, lateness: float) -> None:
        self.model = model
        self.lock = threading.Lock()
        self._clock = clock
        self.lateness = lateness
        """Seconds by which an answer is late under ``WorldFault.LATE``."""
        self._silent_until = -math.inf
        self._token_troubles: deque[TokenBehaviour | WorldFault] = deque()
        self._api_troubles: deque[ApiBehaviour | WorldFault] = deque()

    def add_token_troubles(self, *troubles: TokenTrouble) -> None:
        """One for each of the next token requests."""
        made = [TokenBehaviour(fault=one) if isinstance(one, TokenFault) else _checked(one) for one in troubles]
        with self.lock:
            self._token_troubles.extend(made)

    def add_api_troubles(self, *troubles: ApiTrouble) -> None:
        """One for each of the next API calls."""
        made = [ApiBehaviour(fault=one) if isinstance(one, ApiFault) else _checked(one) for one in troubles]
        with self.lock:
            self._api_troubles.extend(made)

    def part(self, seconds: float) -> None:
        """Nothing gets through for so long."""
        with self.lock:
            self._silent_until = self._clock() + seconds

    def serve(self, request: ServerRequest) -> ServerAnswer:
        """What comes back for ``request``, which is sent now."""
        with self.lock:
            now = self._clock()
            if now < self._silent_until:
                return _SILENCE
            return self._passed(now, request, self._next_trouble(request))

    def _next_trouble(self, request: ServerRequest) -> WorldFault | None:
        """The network's own; what is the server's is handed on to it."""
        is_token_request = request.path.partition("?")[0] == _TOKEN_PATH
        queue = self._token_troubles if is_token_request else self._api_troubles
        trouble = queue.popleft() if queue else None
        if isinstance(trouble, TokenBehaviour):
            self.model.next_token_requests(trouble)
        elif isinstance(trouble, ApiBehaviour):
            self.model.next_api_calls(trouble)
        return trouble if isinstance(trouble, WorldFault) else None

    def _passed(self, now: float, request: ServerRequest, trouble: WorldFault | None) -> ServerAnswer:
        if trouble is WorldFault.LOST_BEFORE:
            return _SILENCE
        answer = self.model.handle(now, request)
        if trouble is WorldFault.LOST_AFTER:
            return _SILENCE
        if trouble is WorldFault.DUPLICATED:
            self.model.handle(now, request)
        elif trouble is WorldFault.LATE:
            return answer._replace(delay=answer.delay + self.lateness)
        return answer


def _checked(trouble: _Trouble) -> _Trouble:
    if isinstance(trouble, WorldFault) and trouble not in NETWORK_FAULTS:
        names = ", ".join(fault.name for fault in NETWORK_FAULTS)
        raise ValueError(f"{trouble} does not strike one request; of the world's faults these do: {names}")
    return trouble
