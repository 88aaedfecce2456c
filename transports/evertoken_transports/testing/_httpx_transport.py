"""The model behind a client of httpx or httpx2: a transport, to which every call goes instead of a socket.

There is one implementation for both libraries, which have one API under two names. It serves their synchronous clients
in threads, and their asynchronous ones on asyncio and trio.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from evertoken.testing import Delivery, ServerAnswer, ServerRequest
from evertoken_transports.testing._clocks import VirtualClock
from evertoken_transports.testing._loop_clock import LoopClock

if TYPE_CHECKING:
    import httpx
    import httpx2

    class HttpxTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
        """A transport for ``httpx.Client`` and ``httpx.AsyncClient``."""

    class Httpx2Transport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
        """A transport for ``httpx2.Client`` and ``httpx2.AsyncClient``."""


# The module and the objects of one of the two libraries, which have no types in common.
Library = Any
Request = Any
Response = Any

Serve = Callable[[ServerRequest], ServerAnswer]


def new_transport(library: str, serve: Serve, clock: VirtualClock | LoopClock) -> Any:  # noqa: ANN401 (either library's)
    """A transport for the clients of ``library``, "httpx" or "httpx2"."""
    module: Library = _imported(library)
    bases = (_Transport, module.BaseTransport, module.AsyncBaseTransport)
    return type("MemoryTransport", bases, {})(module, serve, clock)


def _imported(library: str) -> Library:
    try:
        return import_module(library)
    except ImportError as error:
        raise ImportError(f"{library}_transport() needs {library}: pip install {library}", name=error.name) from error


class _Transport:
    def __init__(self, library: Library, serve: Serve, clock: VirtualClock | LoopClock) -> None:
        self._library = library
        self._serve = serve
        self._clock = clock

    def handle_request(self, request: Request) -> Response:
        if isinstance(self._clock, LoopClock):
            raise RuntimeError("this server lives in an event loop's time: use an AsyncClient there")
        request.read()
        arrived, answer = self._clock(), self._serve(_read(request))
        self._clock.sleep_until(arrived + _seconds(answer, request))
        status, headers, body = self._outcome(answer, request)
        return self._library.Response(status, headers=headers, content=body if isinstance(body, bytes) else body())

    async def handle_async_request(self, request: Request) -> Response:
        await request.aread()
        arrived, answer = self._clock(), self._serve(_read(request))
        await self._clock.asleep_until(arrived + _seconds(answer, request))
        status, headers, body = self._outcome(answer, request)
        content = body if isinstance(body, bytes) else _async(body)
        return self._library.Response(status, headers=headers, content=content)

    def _outcome(
        self, answer: ServerAnswer, request: Request
    ) -> tuple[int, list[tuple[str, str]], bytes | Callable[[], Iterator[bytes]]]:
        """The status, the headers, and the body or how to read it. Raises the library's own error if there is none."""
        if answer.delivery is Delivery.HANG or answer.delay > _patience(request):
            raise self._library.ReadTimeout("timed out", request=request)
        response = answer.response
        if response is None:
            raise self._library.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        headers = list(response.headers)
        if answer.delivery is not Delivery.CUT:
            return response.status, headers, response.body
        return response.status, headers, lambda: self._cut(response.body[: answer.cut_after], request)

    def _cut(self, begun: bytes, request: Request) -> Iterator[bytes]:
        yield begun
        raise self._library.RemoteProtocolError(
            f"peer closed connection without sending complete message body (received {len(begun)} bytes)",
            request=request,
        )


async def _async(body: Callable[[], Iterator[bytes]]) -> AsyncIterator[bytes]:
    for piece in body():
        yield piece


def _read(request: Request) -> ServerRequest:
    headers = [(name, value) for name, value in request.headers.multi_items()]
    return ServerRequest(request.method, request.url.raw_path.decode("ascii"), headers, request.content)


def _seconds(answer: ServerAnswer, request: Request) -> float:
    """Seconds from the arrival of the request to the end of the answer, or until the client gives up."""
    patience = _patience(request)
    gives_up = answer.delivery is Delivery.HANG or answer.delay > patience
    return patience if gives_up else answer.duration()


def _patience(request: Request) -> float:
    """Seconds without a byte after which the client gives up: its read timeout."""
    seconds = request.extensions.get("timeout", {}).get("read")
    return math.inf if seconds is None else float(seconds)
