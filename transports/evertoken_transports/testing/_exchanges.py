"""Exchanges over connections in memory: the library's own, from the bytes of HTTP to the texts of its errors.

Only what opens a connection is replaced. TLS is left out: there is nobody to listen, and nothing to verify.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from typing_extensions import override

from evertoken import HttpResponse
from evertoken_transports._exchanges.streams import Line, StreamExchange
from evertoken_transports._exchanges.target import Target
from evertoken_transports._runtime import within
from evertoken_transports.h11 import H11Exchange
from evertoken_transports.testing._alarms import turn
from evertoken_transports.testing._clocks import VirtualClock
from evertoken_transports.testing._loop_clock import LoopClock
from evertoken_transports.testing._wire import Wire

Connect = Callable[[], Wire]

_UNUSED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A context that no connection uses. An exchange that is given none loads the machine's authorities, which takes longer
than most tests."""


class _Attempt(Protocol):
    """As much of a request that ``H11Exchange`` has under way as is used here."""

    def converse(self, connection: Any, /) -> HttpResponse: ...  # noqa: ANN401


class MemoryExchange(H11Exchange):
    """The exchange of threads: :class:`evertoken_transports.h11.H11Exchange` over a connection in memory."""

    def __init__(self, connect: Connect, clock: VirtualClock, owner: object = None) -> None:
        super().__init__(trust_env=False, clock=clock)
        self.owner = owner
        """The server behind this exchange."""
        self._connect = connect
        self._time = clock

    def __repr__(self) -> str:
        return f"<MemoryExchange with {self.owner!r} on {self._time!r}>"

    @override
    def check_fence(self) -> None:
        """Allow every request: none goes out from here, so that no fence need stop it."""

    @override
    def _carried(self, attempt: _Attempt) -> HttpResponse:
        return attempt.converse(_Socket(self._connect(), self._time))


class _Socket:
    """As much of a socket as an exchange uses."""

    def __init__(self, wire: Wire, clock: VirtualClock) -> None:
        self._wire = wire
        self._clock = clock
        self._timeout = math.inf

    def settimeout(self, seconds: float) -> None:
        self._timeout = seconds

    def sendall(self, data: bytes) -> None:
        self._wire.send(data)

    def recv(self, most: int) -> bytes:
        deadline = self._clock() + self._timeout
        while not isinstance(arrived := self._wire.receive(most), bytes):
            if self._clock() >= deadline:
                raise TimeoutError
            self._clock.sleep_until(min(arrived, deadline), carries=True)
        return arrived


class AsyncMemoryExchange(StreamExchange):
    """The exchange of asyncio's and trio's sources over a stream in memory, in whichever of the two is running."""

    def __init__(self, connect: Connect, clock: VirtualClock | LoopClock, owner: object = None) -> None:
        super().__init__(ssl_context=_UNUSED, trust_env=False, clock=clock)
        self.owner = owner
        """The server behind this exchange."""
        self._connect = connect
        self._time = clock

    def __repr__(self) -> str:
        return f"<AsyncMemoryExchange with {self.owner!r} on {self._time!r}>"

    @override
    async def _open(self, target: Target, attempt: object, seconds: float) -> Line:
        return _Stream(self._connect(), self._time, self._time() + seconds)

    @override
    async def _within(self, seconds: float, work: Coroutine[None, None, HttpResponse]) -> HttpResponse:
        # With a VirtualClock the loop's own timers measure real time; there the stream itself looks at its deadline.
        return await (work if isinstance(self._time, VirtualClock) else within(seconds, work))


class _Stream(Line):
    def __init__(self, wire: Wire, clock: VirtualClock | LoopClock, deadline: float) -> None:
        self._wire = wire
        self._clock = clock
        self._deadline = deadline

    @override
    async def send(self, data: bytes) -> None:
        await turn()
        self._wire.send(data)

    @override
    async def receive(self, most: int) -> bytes:
        await turn()
        while not isinstance(arrived := self._wire.receive(most), bytes):
            if self._clock() >= self._deadline:
                raise TimeoutError
            await self._clock.asleep_until(min(arrived, self._deadline), carries=True)
        return arrived

    @override
    async def start(self, context: ssl.SSLContext | None, name: str) -> str | None:
        return "http/1.1"

    @override
    def close(self) -> None:
        """There is nothing to close."""
