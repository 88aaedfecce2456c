"""The server's end of one connection in memory: bytes in, bytes out, and when. No I/O, and no waiting.

h11 reads and writes HTTP/1.1, as it does for the emulator. What differs is the time: whoever asks for an answer that is
still to come is told the moment at which to ask again.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import h11

from evertoken import HttpResponse
from evertoken.testing import Delivery, ServerAnswer, ServerRequest
from evertoken_transports._clock import Clock

Serve = Callable[[ServerRequest], ServerAnswer]

_PIECE = 65_536
_NOTHING = ServerAnswer(0.0, None)


class Wire:
    """One connection for one request.

    Args:
        serve: what answers a request, once it has arrived whole.
        clock: what the moments are measured on.
    """

    def __init__(self, serve: Serve, clock: Clock) -> None:
        self._serve = serve
        self._clock = clock
        self._http = h11.Connection(h11.SERVER)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._answer: ServerAnswer | None = None
        self._next_at = math.inf
        self._left = b""
        self._repeated = b""

    def send(self, data: bytes) -> None:
        """Take what the client sends."""
        self._http.receive_data(data)
        while self._answer is None and isinstance(event := self._http.next_event(), h11.Event):
            if isinstance(event, h11.Request):
                self._head = event
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._begin()

    def receive(self, most: int = _PIECE) -> bytes | float:
        """What has arrived at the client by now, up to ``most`` bytes; empty at the end of the connection.

        A float if nothing has: the moment at which to ask again, ``math.inf`` if that is never.
        """
        now, answer = self._clock(), self._answer
        if answer is None or now < self._next_at:
            return self._next_at
        piece = self._left[: self._most_at_once(answer, most)]
        self._left = self._left[len(piece) :] or self._repeated
        if answer.delivery is Delivery.DRIP:
            self._next_at += len(piece) / answer.bytes_per_second
        return piece

    def hang_up(self) -> None:
        """End the connection: from now on nothing but its end arrives."""
        self._answer, self._next_at = _NOTHING, -math.inf
        self._left = self._repeated = b""

    def _begin(self) -> None:
        assert self._head is not None  # noqa: S101 (a message ends after its head)
        method = self._head.method.decode("ascii")
        headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in self._head.headers)
        request = ServerRequest(method, self._head.target.decode("ascii"), headers, bytes(self._body))
        self._answer = answer = self._serve(request)
        if answer.delivery is not Delivery.HANG:
            self._next_at = self._clock() + answer.delay
        if answer.response is not None:
            self._write(answer.response, answer, method)

    def _write(self, response: HttpResponse, answer: ServerAnswer, method: str) -> None:
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.headers]
        head = self._sent(h11.Response(status_code=response.status, headers=headers))
        body = b"" if method == "HEAD" else self._sent(h11.Data(data=response.body))
        if answer.delivery is Delivery.CUT:
            body = body[: answer.cut_after]
        elif answer.delivery is Delivery.ENDLESS:
            self._repeated = body
        self._left = head + body

    def _sent(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    def _most_at_once(self, answer: ServerAnswer, most: int) -> int:
        """How many bytes arrive at once: in a drip at most as many as come in a second, else ``most``."""
        return min(most, max(1, int(answer.bytes_per_second))) if answer.delivery is Delivery.DRIP else most
