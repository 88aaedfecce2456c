"""The network between clients and the model: it carries requests and answers, and loses some of either."""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from enum import Enum

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
from evertoken_transports.testing._seconds import check_seconds
from evertoken_transports.testing._wire import Serve, Wire

TokenTrouble = TokenFault | TokenBehaviour | WorldFault
ApiTrouble = ApiFault | ApiBehaviour | WorldFault

NETWORK_FAULTS = (WorldFault.LOST_BEFORE, WorldFault.LOST_AFTER, WorldFault.DUPLICATED, WorldFault.LATE)
"""The faults of a network that strike one request. A client is not told of what is lost, and waits to its deadline."""

_SILENCE = ServerAnswer(0.0, None, Delivery.HANG)
_TOKEN_PATH = "/v2.01/oauth/token"


class Network:
    """The network on the way to ``model``. Safe to use from any thread.

    Args:
        model: the server.
        clock: the time at which requests arrive.
        lateness: the first value of :attr:`lateness`.
    """

    def __init__(self, model: AuthorizationServer, clock: Clock, lateness: float) -> None:
        check_seconds("lateness", lateness)
        self.model = model
        self.lock = threading.Lock()
        self._clock = clock
        self.lateness = lateness
        """Seconds by which an answer is late under ``WorldFault.LATE``."""
        self._silent_until = -math.inf
        self._wires: weakref.WeakSet[Wire] = weakref.WeakSet()
        self._token_troubles: deque[TokenTrouble] = deque()
        self._api_troubles: deque[ApiTrouble] = deque()

    def add_token_troubles(self, *troubles: TokenTrouble) -> None:
        """Order trouble for the next token requests, one of ``troubles`` each.

        Raises:
            ValueError: one of them strikes no token request.
        """
        for trouble in troubles:
            _check_token_trouble(trouble)
        with self.lock:
            self._token_troubles.extend(troubles)

    def add_api_troubles(self, *troubles: ApiTrouble) -> None:
        """Order trouble for the next API calls, one of ``troubles`` each.

        Raises:
            ValueError: one of them strikes no API call.
        """
        for trouble in troubles:
            _check_api_trouble(trouble)
        with self.lock:
            self._api_troubles.extend(troubles)

    @property
    def pending(self) -> tuple[TokenTrouble | ApiTrouble, ...]:
        """The trouble that was ordered and has struck no request yet; first that of token requests."""
        with self.lock:
            return (*self._token_troubles, *self._api_troubles)

    def drop_pending(self) -> None:
        """Take back all trouble that has struck no request yet."""
        with self.lock:
            self._token_troubles.clear()
            self._api_troubles.clear()

    def part(self, seconds: float) -> None:
        """Let nothing through for so many seconds; ``math.inf`` lasts until the next call of this method."""
        check_seconds("seconds", seconds, endless=True)
        with self.lock:
            self._silent_until = self._clock() + seconds

    def serve(self, request: ServerRequest) -> ServerAnswer:
        """The answer that comes back for ``request``, which is sent now."""
        with self.lock:
            now = self._clock()
            if now < self._silent_until:
                return _SILENCE
            return self._passed(now, request, self._next_trouble(request))

    def connected(self, serve: Serve) -> Wire:
        """A connection whose requests ``serve`` answers."""
        wire = Wire(serve, self._clock)
        self._wires.add(wire)
        return wire

    def hang_up(self) -> None:
        """End every connection."""
        for wire in list(self._wires):
            wire.hang_up()

    def _next_trouble(self, request: ServerRequest) -> WorldFault | None:
        """The fault of the network that ``request`` meets, if any. Trouble of the server is handed on to the model."""
        is_token_request = request.path.partition("?")[0] == _TOKEN_PATH
        queue = self._token_troubles if is_token_request else self._api_troubles
        trouble = queue.popleft() if queue else None
        if isinstance(trouble, WorldFault):
            return trouble
        if isinstance(trouble, TokenFault | TokenBehaviour):
            behaviour = TokenBehaviour(fault=trouble) if isinstance(trouble, TokenFault) else trouble
            self.model.next_token_requests(behaviour)
        elif trouble is not None:
            self.model.next_api_calls(ApiBehaviour(fault=trouble) if isinstance(trouble, ApiFault) else trouble)
        return None

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


def _check_token_trouble(trouble: object) -> None:
    if isinstance(trouble, TokenFault | TokenBehaviour) or trouble in NETWORK_FAULTS:
        return
    if isinstance(trouble, ApiFault | ApiBehaviour):
        raise ValueError(f"{_shown(trouble)} strikes calls of the API: give it to next_api_calls()")
    raise _useless(trouble, "next_token_requests", "a TokenFault, a TokenBehaviour")


def _check_api_trouble(trouble: object) -> None:
    if isinstance(trouble, ApiFault | ApiBehaviour) or trouble in NETWORK_FAULTS:
        return
    if isinstance(trouble, TokenFault | TokenBehaviour):
        raise ValueError(f"{_shown(trouble)} strikes token requests: give it to next_token_requests()")
    raise _useless(trouble, "next_api_calls", "an ApiFault, an ApiBehaviour")


def _useless(trouble: object, method: str, takes: str) -> ValueError:
    names = ", ".join(fault.name for fault in NETWORK_FAULTS)
    if trouble is WorldFault.PARTITION:
        return ValueError(f"{trouble} does not strike one request: use part(seconds). These strike one: {names}")
    if isinstance(trouble, WorldFault):
        return ValueError(f"{trouble} does not strike one request; of the world's faults these do: {names}")
    return ValueError(f"{method}() takes {takes} or a WorldFault ({names}), one for each, not {_shown(trouble)}")


def _shown(trouble: object) -> str:
    return str(trouble) if isinstance(trouble, Enum) else repr(trouble)
