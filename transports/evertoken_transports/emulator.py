"""A Mangopay-like server on loopback: the model of ``evertoken.testing`` behind a real socket, spoken to in HTTP/1.1.

    with Emulator(Script(lifetime=60)) as emulator:
        auth = BearerAuth(emulator.grant())

The model decides what is answered, when, and with which bytes; h11 reads and writes HTTP; this module waits, and sends
whole, byte by byte, without end, or not at all. It listens on 127.0.0.1 only. It is made for tests and demonstrations:
one thread per connection, no TLS.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Self

try:
    import h11
except ImportError:
    raise ImportError("the emulator needs h11: pip install h11") from None

from evertoken import ClientCredentials, HttpResponse
from evertoken.testing import Arrival, AuthorizationServer, Delivery, Script, ServerAnswer, ServerRequest

__all__ = ("Emulator",)

_logger = logging.getLogger("evertoken.emulator")

_HOST = "127.0.0.1"
_BACKLOG = 1_024
_CHUNK = 65_536
_LONGEST_BODY = 1_048_576
"""Bytes of a request body that are read; a longer one is answered 413."""
_BODILESS = (204, 304)
_STEP = 0.01
"""Seconds between two pieces of a drip that is faster than a byte per step."""
_PATIENCE = 5.0
"""Seconds that ``close`` grants each thread to end, after it has told all of them."""


class Emulator:
    """The server, between ``with`` and the end of the block (or between ``start`` and ``close``).

    Args:
        model: a script, for a server of its own with ``client_id`` and ``api_key``; or a server to put on the wire.
        client_id: whose account it is; not used with a server.
        api_key: its API key; not used with a server.
        clock: seconds as float, never backwards. It is read once for each request.
        port: 0 for any that is free.

    The model's time begins at the model's ``start`` when the emulator starts, so that a script counts from then.

    Raises:
        OSError: from ``start``, if the port is taken.
    """

    def __init__(
        self,
        model: AuthorizationServer | Script | None = None,
        *,
        client_id: str = "emulated-client",
        api_key: str = "emulated-api-key",
        clock: Callable[[], float] = time.monotonic,
        port: int = 0,
    ) -> None:
        if not isinstance(model, AuthorizationServer):
            script = Script() if model is None else model
            model = AuthorizationServer(client_id, api_key, script=script, epoch=time.time())
        self._model = model
        self._clock = clock
        self._port = port
        self._origin = 0.0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._connections: dict[threading.Thread, socket.socket] = {}

    def start(self) -> None:
        """Listen. Time begins now.

        Raises:
            RuntimeError: it was started before.
            OSError: the port is taken.
        """
        if self._listener is not None or self._closing.is_set():
            raise RuntimeError("an Emulator is started once: make another one")
        self._listener = socket.create_server((_HOST, self._port), backlog=_BACKLOG)
        self._port = self._listener.getsockname()[1]
        self._origin = self._clock()
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), daemon=True, name="emulator")
        self._acceptor.start()

    def close(self) -> None:
        """Cut every wait short, close every connection and end every thread. Closing twice is harmless."""
        self._closing.set()
        if self._listener is None or self._acceptor is None:
            return
        # A thread that is blocked in accept() does not see the socket closed, but it does see a visitor.
        with contextlib.suppress(OSError), socket.create_connection((_HOST, self._port), timeout=_PATIENCE):
            pass
        self._acceptor.join(_PATIENCE)
        self._listener.close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections:
            thread.join(_PATIENCE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        """The URL of this emulator, for ``mangopay.sandbox(..., base_url=...)``. Its port is known after ``start``."""
        return f"http://{_HOST}:{self._port}"

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """Every request so far and what was answered, oldest first."""
        with self._lock:
            return tuple(self._model.arrivals)

    @contextlib.contextmanager
    def server(self) -> Generator[AuthorizationServer]:
        """The model, with every request held off until the block ends: ``with emulator.server() as server: ...``."""
        with self._lock:
            yield self._model

    def now(self) -> float:
        """The present on the model's clock, which its records and arrivals are on."""
        return self._clock() - self._origin + self._model.start

    def grant(self) -> ClientCredentials:
        """The grant of a client with the newest API key of the account, bound for this emulator."""
        with self._lock:
            return self._model.grant(self.base_url)

    def revoke_all(self) -> int:
        """Revoke every token that is valid now, and say how many."""
        with self._lock:
            return self._model.revoke_all(self.now())

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError as error:
                # Most likely this process has no file descriptor left; other threads may close some.
                _logger.warning("The emulator cannot accept a connection: %s", error)
                if self._closing.wait(_STEP):
                    return
                continue
            if self._closing.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True, name="emulator-connection")
            with self._lock:
                self._connections[thread] = connection
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _Conversation(connection, self._handle, self._closing).run()
        except OSError:
            # The client has gone, or close() has shut the socket down. Nobody needs to be told of either.
            pass
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]

    def _handle(self, request: ServerRequest) -> ServerAnswer:
        with self._lock:
            answer = self._model.handle(self.now(), request)
            arrival = self._model.arrivals[-1]
        _logger.debug("%s %s: %s, %s", arrival.method, arrival.path, arrival.status, answer.delivery.value)
        return answer


class _Conversation:
    """One connection: requests in, answers out, until either side has had enough."""

    def __init__(
        self,
        connection: socket.socket,
        handle: Callable[[ServerRequest], ServerAnswer],
        closing: threading.Event,
    ) -> None:
        self._connection = connection
        self._handle = handle
        self._closing = closing
        self._http = h11.Connection(h11.SERVER)

    def run(self) -> None:
        """Serve requests until the connection ends."""
        try:
            while (request := self._receive()) is not None:
                answer = self._handle(request)
                is_over = answer.delay > 0 and self._closing.wait(min(answer.delay, threading.TIMEOUT_MAX))
                if is_over or not self._deliver(answer, request.method):
                    return
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)

    def _receive(self) -> ServerRequest | None:
        """The next request; None if no other will come."""
        head = self._next_event()
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        while isinstance(event := self._next_event(), h11.Data):
            body += event.data
            if len(body) > _LONGEST_BODY:
                raise h11.RemoteProtocolError("request body too long", error_status_hint=413)
        headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers)
        return ServerRequest(head.method.decode("ascii"), head.target.decode("ascii"), headers, bytes(body))

    def _next_event(self) -> h11.Event | None:
        """The next event of the connection, None if the client may send no more."""
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                return None
            if self._http.they_are_waiting_for_100_continue:
                self._connection.sendall(self._send(h11.InformationalResponse(status_code=100, headers=[])))
            self._http.receive_data(self._connection.recv(_CHUNK))

    def _deliver(self, answer: ServerAnswer, method: str) -> bool:
        """Send ``answer`` as its ``delivery`` says. Returns whether the connection can be used again."""
        if answer.response is None:
            if answer.delivery is Delivery.HANG:
                self._wait_for_the_end()
            return False
        head, body = self._rendered(answer.response, method, endless=answer.delivery is Delivery.ENDLESS)
        match answer.delivery:
            case Delivery.CUT:
                self._connection.sendall(head + body[: answer.cut_after])
                return False
            case Delivery.ENDLESS:
                self._connection.sendall(head)
                while not self._closing.is_set():
                    self._connection.sendall(body)
                return False
            case Delivery.DRIP:
                self._drip(head + body, answer.bytes_per_second)
            case _:
                self._connection.sendall(head + body)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def _rendered(self, response: HttpResponse, method: str, *, endless: bool) -> tuple[bytes, bytes]:
        """Head and body as they go over the wire; for an endless body, one chunk of it."""
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.headers]
        head = self._send(h11.Response(status_code=response.status, headers=headers))
        has_body = method != "HEAD" and response.status not in _BODILESS
        body = self._send(h11.Data(data=response.body)) if has_body else b""
        return head, body if endless else body + self._send(h11.EndOfMessage())

    def _send(self, event: h11.Event) -> bytes:
        # h11 returns None for ConnectionClosed alone, which is never sent here.
        return self._http.send(event) or b""

    def _drip(self, data: bytes, bytes_per_second: float) -> None:
        size = max(1, int(bytes_per_second * _STEP))
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self._connection.sendall(piece)
            if self._closing.wait(min(len(piece) / bytes_per_second, threading.TIMEOUT_MAX)):
                raise ConnectionAbortedError("the emulator is closing")

    def _wait_for_the_end(self) -> None:
        while self._connection.recv(_CHUNK):
            pass

    def _refuse(self, status: int) -> None:
        """Answer what is no proper request. It was found while reading, so that no answer has begun yet."""
        headers = [("Content-Length", "0"), ("Connection", "close")]
        head = self._send(h11.Response(status_code=status, headers=headers))
        self._connection.sendall(head + self._send(h11.EndOfMessage()))
